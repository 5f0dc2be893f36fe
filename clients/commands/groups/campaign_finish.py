"""`ssnet campaign check` and `merge`: the outputs against their inputs, and joined."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdp.settings import DEFAULT_ENDPOINT

from ..option_checks import log_warnings
from ..options import (
    FAILURES,
    FILES,
    Broker,
    CampaignDir,
    EngineName,
    Force,
    Json,
    Local,
    PoolName,
    Quiet,
    Readers,
    Verbose,
    option,
)
from .campaign_options import bytes_of, hint_of, services_of
from .campaigns import READERS, check_free_to_drive

if TYPE_CHECKING:
    from rich.table import Table

    from ...campaign.driving.services import Services
    from ...campaign.finishing.checking import CheckOutcome
    from ...flow.progress import Progress

_MOST_SHOWN = 20

MERGE_HELP = """Join the outputs of a campaign into one file, or into files of a size.

The outputs are joined in the order of the inputs and without unpacking their images. The merged \
file has the provenance of each output, and a report of all failed events beside it: \
`ssnet check INPUTS... MERGED` passes. Outputs that were changed since they were scored, or that \
do not fit together, are named, and nothing is written. If it is stopped, the same command goes \
on: merged files that are right stay. A merged file that was damaged since is made anew; a file \
with other contents, or one that cannot be read, is replaced only with `--force`.

[bold]Examples[/]

  ssnet campaign merge july -o july.root
  ssnet campaign merge july --to 2GB -o 'merged/july_{number}.root'
  ssnet campaign merge july -o july.root --partial
"""

MergedOutput = Annotated[
    Path,
    option(
        FILES,
        *("--output", "-o"),
        metavar="FILE",
        help="Merged file, .root or .h5. With --to its name has {number}: 001, 002, ...",
    ),
]
To = Annotated[
    str | None,
    option(
        FILES,
        metavar="SIZE",
        help="Merge into files of at most this size, such as 2GB. Default: into one file.",
    ),
]
Partial = Annotated[
    bool, option(FAILURES, "--partial", help="Merge the files that are done, without the others.")
]


CHECK_HELP = """Compare every output of a campaign with its input, and both with the catalogue.

The readers of the broker or of the pool check the files in parallel; `--local` starts readers on \
this machine. The checks are those of `ssnet check`, with empty events allowed where the \
report beside the output names them. Also found are outputs and merged files that are gone or were \
changed, inputs that changed since they were scored, and events that two outputs have. \
`ssnet campaign retry` scores again what is wrong. Exit code 0: all files are scored, or repeat \
another, and all is right; 1: something is wrong, or files failed or are not scored yet. Events \
that two outputs have are wrong unless the campaign has `--repeat-inputs`.

[bold]Examples[/]

  ssnet campaign check july
  ssnet campaign check july --pool farm --unchecked
  ssnet campaign check july --local --readers 8 --json
"""

Unchecked = Annotated[
    bool,
    option(FILES, "--unchecked", help="Leave out files that an earlier check has found right."),
]


def add_to(group: typer.Typer) -> None:
    """Add the commands to `ssnet campaign`."""
    group.command(help=CHECK_HELP)(check)
    group.command(help=MERGE_HELP)(merge)


def check(
    context: typer.Context,
    folder: CampaignDir,
    unchecked: Unchecked = False,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    local: Local = False,
    readers: Readers = READERS,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    # the options by their names
    values = {**locals(), "workers": 1, "network": None, "engine": EngineName.onnx}
    from ...campaign.driving.services import remembered
    from ...campaign.finishing.checking import check_campaign
    from ...campaign.records.reading import reading
    from ...terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    path = folder.expanduser().resolve()
    with reading(path):
        pass  # raises `NoCampaign` before readers are started
    services = services_of(context, values, remembered(path))
    check_free_to_drive(path)
    with (
        screen.progress("files", command="ssnet campaign check", quiet=quiet) as show,
        _readers(services, progress=show) as address,
    ):
        outcome = check_campaign(
            path, address, hint=hint_of(services), unchecked_only=unchecked, progress=show
        )
    if as_json:
        report = {"ok": outcome.is_good, **_plain(outcome)}
        sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    else:
        screen.show(*_check_tables(outcome))
    raise typer.Exit(0 if outcome.is_good else 1)


def _readers(services: Services, *, progress: Progress) -> AbstractContextManager[str]:
    """Give the broker; with `--local`, start readers here: a check needs no planes."""
    if not services.local:
        return nullcontext(services.broker)
    from ...local import local_services, reader_pool

    readers = reader_pool.ReaderPool(workers=max(services.readers, 1))
    return local_services.services(readers, progress=progress)


def _plain(outcome: CheckOutcome) -> dict[str, Any]:
    """Return what was found as a JSON object."""
    from ...campaign.finishing.checking import Wrong

    return {
        one.name: [row._asdict() if isinstance(row, Wrong) else row for row in value]
        if isinstance(value := getattr(outcome, one.name), list)
        else value
        for one in fields(outcome)
    }


def _check_tables(outcome: CheckOutcome) -> list[Table]:
    from ...terminal import screen

    kinds = {
        "output is wrong": outcome.outputs,
        "input cannot be read": outcome.inputs,
        "input changed": outcome.changed,
        "not checked": outcome.unchecked,
        "merged file is wrong": outcome.merged,
    }
    counts = screen.table("check", "files")
    counts.add_row("right", str(outcome.right))
    numbers = {kind: len(rows) for kind, rows in kinds.items()}
    numbers |= {"failed": outcome.failed, "not scored yet": outcome.waiting}
    for kind, number in numbers.items():
        if number:
            counts.add_row(kind, str(number))
    if outcome.repeated:
        counts.add_row("events that come again", str(len(outcome.repeated)))
    details = screen.table("what", "output", "why", left=3)
    for kind, rows in kinds.items():
        for row in rows[:_MOST_SHOWN]:
            details.add_row(kind, screen.escaped(row.output), screen.escaped(row.reason))
        if len(rows) > _MOST_SHOWN:
            details.add_row(kind, "...", f"and {len(rows) - _MOST_SHOWN} more (--json)")
    for text in outcome.repeated[:_MOST_SHOWN]:
        details.add_row("comes again", "", screen.escaped(text))
    if outcome.stopped:
        details.add_row("stopped", "", screen.escaped(outcome.stopped))
    return [counts, details] if details.row_count else [counts]


def merge(
    folder: CampaignDir,
    output: MergedOutput,
    to: To = None,
    partial: Partial = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ...campaign.finishing.merged_files import Merging, merge_campaign
    from ...terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    asked = Merging(
        folder.expanduser().resolve(),
        output.expanduser().parent.resolve() / output.name,
        bytes_of(to, "--to"),
        partial=partial,
        force=force,
    )
    with screen.progress("files", command="ssnet campaign merge", quiet=quiet) as show:
        merged = merge_campaign(asked, progress=show)
    if as_json:
        rows = [{**asdict(one), "path": str(one.path)} for one in merged]
        sys.stdout.write(json.dumps({"merged": rows}, indent=2) + "\n")
        return
    table = screen.table("merged file", "outputs", "events", "failed", "MB")
    for one in merged:
        numbers = (one.files, one.events, one.failed_events, f"{one.bytes / 1e6:.1f}")
        table.add_row(screen.escaped(str(one.path)), *map(str, numbers))
    screen.show(table)

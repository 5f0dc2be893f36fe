"""`ssnet canary`: try new weights on a share of the crops of running work."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdp import SettingsError
from mdp.commands.command_line import new_group

from ..option_checks import log_warnings
from ..options import (
    FILES,
    Canary,
    Json,
    LongWait,
    PoolName,
    Quiet,
    Share,
    Verbose,
    Workers,
    option,
)

if TYPE_CHECKING:
    from mdp.pool.pool_folder import PoolFolder

    from ...scoring.canary.canary_state import CanaryState

HELP = """Try new weights on a share of the crops of running work, and compare them with the old.

A canary is a few workers with the new weights, beside those of a pool. The runs and campaign \
readers of the pool send them a share of their crops as well, compare the scores, and throw them \
away: outputs, their order and exit codes stay the same, and no run waits for a canary.

[bold]Examples[/]

  ssnet canary start new-networks --share 0.02 --pool july
  ssnet canary status --pool july
  ssnet canary report --pool july -o canary.html
  ssnet canary promote --pool july
  ssnet canary drop --pool july
"""

START_HELP = """Start a canary: workers with the networks in FOLDER, beside those of a pool.

The workers are a pool of their own, NAME-canary, with the same launcher and options; `-n` says \
how many for each plane. When each plane has one, the share is recorded beside the contact file \
of the pool, where its clients find it within 10 s. A start that was interrupted goes on with the \
same command; a second canary is refused. Without `--wait` it waits an hour for the workers.

[bold]Examples[/]

  ssnet canary start new-networks --pool july
  ssnet canary start new-networks --pool july --share 0.1 -n 2

Without a pool, start the workers yourself, and name the canary in each run:

  ssnet worker planes --network new-networks --canary next --broker @broker.json
  ssnet run in.root -o out.root --broker @broker.json --canary next --share 0.1
  ssnet canary report out.root.canary
"""

STATUS_HELP = """Show the canary of a pool: since when, who started it, and how well it agrees.

[bold]Examples[/]

  ssnet canary status --pool july
  ssnet canary status --pool july --json
"""

REPORT_HELP = """Show how well the new weights agree with the old ones, over all clients.

For each plane: crops that are equal to the bit, pixels that change class, old class by new class, \
differences of the scores, and the worst crops. With `-o` a page with their pictures is written. \
Clients write their reports each 30 s and at their end.

Exit code: 0 no pixel changes its class; 1 nothing was compared; 3 some pixels change.

[bold]Examples[/]

  ssnet canary report --pool july
  ssnet canary report --pool july -o canary.html
  ssnet canary report out.root.canary --json
"""

PROMOTE_HELP = """Choose the new weights: end the canary, and show how the pool gets them.

Nothing more is sent, the canary's workers stop, and the reports stay. The workers of the pool are \
not changed: the commands that do this are printed.

[bold]Examples[/]

  ssnet canary promote --pool july
"""

DROP_HELP = """Give a canary up: nothing more is sent, its workers stop. The reports stay.

[bold]Examples[/]

  ssnet canary drop --pool july
"""

DIFFERS = 3
"""The exit code of `report` if a pixel changes its class."""

app = new_group("canary", HELP)

NewNetworks = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", help="Folder with the new .prototxt and .caffemodel of each plane."
    ),
]
ReportFolders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[OUT.canary]...", help="Folders of reports, instead of --pool."),
]
PageTo = Annotated[
    Path | None,
    option(FILES, "--output", "-o", help="Page to write, with the worst crops: .html."),
]


@app.command(help=START_HELP)
def start(
    folder: NewNetworks,
    pool_name: PoolName = None,
    canary: Canary = "next",
    share: Share = 0.02,
    workers: Workers = 1,
    wait: LongWait = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from mdp import Client
    from mdp.pool import start as verbs
    from mdp.pool.observe import Outlook
    from services import networks

    from ...flow.waiting import wait_for_workers
    from ...scoring.canary import canary_pool
    from ...scoring.canary.canary_state import write_state
    from ...scoring.canary.crop_share import Canary as Checked

    log_warnings(verbose=verbose, quiet=quiet)
    pool, records = _pool(pool_name)
    Outlook(pool).check()
    settings = pool.read_settings()
    planes = canary_pool.planes_of(settings)
    Checked(canary, share, records)
    for plane in planes:
        networks.find(folder, plane)
    state = _begun(records, os.path.abspath(folder), canary, share, planes)
    write_state(records, state)
    wanted = canary_pool.canary_settings(
        pool, settings, label=canary, network=folder.resolve(), workers=workers
    )
    shadow = canary_pool.beside(pool)
    verbs.start(shadow, wanted, _say(quiet))
    start_command = f"ssnet worker planes --network {folder} --canary {canary}"
    with Client(f"@{pool.contact_file}") as client:
        names = dict.fromkeys(wanted.want, start_command)
        wait_for_workers(client, names, wait_s=3600.0 if wait is None else wait)
    write_state(records, state.now("running"))
    _say(quiet)(f"canary   {canary} gets {100 * share:g} % of the crops of {pool.name}")


def _begun(
    records: Path, network: str, label: str, share: float, planes: tuple[int, ...]
) -> CanaryState:
    """Return the state to begin with, or to go on with. Raises `CanaryError` for another canary."""
    from mdp.system.contact import host_name, user_name

    from ...scoring.canary.canary_state import CanaryError, CanaryState, read_state

    state = read_state(records)
    if state is not None and not state.is_over:
        if (state.network, state.label, state.share) == (network, label, share):
            if state.state == "running":
                raise CanaryError(f"this canary runs already: {_described(state)}")
            return state
        raise CanaryError(
            f"there is a canary already: {_described(state)}; `ssnet canary drop` ends it"
        )
    now = time.time()
    stamp = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    by = f"{user_name()} on {host_name()}"
    name = f"{stamp}-{secrets.token_hex(2)}"
    return CanaryState(name, "starting", label, share, network, planes, now, by)


def _described(state: CanaryState) -> str:
    since = datetime.fromtimestamp(state.began_at).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return f"{state.label} ({state.network}), {state.state}, started by {state.by} at {since}"


def _pool(name: Path | None) -> tuple[PoolFolder, Path]:
    """Return a pool and the folder of its canary. Raises `SettingsError` and `PoolError`."""
    from mdp.pool.pool_folder import PoolFolder

    from ...scoring.canary.canary_state import canary_folder

    if name is None:
        raise SettingsError("want the pool of the canary: --pool NAME")
    pool = PoolFolder(name)
    pool.require()
    folder = canary_folder(f"@{pool.contact_file}")
    assert folder is not None
    return pool, folder


def _known(records: Path) -> CanaryState:
    from ...scoring.canary.canary_state import CanaryError, read_state

    state = read_state(records)
    if state is None:
        raise CanaryError(
            f"there was no canary yet ({records}): `ssnet canary start FOLDER --pool NAME`"
        )
    return state


def _say(quiet: bool) -> Callable[[str], None]:
    return (lambda line: None) if quiet else typer.echo


@app.command(help=STATUS_HELP)
def status(
    pool_name: PoolName = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from dataclasses import asdict

    from ...scoring.canary import canary_report
    from ...scoring.canary.agreement import sentence
    from ...scoring.canary.canary_state import reports_folder
    from ...terminal import screen
    from ...terminal.narrow import Pairs

    log_warnings(verbose=verbose, quiet=quiet)
    pool, records = _pool(pool_name)
    state = _known(records)
    folder = reports_folder(records, state)
    report = canary_report.merged(canary_report.files_of([folder]))
    result = sentence(report.total())
    rows = [
        ("canary", _described(state)),
        ("share", f"{100 * state.share:g} % of the crops"),
        ("workers", f"`ssnet pool status {pool.path}-canary`"),
        ("reports", f"{folder}, of {report.clients} clients"),
        ("result", result),
    ]
    values = {**asdict(state), "reports": str(folder), "sentence": result}
    if as_json or not quiet:
        screen.show_values([Pairs(("pool", pool.name), rows)], values, json=as_json)


@app.command(help=REPORT_HELP)
def report(
    folders: ReportFolders = None,
    pool_name: PoolName = None,
    output: PageTo = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ...scoring.canary import canary_report, canary_tables
    from ...scoring.canary.canary_state import reports_folder
    from ...terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    if bool(folders) == (pool_name is not None):
        raise SettingsError("want either folders of reports (OUT.canary) or --pool NAME")
    if output is not None and output.suffix.lower() != ".html":
        raise SettingsError(f"want a page named .html (--output), got {output}")
    if pool_name is not None:
        _, records = _pool(pool_name)
        folders = [reports_folder(records, _known(records))]
    paths = list(canary_report.files_of(folders or ()))
    merged = canary_report.merged(paths)
    if output is not None:
        pixels: canary_report.Kept = {}
        for path in paths:
            pixels |= canary_report.read_kept(path)
        shown = [key for key in merged.worst() if key in pixels]
        canary_tables.write_page(output, merged, {key: pixels[key] for key in shown})
    if as_json or not quiet:
        screen.show_values(canary_tables.tables(merged), canary_tables.values(merged), json=as_json)
    whole = merged.total()
    if not whole.crops:
        raise typer.Exit(1)
    if whole.changed_all:
        raise typer.Exit(DIFFERS)


@app.command(help=PROMOTE_HELP)
def promote(pool_name: PoolName = None, quiet: Quiet = False, verbose: Verbose = False) -> None:
    from ...scoring.canary import canary_pool, canary_report
    from ...scoring.canary.agreement import sentence
    from ...scoring.canary.canary_state import CanaryError, reports_folder, write_state

    log_warnings(verbose=verbose, quiet=quiet)
    pool, records = _pool(pool_name)
    state = _known(records)
    if state.state in ("starting", "dropped"):
        raise CanaryError(f"want a canary that runs, got {_described(state)}")
    say = _say(quiet)
    merged = canary_report.merged(canary_report.files_of([reports_folder(records, state)]))
    say(f"canary   {sentence(merged.total())}")
    write_state(records, state.now("promoted"))
    canary_pool.stop(pool, say)
    typer.echo(f"The workers of {pool.name} still have the old weights. To give it the new ones:")
    for line in canary_pool.how_to_promote(pool, pool.read_settings(), state.network):
        typer.echo(f"  {line}")


@app.command(help=DROP_HELP)
def drop(pool_name: PoolName = None, quiet: Quiet = False, verbose: Verbose = False) -> None:
    from ...scoring.canary import canary_pool
    from ...scoring.canary.canary_state import reports_folder, write_state

    log_warnings(verbose=verbose, quiet=quiet)
    pool, records = _pool(pool_name)
    state = _known(records)
    if not state.is_over:
        state = state.now("dropped")
        write_state(records, state)
    canary_pool.stop(pool, _say(quiet))
    _say(quiet)(
        f"canary   {state.label} is {state.state}; reports in {reports_folder(records, state)}"
    )

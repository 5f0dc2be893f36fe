"""`ssnet ledger`: where a run's time went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .option_checks import log_warnings
from .options import FILES, Json, Quiet, Verbose, option

HELP = """Show where the time of a run went, from the ledger that `ssnet run --ledger` kept.

It shows what limits the run, in words; percentiles of the times of each stage; how busy each \
plane's workers were; and the slowest events. If the run is not finished, or was killed, it is \
shown up to its last event. A run and those that resumed it count as one. `-o` writes a timeline \
for the viewers ui.perfetto.dev and chrome://tracing.

[bold]Examples[/]

  ssnet ledger out.root.ledger
  ssnet ledger out.root.ledger -o trace.json
  ssnet ledger out.root.ledger --json > figures.json
"""


def ledger(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that --ledger wrote.")],
    output: Annotated[
        Path | None,
        option(FILES, "--output", "-o", help="File for the timeline; its name ends in .json."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ..ledger import ledger_tables
    from ..ledger.figures import figures
    from ..ledger.file import LedgerReader
    from ..ledger.limits import verdicts
    from ..terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    if output is not None:
        from ..ledger import trace

        trace.check_name(output)
    reader = LedgerReader(file)
    of_job = figures(reader)
    ledger_tables.check(of_job, str(file))
    limits = verdicts(of_job)
    if output is not None:
        trace.write(file, output, earlier=of_job.earlier)
    values = ledger_tables.values(of_job, limits, torn_bytes=reader.torn_bytes)
    if as_json:
        typer.echo(json.dumps(values, indent=1))
        return
    for line in ledger_tables.run_lines(of_job, torn_bytes=reader.torn_bytes):
        typer.echo(line)
    typer.echo()
    for verdict in limits:
        typer.echo(verdict.text + "\n")
    screen.show(*ledger_tables.tables(values))

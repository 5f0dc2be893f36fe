"""`ssnet ledger`: where a run's time went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

HELP = """Show where the time of a run went, from the ledger that `ssnet run --ledger` kept.

What limits the run, in words; percentiles by stage; what each pool and each worker did; the \
slowest events. A run that goes on, or was killed, is shown up to its last event; runs that were \
resumed count as one. `-o` draws when what happened.

[bold]Examples[/]

  ssnet ledger out.root.ledger
  ssnet ledger out.root.ledger -o timeline.png
  ssnet ledger out.root.ledger --json > figures.json
"""


def ledger(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A ledger.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the timeline: .png, .pdf or .svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures, for programs.")] = False,
) -> None:
    from ..ledger import report
    from ..ledger.figures import figures
    from ..ledger.file import LedgerReader
    from ..ledger.limits import verdicts
    from ..terminal import screen

    if output is not None:
        from lartpc.display.picture_files import check_name

        from ..ledger import picture

        check_name(output)
    reader = LedgerReader(file)
    made = figures(reader)
    report.check(made, str(file))
    said = verdicts(made)
    if output is not None:
        picture.draw(file, made, said[0], output)
    if as_json:
        typer.echo(json.dumps(report.values(made, said, torn_bytes=reader.torn_bytes), indent=1))
        return
    for line in report.run_lines(made, torn_bytes=reader.torn_bytes):
        typer.echo(line)
    typer.echo(report.sent_and_received(made) + "\n")
    for verdict in said:
        typer.echo(verdict.text + "\n")
    screen.show(*report.tables(made))

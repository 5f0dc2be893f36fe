"""`ssnet files`: what is in files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

HELP = """Show what is in LArCV files: products, entries, image sizes, events, bytes.

A file that cannot be read is one line on stderr, and exit code 1.

[bold]Examples[/]

  ssnet files toy.root
  ssnet files run*.root
"""


def files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="LArCV files.")],
) -> None:
    from .. import contents, terminal

    rows, failures = contents.of_all(files)
    terminal.show(contents.table(rows))
    for failure in failures:
        sys.stderr.write(f"ssnet: {failure}\n")
    sys.exit(1 if failures else 0)

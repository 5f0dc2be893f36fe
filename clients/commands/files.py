"""`ssnet files`: what is in files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError

from .option_checks import log_warnings
from .options import TERMINAL, Json, Quiet, Verbose, option

HELP = """Show what LArCV files hold: products, entries, image sizes, events, bytes, provenance.

If a file or a product cannot be read, or a file has no products, a line on stderr says so, and \
the exit code is 1. If the terminal is narrow, a table row is printed as a paragraph; in a pipe \
each row is one line.

[bold]Examples[/]

  ssnet files toy.root
  ssnet files run*.root
  ssnet files scores.root --provenance
  ssnet files scores.root --json | jq '.files[0].provenance[0].services'
"""


def files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="LArCV files.")],
    provenance: Annotated[
        bool, option(TERMINAL, "--provenance", help="Show the whole provenance, and nothing else.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ..files import contents, provenance_tables
    from ..terminal import screen

    if provenance and as_json:
        raise SettingsError("--provenance cannot be combined with --json")
    log_warnings(verbose=verbose, quiet=quiet)
    rows, failures = contents.of_all(files)
    makings = contents.provenances(files)
    if as_json:
        listed = [
            {
                "file": str(path),
                "products": contents.as_json(rows, path),
                "provenance": provenance_tables.as_json(texts),
            }
            for path, texts in makings.items()
        ]
        sys.stdout.write(json.dumps({"files": listed}, indent=2, ensure_ascii=False) + "\n")
    elif provenance:
        screen.show(*provenance_tables.full(makings))
    else:
        summary = [provenance_tables.summary(makings)] if any(makings.values()) else []
        tables = [contents.table(rows), contents.geometry_table(rows)] if rows else []
        screen.show(*tables, *summary)
    for failure in failures:
        sys.stderr.write(f"ssnet: {failure}\n")
    sys.exit(1 if failures else 0)

"""`ssnet files`: what is in files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError

HELP = """Show what is in LArCV files: products, entries, image sizes, events, bytes; who made them.

A file or a product that cannot be read, and a file without products, is one line on stderr, \
and exit code 1. In a narrow terminal a row becomes a paragraph; in a pipe it is always one line.

[bold]Examples[/]

  ssnet files toy.root
  ssnet files run*.root
  ssnet files scores.root --provenance
  ssnet files scores.root --json | jq '.files[0].provenance[0].services'
"""


def files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="LArCV files.")],
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Only who made them: all that they say of it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, for programs.")] = False,
) -> None:
    from ..files import contents, provenance_tables
    from ..terminal import screen

    if provenance and as_json:
        raise SettingsError("want --provenance or --json, got both")
    rows, failures = contents.of_all(files)
    made = contents.provenances(files)
    if as_json:
        shown = [
            {
                "file": str(path),
                "products": contents.as_json(rows, path),
                "provenance": provenance_tables.as_json(texts),
            }
            for path, texts in made.items()
        ]
        sys.stdout.write(json.dumps({"files": shown}, indent=2, ensure_ascii=False) + "\n")
    elif provenance:
        screen.show(*provenance_tables.full(made))
    else:
        summary = [provenance_tables.summary(made)] if any(made.values()) else []
        tables = [contents.table(rows), contents.geometry_table(rows)] if rows else []
        screen.show(*tables, *summary)
    for failure in failures:
        sys.stderr.write(f"ssnet: {failure}\n")
    sys.exit(1 if failures else 0)

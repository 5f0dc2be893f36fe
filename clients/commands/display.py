"""`ssnet display`: event displays."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError

from .options import TickOrder, Ticks, TrustTickOrder


class View(str, enum.Enum):
    """What a display zooms to."""

    charge = "charge"
    whole = "whole"


HELP = """Draw an event into a PNG: the planes side by side, a row for each producer.

[bold]Examples[/]

  ssnet display toy.root --entry 3 --producer wire -o event.png
  ssnet display toy.root --entry 3 --producer wire --labels segment --roi croi -o event.png
  ssnet display out.root -p wire --scores uburn_plane0 --scores uburn_plane1 \
--scores uburn_plane2 -o event.png
"""


def display(
    file: Annotated[Path, typer.Argument(help="A LArCV file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .png.")],
    entry: Annotated[int, typer.Option("--entry", "-e", help="Which event.")] = 0,
    producer: Annotated[
        list[str] | None, typer.Option("--producer", "-p", help="A row of ADC; repeatable.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="A row of labels 0, 1, 2; repeatable.")
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(help="Images \\[shower, track] of a plane, or of all; repeatable: one row."),
    ] = None,
    roi: Annotated[list[str] | None, typer.Option(help="Boxes to draw; repeatable.")] = None,
    view: Annotated[View, typer.Option(help="Zoom to the charge, or show all.")] = View.charge,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
) -> None:
    from .. import pictures

    if not (producer or labels or scores):
        raise SettingsError("want something to draw: --producer, --labels or --scores")
    picture = pictures.Picture(
        file=file,
        entry=entry,
        charge=tuple(producer or ()),
        labels=tuple(labels or ()),
        scores=tuple(scores or ()),
        rois=tuple(roi or ()),
        view=view.value,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
    )
    pictures.draw(picture, output)

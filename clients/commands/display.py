"""`ssnet display`: event displays."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError

from .options import TickOrder, Ticks, TrustTickOrder, log_warnings, numbers


class View(str, enum.Enum):
    """What a display zooms to."""

    charge = "charge"
    whole = "whole"


HELP = """Draw events: the planes side by side, charge above scores above labels.

Without --producer, --scores or --labels it draws what the files hold, and says on stderr what it \
took. Several files are of the same events: the first one says which, the others are searched for \
the same run, subrun and event.

Several events make a PDF of several pages, or a file each: event-3.png, event-7.png.

[bold]Examples[/]

  ssnet display toy.root -o event.png
  ssnet display in.root out.root --entry 3 -o event.png
  ssnet display in.root out.root -e 0:5 -e 17 -o events.pdf
  ssnet display in.root out.root --event 6324,94,4707 --planes 2 -o event.svg
  ssnet display toy.root --ticks 3000:4000 --wires 100:600 -o region.png
  ssnet display toy.root --roi 0 -o vertex.png
  ssnet display toy.root -p wire --labels segment --rois croi -o event.png
  ssnet display out.root -p wire --scores uburn -o event.png
"""


def display(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="LArCV files of the same events.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture: .png, .pdf or .svg.")
    ],
    entry: Annotated[
        list[str] | None,
        typer.Option("--entry", "-e", help="Entry of the first FILE, 3 or 0:5; repeatable."),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN,SUBRUN,EVENT", help="An event by its name; repeatable."),
    ] = None,
    producer: Annotated[
        list[str] | None, typer.Option("--producer", "-p", help="A row of charge; repeatable.")
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(
            help="A row of images \\[shower, track] of each plane: uburn for uburn_plane0, "
            "uburn_plane1, ...; repeatable."
        ),
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="A row of labels 0, 1, 2; repeatable.")
    ] = None,
    rois: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Producer of ROIs, drawn as boxes; repeatable."),
    ] = None,
    roi: Annotated[
        str | None, typer.Option(metavar="N", help="Zoom to the event's ROI N, from 0.")
    ] = None,
    ticks: Annotated[str | None, typer.Option(metavar="A:B", help="Show these ticks.")] = None,
    wires: Annotated[str | None, typer.Option(metavar="A:B", help="Show these wires.")] = None,
    planes: Annotated[str | None, typer.Option(help="Which, in this order: 0,2.")] = None,
    view: Annotated[View, typer.Option(help="Zoom to the charge, or show all.")] = View.charge,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
) -> None:
    from lartpc.display.rows import Region

    from ..pictures import event_pictures, picture_choice, picture_events

    log_warnings(verbose=False)
    region = Region(
        wires=event_pictures.span("--wires", wires) if wires is not None else None,
        ticks=event_pictures.span("--ticks", ticks) if ticks is not None else None,
    )
    if roi is not None and region != Region():
        raise SettingsError("want --roi, or --ticks and --wires, got both")
    picture = event_pictures.Picture(
        files=tuple(files),
        asked=picture_choice.Asked(
            charge=tuple(producer or ()),
            scores=tuple(scores or ()),
            labels=tuple(labels or ()),
            rois=tuple(rois or ()),
        ),
        events=picture_events.select(entry or (), event or ()),
        view=view.value,
        region=region,
        roi=_number(roi) if roi is not None else None,
        planes=numbers(planes) if planes else None,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
    )
    drawn = event_pictures.draw(picture, output)
    if drawn.notice:
        sys.stderr.write(f"ssnet: {drawn.notice}\n")


def _number(roi: str) -> int:
    if not roi.isdecimal():
        raise SettingsError(f"want --roi N, a number from 0, got {roi!r}; --rois names a producer")
    return int(roi)

"""`ssnet display`: event displays."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError

from .option_checks import log_warnings, numbers
from .options import (
    COMPUTED,
    DRAWN,
    FILES,
    LABEL_PRODUCER,
    PRODUCER,
    ROI_PRODUCER,
    Quiet,
    TickOrder,
    Ticks,
    TrustTickOrder,
    Verbose,
    option,
)


class View(str, enum.Enum):
    """Which part of an event a display shows."""

    charge = "charge"
    whole = "whole"


HELP = """Draw events: the planes side by side, rows of charge above scores above labels.

Without --producer, --scores and --labels, it draws what it finds in the files, and lists that on \
stderr. If you give several files, they must hold the same events: --entry and --event choose from \
the first file, and the other files are searched for the same run, subrun and event. The planes \
are drawn in the order of `--planes`.

Several events become the pages of one PDF, or one picture each: event-3.png, event-7.png.

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
        Path, option(FILES, "--output", "-o", help="Output picture: .png, .pdf or .svg.")
    ],
    entry: Annotated[
        list[str] | None,
        option(
            FILES,
            *("--entry", "-e"),
            metavar="N or A:B",
            help="Entry of the first FILE, counted from 0, or a range (B excluded); repeatable."
            " Default: 0.",
        ),
    ] = None,
    event: Annotated[
        list[str] | None,
        option(
            FILES,
            metavar="RUN,SUBRUN,EVENT",
            help="Event by its run, subrun and event number; repeatable.",
        ),
    ] = None,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    producer: Annotated[
        list[str] | None,
        option(
            COMPUTED,
            *("--producer", "-p"),
            help=f"{PRODUCER}; repeatable. Default: what the files hold.",
        ),
    ] = None,
    scores: Annotated[
        list[str] | None,
        option(
            DRAWN,
            help="Producer of the scores \\[shower, track]; uburn stands for uburn_plane0,"
            " uburn_plane1 and so on; repeatable. Default: what the files hold.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        option(COMPUTED, help=f"{LABEL_PRODUCER}; repeatable. Default: what the files hold."),
    ] = None,
    rois: Annotated[
        list[str] | None,
        option(COMPUTED, help=f"{ROI_PRODUCER}; repeatable. Default: what the files hold."),
    ] = None,
    planes: Annotated[
        str | None,
        option(
            COMPUTED,
            *("--planes", "--projections"),
            help="Numbers of the planes, which LArCV2 calls projections: 0,1,2 or 0-5. Default:"
            " all.",
        ),
    ] = None,
    roi: Annotated[
        str | None,
        option(DRAWN, metavar="N", help="Zoom to this ROI of the event, counted from 0."),
    ] = None,
    ticks: Annotated[
        str | None, option(DRAWN, metavar="A:B", help="Show the ticks from A to B.")
    ] = None,
    wires: Annotated[
        str | None, option(DRAWN, metavar="A:B", help="Show the wires from A to B.")
    ] = None,
    view: Annotated[
        View, option(DRAWN, help="Zoom to the charge, or show the whole images.")
    ] = View.charge,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from lartpc.display.rows import Region

    from ..pictures import event_pictures, picture_choice, picture_events

    log_warnings(verbose=verbose, quiet=quiet)
    region = Region(
        wires=event_pictures.span("--wires", wires) if wires is not None else None,
        ticks=event_pictures.span("--ticks", ticks) if ticks is not None else None,
    )
    if roi is not None and region != Region():
        raise SettingsError("--roi cannot be combined with --ticks or --wires")
    picture = event_pictures.PictureRequest(
        files=tuple(files),
        asked=picture_choice.RequestedPicture(
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
    if drawn.notice and not quiet:
        sys.stderr.write(f"ssnet: {drawn.notice}\n")


def _number(roi: str) -> int:
    if not roi.isdecimal():
        raise SettingsError(f"want --roi N, a number from 0, got {roi!r}; --rois names a producer")
    return int(roi)

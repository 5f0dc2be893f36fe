"""The demo: a file of events, a broker and a pool for each plane, the production client, a picture.

It runs what production runs, on one machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from lartpc import ROI, AskedOrder, Event, Image, Reader, open_reader, products
from lartpc.crops import chain
from lartpc.display import drawing
from lartpc.files.reader import images_in
from lartpc.files.ticks import turned_to
from lartpc.simulation import toy
from lartpc.simulation.chamber import Chamber
from mdp import Client
from services.planes import PLANES, answer_name

from ..files import choices, toy_files
from ..flow.progress import Progress
from ..flow.stopwatch import Stopwatch
from ..scoring import score
from ..scoring.job import ScoringJob
from ..terminal import screen
from . import local_services
from .plane_pool import PlanePool

Bar = Callable[[str], AbstractContextManager[Progress]]
"""Makes a progress display, given the name of what is counted: `events`."""

_CHAMBER = Chamber(rows=1008, cols=3456)


@dataclass(frozen=True)
class Demo:
    """What the demo scores, and where its files go."""

    folder: Path
    source: Path | None = None
    """A LArCV file; None: the demo makes toy events."""
    events: int = 6
    """How many toy events are made."""
    seed: int = 1
    producer: str | None = None
    """Producer of the images; None: as `choices.scored` chooses it."""
    tick_order: AskedOrder = "auto"
    trust_tick_order: bool = False
    """Take `tick_order` even if the file contradicts it."""
    command: tuple[str, ...] = ()
    """The command line, for the provenance of the scores."""

    @property
    def toys(self) -> Path:
        return self.folder / "events.root"

    @property
    def scores(self) -> Path:
        return self.folder / "scores.root"

    @property
    def picture(self) -> Path:
        return self.folder / "event.png"


@dataclass(frozen=True)
class Shown:
    """The results of the demo."""

    served: dict[str, dict[str, int]]
    """The numbers that the broker reported before the run, by service."""
    report: score.ScoringReport


def run_demo(demo: Demo, bar: Bar) -> Shown:
    """Run the demo; the folder then holds the events, their scores and a picture of one event."""
    demo.folder.mkdir(parents=True, exist_ok=True)
    source = demo.source or _make_toys(demo, bar)
    chosen = choices.scored((source,), producer=demo.producer)
    choices.check_size((source,), chosen, planes=PLANES, entries=range(sys.maxsize))
    watch = Stopwatch()
    with (
        bar("events") as show,
        local_services.services(PlanePool(PLANES), progress=show, watch=watch) as broker,
    ):
        with Client(broker) as client:
            served = client.services()
        job = ScoringJob(
            inputs=(source,),
            output=demo.scores,
            broker=broker,
            mode=chosen.mode,
            producer=chosen.producer,
            tick_order=demo.tick_order,
            trust_tick_order=demo.trust_tick_order,
            force=True,
            fresh=True,
            command=demo.command,
        )
        report = score.score(job, on_progress=show, watch=watch)
    watch.finish()
    _draw(demo, source, chosen.producer, report)
    return Shown(served, report)


def _make_toys(demo: Demo, bar: Bar) -> Path:
    settings = toy.ToySettings(chamber=_CHAMBER)
    with bar("toy events") as show:
        toy_files.write(
            demo.toys,
            count=demo.events,
            seed=demo.seed,
            settings=settings,
            force=True,
            on_progress=show,
            command=demo.command,
        )
    return demo.toys


# The picture.


def _draw(demo: Demo, source: Path, producer: str, report: score.ScoringReport) -> None:
    producers = images_in(products(source))
    labels = [toy.SEGMENT] if toy.SEGMENT in producers else []
    names = [answer_name(plane) for plane in PLANES]
    order = turned_to("forward" if report.tick_order == "forward" else "backward")
    of_inputs = order if demo.tick_order == "auto" else order._replace(basis="asked")
    with (
        open_reader(demo.scores, tick_order=order, images=names) as scored,
        open_reader(source, tick_order=of_inputs, images=[producer, *labels]) as inputs,
    ):
        entry = _most_telling(scored)
        event, scores = inputs[entry], scored[entry].images
    rows = [
        drawing.adc_row(event.images[producer]),
        drawing.score_row([scores[name] for name in names], name="SSNet"),
    ]
    if labels:
        rows.append(drawing.label_row(event.images[toy.SEGMENT]))
    drawing.render(
        demo.picture,
        rows,
        rse=event.rse,
        statement=f"{source.name} entry {entry}",
        view=_view(scores[name] for name in names),
    )


def _most_telling(scored: Reader) -> int:
    """The entry whose rarer class, shower or track, has the most pixels."""

    def pixels(event: Event) -> int:
        pairs = [pair for pair in event.images.values() if pair]
        return min(
            sum(int((pair[which].pixels > 0.5).sum()) for pair in pairs)
            for which in range(len(chain.CLASSES))
        )

    counts = [pixels(event) for event in scored]
    return counts.index(max(counts))


def _view(scores: Iterable[tuple[Image, ...]]) -> drawing.View | ROI:
    """The scored region, if it is a part of the event; else the charge."""
    boxes = tuple(pair[0].meta for pair in scores if pair)
    return ROI(boxes) if len(boxes) == len(PLANES) else "charge"


def files_table(plan: Demo) -> Table:
    """Return a table of the paths of a demo's files."""
    rows = screen.table("file", "", left=2)
    rows.add_row("events", str(plan.source or plan.toys))
    rows.add_row("scores", str(plan.scores))
    rows.add_row("picture", str(plan.picture))
    return rows

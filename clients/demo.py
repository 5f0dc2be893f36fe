"""The demo: a file of events, a broker and a pool for each plane, the production client, a picture.

All of it is what production runs; only the place is one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lartpc import (
    ROI,
    Event,
    Image,
    Reader,
    TickOrder,
    chain,
    display,
    open_reader,
    products,
    toy,
)
from lartpc.simulation.chamber import Chamber
from mdp import Client
from services.planes import answer_name

from . import local, ssnet, toys
from .pools import Pool
from .progress import Progress
from .ssnet_job import PLANES, Job
from .stopwatch import Stopwatch

Bar = Callable[[str], AbstractContextManager[Progress]]
"""Shows the progress of what is counted: `events`."""

_CHAMBER = Chamber(rows=1008, cols=3456)


@dataclass(frozen=True)
class Demo:
    """What is shown, and where it goes."""

    folder: Path
    source: Path | None = None
    """A LArCV file; None: toy events are made."""
    events: int = 6
    """Of toy events."""
    seed: int = 1
    producer: str = toy.WIRE
    tick_order: TickOrder = "backward"
    command: tuple[str, ...] = ()
    """What was typed, for the scores' provenance."""

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
    """What the demo found and did."""

    served: dict[str, dict[str, int]]
    """By service, as the broker said it before the run."""
    report: ssnet.Report


def run(demo: Demo, bar: Bar) -> Shown:
    """Do it; the folder then holds the events, their scores and a picture of one."""
    demo.folder.mkdir(parents=True, exist_ok=True)
    source = demo.source or _make_toys(demo, bar)
    watch = Stopwatch()
    with (
        bar("events") as show,
        local.services(Pool(PLANES), progress=show, watch=watch) as broker,
    ):
        with Client(broker) as client:
            served = client.services()
        job = Job(
            inputs=(source,),
            output=demo.scores,
            broker=broker,
            mode=_mode(source),
            producer=demo.producer,
            tick_order=demo.tick_order,
            force=True,
            fresh=True,
            command=demo.command,
        )
        report = ssnet.run(job, on_progress=show, watch=watch)
    watch.finish()
    _draw(demo, source)
    return Shown(served, report)


def _make_toys(demo: Demo, bar: Bar) -> Path:
    settings = toy.ToySettings(chamber=_CHAMBER)
    with bar("toy events") as show:
        toys.write(
            demo.toys,
            count=demo.events,
            seed=demo.seed,
            settings=settings,
            force=True,
            on_progress=show,
        )
    return demo.toys


def _mode(source: Path) -> chain.Mode:
    """Around the regions of interest `croi` where the file has them, else the whole event."""
    there = {each.name for each in products(source)}
    return chain.Croi(toy.CROI) if f"partroi_{toy.CROI}" in there else chain.Tiles()


# The picture.


def _draw(demo: Demo, source: Path) -> None:
    producers = [each.producer for each in products(source) if each.kind == "image2d"]
    labels = [toy.SEGMENT] if toy.SEGMENT in producers else []
    names = [answer_name(plane) for plane in PLANES]
    order = demo.tick_order
    with (
        open_reader(source, tick_order=order, images=[demo.producer, *labels]) as inputs,
        open_reader(demo.scores, tick_order=order, images=names) as scored,
    ):
        entry = _most_telling(scored)
        event, scores = inputs[entry], scored[entry].images
    rows = [
        display.adc_row(event.images[demo.producer]),
        display.score_row([scores[name] for name in names], name="SSNet"),
    ]
    if labels:
        rows.append(display.label_row(event.images[toy.SEGMENT]))
    display.render(
        demo.picture,
        rows,
        rse=event.rse,
        statement=f"{source.name} entry {entry}",
        view=_view(scores[name] for name in names),
    )


def _most_telling(scored: Reader) -> int:
    """The entry with the most pixels of whichever class has fewer."""

    def pixels(event: Event) -> int:
        pairs = [pair for pair in event.images.values() if pair]
        return min(
            sum(int((pair[which].pixels > 0.5).sum()) for pair in pairs)
            for which in range(len(chain.CLASSES))
        )

    counts = [pixels(event) for event in scored]
    return counts.index(max(counts))


def _view(scores: Iterable[tuple[Image, ...]]) -> display.View | ROI:
    """What was scored, where it is a part of the event."""
    boxes = tuple(pair[0].meta for pair in scores if pair)
    return ROI(boxes) if len(boxes) == len(PLANES) else "charge"

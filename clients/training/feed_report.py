"""Measure a feed of training batches and draw a batch: the work of `ssnet batches`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.table import Table

from lartpc import Image, ImageMeta
from mdp.commands.tables import duration, size

from ..flow.progress import OnProgress
from ..terminal import screen
from .batch_feed import Batches, TrainingBatch

_CLASSES = ("background", "shower", "track")
_DRAWN = 2  # events


@dataclass
class FeedReport:
    """The batches of a feed, in numbers."""

    batches: int = 0
    events: int = 0
    nbytes: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0
    latency_s: list[float] = field(default_factory=list)
    made_s: list[float] = field(default_factory=list)
    """Seconds that the workers needed for each batch."""
    workers: set[str] = field(default_factory=set)
    pixels: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Pixels of each class."""
    first: TrainingBatch | None = None


def statement(batches: Batches, count: int) -> str:
    """Describe the requested batches in one line."""
    feed, files = batches.feed, batches.files
    planes = ", ".join(map(str, feed.planes))
    return (
        f"{count} batches of {feed.batch_size} events, planes {planes}, crops of"
        f" {feed.rows} x {feed.cols}; from {files.events} events, files {files.fingerprint[:12]}"
    )


def watch(
    batches: Batches, count: int, *, on_progress: OnProgress = lambda done, total: None
) -> FeedReport:
    """Take up to `count` batches as fast as they arrive."""
    report = FeedReport()
    started_at = time.perf_counter()
    for batch in batches:
        _count(report, batch)
        on_progress(report.batches, count)
        if report.batches == count:
            break
    report.seconds = time.perf_counter() - started_at
    report.waited_s = batches.waited_s
    return report


def _count(report: FeedReport, batch: TrainingBatch) -> None:
    report.first = report.first or batch
    report.batches += 1
    report.events += len(batch.rses)
    report.nbytes += batch.images.nbytes + batch.labels.nbytes + batch.weights.nbytes
    report.latency_s.append(batch.latency_s)
    report.made_s.append(batch.made_s)
    report.workers.add(batch.worker)
    # one class at a time: bincount would convert each label to 8 bytes
    counts = [int(np.count_nonzero(batch.labels == label)) for label in (1, 2)]
    background = batch.labels.size - sum(counts)
    report.pixels = [a + b for a, b in zip(report.pixels, (background, *counts), strict=True)]


def table(report: FeedReport, batches: Batches) -> Table:
    """Return a table with one row per figure."""
    files, seconds = batches.files, max(report.seconds, 1e-9)
    rows = screen.table("feed", "")
    rows.add_row("files", files.fingerprint)
    rows.add_row("events, batches in an epoch", f"{files.events}, {batches.batches_per_epoch}")
    rows.add_row("batches, events taken", f"{report.batches}, {report.events}")
    rows.add_row("batches/s", f"{report.batches / seconds:.2f}")
    rows.add_row("events/s", f"{report.events / seconds:.1f}")
    rows.add_row("arrays", f"{size(report.nbytes / seconds)}/s")
    rows.add_row("workers used", str(len(report.workers)))
    for name, several in (("latency", report.latency_s), ("made in", report.made_s)):
        if several:
            median, most = float(np.median(several)), max(several)
            rows.add_row(f"{name}, median and longest", f"{duration(median)}, {duration(most)}")
    rows.add_row("waited", f"{report.waited_s / seconds:.0%} of {duration(seconds)}")
    total = max(sum(report.pixels), 1)
    for name, pixels in zip(_CLASSES, report.pixels, strict=True):
        rows.add_row(f"pixels of {name}", f"{pixels / total:.3%}")
    return rows


def draw(batch: TrainingBatch, planes: tuple[int, ...], output: Path) -> None:
    """Draw a batch's first events, charge above labels, as a picture. Raises `WriteError`."""
    from lartpc.display import drawing
    from lartpc.display.rows import AxisNames, Panel, Row, label_row

    rows = []
    for event, rse in enumerate(batch.rses[:_DRAWN]):
        charge, truth = list[Panel](), list[Panel]()
        for at, plane in sorted(enumerate(planes), key=lambda placed: placed[1]):
            charge.append((_image(batch.images[event, at], plane),))
            labels = _image(batch.labels[event, at].astype(np.float32), plane)
            truth.extend(label_row([labels]).panels)
        rows.append(Row(f"charge of {_name(rse)}", "adc", tuple(charge)))
        rows.append(Row(f"labels of {_name(rse)}", "labels", tuple(truth)))
    drawing.render(
        output,
        rows,
        title=f"training batch {batch.index} of epoch {batch.epoch}",
        statement=_statement(batch),
        view="whole",
        axis_names=AxisNames("column of the crop", "row of the crop", rows_down=True),
    )


def _statement(batch: TrainingBatch) -> str:
    total, shown = len(batch.rses), min(_DRAWN, len(batch.rses))
    which = f"the first {shown} of {total} events" if shown < total else f"{total} events"
    return f"{which}, named by run, subrun, event; crops may be mirrored"


def _name(rse: tuple[int, ...]) -> str:
    return ",".join(str(number) for number in rse)


def _image(pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]], plane: int) -> Image:
    """Return a crop with axes in its own pixels, row 0 on top: it may be mirrored."""
    rows, cols = pixels.shape
    meta = ImageMeta(
        width=cols, height=rows, rows=rows, cols=cols, origin_x=0, origin_y=0, plane=plane
    )
    return Image(meta, pixels)

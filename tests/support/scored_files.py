"""Small inputs of a campaign and their outputs, made by the production client."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc import Event, open_writer
from lartpc.crops import chain
from lartpc.simulation import toy
from tests.support.plane_pools import SETTINGS


def write_input(path: Path, first: int, count: int, *, bad: int | None = None) -> Path:
    """Write toy events number `first` and on; the image of a plane lacks in entry `bad`."""
    events = [toy.make(first + k, seed=3, settings=SETTINGS).event for k in range(count)]
    if bad is not None:
        images = {"wire": events[bad].images["wire"][:2]}
        events[bad] = replace(events[bad], images={**events[bad].images, **images})
    with open_writer(path, images=("wire",)) as writer:
        for event in events:
            writer.write(Event(event.rse, {"wire": event.images["wire"]}, {}))
    return path


def write_output(source: Path, output: Path, broker: str, **more: object) -> Path:
    """Score an input in tiles of 64 pixels; `more`: fields of the job."""
    job = ScoringJob(
        inputs=(source,),
        output=output,
        broker=broker,
        mode=chain.Tiles(64, 16, 1),
        timeout_s=60,
        bad_input="fail",
        max_failed=1.0,
    )
    score(replace(job, **more))  # type: ignore[arg-type]
    return output

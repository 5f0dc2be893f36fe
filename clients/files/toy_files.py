"""Write files of toy events, for `ssnet toy`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lartpc import Event, Format, Image, format_to_write, open_writer
from lartpc.image import WIRES_AND_TICKS
from lartpc.simulation import toy
from mdp import SettingsError

from ..flow.progress import OnProgress, progress_of
from ..flow.signals import close_output, uninterrupted
from .provenance import made_from_nothing, now


def write(
    path: Path,
    *,
    count: int,
    seed: int,
    settings: toy.ToySettings,
    force: bool,
    format: Format | None = None,
    on_progress: OnProgress,
    command: Sequence[str] = (),
) -> None:
    """Write toy events 0 to `count - 1` of a seed; a LArCV3 file cannot hold ROIs.

    Raises `SettingsError` for a count below 1.
    """
    if count < 1:
        raise SettingsError(f"want at least 1 event, got {count}")
    began_at = now()
    with ExitStack() as stack:
        with uninterrupted():
            writer = stack.enter_context(open_writer(path, format=format, force=force))
        progress = progress_of(on_progress)
        progress.begin(f"{count} toy events of seed {seed} to {path}", total=count)
        for done, event in enumerate(toy.events(count, seed=seed, settings=settings), start=1):
            with uninterrupted():
                writer.write(_fitting(event, format_to_write(path, format)))
            progress(done, count)
        record = made_from_nothing(
            "ssnet toy",
            began_at=began_at,
            events=count,
            tick_order="backward",
            settings={"seed": seed, **_settings(settings)},
            command=command,
        )
        writer.provenance = (record,)
        close_output(writer)


def _settings(settings: toy.ToySettings) -> dict[str, object]:
    rows, cols = settings.chamber.rows, settings.chamber.cols
    return {"rows": rows, "cols": cols, "cosmics": settings.mean_cosmics}


def _fitting(event: Event, format: Format) -> Event:
    if format == "larcv3":
        return replace(event, rois={})
    if format == "larcv1":
        return event
    images = {name: tuple(map(_with_unit, its)) for name, its in event.images.items()}
    return replace(event, images=images)


def _with_unit(image: Image) -> Image:
    return replace(image, meta=replace(image.meta, unit=WIRES_AND_TICKS))

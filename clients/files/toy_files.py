"""Write files of toy events, for `ssnet toy`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lartpc import Event, open_writer
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
            writer = stack.enter_context(open_writer(path, force=force))
        progress = progress_of(on_progress)
        progress.begin(f"{count} toy events of seed {seed} to {path}", total=count)
        for done, event in enumerate(toy.events(count, seed=seed, settings=settings), start=1):
            with uninterrupted():
                writer.write(_fitting(event, path))
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


def _fitting(event: Event, path: Path) -> Event:
    return event if path.suffix == ".root" else replace(event, rois={})

"""What each reader does now, from the notes that it writes in the folder of its attempt."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .standing import Running

_GONE_S = 600.0  # a reader that has not written for so long has left its folder behind
_MAX_BYTES = 65536


def notes_of(folder: Path) -> list[Running]:
    """Return the files that readers score now, in the order of their numbers.

    Several attempts at a file may have left notes: the newest counts.
    """
    newest: dict[int, Running] = {}
    for number, path in _notes(folder / ".campaign" / "work"):
        note = _note(number, path)
        if note is not None and (
            number not in newest or (note.began_at, note.beat_at) > _age(newest[number])
        ):
            newest[number] = note
    return [newest[number] for number in sorted(newest)]


def _age(note: Running) -> tuple[float, float]:
    return note.began_at, note.beat_at


def _notes(work: Path) -> Iterator[tuple[int, Path]]:
    for attempt in _entries(work):
        if not attempt.name.isdecimal():
            continue
        for token in _entries(attempt):
            yield int(attempt.name), token / "progress.json"


def _entries(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder)]
    except OSError:  # it ends, or has ended, at this moment
        return []


def _note(number: int, path: Path) -> Running | None:
    try:
        beat_at = path.stat().st_mtime
        values: Any = json.loads(path.read_bytes()[:_MAX_BYTES])
        began_at = float(values.get("began_at") or beat_at)
        waited_s = values.get("waited_s")
        note = Running(
            number=number,
            path="",
            bytes=0,
            host=str(values.get("host", "")),
            pid=int(values.get("pid", 0)),
            job=str(values.get("job", "")),
            done=int(values.get("done", 0)),
            total=int(values.get("total", 0)),
            step=str(values.get("step", "")),
            began_at=began_at,
            beat_at=beat_at,
            waited=_share(waited_s, beat_at - began_at),
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return None  # none yet, or gone
    return note if time.time() - beat_at < _GONE_S else None


def _share(waited_s: Any, of_s: float) -> float | None:
    if waited_s is None or of_s <= 0:
        return None
    return min(max(float(waited_s) / of_s, 0.0), 1.0)

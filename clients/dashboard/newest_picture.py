"""The last event as a picture, charge above scores, drawn in a subprocess: it takes seconds."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from lartpc import LArTPCError
from mdp import MDPError
from mdp.system import subprocesses

from ..campaign.records.reading import reading
from ..campaign.records.rows import NoCampaign

log = logging.getLogger(__name__)

_NEWEST = (
    "select files.number, files.path, files.output, max(tries.ended_at) from files join tries"
    " on tries.file = files.number where files.state = 'done' and files.entries > 0"
    " and tries.outcome = 'done' group by files.number order by 4 desc limit 1"
)
PICTURE_S = 30.0
"""Seconds between two pictures, at least."""
_MOST_BYTES = 4 << 20


class Wanted(NamedTuple):
    """What to draw; if anything in it changes, it is drawn again."""

    files: tuple[Path, ...]
    entry: int
    """-1: the last one."""
    producer: str
    """Of the charge; empty: what the files hold."""
    changed_at: float


class Picture(NamedTuple):
    """A PNG, and what it shows."""

    png: bytes
    entry: int


class NewestPicture:
    """Draws the last event of the newest output. `figures`: a map for the page, or None."""

    def __init__(self, campaigns: Sequence[Path], files: Sequence[Path]) -> None:
        self.figures: dict[str, Any] | None = None
        self.png = b""
        self._campaigns = campaigns
        self._files = tuple(files)
        self._last: Wanted | None = None
        self._number = 0
        self._next_at = 0.0

    def look(self) -> None:
        """Draw the picture if there is another one than the last time."""
        try:
            wanted = self._wanted()
            if wanted is None or wanted == self._last or time.monotonic() < self._next_at:
                return
            self._last, self._next_at = wanted, time.monotonic() + PICTURE_S
            picture = subprocesses.call(draw, wanted)
        except (
            LArTPCError,
            MDPError,
            OSError,
            ImportError,
            ValueError,
            BrokenProcessPool,
        ) as error:
            trouble = " ".join(str(error).split())
            log.info("no picture: %s", trouble)
            self.figures = {"number": 0, "title": "", "trouble": trouble}
            return
        self._number += 1
        self.png = picture.png
        title = f"{wanted.files[-1].name}, entry {picture.entry}"
        self.figures = {"number": self._number, "title": title, "trouble": ""}

    def _wanted(self) -> Wanted | None:
        if self._files:
            changed_at = max(path.stat().st_mtime for path in self._files)
            return Wanted(self._files, -1, "", changed_at)
        newest: Wanted | None = None
        for folder in self._campaigns:
            try:
                scored = _newest_of(folder)
            except NoCampaign:  # it has not begun
                continue
            if scored and (newest is None or scored.changed_at > newest.changed_at):
                newest = scored
        return newest


def _newest_of(folder: Path) -> Wanted | None:
    with reading(folder) as catalogue:
        rows = catalogue.rows(_NEWEST)
        if not rows:
            return None
        number, source, output, ended_at = rows[0]
        failed = catalogue.rows("select entry from events where file = ?", number)
        producer = catalogue.settings.options.producer
    lost = {entry for (entry,) in failed}
    entry = next(entry for entry in range(len(lost) + 1) if entry not in lost)
    # with --copy-input the output has the charge, too
    paths = (Path(source), folder / output) if Path(source).exists() else (folder / output,)
    return Wanted(paths, entry, producer, ended_at)


def draw(wanted: Wanted) -> Picture:
    """Draw a picture of bounded size. Raises `LArTPCError`, `OSError`, `ImportError`."""
    from ..campaign.views.page import sample_pictures

    entry = wanted.entry if wanted.entry >= 0 else _last_entry(wanted.files[0])
    png, _, _ = sample_pictures.small_png(wanted.files, entry, wanted.producer)
    picture = base64.b64decode(png)
    if len(picture) > _MOST_BYTES:
        raise ValueError(f"want a picture of at most {_MOST_BYTES:,} bytes, got {len(picture):,}")
    return Picture(picture, entry)


def _last_entry(path: Path) -> int:
    from lartpc import open_reader
    from lartpc.files.ticks import turned_to

    from ..pictures.picture_choice import holdings

    images = holdings(path).images[:1]
    with open_reader(path, tick_order=turned_to("backward"), images=images) as reader:
        return max(len(reader) - 1, 0)

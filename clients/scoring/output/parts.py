"""An output in parts, which are checkpoints: a killed run resumes after the last part.

Each part is complete and synced to disk before `state.json` lists it. When all entries are there,
the parts are joined into one file.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from lartpc import Event, LArTPCError, WriteError, Writer
from lartpc.files.parts import PartFiles
from lartpc.files.provenance import read as texts_of

from ...files.failed_report import Failure
from ...flow.signals import uninterrupted
from .failures import TooManyFailed
from .parts_folder import PartsFolder
from .publishing import publish
from .state import FileId, Part, RunSettings, State, check_same_networks, plain

log = logging.getLogger(__name__)

_RESUME = "%s: %d of %d events are saved; run the same command to resume (without --fresh)"


def entries_left(parts: Sequence[Part], order: range) -> Sequence[int]:
    """Return the entries of `order` that no part holds, in order.

    They have gaps if events of a changed input in the middle are scored again.
    """
    gaps, start = [], order.start
    for part in parts:
        gaps.append(range(start, part.start))
        start = part.stop
    gaps = [gap for gap in (*gaps, range(start, order.stop)) if gap]
    return gaps[0] if len(gaps) == 1 else [entry for gap in gaps for entry in gap]


class Parts:
    """Takes events in order; `left` are the entries that no part holds yet.

    On an error the context manager keeps the finished parts. It also keeps the part that is being
    written, if it can be finished; after `TooManyFailed` it discards that part.
    Raises `SettingsError`, `WriteError`.
    """

    def __init__(
        self,
        folder: PartsFolder,
        files: PartFiles,
        order: range,
        state: State,
        *,
        part_s: float,
        force: bool = False,
    ) -> None:
        """`order`: the entries; `state`: the existing parts (`lives.py`).

        `part_s`: seconds after which a part is finished, which is a checkpoint.
        """
        self._folder = folder
        self._files = files
        self._order = order
        self._part_s = part_s
        self._force = force
        self._state = state
        self._saved = state.events
        self._writer: Writer | None = None
        self._first = order.start  # entry of the part being written
        self._begun_at = 0.0
        self._failures: list[Failure] = []  # of the part being written
        self._torn = False
        self._over = False

    @property
    def left(self) -> Sequence[int]:
        """The entries that no part holds, in order."""
        return entries_left(self._state.parts, self._order)

    @property
    def written(self) -> int:
        """The number of entries that are written, including those that are not saved yet."""
        return self._saved + (self._writer.entries if self._writer else 0)

    @property
    def failed(self) -> tuple[Failure, ...]:
        """All failures, including those that earlier processes recorded."""
        return (*self._state.failed, *self._failures)

    @property
    def networks(self) -> RunSettings:
        """The origin of each plane's scores, as it was set."""
        return self._state.networks

    def check_networks(self, networks: RunSettings) -> None:
        """Set the origin of the scores.

        Raises `SettingsError` if the scores in the finished parts come from other networks.
        """
        if self._state.parts:
            hint = self._state.hint(self._folder.path)
            check_same_networks(
                self._state.networks, plain(networks), what="the same networks", hint=hint
            )
        self._state.networks = plain(networks)

    # Events.

    def open(self) -> None:
        """Open the next part; called at the start, so that an error shows early."""
        names = {part.file for part in self._state.parts}
        numbers = itertools.count(len(names))
        candidates = (f"part-{number:06d}{self._folder.output.suffix}" for number in numbers)
        name = next(candidate for candidate in candidates if candidate not in names)
        self._writer = self._files.open(self._folder.path / name)

    def write(
        self,
        event: Event,
        number: int,
        *,
        entry: int | None = None,
        failures: Sequence[Failure] = (),
    ) -> None:
        """Write the event of entry `number`, which must be the next of the entries left.

        `entry`: as in `Writer.write`. Raises `LArTPCError`.
        """
        if self._writer and self._writer.entries and number != self._first + self._writer.entries:
            self._finish_part()  # finished parts hold the entries in between
        if self._writer is None:
            self.open()
        assert self._writer is not None
        if not self._writer.entries:
            self._first = number
        self._begun_at = self._begun_at or time.monotonic()
        self._torn = True
        self._writer.write(event, entry=entry)
        self._torn = False
        self._failures += failures
        if self.written == len(self._order):
            return  # `close` finishes it, with its record if it is the only part
        if time.monotonic() - self._begun_at >= self._part_s:
            self._finish_part()

    def _finish_part(self) -> None:
        """Finish the part that is being written, and save the state: its events are saved then."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        size = writer.path.stat().st_size
        part = Part(writer.path.name, self._first, self._first + writer.entries, size)
        state = replace(
            self._state,
            parts=sorted([*self._state.parts, part], key=lambda part: part.start),
            failed=[*self._state.failed, *self._failures],
        )
        self._folder.save(state)
        self._state = state
        self._saved += writer.entries
        self._failures, self._begun_at = [], 0.0

    # The end.

    def close(self, record: str) -> None:
        """Join the parts, rename the file into place and remove the parts. Raises `LArTPCError`.

        `record`: the file's provenance.
        """
        with uninterrupted():
            if not self._order and self._writer is None:
                self.open()  # an output without entries is still written
            if self._writer is not None and not self._state.parts:
                self._writer.provenance = (record,)
            self._finish_part()
            if self.left:
                raise WriteError(f"want {len(self._order)} events, got {self._saved}")
            whole = self._join(record)
            self._state.joined = FileId.of(whole)
            self._folder.save(self._state)
        with uninterrupted(too_late=True):
            publish(self._folder, self._state, whole, force=self._force)
            self._over = True

    def _join(self, record: str) -> Path:
        """One complete file of all parts, with its record; it is still in the folder."""
        parts = [self._folder.path / part.file for part in self._state.parts]
        # a part that an error or a signal finished has no record, and saved parts are never changed
        if self._files.are_whole(parts) and texts_of(parts[0]):
            return parts[0]
        joined = self._folder.path / f"joined{self._folder.output.suffix}"
        with self._files.join(joined, parts, self._order) as writer:
            writer.provenance = (record,)
        return joined

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._over:
            return
        with uninterrupted():
            self._leave(keep=not isinstance(error, TooManyFailed))

    def _leave(self, *, keep: bool) -> None:
        """Finish the part that is being written if `keep`, and if it can be finished."""
        if self._writer is not None:
            try:
                if keep and not self._torn and self._writer.entries:
                    self._finish_part()
                else:
                    self._writer.discard()
            except LArTPCError as error:
                log.warning("the last events could not be saved: %s", error)
        if self._saved:
            log.warning(_RESUME, self._folder.output, self._saved, len(self._order))

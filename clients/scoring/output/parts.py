"""An output that survives its writer: safe parts every so often, joined when all entries are there.

Each part is written whole, synced and named before the state says that it is there; so whatever
kills the process, the next one goes on after the last part. Refuses to go on with another run.
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
from lartpc.files import provenance
from lartpc.files.parts import PartFiles
from lartpc.files.whole_file import check_free, move, named

from ...files.checksums import stamp
from ...flow.signals import uninterrupted
from . import changed_inputs
from .failures import FailedReport, Failure, TooManyFailed, report_path
from .parts_folder import PartsFolder
from .state import FileId, Part, State, Told, check_same, check_same_networks, plain

log = logging.getLogger(__name__)

RETRY = "retry"
"""What a run is told that replaces a file whose report names all of its failures already."""
_GO_ON = "%s: %d of %d events are safe; the same command goes on after them (without --fresh)"


def settle(folder: PartsFolder) -> State | None:
    """Finish what a run left that was killed when its output had its name already.

    Gives that run's state; None if there was no such run. The folder is empty then.
    """
    state = folder.load()
    if state is None or state.joined is None or FileId.of(folder.output) != state.joined:
        return None
    with named(folder.output):
        _settle(folder, state)
    folder.clear()
    return state


def _settle(folder: PartsFolder, state: State) -> None:
    """The report of failed events is that of the output which has its name now."""
    if not state.failed:
        report_path(folder.output).unlink(missing_ok=True)
    else:
        _report(folder, state, folder.output)


def _report(folder: PartsFolder, state: State, file: Path) -> None:
    run = {name: value for name, value in state.run.items() if name != RETRY}
    made = FailedReport(run, state.networks, stamp(file).of(folder.output), tuple(state.failed))
    made.write(folder.path / "failed.json")
    move(folder.path / "failed.json", report_path(folder.output))


def _size(parts: Sequence[Part]) -> int:
    return sum(part.stop - part.start for part in parts)


def _is_in(parts: Sequence[Part], entry: int) -> bool:
    return any(part.start <= entry < part.stop for part in parts)


class Parts:
    """Takes events in order; `left` are the entries that are not safe yet.

    As a context manager it keeps what is safe on an error, and the part being written, too, if
    that can be finished. Raises `SettingsError`, `WriteError`.
    """

    def __init__(
        self,
        folder: PartsFolder,
        files: PartFiles,
        order: range,
        run: Told,
        *,
        part_s: float,
        force: bool = False,
    ) -> None:
        """`order`: the entries; `run`: what decides the output, inputs and settings."""
        self._folder = folder
        self._files = files
        self._order = order
        self._part_s = part_s
        self._force = force
        self._state = self._begin(plain(run))
        self._safe = _size(self._state.parts)
        self._writer: Writer | None = None
        self._first = order.start  # entry of the part being written
        self._begun_at = 0.0
        self._failures: list[Failure] = []  # of the part being written
        self._torn = False
        self._over = False
        if self._safe:
            no_gap = self._state.parts[-1].stop == order.start + self._safe
            text = "goes on after event %d of %d" if no_gap else "goes on, %d of %d events are safe"
            log.warning(f"%s: {text}", folder.output, self._safe, len(order))

    def _begin(self, run: Told) -> State:
        state = self._folder.load()
        if state is None or not state.parts:
            self._folder.clear()
            return State(run)
        state = self._without_changed(state, run)
        check_same(state.run, run, what="the run that was begun", way_out=self._way_out(state))
        state = self._without_lost(state)
        self._folder.keep_only({part.file for part in state.parts})
        return state

    def _way_out(self, state: State) -> str:
        events = _size(state.parts)
        return f"--fresh starts over, and gives up the {events} events in {self._folder.path}"

    def _without_changed(self, state: State, run: Told) -> State:
        """Only the parts of inputs that are as they were; all of it if that leaves none."""
        changed = changed_inputs.changed_inputs(state.run, run)
        same = changed_inputs.as_if_unchanged(state.run, run, changed)
        if not changed:
            return replace(state, run=same)
        parts = changed_inputs.parts_of_unchanged(state.parts, state.run, run, changed)
        if not parts or same != run:
            return state  # another run, or nothing of it would stay: refused with all that differs
        log.warning(
            "%s: %s changed since: %d events that are safe are of other inputs and stay, %d are"
            " scored again",
            self._folder.output,
            ", ".join(run["inputs"][number]["name"] for number in changed),
            _size(parts),
            _size(state.parts) - _size(parts),
        )
        failed = [each for each in state.failed if _is_in(parts, each.entry)]
        state = replace(state, run=run, parts=parts, failed=failed, joined=None)
        self._folder.save(state)
        return state

    def _without_lost(self, state: State) -> State:
        """Parts up to the first one that somebody has removed or changed."""
        there = []
        for part in state.parts:
            file = FileId.of(self._folder.path / part.file)
            if file is None or file.bytes != part.bytes:
                log.warning("%s: part %s is not as it was written", self._folder.output, part.file)
                break
            there.append(part)
        stop = there[-1].stop if there else self._order.start
        failed = [failure for failure in state.failed if failure.entry < stop]
        return replace(state, parts=there, failed=failed, joined=None)

    @property
    def left(self) -> Sequence[int]:
        """In order. There are gaps where a changed input's events are scored again."""
        gaps, start = [], self._order.start
        for part in self._state.parts:
            gaps.append(range(start, part.start))
            start = part.stop
        gaps = [gap for gap in (*gaps, range(start, self._order.stop)) if gap]
        return gaps[0] if len(gaps) == 1 else [entry for gap in gaps for entry in gap]

    @property
    def written(self) -> int:
        """Entries, those included that are not safe yet."""
        return self._safe + (self._writer.entries if self._writer else 0)

    @property
    def failed(self) -> tuple[Failure, ...]:
        """All failures, those of earlier processes included."""
        return (*self._state.failed, *self._failures)

    @property
    def networks(self) -> Told:
        """The origin of each plane's scores, as it was said."""
        return self._state.networks

    def made_by(self, networks: Told) -> None:
        """Say where the scores come from; raises `SettingsError` if that was elsewhere before."""
        if self._state.parts:
            way_out = self._way_out(self._state)
            check_same_networks(
                self._state.networks, plain(networks), what="the same networks", way_out=way_out
            )
        self._state.networks = plain(networks)

    # Events.

    def open(self) -> None:
        """Open the next part: what can go wrong at the start does so now."""
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
        """The event of entry `number`, the next of those that were left.

        `entry`: as in `Writer.write`. Raises `LArTPCError`.
        """
        if self._writer and self._writer.entries and number != self._first + self._writer.entries:
            self._finish_part()  # the entries between are in parts that are safe
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
        """From here on its events are safe."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        size = writer.path.stat().st_size
        part = Part(writer.path.name, self._first, self._first + writer.entries, size)
        state = replace(
            self._state,
            parts=sorted([*self._state.parts, part], key=lambda each: each.start),
            failed=[*self._state.failed, *self._failures],
        )
        self._folder.save(state)
        self._state = state
        self._safe += writer.entries
        self._failures, self._begun_at = [], 0.0

    # The end.

    def close(self, record: str) -> None:
        """Join the parts and give the file its name; no part is left. Raises `LArTPCError`.

        `record`: the file's provenance.
        """
        with uninterrupted():
            if not self._order and self._writer is None:
                self.open()  # a file without entries is a file, too
            if self._writer is not None and not self._state.parts:
                self._writer.provenance = (record,)
            self._finish_part()
            if self.left:
                raise WriteError(f"want {len(self._order)} events, got {self._safe}")
            whole = self._join(record)
            self._state.joined = FileId.of(whole)
            self._folder.save(self._state)
        with uninterrupted(too_late=True):
            self._publish(whole)

    def _join(self, record: str) -> Path:
        """One whole file of all parts, with its record, in the folder still."""
        parts = [self._folder.path / part.file for part in self._state.parts]
        # without a record it was finished by an error or a signal: safe parts are never changed
        if self._files.are_whole(parts) and provenance.read(parts[0]):
            return parts[0]
        joined = self._folder.path / f"joined{self._folder.output.suffix}"
        with self._files.join(joined, parts, self._order) as writer:
            writer.provenance = (record,)
        return joined

    def _publish(self, whole: Path) -> None:
        output = self._folder.output
        check_free(output, force=self._force)
        with named(output):
            if self._state.failed and not self._state.run.get(RETRY):
                # before the file: no empty event ever stands there unnamed
                _report(self._folder, self._state, whole)
            move(whole, output)
            _settle(self._folder, self._state)
        self._folder.remove()
        self._over = True

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
        """Keep what is done, if that can be; of failures by the dozen, nothing."""
        if self._writer is not None:
            try:
                if keep and not self._torn and self._writer.entries:
                    self._finish_part()
                else:
                    self._writer.discard()
            except LArTPCError as error:
                log.warning("the last events are not safe: %s", error)
        if self._safe:
            log.warning(_GO_ON, self._folder.output, self._safe, len(self._order))

"""The hidden folder beside an unfinished output, which one process at a time uses.

It holds the finished parts, `state.json`, which lists them, and the file that is being written.
A lock refuses a second process; it is released when the process that holds it ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from lartpc import FileExists, WriteError
from lartpc.files.whole_file import named, sync, write_whole
from mdp import SettingsError

from ...files.failed_report import report_path
from . import changed_inputs
from .state import FileId, Part, RunSettings, State, check_same

log = logging.getLogger(__name__)

_LOCK = "lock"
_STATE = "state.json"
_MAX_OWNER = 200  # bytes
_MAX_NAME = 255 - len(report_path(Path("x")).name) + 1
"""The most bytes in an output's name: the name of its report, which is longer, may have 255."""


class PartsFolder:
    """The folder `.out.root.parts`, locked from `__enter__` to `__exit__`.

    Raises `FileExists` if another process holds the lock, and `WriteError`.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.with_name(f".{output.name}.parts")
        self._lock: int | None = None

    def __enter__(self) -> PartsFolder:
        if (got := len(os.fsencode(self.output.name))) > _MAX_NAME:
            raise WriteError(
                f"want an output's name of at most {_MAX_NAME} bytes, got {got}: {self.output}"
            )
        try:
            with named(self.output):
                while self._lock is None:
                    self._try_to_lock()
        except WriteError:  # on a full disk there may have been room for the folder only
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """Keep the folder if it holds a saved state, else remove it; release the lock."""
        if self._lock is None:
            with suppress(OSError):
                self.path.rmdir()  # fails if another client has put its lock there
            return
        try:
            if not (self.path / _STATE).exists():
                self.remove()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _try_to_lock(self) -> None:
        """Try once; there is no lock afterwards if another process removed the folder meanwhile."""
        try:
            self.path.mkdir()
            sync(self.path.parent)
        except FileExistsError:
            pass
        try:
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            if self.path.is_symlink():
                raise WriteError(f"want a folder at {self.path}, got a link to nowhere") from None
            return
        try:
            self._take(lock)
            if self._has_its_name(lock):
                self._lock = lock
        finally:
            if self._lock is None:
                os.close(lock)
        if self._lock is not None:
            os.truncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)

    def _has_its_name(self, lock: int) -> bool:
        """Whether the lock file is still in the folder.

        Its link count does not show it, because NFS renames an open file that is removed.
        """
        try:
            return os.path.samestat(os.fstat(lock), (self.path / _LOCK).stat())
        except FileNotFoundError:
            return False

    def _take(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, _MAX_OWNER, 0).decode(errors="replace")
            raise FileExists(
                f"want one client at a time for {self.output}, got {owner or 'another'}"
            ) from None
        except OSError as error:  # some cluster file systems have no locks
            log.warning(
                "no locks on the file system of %s (%s): make sure that no other client writes it",
                self.output,
                error.strerror,
            )

    # An earlier process's parts.

    def resume(self, run: RunSettings, order: range) -> State:
        """The parts that an earlier process finished; a state without parts if there are none.

        Raises `SettingsError` if the parts are those of a run with other settings.
        """
        state = self.load()
        if state is None or not state.parts:
            self.clear()
            return State(run)
        state = self._without_changed_inputs(state, run)
        check_same(state.run, run, what="the run that was begun", hint=state.hint(self.path))
        state = self._without_lost_parts(state, order)
        self.keep_only({part.file for part in state.parts})
        if state.parts:
            no_gap = state.parts[-1].stop == order.start + state.events
            text = (
                "resumes after event %d of %d" if no_gap else "resumes, %d of %d events are saved"
            )
            log.warning(f"%s: {text}", self.output, state.events, len(order))
        return state

    def _without_changed_inputs(self, state: State, run: RunSettings) -> State:
        """Return the state without the parts of changed inputs.

        If none would remain, or other settings differ too, return it as it is: `check_same`
        refuses it.
        """
        changed = changed_inputs.changed_inputs(state.run, run)
        unchanged = changed_inputs.as_if_unchanged(state.run, run, changed)
        if not changed:
            return replace(state, run=unchanged)
        parts = changed_inputs.parts_of_unchanged(state.parts, state.run, run, changed)
        if not parts or unchanged != run:
            return state  # the caller refuses it with a list of the differences
        failed = [one for one in state.failed if any(part.holds(one.entry) for part in parts)]
        reduced = replace(state, run=run, parts=parts, failed=failed, joined=None)
        log.warning(
            "%s: %s changed since: %d saved events of other inputs are used, %d events are scored"
            " again",
            self.output,
            ", ".join(run["inputs"][number]["name"] for number in changed),
            reduced.events,
            state.events - reduced.events,
        )
        self.save(reduced)
        return reduced

    def _without_lost_parts(self, state: State, order: range) -> State:
        """Only the parts before the first one that another program removed or changed."""
        intact: list[Part] = []
        for part in state.parts:
            file = FileId.of(self.path / part.file)
            if file is None or file.bytes != part.bytes:
                log.warning("%s: part %s was removed or changed", self.output, part.file)
                break
            intact.append(part)
        stop = intact[-1].stop if intact else order.start
        failed = [failure for failure in state.failed if failure.entry < stop]
        return replace(state, parts=intact, failed=failed, joined=None)

    # The contents.

    def load(self) -> State | None:
        """Return the saved state, or None if there is none.

        Raises `SettingsError` for a state that cannot be read.
        """
        try:
            packed = (self.path / _STATE).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return State.unpack(packed)
        except ValueError as error:
            raise SettingsError(
                f"want the state of a run in {self.path / _STATE}, got {error}: --fresh starts over"
            ) from None

    def save(self, state: State) -> None:
        """Replace the state atomically, and sync it to disk. Raises `WriteError`."""
        write_whole(self.path / _STATE, lambda part: part.write_bytes(state.pack()))

    def keep_only(self, files: set[str]) -> None:
        """Remove all other files, which killed processes left unfinished."""
        with named(self.output):
            for path in self.path.iterdir():
                if path.name not in files | {_LOCK, _STATE}:
                    path.unlink()

    def clear(self) -> None:
        """Remove all parts. The state goes first, so that it never lists a part that is missing."""
        with named(self.output):
            (self.path / _STATE).unlink(missing_ok=True)
        self.keep_only(set())

    def remove(self) -> None:
        """Remove the folder: first the parts, then the state, and the lock last."""
        self.keep_only(set())
        with suppress(OSError):
            (self.path / _STATE).unlink(missing_ok=True)
            (self.path / _LOCK).unlink(missing_ok=True)
        self._unlock()
        with suppress(OSError):
            self.path.rmdir()  # NFS keeps an entry for an open file until it is closed

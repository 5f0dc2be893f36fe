"""The hidden folder beside an output that is being made: one process at a time has it.

It holds the safe parts, `state.json`, which says what they are, and what is being written.
Refuses a second process, by a lock that ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lartpc import FileExists, WriteError
from lartpc.files.whole_file import named, sync, write_whole
from mdp import SettingsError

from .failures import report_path
from .state import State

log = logging.getLogger(__name__)

_LOCK = "lock"
_STATE = "state.json"
_MAX_OWNER = 200  # bytes
_MAX_NAME = 255 - len(report_path(Path("x")).name) + 1
"""Bytes: the longest name beside an output's own is its report's."""


class PartsFolder:
    """`.out.root.parts`, locked from `__enter__` on. Raises `FileExists` and `WriteError`."""

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
        except WriteError:  # a full disk may have had room for a folder, and no more
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
        """Whoever comes next finds what is safe; without that, no folder."""
        if self._lock is None:
            with suppress(OSError):
                self.path.rmdir()  # another client's has a lock in it, and stays
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
        """No lock afterwards: the folder's owner removed it meanwhile."""
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
        """Links cannot be counted instead: NFS renames an open file that is removed."""
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
                f"want one client at a time for {self.output}, got {owner or 'another'} at it"
            ) from None
        except OSError as error:  # some cluster file systems have none
            log.warning(
                "no locks on the file system of %s (%s): see to it that nobody else writes it",
                self.output,
                error.strerror,
            )

    # What is in it.

    def load(self) -> State | None:
        """What was saved last, if anything; raises `SettingsError` for what cannot be used."""
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
        """In one step, and safe on disk. Raises `WriteError`."""
        write_whole(self.path / _STATE, lambda part: part.write_bytes(state.pack()))

    def keep_only(self, files: set[str]) -> None:
        """Remove what processes that were killed have left half done."""
        with named(self.output):
            for path in self.path.iterdir():
                if path.name not in files | {_LOCK, _STATE}:
                    path.unlink()

    def clear(self) -> None:
        """Forget the run: first what says that it ever was."""
        with named(self.output):
            (self.path / _STATE).unlink(missing_ok=True)
        self.keep_only(set())

    def remove(self) -> None:
        """All of it: parts, what says that there was a run, and the lock last."""
        self.keep_only(set())
        with suppress(OSError):
            (self.path / _STATE).unlink(missing_ok=True)
            (self.path / _LOCK).unlink(missing_ok=True)
        self._unlock()
        with suppress(OSError):
            self.path.rmdir()  # NFS keeps an open file's place until it is closed

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
from pathlib import Path
from types import TracebackType

from lartpc import FileExists, WriteError
from lartpc.files.whole_file import named, sync, write_whole
from mdp import SettingsError

from ...files.failed_report import report_path
from .state import State

log = logging.getLogger(__name__)

_LOCK = "lock"
_STATE = "state.json"
_MAX_OWNER = 200  # bytes
_MAX_NAME = 255 - len(report_path(Path("x")).name) + 1
"""The most bytes in an output's name: its report, with the longest name, has at most 255."""


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

"""The keys that a running broker accepts: it reads their folder again when it has changed.

A thread reads, because a network file system may block for minutes, and the broker must not. A
folder that cannot be read changes nothing: the keys of before stay valid, and the log says so.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from ..errors import MDPError
from ..sockets import clock
from .key_folder import KeyFolder
from .rights import Rights

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_SAY_S = 60.0


class KeyRing:
    """A context manager: it follows the folder inside the block. Raises `MDPError` at the start."""

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder
        self._say_at = 0.0
        self._rights: dict[str, Rights] = {}
        self._rights = self._read()
        self._taken: list[Rights] = []  # revoked, and the broker does not know it yet
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mdp keys", daemon=True)

    def __enter__(self) -> KeyRing:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def find(self, public: str) -> Rights | None:
        """Return the rights of a public key; None: it is not known, or was revoked."""
        return self._rights.get(public)

    def taken(self) -> list[Rights]:
        """Return the rights that are not valid any more, each once."""
        if not self._taken:
            return []
        with self._lock:
            taken, self._taken = self._taken, []
        return taken

    def look(self) -> None:
        """Read the folder once."""
        try:
            rights = self._read()
        except MDPError as error:
            self._say("cannot read the keys again, so those of before stay valid: %s", error)
            return
        old, self._rights = self._rights, rights
        gone = [mine for public, mine in old.items() if rights.get(public) != mine]
        for mine in gone:
            log.warning("the key %s (%s) is not valid any more", mine.name, mine.role)
        for public, mine in rights.items():
            if old.get(public) != mine:
                log.info("the key %s (%s) is valid now", mine.name, mine.role)
        with self._lock:
            self._taken += gone

    def _read(self) -> dict[str, Rights]:
        damaged: dict[str, MDPError] = {}
        rights = self._folder.valid(damaged)
        for mine in self._rights.values():
            if mine.name in damaged:
                rights[mine.public] = mine  # as it was before its file was damaged
        for error in damaged.values():
            self._say("left out: %s", error)
        return rights

    def _say(self, line: str, error: Exception) -> None:
        if clock() >= self._say_at:
            self._say_at = clock() + _SAY_S
            log.warning(line, error)

    def _follow(self) -> None:
        while not self._over.wait(_LOOK_S):
            try:
                self.look()
            except Exception:  # a bug must not end the thread: then no key could be revoked
                log.exception("cannot look at the keys")

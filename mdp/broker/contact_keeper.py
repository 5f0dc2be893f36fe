"""Keeps a broker's contact file: writes it, looks whether another broker has taken it, removes it.

A thread looks, because a network file system may block for minutes, and the broker must not.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from ..errors import MDPError
from ..sockets import clock
from ..system import contact
from ..system.broker_report import is_alive
from ..system.contact import Contact, NoContact
from .throttle import Throttle

log = logging.getLogger(__name__)

LOOK_S = 2.0


class ContactKeeper:
    """A context manager: the file names this broker as long as no other one takes it.

    publish: a second file, which everybody may read and which has no key of a peer.
    replaces: the instance that may be alive although this broker takes its file (--take-over).
    """

    def __init__(
        self,
        path: str,
        mine: Contact,
        *,
        replaces: str | None = None,
        publish: str | None = None,
    ) -> None:
        self.is_replaced = False
        """True when the file names another broker: this one is to hand over."""
        self._path = path
        self._mine = mine
        self._replaces = replaces
        self._publish = publish
        self._throttle = Throttle(log, every_s=60.0)  # the file system may be away for hours
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="mdp contact", daemon=True)

    def __enter__(self) -> ContactKeeper:
        """Raises `MDPError` if the file names another broker that answers."""
        self._check_free()
        try:
            self._write()
        except BaseException:
            self._remove()  # there may be one of the two files
            raise
        log.info("contact file %s names %s", self._path, self._mine.address)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._remove()

    def look(self) -> None:
        """Look into the file once; write it again if it is gone."""
        try:
            self.is_replaced = contact.read(self._path).instance != self._mine.instance
        except NoContact as error:
            if error.is_missing:
                self._write_again()
            else:
                line = "nobody can find this broker by its contact file: %s"
                self._throttle.warning(clock(), line, error)

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()

    def _write(self) -> None:
        if self._publish is not None:
            try:
                contact.write(self._publish, self._mine.published(), mode=0o644)
            except MDPError as error:
                raise MDPError(f"--publish: {error}; --publish none writes no such file") from None
        contact.write(self._path, self._mine)

    def _remove(self) -> None:
        contact.remove(self._path, self._mine.instance)
        if self._publish is not None:
            contact.remove(self._publish, self._mine.instance)

    def _write_again(self) -> None:
        try:
            self._write()
        except MDPError as error:
            self._throttle.warning(clock(), "the contact file is gone: %s", error)
        else:
            log.warning("the contact file %s was gone: wrote it again", self._path)
        if self._over.is_set():
            contact.remove(self._path, self._mine.instance)  # it ended meanwhile

    def _check_free(self) -> None:
        try:
            present = contact.read(self._path)
        except NoContact as error:
            if error.is_missing:
                return
            raise MDPError(f"{error}; or remove it") from None
        if present.address == self._mine.address:
            return  # this broker has bound it: the one before is dead, and need not be asked
        if present.instance != self._replaces and is_alive(present):
            raise MDPError(
                f"{self._path} is the contact file of a broker that runs at {present.address}"
                f" (process {present.pid} of {present.user} on {present.host}): --take-over"
                " replaces that broker"
            )

"""Finds the broker of a process's workers, opens sockets to it, and says why it is silent."""

from __future__ import annotations

import logging
import os

from ..errors import MDPError
from ..settings import WorkerSettings
from ..sockets import Dealer, Target, addresses, new_context, target, why_unreachable
from ..sockets.addresses import ClientKeys, Place
from ..system.contact import locate, user_name
from ..wire import worker_name

log = logging.getLogger(__name__)

_OTHER_USER = (
    "the broker at %s was started by %s on %s, and you are %s: these workers serve that broker's"
    " clients; for a broker of your own, `mdp broker --contact FILE` and --broker @FILE, or another"
    " port"
)
_SOCKETS = 6  # of a worker: a Dealer has 3, and the one before it may still send its last messages


class Connector:
    """Finds the broker, and opens sockets to it."""

    def __init__(self, broker: str, settings: WorkerSettings, *, most: int) -> None:
        self._broker = broker
        self._heartbeats = settings.heartbeats
        self._user_seen = ""  # who runs the broker
        self._known: tuple[str, Target] | None = None  # a host's name is looked up only once
        if not broker.startswith("@"):
            self._target(broker)  # refuses a bad address
        self._context = new_context(max_sockets=1024 + _SOCKETS * most)

    def locate(self) -> Place:
        return locate(self._broker)

    def name(self) -> str:
        """Return the broker for a line of the log: its address, and the file that names it."""
        if not self._broker.startswith("@"):
            return self._broker
        try:
            return f"{self.locate().address} ({self._broker})"
        except MDPError:
            return self._broker

    def check_user(self, user: str, host: str) -> None:
        """Warn of a broker of another user at a loopback address: the port was taken."""
        if user in ("", self._user_seen) or self._broker.startswith("@"):
            return
        self._user_seen = user
        if user != user_name() and addresses.parse(self._broker).is_local:
            log.warning(_OTHER_USER, self._broker, user, host, user_name())

    def why_silent(self) -> str:
        """Return why no broker answers. It blocks for seconds."""
        try:
            place = self.locate()
        except MDPError as error:
            return str(error)
        return why_unreachable(place.address, place.keys)

    def connect(self, address: str, keys: ClientKeys | None) -> Dealer:
        name = worker_name(os.urandom(15))
        return Dealer(
            self._context,
            self._target(address)._replace(keys=keys),
            name=name,
            linger_s=1,
            heartbeats=self._heartbeats,
            watch=True,
        )

    def _target(self, address: str) -> Target:
        if self._known is None or self._known[0] != address:
            self._known = address, target(address)
        return self._known[1]

    def close(self) -> None:
        self._context.term()

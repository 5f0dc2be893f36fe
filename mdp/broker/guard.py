"""Who may come in: lets peers with known keys in, and acts when a key is revoked."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection

from ..keys.key_ring import KeyRing
from ..keys.rights import Rights
from ..sockets import Gate, Poll
from ..wire import Frames
from .broker import Broker

log = logging.getLogger(__name__)

_REPEAT_S = 3600.0
_INSECURE = (
    "this broker has no keys (--insecure): anyone who reaches it can read requests, and answer them"
)


class Guard:
    """Who may come in: the gate and the keys of a broker, if it has some."""

    def __init__(self, gate: Gate[Rights] | None, ring: KeyRing | None, *, insecure: bool) -> None:
        self._gate = gate
        self._ring = ring
        self._repeat_at = -math.inf if insecure else math.inf
        self._failed = 0
        self._handles = [] if gate is None else gate.handles()

    def watch(self, poll: Poll) -> None:
        for handle in self._handles:
            poll.add(handle)

    def work(self, broker: Broker, ready: Collection[object], now: float) -> list[Frames]:
        """Let peers in, and act on keys that were revoked; repeat the warning of --insecure."""
        if now >= self._repeat_at:
            self._repeat_at = now + _REPEAT_S
            log.warning(_INSECURE)
        if self._gate is None or self._ring is None:
            return []
        if any(handle in ready for handle in self._handles):
            self._gate.work()
        failed, self._failed = self._gate.failed - self._failed, self._gate.failed
        broker.counters.hung_up = self._gate.hung_up
        if failed:
            broker.handshakes_failed(failed, self._gate.unknown, now)
            self._gate.unknown.clear()
        out: list[Frames] = []
        for rights in self._ring.taken():
            out += broker.revoke(rights, now)
            self._gate.end(rights)
        return out

"""How many bytes are on their way to peers that do not read them. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

_TRACK_EVERY_BYTES = 4 << 20
_MAX_PEERS_COUNTED = 10_000
_SWEEP = 64  # peers


class Unread:
    """The bytes of large messages that were sent to peers and are still in this process.

    libzmq queues up to 1000 messages for a peer that does not read, of whatever size. libzmq can
    say when it has written a message to the connection (a tracker), but that costs 30 us a message.
    The messages of a peer are written in order, so one tracker every few MiB is enough.
    """

    def __init__(self, *, max_peer_bytes: int, max_bytes: int) -> None:
        self._max_peer_bytes = max_peer_bytes
        self._max_bytes = max_bytes
        self._untracked: dict[bytes, int] = {}  # by peer: bytes since its latest tracker
        self._tracked: dict[bytes, deque[tuple[Any, int]]] = {}  # trackers, bytes up to each
        self._sweep_at = _SWEEP

    def has_room(self, peer: bytes, size: int) -> bool:
        """True if a message of `size` bytes may be sent; a peer that has read all gets one more."""
        waiting = self._waiting(peer)
        if not waiting:
            return True
        total = sum(map(self._waiting, list(self._tracked)))
        return waiting + size <= self._max_peer_bytes and total + size <= self._max_bytes

    def wants_tracker(self, peer: bytes, size: int) -> bool:
        """Count a message that is sent now; True if it must be sent with a tracker, for `add`."""
        untracked = self._untracked.get(peer, 0) + size
        if len(self._untracked) >= _MAX_PEERS_COUNTED:
            self._untracked.clear()  # most of these peers are gone
        self._untracked[peer] = untracked
        return untracked >= _TRACK_EVERY_BYTES

    def add(self, peer: bytes, tracker: Any) -> None:
        entry = (tracker, self._untracked.pop(peer))
        self._tracked.setdefault(peer, deque()).append(entry)
        if len(self._tracked) > self._sweep_at:
            for other in list(self._tracked):
                self._waiting(other)  # forgets a peer that has read all
            self._sweep_at = max(_SWEEP, 2 * len(self._tracked))

    def _waiting(self, peer: bytes) -> int:
        messages = self._tracked.get(peer)
        if messages is None:
            return 0
        while messages and messages[0][0].done:
            messages.popleft()
        if not messages:
            del self._tracked[peer]
        return sum(size for _, size in messages)

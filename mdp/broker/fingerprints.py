"""Admit to a service only workers with the same fingerprint. Pure.

A fingerprint is a text that identifies what a worker's answers depend on besides the requests: a
hash of a network's weights, say. The broker only compares it. A worker sends it to
`mmi.fingerprint`, on its own socket, before its READY; a worker that sends none, as all foreign
workers, has the empty one. So all workers of a service have one fingerprint, or all have none: the
first worker decides, until the last worker of the service is gone.

The request to `mmi.fingerprint` has two frames, the service and the fingerprint. Our own workers
add a third one, a msgpack map of facts:

`regular` (bool)  each request takes about as long as any other, so the broker may set a time limit

A worker that sends facts also understands `mmi.stop` (docs/protocol.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import msgpack

from ..errors import SettingsError
from ..wire import Frame, Frames, printable
from .state import Service

MAX_BYTES = 255
_MAX_FACTS_BYTES = 4096
_MAX_ANNOUNCED = 10_000  # peers without READY yet, so that false ones cannot fill the memory


def fingerprint_of(text: str) -> bytes:
    """Encode a fingerprint for the wire. Raises `SettingsError`."""
    if not isinstance(text, str):
        raise SettingsError(f"want a fingerprint of text, got {text!r:.100}")
    fingerprint = text.encode("utf-8", "backslashreplace")
    if len(fingerprint) > MAX_BYTES:
        raise SettingsError(f"want a fingerprint of at most {MAX_BYTES} bytes, got {text!r}")
    return fingerprint


class Announcement(NamedTuple):
    """What a worker has sent before its READY."""

    service: bytes
    fingerprint: bytes = b""
    regular: bool = False
    stops: bool = False
    """It understands `mmi.stop`."""


class Fingerprints:
    """The announcements that workers have sent before their READY."""

    def __init__(self, *, max_answer_bytes: int) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._announced: OrderedDict[bytes, Announcement] = OrderedDict()  # by peer

    def announce(self, peer: bytes, body: Frames, services: Mapping[bytes, Service]) -> Frames:
        """Answer `mmi.fingerprint`: 200, 409 with a reason if READY would be refused, or 400.

        200 has a map: `max_bytes`, the most bytes of an answer.
        """
        announcement = _parse(body)
        if announcement is None:
            return [b"400"]
        self._announced[peer] = announcement
        if len(self._announced) > _MAX_ANNOUNCED:
            self._announced.popitem(last=False)
        why_not = conflict(services.get(announcement.service), announcement.fingerprint)
        if why_not is not None:
            return [b"409", why_not.encode()]
        return [b"200", msgpack.packb({"max_bytes": self._max_answer_bytes})]

    def take(self, peer: bytes, service: bytes) -> Announcement:
        """Remove and return what a worker has announced for this service, if anything."""
        announcement = self._announced.pop(peer, None)
        if announcement is None or announcement.service != service:
            return Announcement(service)
        return announcement


def _parse(body: Frames) -> Announcement | None:
    if not 2 <= len(body) <= 3:
        return None
    service, fingerprint, *facts = body
    if not isinstance(service, bytes) or not isinstance(fingerprint, bytes):
        return None
    if len(fingerprint) > MAX_BYTES:
        return None
    if not facts:
        return Announcement(service, fingerprint)
    try:
        unpacked = msgpack.unpackb(_short(facts[0]))
        return Announcement(service, fingerprint, unpacked.get("regular") is True, stops=True)
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException):
        return None


def _short(facts: Frame) -> bytes:
    if not isinstance(facts, bytes) or len(facts) > _MAX_FACTS_BYTES:
        raise ValueError(f"want facts of at most {_MAX_FACTS_BYTES} bytes, got {len(facts)}")
    return facts


def conflict(service: Service | None, fingerprint: bytes) -> str | None:
    """Return the reason why a worker may not serve this service, or None if it may."""
    if service is None or not service.workers or service.fingerprint == fingerprint:
        return None
    workers = f"{service.workers} worker{'s' if service.workers > 1 else ''}"
    return (
        f"{service.text} is served by {workers} of {_shown(service.fingerprint)},"
        f" this one has {_shown(fingerprint)}: stop the others first"
    )


def _shown(fingerprint: bytes) -> str:
    return f"fingerprint '{printable(fingerprint)}'" if fingerprint else "no fingerprint"

"""Admit to a service only workers with the same fingerprint. Pure.

A fingerprint is a text that identifies what a worker's answers depend on besides the requests: a
hash of a network's weights, say. The broker only compares it. A worker sends it to
`mmi.fingerprint`, on its own socket, before its READY; a worker that sends none, as all foreign
workers, has the empty one. So all workers of a service have one fingerprint, or all have none: the
first worker decides, until the last worker of the service is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import msgpack

from ..errors import SettingsError
from ..wire import Frames, printable
from .state import Service

MAX_BYTES = 255
_MAX_ANNOUNCED = 10_000  # peers without READY yet, so that false ones cannot fill the memory


def fingerprint_of(text: str) -> bytes:
    """Encode a fingerprint for the wire. Raises `SettingsError`."""
    if not isinstance(text, str):
        raise SettingsError(f"want a fingerprint of text, got {text!r:.100}")
    fingerprint = text.encode("utf-8", "backslashreplace")
    if len(fingerprint) > MAX_BYTES:
        raise SettingsError(f"want a fingerprint of at most {MAX_BYTES} bytes, got {text!r}")
    return fingerprint


class Fingerprints:
    """The fingerprints that workers have sent before their READY."""

    def __init__(self) -> None:
        # by peer: service and fingerprint
        self._announced: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()

    def announce(self, peer: bytes, body: Frames, services: Mapping[bytes, Service]) -> Frames:
        """Answer `mmi.fingerprint`: 200, 409 with a reason if READY would be refused, or 400."""
        if len(body) != 2 or len(body[1]) > MAX_BYTES:
            return [b"400"]
        name, fingerprint = body
        if not isinstance(name, bytes) or not isinstance(fingerprint, bytes):
            return [b"400"]
        self._announced[peer] = (name, fingerprint)
        if len(self._announced) > _MAX_ANNOUNCED:
            self._announced.popitem(last=False)
        why_not = conflict(services.get(name), fingerprint)
        if why_not is not None:
            return [b"409", why_not.encode()]
        return [b"200", msgpack.packb({})]

    def take(self, peer: bytes, service: bytes) -> bytes:
        """Remove and return the fingerprint that a worker has sent for this service, or b""."""
        name, fingerprint = self._announced.pop(peer, (service, b""))
        return fingerprint if name == service else b""


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

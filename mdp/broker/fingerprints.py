"""Which workers may serve one name together: those that say the same fingerprint. Pure.

A fingerprint is a text that says what decides a worker's answers besides the requests: a hash of
a network's weights, say. The broker compares it and reads nothing into it. A worker says it to
`mmi.fingerprint`, on its own socket, before its READY; one that says none has the empty one, as
all foreign workers do. So a name is served by workers of one fingerprint, or by workers that say
none: whoever serves it first decides, until the last of them is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import msgpack

from ..errors import SettingsError
from ..wire import Frames, printable
from .state import Service

MAX_BYTES = 255
_MAX_SAID = 10_000  # by peers that have not said READY yet: invented ones cannot fill the memory


def fingerprint_of(text: str) -> bytes:
    """A fingerprint for the wire; raises `SettingsError`."""
    if not isinstance(text, str):
        raise SettingsError(f"want a fingerprint of text, got {text!r:.100}")
    fingerprint = text.encode("utf-8", "backslashreplace")
    if len(fingerprint) > MAX_BYTES:
        raise SettingsError(f"want a fingerprint of at most {MAX_BYTES} bytes, got {text!r}")
    return fingerprint


class Fingerprints:
    """What workers said before their READY, and whether they may serve."""

    def __init__(self) -> None:
        self._said: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()  # service, fingerprint

    def hear(self, peer: bytes, body: Frames, services: Mapping[bytes, Service]) -> Frames:
        """Answer `mmi.fingerprint`: 200; 409 and why, if READY would be refused; 400."""
        if len(body) != 2 or len(body[1]) > MAX_BYTES:
            return [b"400"]
        name, fingerprint = body
        if not isinstance(name, bytes) or not isinstance(fingerprint, bytes):
            return [b"400"]
        self._said[peer] = (name, fingerprint)
        if len(self._said) > _MAX_SAID:
            self._said.popitem(last=False)
        why_not = conflict(services.get(name), fingerprint)
        if why_not is not None:
            return [b"409", why_not.encode()]
        return [b"200", msgpack.packb({})]

    def take(self, peer: bytes, service: bytes) -> bytes:
        """What a worker said about the service for which it is READY now."""
        name, fingerprint = self._said.pop(peer, (service, b""))
        return fingerprint if name == service else b""


def conflict(service: Service | None, fingerprint: bytes) -> str | None:
    """Why a worker may not join those of a service; None: it may."""
    if service is None or not service.workers or service.fingerprint == fingerprint:
        return None
    there = f"{service.workers} worker{'s' if service.workers > 1 else ''}"
    return (
        f"{service.text} is served by {there} of {_shown(service.fingerprint)},"
        f" this one has {_shown(fingerprint)}: stop the others first"
    )


def _shown(fingerprint: bytes) -> str:
    return f"fingerprint '{printable(fingerprint)}'" if fingerprint else "no fingerprint"

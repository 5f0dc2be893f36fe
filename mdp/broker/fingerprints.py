"""What workers announce before READY: fingerprints, which must be the same, and facts. Pure.

A fingerprint is a text that identifies what a worker's answers depend on besides the requests: a
hash of a network's weights, say. The broker only compares it. A worker sends it to
`mmi.fingerprint`, on its own socket, before its READY; a worker that sends none, as all foreign
workers, has the empty one. So all workers of a service have one fingerprint, or all have none: the
first worker decides, until the last worker of the service is gone or has retired.

The request to `mmi.fingerprint` has two frames, the service and the fingerprint. Our own workers
add a third one, a msgpack map of facts (`FACTS`). The broker uses two of them:

`regular`   each request takes about as long as any other, so the broker may set a time limit
`instance`  the broker that the worker looks for; another broker refuses it (410)

It shows all of them in `mmi.workers`, and drops what it does not know. A worker that sends facts
also understands `mmi.stop` and sends `mmi.crashed` (docs/protocol.md).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgpack

from ..errors import SettingsError
from ..wire import Frame, Frames, one_line, printable
from .state import Service

MAX_BYTES = 255
_MAX_FACTS_BYTES = 8192  # more than all facts with the longest texts
_MAX_TEXT, _MAX_PATH = 128, 1024  # characters; longer texts are cut
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
    facts: Mapping[str, Any] | None = None
    """None: it is a foreign worker, which has sent none."""

    @property
    def regular(self) -> bool:
        return self.facts is not None and self.facts.get("regular", False)

    @property
    def instance(self) -> str:
        """The broker that the worker looks for, in hex; empty: any broker is right."""
        return "" if self.facts is None else self.facts.get("instance", "")


class Fingerprints:
    """The announcements that workers have sent before their READY.

    instance: of this broker, in hex. verdict: the map of the answer 200.
    """

    def __init__(self, instance: str, verdict: Mapping[str, object]) -> None:
        self._instance = instance
        user, host = verdict.get("user"), verdict.get("host")
        self._whose = f" of {user} on {host}" if user else ""
        self._accepted = [b"200", msgpack.packb(dict(verdict))]
        self._announced: OrderedDict[bytes, Announcement] = OrderedDict()  # by peer

    def announce(self, peer: bytes, body: Frames, services: Mapping[bytes, Service]) -> Frames:
        """Answer `mmi.fingerprint`: 200 and a map; or 409 or 410 and a reason, or 400.

        The map has `max_bytes`, the most bytes of an answer, and which broker this is: `instance`,
        `user` and `host`. 409: READY would be refused because of the fingerprint; 410: because the
        worker looks for another broker.
        """
        announcement = _parse(body)
        if announcement is None:
            return [b"400"]
        self._announced[peer] = announcement
        if len(self._announced) > _MAX_ANNOUNCED:
            self._announced.popitem(last=False)
        if self._is_sought_elsewhere(announcement):
            return [b"410", self._wrong_broker(announcement).encode()]
        why_not = conflict(services.get(announcement.service), announcement.fingerprint)
        if why_not is not None:
            return [b"409", why_not.encode()]
        return [*self._accepted]

    def why_refused(self, service: Service | None, announcement: Announcement) -> str | None:
        """Return the reason why READY must be refused after this announcement, if any."""
        if self._is_sought_elsewhere(announcement):
            return self._wrong_broker(announcement)
        return conflict(service, announcement.fingerprint)

    def _is_sought_elsewhere(self, announcement: Announcement) -> bool:
        return announcement.instance not in ("", self._instance)

    def _wrong_broker(self, announcement: Announcement) -> str:
        mine = f"this is broker {self._instance}{self._whose}"
        return f"{mine}, the worker looks for broker {announcement.instance}"

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
        return Announcement(service, fingerprint, known_facts(unpacked))
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException):
        return None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def _instant(value: object) -> float | None:
    is_number = type(value) in (int, float)
    return float(value) if is_number and 0 <= value < math.inf else None  # type: ignore


def _text(value: object) -> str | None:
    return one_line(value[:_MAX_TEXT])[:_MAX_TEXT] if isinstance(value, str) else None


def _path(value: object) -> str | None:
    return one_line(value[:_MAX_PATH])[:_MAX_PATH] if isinstance(value, str) else None


FACTS: dict[str, Callable[[object], Any]] = {
    "regular": _flag,
    "instance": _text,
    "host": _text,
    "pid": _count,
    "job": _text,  # of the batch system; "8812_3" is task 3 of a job array
    "task": _count,  # of the processes of one job, from 0
    "threads": _count,
    "device": _text,
    "version": _text,
    "until": _instant,  # Unix time at which the worker leaves
    "log": _path,
    "restarts": _count,  # of its child process, since the worker began
}
"""What a worker may say about itself, and how each fact is checked: None means that it is wrong."""


def known_facts(announced: Mapping[str, object]) -> dict[str, Any]:
    """Return the facts that are known and of the right kind, with texts of one short line."""
    facts = {name: check(announced.get(name)) for name, check in FACTS.items()}
    return {name: fact for name, fact in facts.items() if fact is not None}


def _short(facts: Frame) -> bytes:
    if not isinstance(facts, bytes) or len(facts) > _MAX_FACTS_BYTES:
        raise ValueError(f"want facts of at most {_MAX_FACTS_BYTES} bytes, got {len(facts)}")
    return facts


def conflict(service: Service | None, fingerprint: bytes) -> str | None:
    """Return the reason why a worker may not serve this service, or None if it may."""
    if service is None or not service.serving or service.fingerprint == fingerprint:
        return None
    workers = f"{service.serving} worker{'s' if service.serving > 1 else ''}"
    return (
        f"{service.text} is served by {workers} of {_shown(service.fingerprint)},"
        f" this one has {_shown(fingerprint)}: stop the others first"
    )


def _shown(fingerprint: bytes) -> str:
    return f"fingerprint '{printable(fingerprint)}'" if fingerprint else "no fingerprint"

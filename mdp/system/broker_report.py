"""Ask a broker who it is, with one socket and without a client's thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgpack

from .. import wire
from ..errors import MDPError, WireError
from ..settings import Heartbeats
from ..sockets import Dealer, Poll, as_bytes, clock, is_served, new_context, target
from ..sockets.addresses import ClientKeys
from ..wire import MDP02
from .contact import Contact


def broker_report(
    address: str, keys: ClientKeys | None = None, *, timeout_s: float = 3.0
) -> dict[str, Any] | None:
    """Return the answer of `mmi.broker` at an address; None if there is none within the time."""
    answers = broker_reports(address, [b"mmi.broker"], keys, timeout_s=timeout_s)
    return answers[0] if answers else None


def broker_reports(
    address: str,
    services: Sequence[bytes],
    keys: ClientKeys | None = None,
    *,
    timeout_s: float = 3.0,
) -> list[dict[str, Any]] | None:
    """Return the answer of each `mmi.` service; None if not all came within the time."""
    if not is_served(address):
        return None
    context = new_context()
    try:
        name = wire.lane_name(
            os.urandom(wire.CLIENT_ID_BYTES), os.urandom(wire.CLIENT_ID_BYTES), interactive=True
        )
        to = target(address, keys)
        dealer = Dealer(context, to, name=name, linger_s=0.0, heartbeats=Heartbeats())
        try:
            give_up_at = clock() + timeout_s
            answers = [_asked(dealer, service, give_up_at) for service in services]
            whole = [answer for answer in answers if answer is not None]
            return whole if len(whole) == len(answers) else None
        finally:
            dealer.close()
    except MDPError:
        return None
    finally:
        context.term()


def is_alive(contact: Contact, *, timeout_s: float = 3.0) -> bool:
    """True if the broker of a contact file answers; another one at its address does not count."""
    report = broker_report(contact.address, contact.keys, timeout_s=timeout_s)
    return report is not None and contact.instance in ("", report.get("instance"))


def _asked(dealer: Dealer, service: bytes, give_up_at: float) -> dict[str, Any] | None:
    dealer.send(MDP02.request(service, []))
    poll = Poll(dealer)
    while clock() < give_up_at:
        poll.wait(give_up_at)
        frames = dealer.receive()
        if frames is None:
            continue
        try:
            code, packed = as_bytes(wire.parse_answer(frames).body)
            report = msgpack.unpackb(packed)
        except (WireError, ValueError, TypeError, msgpack.UnpackException):
            return None
        return report if code == b"200" and isinstance(report, dict) else None
    return None

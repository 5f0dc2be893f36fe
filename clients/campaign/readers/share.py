"""How many events one reader may have in flight: its share of what the planes can take.

All readers that have a file together ask for about three requests for each worker of a plane, so
that no worker waits for its next request and the queues stay short. Their requests fill at most a
quarter of the broker's memory. Each reader may have two events in flight in any case, so that one
is read while another is computed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdp import Client, ClientSettings, Heartbeats, MDPError
from services.planes import service_name

from ..file_request import SERVICE

log = logging.getLogger(__name__)

LEAST = 2
"""Events that a reader may have in flight in any case."""
_DEPTH = 3  # requests for each worker of a plane: one that it computes, and two that wait
_OF_BYTES = 4  # all readers fill at most this part of the broker's memory
_MAX_BYTES = 256 << 20  # of one reader, as `ssnet run` has it
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Share:
    """What one reader may have in flight."""

    window: int
    """Events."""
    window_bytes: int
    """Packed bytes of these events and of their answers; one event is always allowed."""


def share(
    services: Mapping[str, Mapping[str, Any]],
    max_bytes: int,
    *,
    planes: Sequence[int],
    window: int,
    crops: float = 1.0,
) -> Share:
    """Return the share of a reader that begins with a file.

    services: the broker's report; max_bytes: its limit of memory; window: the most events that the
    campaign allows; crops: requests of an event to one plane, on average.
    """
    workers = max((_serving(services, service_name(plane)) for plane in planes), default=0)
    readers = _readers(services)
    most_bytes = max(1, min(_MAX_BYTES, max_bytes // _OF_BYTES // readers))
    if not workers:  # they are still to come, and nobody knows how many
        return Share(window, most_bytes)
    events = math.ceil(_DEPTH * workers / (readers * max(crops, 1.0)))
    return Share(min(window, max(LEAST, events)), most_bytes)


def _serving(services: Mapping[str, Mapping[str, Any]], service: str) -> int:
    row = services.get(service, {})
    return max(0, int(row.get("workers", 0)) - int(row.get("retired", 0)))


def _readers(services: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how many readers have a file now or get one at once; this one is among them."""
    row = services.get(SERVICE, {})
    files = int(row.get("busy", 0)) + int(row.get("queued", 0))
    return max(1, min(int(row.get("workers", 0)), files))


def asked_share(
    broker: str,
    *,
    planes: Sequence[int],
    window: int,
    crops: float = 1.0,
    heartbeats: Heartbeats | None = None,
) -> Share:
    """Ask the broker, and return the share of a reader that begins with a file.

    If no broker answers within 5 s, it is that of a reader alone.
    """
    settings = ClientSettings(heartbeats=heartbeats or Heartbeats(), timeout_s=_TIMEOUT_S, tries=1)
    try:
        with Client(broker, settings) as client:
            services = client.services(timeout_s=_TIMEOUT_S)
            limits = client.management("broker", timeout_s=_TIMEOUT_S)["settings"]
            return share(
                services, int(limits["max_bytes"]), planes=planes, window=window, crops=crops
            )
    except (MDPError, KeyError, TypeError, ValueError) as error:
        log.warning("the broker does not say what it can take: %s", error)
        return Share(window, _MAX_BYTES)

"""Peers that do harm to a plane until somebody kills them.

`python -m tests.faults.rogues full-window ENDPOINT SERVICE`: a client that has as many crops in
flight as it may have. `flood`: a peer that sends thousands of requests and reads nothing, then
joins and leaves again and again as a worker of other services.
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np

from lartpc import Batch, pack
from mdp import Client, ClientSettings, Heartbeats
from services.planes import DESCRIBE
from tests.support.raw_peer import RawPeer

REQUESTS = 3000
_SIDE = 64
_BURST, _PAUSE_S = 40, 0.01


def crop(plane: int) -> list[bytes]:
    """A message that takes a worker of the plane its usual time."""
    corners = f"Left Top (0,{_SIDE}) ... Right Bottom ({_SIDE},0)"
    meta = f"Plane {plane} (rows,cols) = ({_SIDE},{_SIDE}) ... {corners}:(1,2,3)"
    pixels = np.full((1, 1, _SIDE, _SIDE), 50, np.float32)
    return pack([Batch("wire", meta, pixels)])


def fill_window(endpoint: str, service: str) -> None:
    settings = ClientSettings(heartbeats=Heartbeats(0.2, 3))
    body = crop(int(service[-1]))
    with Client(endpoint, settings) as client:
        bodies = itertools.repeat(body)
        for _ in client.map(service, bodies, window=settings.lanes):
            continue


def flood(endpoint: str, service: str) -> None:
    with RawPeer(endpoint, b"a flood", reads=False) as peer:
        for _ in range(REQUESTS):
            peer.send(b"MDPC02", b"\x01", service.encode(), DESCRIBE)
        for number in itertools.count():
            peer.ready(b"flooded %d" % (number % 50))
            peer.disconnect()
            if number % _BURST == 0:
                time.sleep(_PAUSE_S)


if __name__ == "__main__":
    how, endpoint, service = sys.argv[1:]
    {"full-window": fill_window, "flood": flood}[how](endpoint, service)

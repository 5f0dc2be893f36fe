"""What goes wrong, and when: a seed gives a list of faults, the same one each time. Pure."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mdp import Heartbeats

PLANES = (0, 1, 2)
HOSTS = 2
"""Of each plane; each has one child that computes."""


class Kind(str, enum.Enum):
    """What can go wrong."""

    kill = "kill -9"
    stop = "stop, short"
    """SIGSTOP, and SIGCONT before anyone calls it gone."""
    stop_long = "stop, long"
    """SIGSTOP, and SIGCONT when it has been called gone."""
    stutter = "stutter"
    """SIGSTOP and SIGCONT in turn, many times a second: a machine that swaps."""
    slow = "slow"
    """Its handlers take much longer."""
    fill = "fill"
    """No byte more fits."""
    drop = "drop"
    """All connections are reset; new ones are welcome."""
    refuse = "refuse"
    """All connections are reset, and new ones refused for a while."""
    delay = "delay"
    """Bytes arrive late."""
    silence = "silence, short"
    """Connections stay, bytes wait: a cable is out, and in again."""
    silence_long = "silence, long"
    half_open = "half open"
    """Peers lose their connections and make new ones; the broker's ends stay open."""
    void = "void"
    """The broker loses its connections; peers' ends stay open, and lead nowhere."""
    replay = "replay"
    """A second connection says once more all that one has said."""
    nat = "nat"
    """Idle connections are forgotten by the network; both ends stay open, and lead nowhere."""
    hang = "hang"
    """A handler does not return."""
    full_window = "full window"
    """A further client has all the requests in flight that it may have, and is killed."""
    flood = "flood"
    """A peer sends thousands of requests, then READY and DISCONNECT again and again."""
    descriptors = "descriptors"
    """It may open no more files."""


class Part(str, enum.Enum):
    """What it happens to."""

    broker = "broker"
    host = "worker"
    child = "child"
    client = "client"
    plane = "plane"
    """All workers of one plane."""
    disk = "disk"
    """The one that the client writes to."""
    client_link = "clients' network"
    worker_link = "workers' network"
    """Of one plane."""


_PROCESSES = (Part.broker, Part.host, Part.child, Part.client)
_LINKS = (Part.client_link, Part.worker_link)
_OF_LINKS = (
    Kind.drop,
    Kind.refuse,
    Kind.delay,
    Kind.silence,
    Kind.silence_long,
    Kind.half_open,
    Kind.void,
    Kind.replay,
    Kind.nat,
)
_HAPPENS_TO: dict[Kind, tuple[Part, ...]] = {
    Kind.kill: _PROCESSES,
    Kind.stop: _PROCESSES,
    Kind.stop_long: _PROCESSES,
    Kind.stutter: _PROCESSES,
    Kind.slow: (Part.plane,),
    Kind.fill: (Part.disk,),
    **dict.fromkeys(_OF_LINKS, _LINKS),
    Kind.hang: (Part.child,),
    Kind.full_window: (Part.plane,),
    Kind.flood: (Part.plane,),
    Kind.descriptors: (Part.broker, Part.host, Part.client),
}
Sort = tuple[Kind, Part]
SORTS: tuple[Sort, ...] = tuple(
    (kind, part) for kind, parts in _HAPPENS_TO.items() for part in parts
)
"""All that is tried."""

_MOMENTARY = (Kind.kill, Kind.drop)
_SHORT = (Kind.stop, Kind.silence, Kind.delay)
_PLACED = {
    Part.host: (len(PLANES), HOSTS),
    Part.child: (len(PLANES), HOSTS),
    Part.plane: (len(PLANES), 1),
    Part.worker_link: (len(PLANES), 1),
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    number: int
    at_s: float
    """After the start."""
    kind: Kind
    part: Part
    plane: int | None
    """None: of no plane."""
    host: int | None
    """Which of the plane's; None: not of one host."""
    length_s: float
    """Until it is mended; 0: it is over at once."""

    @property
    def target(self) -> str:
        """For people: `worker 2.1`."""
        numbers = [str(item) for item in (self.plane, self.host) if item is not None]
        return " ".join([self.part.value, ".".join(numbers)]).strip()

    def __str__(self) -> str:
        lasts = f" for {self.length_s:.2f} s" if self.length_s else ""
        return f"{self.number:5d} {self.at_s:9.2f} s  {self.kind.value} {self.target}{lasts}"


def sorts_named(text: str) -> tuple[Sort, ...]:
    """Those in whose names this is: `kill -9 broker`, `network`, `long`."""
    return tuple(sort for sort in SORTS if text in f"{sort[0].value} {sort[1].value}")


def plan(
    seed: int,
    *,
    seconds: float,
    every_s: float,
    heartbeats: Heartbeats,
    sorts: Sequence[Sort] = SORTS,
) -> list[Fault]:
    """Faults at random times, one in `every_s` seconds on average, each sort as often as others.

    Short ones end within a peer's patience (`heartbeats`), long ones after it. A longer plan of the
    same seed begins with the shorter one.
    """
    dice = random.Random(seed)
    endless = _shuffled_again_and_again(sorts, dice)
    faults: list[Fault] = []
    at_s = 0.0
    while True:
        at_s += dice.expovariate(1 / every_s)
        kind, part = next(endless)
        planes, hosts = _PLACED.get(part, (0, 0))
        plane = dice.randrange(planes) if planes else None
        host = dice.randrange(hosts) if hosts > 1 else None
        length_s = _length_s(kind, dice.random(), heartbeats)
        if at_s >= seconds:
            return faults
        faults.append(Fault(len(faults) + 1, at_s, kind, part, plane, host, length_s))


def _shuffled_again_and_again(sorts: Sequence[Sort], dice: random.Random) -> Iterator[Sort]:
    while True:
        shuffled = list(sorts)
        dice.shuffle(shuffled)
        yield from shuffled


def _length_s(kind: Kind, share: float, heartbeats: Heartbeats) -> float:
    """`share`: from 0 for the shortest of its kind to 1 for the longest."""
    if kind in _MOMENTARY:
        return 0.0
    if kind in _SHORT:
        return heartbeats.silence_s * (0.2 + 0.6 * share)
    return heartbeats.silence_s * (1.5 + 1.5 * share)

"""What a ledger holds: runs, their workers, their events; as msgpack and back. Pure.

Refuses what is no such record. Times of an event are ticks of 10 us: small numbers, small records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import msgpack

from mdp import MDPError

TICK_S = 1e-5
UNKNOWN = -1
"""A duration that no worker said, or a worker that no answer named."""
_MAX_TEXT = 1000
_NAMES = "surrogateescape"  # files' names may hold bytes that are no UTF-8
_MOST = 1 << 62


class LedgerError(MDPError, ValueError):
    """A file is no ledger, another output's, or damaged."""


class RecordError(ValueError):
    """Bytes are not what the format says; who knows the file makes it a `LedgerError`."""


@dataclass(frozen=True)
class Run:
    """The facts of one run. A run that was resumed adds its own to those before it."""

    output: str
    """The name of the file that was written."""
    inputs: tuple[str, ...]
    started: float
    """Seconds since 1970, by the client's clock. All other times count from here."""
    host: str
    mode: str
    events: int
    """To do."""
    done: int
    """Done before, by runs that this one goes on from."""
    window: int
    """Events that may be under way."""
    window_bytes: int
    pools: dict[int, int]
    """How many workers the broker had at the start, by plane."""

    def encode(self) -> bytes:
        return _packed(asdict(self))

    @classmethod
    def decode(cls, packed: bytes) -> Run:
        said = _unpacked(packed, dict)
        try:
            run = cls(**{**said, "inputs": tuple(said["inputs"])})
        except (TypeError, KeyError):
            raise RecordError(f"want {[field.name for field in fields(cls)]}") from None
        numbers = (run.started, run.events, run.done, run.window, run.window_bytes, *run.pools)
        _check_types((run.output, run.host, run.mode, *run.inputs), str)
        _check_types((*numbers, *run.pools.values()), (int, float))
        return run


class Named(NamedTuple):
    """A worker; the crops of its run name it by how many were named before it."""

    plane: int
    name: str
    """`host:process`."""

    def encode(self) -> bytes:
        return _packed((self.plane, self.name[:_MAX_TEXT]))

    @classmethod
    def decode(cls, packed: bytes) -> Named:
        said = _unpacked(packed, list)
        if len(said) != len(cls._fields):
            raise RecordError("want a plane and a name")
        _check_types(said[:1], int)
        _check_types(said[1:], str)
        return cls(*said)


class Sized(NamedTuple):
    """The events from here on have images of these sizes: (rows, cols) of each plane, in order."""

    shapes: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        return _packed(self.shapes)

    @classmethod
    def decode(cls, packed: bytes) -> Sized:
        said = _unpacked(packed, list)
        _check_types(said, list)
        for shape in said:
            if len(shape) != 2:
                raise RecordError("want rows and cols of each image")
            _check_types(shape, int)
        return cls(tuple((rows, cols) for rows, cols in said))


class Event(NamedTuple):
    """One event's times, in ticks, and those of its crops: a list entry a crop.

    `began` counts from the run's start, `asked`, `taken`, `written` and `sent` from `began`;
    the others are durations. Whoever adds stages adds fields at the end of their part, and a
    version to the file.
    """

    entry: int
    run: int
    subrun: int
    event: int
    began: int
    """Its reading began."""
    read: int
    chain: int
    """Planning and cutting crops."""
    pack: int
    room: int
    """Waiting for room in the client's window, everything packed."""
    asked: int
    """All requests are with the client's thread that sends."""
    taken: int
    """All answers are there, and all events before it are written."""
    check: int
    """Unpacking and checking answers."""
    stitch: int
    write: int
    written: int
    """The event is done with."""
    plane: Sequence[int]
    worker: Sequence[int]
    """Number of the `Named` that answered, or `UNKNOWN`."""
    cut: Sequence[int]
    """Cutting this crop, of `chain`."""
    packed: Sequence[int]
    """Packing it, of `pack`."""
    sent: Sequence[int]
    trip: Sequence[int]
    """From `sent` until the answer was with the client: the queue, the wire, the worker."""
    busy: Sequence[int]
    """Of `trip`, in the worker's handler, by its own clock; `UNKNOWN` if it does not say so."""
    computed: Sequence[int]
    """Of `busy`, in the network."""
    bytes_out: Sequence[int]
    bytes_in: Sequence[int]

    def encode(self) -> bytes:
        return _packed(self)

    @classmethod
    def decode(cls, packed: bytes) -> Event:
        said = _unpacked(packed, list)
        if len(said) != len(cls._fields):
            raise RecordError(f"want {len(cls._fields)} fields of an event")
        columns = said[EVENT_NUMBERS:]
        _check_types(columns, list)
        if len({len(column) for column in columns}) != 1:
            raise RecordError("want as many numbers of each kind as there are crops")
        _check_ticks(said[:EVENT_NUMBERS])
        for column in columns:
            _check_ticks(column)
        return cls(*said)


EVENT_NUMBERS = Event._fields.index("plane")
"""Fields before those of crops."""


class End(NamedTuple):
    """A run ended; without one it was killed, or goes on."""

    how: str
    """`done`, or what ended it."""

    def encode(self) -> bytes:
        return _packed((self.how[:_MAX_TEXT],))

    @classmethod
    def decode(cls, packed: bytes) -> End:
        said = _unpacked(packed, list)
        _check_types(said, str)
        if len(said) != 1:
            raise RecordError("want how it ended")
        return cls(*said)


Record = Run | Named | Sized | Event | End
KINDS: dict[bytes, type[Run] | type[Named] | type[Sized] | type[Event] | type[End]] = {
    b"R": Run,
    b"N": Named,
    b"S": Sized,
    b"E": Event,
    b"Z": End,
}
KIND_OF = {kind: letter for letter, kind in KINDS.items()}


def _packed(said: Any) -> bytes:
    packed: bytes = msgpack.packb(said, unicode_errors=_NAMES)
    return packed


def _unpacked(packed: bytes, kind: type) -> Any:
    try:
        said = msgpack.unpackb(packed, strict_map_key=False, unicode_errors=_NAMES)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise RecordError(f"want msgpack: {error!r:.100}") from None
    if type(said) is not kind:
        raise RecordError(f"want a {kind.__name__}, got {type(said).__name__}")
    return said


def _check_types(values: Sequence[Any], kinds: type | tuple[type, ...]) -> None:
    for value in values:
        if not isinstance(value, kinds):
            raise RecordError(f"want {kinds}, got {value!r:.100}")


def _check_ticks(values: Sequence[Any]) -> None:
    if not set(map(type, values)) <= {int}:
        raise RecordError(f"want whole numbers, got {values!r:.100}")
    if values and not UNKNOWN <= min(values) <= max(values) < _MOST:
        raise RecordError(f"want numbers from {UNKNOWN} to {_MOST}, got {values!r:.100}")

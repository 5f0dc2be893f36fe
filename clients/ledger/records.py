"""The records of a ledger, to msgpack and back. Pure. Refuses values of other types.

A record is an array: its kind, then its fields in order. Times of events are whole ticks of 10 us,
so that records stay small.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgpack

from mdp import MDPError

TICK_S = 1e-5
UNKNOWN = -1
"""The value for a worker or a duration that an answer does not state."""
NAMES = "surrogateescape"  # the names of files may hold bytes that are not UTF-8
_MOST = 1 << 62


class LedgerError(MDPError, ValueError):
    """A file is not a ledger, is damaged, or is the ledger of another output or another run."""


class RecordError(ValueError):
    """A value is not a record; the reader of the file adds the place and raises `LedgerError`."""


class RunStart(NamedTuple):
    """The facts of one run. A run that resumes another adds its records after that run's."""

    output: str
    """The name of the file that the run writes."""
    inputs: tuple[str, ...]
    started_at: float
    """Seconds since 1970, by the client's clock."""
    host: str
    mode: str
    events: int
    """The number of events that this run has to do."""
    done: int
    """Events that earlier runs of the job have done; 0 for a run that begins anew."""
    window: int
    """How many events may be in flight."""
    window_bytes: int
    pools: tuple[tuple[int, int], ...]
    """(plane, workers that the broker had at the start)."""


class WorkerName(NamedTuple):
    """A worker. The crops of its run refer to it by its place among the run's `WorkerName`s."""

    plane: int
    name: str
    """`host:process`."""


class ImageSizes(NamedTuple):
    """(rows, cols) of each plane's image, for the events after this record."""

    shapes: tuple[tuple[int, int], ...]


class CropTimes(NamedTuple):
    """The times of one crop, in ticks."""

    plane: int
    worker: int
    """The number of its `WorkerName`, or `UNKNOWN`."""
    cut: int
    """Cutting this crop; a part of the event's `chain`."""
    packed: int
    """Packing this crop; a part of the event's `pack`."""
    sent: int
    """When it was sent, from the event's `began`."""
    trip: int
    """From `sent` until the client had the answer: the queue, the network, the worker."""
    busy: int
    """The part of `trip` in the worker's handler, by the worker's clock, or `UNKNOWN`."""
    computed: int
    """The part of `busy` in the neural network, or `UNKNOWN`."""
    bytes_out: int
    bytes_in: int

    @property
    def queued(self) -> int:
        """The part of `trip` outside the worker."""
        return max(self.trip - self.busy, 0)


class EventTimes(NamedTuple):
    """The times of one event, in ticks; `asked`, `taken` and `written` count from `began`.

    A new field needs a new version of the file.
    """

    entry: int
    run: int
    subrun: int
    event: int
    began: int
    """When its reading began, from the start of the run."""
    read: int
    chain: int
    """Planning and cutting crops."""
    pack: int
    room: int
    """Waiting for room in the client's window."""
    asked: int
    """When all its requests were handed over to the client's sending thread."""
    taken: int
    """When all its answers had come and all earlier events were written."""
    check: int
    """Unpacking and checking answers."""
    stitch: int
    write: int
    written: int
    """When it was written."""
    crops: tuple[CropTimes, ...]

    @property
    def send(self) -> int:
        """The time before `asked` that no other stage counts: mostly handing over the requests."""
        return max(self.asked - self.read - self.chain - self.pack - self.room, 0)

    @property
    def answered(self) -> int:
        """When its last answer came, from `began`; `asked` for an event without crops."""
        return max([self.asked, *[crop.sent + crop.trip for crop in self.crops]])

    @property
    def turn(self) -> int:
        """Waiting until the events before it were written."""
        return max(self.taken - self.answered, 0)


class RunEnd(NamedTuple):
    """The end of a run. It is missing if the run was killed or goes on."""

    how: str
    """`done`, or the error that ended the run."""


Record = RunStart | WorkerName | ImageSizes | EventTimes | RunEnd
_EVENT = "event"
_KINDS: dict[str, tuple[type[Record], tuple[Any, ...]]] = {
    "run": (RunStart, (str, [str], float, str, str, int, int, int, int, [(int, int)])),
    "worker": (WorkerName, (int, str)),
    "sizes": (ImageSizes, ([(int, int)],)),
    "end": (RunEnd, (str,)),
}
"""For each kind, the class and its fields' types; `[str]` is an array of any length."""
_KIND_OF = {EventTimes: _EVENT, **{cls: kind for kind, (cls, _) in _KINDS.items()}}


def packed(record: Record) -> bytes:
    """A record as msgpack."""
    data: bytes = msgpack.packb((_KIND_OF[type(record)], *record), unicode_errors=NAMES)
    return data


def record_of(value: Any) -> Record:
    """The record in a msgpack value, whose arrays are tuples. Raises `RecordError`."""
    if type(value) is not tuple or not value or value[0] not in (*_KINDS, _EVENT):
        raise RecordError(f"want an array that begins with its kind, got {value!r:.100}")
    kind, *fields = value
    if kind == _EVENT:
        return _event(fields)
    cls, types = _KINDS[kind]
    if not _fits(tuple(fields), types):
        raise RecordError(f"want the fields {cls._fields} of {kind!r}, got {fields!r:.100}")
    return cls(*fields)


def _fits(value: Any, types: Any) -> bool:
    if isinstance(types, type):
        return type(value) is types
    if type(value) is not tuple:
        return False
    if isinstance(types, list):
        types = types * len(value)
    return len(value) == len(types) and all(map(_fits, value, types))


def _event(fields: Sequence[Any]) -> EventTimes:
    try:
        crops = tuple([CropTimes(*crop) for crop in fields[-1]])
        event = EventTimes._make([*fields[:-1], crops])
    except (TypeError, IndexError):
        raise RecordError(f"want the fields of an event, got {fields!r:.100}") from None
    numbers = [*fields[:-1], *itertools.chain.from_iterable(crops)]
    if set(map(type, numbers)) != {int} or not UNKNOWN <= min(numbers) <= max(numbers) < _MOST:
        raise RecordError(f"want whole numbers from {UNKNOWN} to 2^62, got {fields!r:.100}")
    return event


def continued(records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records with continuous time: a run that resumes another adds no gap.

    Time begins with the job's first event.
    """
    shift, end = None, 0
    for record in records:
        if isinstance(record, RunStart):
            shift, end = None, end if record.done else 0
        elif isinstance(record, EventTimes):
            shift = end - record.began if shift is None else shift
            record = record._replace(began=record.began + shift)
            end = max(end, record.began + record.written)
        yield record

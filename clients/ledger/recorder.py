"""Stamps a production run's events on their way, and appends each to the ledger when it is written.

All instants are of this process's monotonic clock. A worker's clock is another machine's: of it
only durations are taken.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..flow.prefetcher import Reply
from ..flow.stopwatch import Stopwatch
from ..scoring.crop_requests import EventQuestion
from .file import LedgerWriter
from .records import TICK_S, UNKNOWN, End, Event, Named, Run, Sized

_READER = ("read", "chain", "pack")
_WRITER = ("check", "stitch", "write")
Infos = Sequence[Mapping[str, Any]]
"""What each answer to an event's requests says of its making; empty where none came."""
Futures = list["Future[Reply]"]

Outcomes = TypeVar("Outcomes", bound=Sequence[object])

clock = time.perf_counter


@dataclass
class _Stamps:
    """Of an event under way; instants. Three threads write into it, one after the other."""

    began_at: float
    made_at: float
    laps: dict[str, list[float]]
    entered_at: float = 0.0
    asked_at: float = 0.0
    sent_at: list[float] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)


class Recorder:
    """Wrap the run's iterators and its `ask` with the methods of the same threads."""

    def __init__(self, ledger: LedgerWriter, facts: Run, watch: Stopwatch) -> None:
        self._ledger = ledger
        self._watch = watch
        self._zero_at = clock()
        self._under_way: dict[int, _Stamps] = {}  # by entry number: as many as the window holds
        self._workers: dict[Named, int] = {}
        self._sized: Sized | None = None
        watch.keep_laps(*_READER, *_WRITER)
        ledger.append(facts)

    def reading(self, questions: Iterator[EventQuestion]) -> Iterator[EventQuestion]:
        """For the thread that reads."""
        while True:
            began_at = clock()
            question = next(questions, None)
            if question is None:
                return
            laps = {name: self._watch.take_laps(name) for name in _READER}
            self._under_way[question.entry.number] = _Stamps(began_at, clock(), laps)
            yield question

    def asking(
        self, ask: Callable[[EventQuestion], Iterable[Future[Reply]]]
    ) -> Callable[[EventQuestion], Futures]:
        """For the thread that reads; answers are stamped in the client's."""

        def stamped(question: EventQuestion) -> Futures:
            stamps = self._under_way[question.entry.number]
            stamps.entered_at = sent_at = clock()
            stamps.answered_at = [sent_at] * len(question.requests)
            futures = []
            for number, future in enumerate(ask(question)):
                stamps.sent_at.append(sent_at)
                future.add_done_callback(functools.partial(_stamp, stamps.answered_at, number))
                futures.append(future)
                sent_at = clock()
            stamps.asked_at = sent_at
            return futures

        return stamped

    def taking(
        self, answered: Iterable[tuple[EventQuestion, Outcomes]], infos: Callable[[], Infos]
    ) -> Iterator[tuple[EventQuestion, Outcomes]]:
        """For the thread that writes; `infos` is asked once the event is written.

        An outcome is a reply, or whatever came in its place.
        """
        for question, outcomes in answered:
            taken_at = clock()
            yield question, outcomes
            self._append(question, outcomes, infos(), taken_at)

    def end(self, how: str) -> None:
        """The last record of the run."""
        self._ledger.append(End(how))

    def _append(
        self, question: EventQuestion, outcomes: Sequence[object], infos: Infos, taken_at: float
    ) -> None:
        stamps = self._under_way.pop(question.entry.number)
        requests = question.requests
        began_at, laps = stamps.began_at, stamps.laps
        said = [*infos, *([{}] * len(requests))][: len(requests)]
        planes = [request.plane for request in requests]
        check, stitch, write = (sum(self._watch.take_laps(name)) for name in _WRITER)
        written_at = clock()
        self._note_size(question)
        trips = zip(stamps.sent_at, stamps.answered_at, strict=True)
        self._ledger.append(
            Event(
                entry=question.entry.number,
                run=question.entry.rse.run,
                subrun=question.entry.rse.subrun,
                event=question.entry.rse.event,
                began=_ticks(began_at - self._zero_at),
                read=_ticks(sum(laps["read"])),
                chain=_ticks(sum(laps["chain"])),
                pack=_ticks(sum(laps["pack"])),
                room=_ticks(stamps.entered_at - stamps.made_at),
                asked=_ticks(stamps.asked_at - began_at),
                taken=_ticks(taken_at - began_at),
                check=_ticks(check),
                stitch=_ticks(stitch),
                write=_ticks(write),
                written=_ticks(written_at - began_at),
                plane=planes,
                worker=[self._worker(p, info) for p, info in zip(planes, said, strict=True)],
                # the first is the plan; a bad event may have had some crops cut, and asks nobody
                cut=[_ticks(spent_s) for spent_s in laps["chain"][1:][: len(requests)]],
                packed=[_ticks(spent_s) for spent_s in laps["pack"][: len(requests)]],
                sent=[_ticks(sent_at - began_at) for sent_at in stamps.sent_at],
                trip=[_ticks(answered_at - sent_at) for sent_at, answered_at in trips],
                busy=[_said(info, "busy_seconds") for info in said],
                computed=[_said(info, "seconds") for info in said],
                bytes_out=[sum(map(len, request.frames)) for request in requests],
                bytes_in=[_nbytes(outcome) for outcome in outcomes],
            )
        )

    def _note_size(self, question: EventQuestion) -> None:
        """Events of a production have one size, so this is one record a run."""
        sized = Sized(question.shapes)
        if question.shapes and sized != self._sized:
            self._sized = sized
            self._ledger.append(sized)

    def _worker(self, plane: int, info: Mapping[str, Any]) -> int:
        name = info.get("worker")
        if not isinstance(name, str):
            return UNKNOWN
        named = Named(plane, name)
        if named not in self._workers:
            self._workers[named] = len(self._workers)
            self._ledger.append(named)
        return self._workers[named]


def _stamp(answered_at: list[float], number: int, future: Future[Reply]) -> None:
    answered_at[number] = clock()


def _nbytes(outcome: object) -> int:
    return sum(map(len, outcome)) if isinstance(outcome, list) else 0


def _ticks(seconds: float) -> int:
    return max(round(seconds / TICK_S), 0)


def _said(info: Mapping[str, Any], name: str) -> int:
    """A duration from a worker, who may say anything."""
    seconds = info.get(name)
    if not isinstance(seconds, float) or not 0 <= seconds < 1e9:
        return UNKNOWN
    return _ticks(seconds)


class Unrecorded:
    """In the place of a recorder, where nobody wants a ledger."""

    def reading(self, questions: Iterator[EventQuestion]) -> Iterator[EventQuestion]:
        return questions

    def asking(
        self, ask: Callable[[EventQuestion], Iterable[Future[Reply]]]
    ) -> Callable[[EventQuestion], Futures]:
        return lambda question: list(ask(question))

    def taking(
        self, answered: Iterable[tuple[EventQuestion, Outcomes]], infos: Callable[[], Infos]
    ) -> Iterator[tuple[EventQuestion, Outcomes]]:
        return iter(answered)


@contextmanager
def recorded(
    path: Path | None, facts: Callable[[], Run], watch: Stopwatch, *, fresh: bool
) -> Iterator[Recorder | Unrecorded]:
    """A recorder for a run, which is told how the run ends. Raises `LedgerError`.

    `facts` is called only where there is a ledger; `fresh`: begin the ledger anew.
    """
    if path is None:
        yield Unrecorded()
        return
    run = facts()
    with LedgerWriter(path, output=run.output, fresh=fresh) as ledger:
        recorder = Recorder(ledger, run, watch)
        try:
            yield recorder
        except BaseException as error:
            recorder.end(": ".join(filter(None, (type(error).__name__, str(error)))))
            raise
        recorder.end("done")

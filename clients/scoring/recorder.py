"""Turns the laps of a run's stopwatch into the records of its ledger, an event at a time.

All instants are the stopwatch's. A worker's clock is another machine's, so only the durations that
it measured are taken.
"""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mdp import Client
from services.planes import service_name

from ..files.provenance import mode_settings
from ..flow.prefetcher import Outcome, Reply
from ..flow.stopwatch import Lap, Stopwatch
from ..ledger.file import LedgerWriter
from ..ledger.records import (
    TICK_S,
    UNKNOWN,
    CropTimes,
    EventTimes,
    ImageSizes,
    RunEnd,
    RunStart,
    WorkerName,
)
from .crop_requests import EventQuestion
from .job import ScoringJob

_Info = Mapping[str, Any]
_READER = ("read", "chain", "pack", "room", "send")
_MAX_TEXT = 1000  # characters
_WRITER = ("wait", "check", "stitch", "write")
_Ask = Callable[[EventQuestion], Iterable["Future[Reply]"]]
_AskAll = Callable[[EventQuestion], list["Future[Reply]"]]


@dataclass
class _InFlight:
    """What is known of an event that is not written yet."""

    laps: dict[str, list[Lap]]
    answered_at: list[float]
    """When each request was answered; the callback of its future sets it."""

    def __post_init__(self) -> None:
        self.began_at = self.laps["read"][0].began_at

    def ticks_of(self, stage: str) -> int:
        return _ticks(sum([lap.ended_at - lap.began_at for lap in self.laps[stage]]))

    def since_began(self, instant: float) -> int:
        return _ticks(instant - self.began_at)


class Recorder:
    """Adds each event that is written to the ledger."""

    def __init__(self, ledger: LedgerWriter, start: RunStart, watch: Stopwatch) -> None:
        self._ledger = ledger
        self._watch = watch
        self._zero_at = watch.now()
        self._in_flight: dict[int, _InFlight] = {}  # by entry: as many as the window holds
        self._workers: dict[WorkerName, int] = {}
        self._shapes: tuple[tuple[int, int], ...] = ()
        watch.keep_laps(*_READER, *_WRITER)
        ledger.append(start)

    def asking(self, ask: _Ask) -> _AskAll:
        """Return `ask`, extended to note when requests are answered. For the thread that reads."""

        def asked(question: EventQuestion) -> list[Future[Reply]]:
            answered_at = [0.0] * len(question.requests)
            futures = []
            for number, future in enumerate(ask(question)):
                future.add_done_callback(functools.partial(self._note, answered_at, number))
                futures.append(future)
            laps = {name: self._watch.take_laps(name) for name in _READER}
            self._in_flight[question.entry.number] = _InFlight(laps, answered_at)
            return futures

        return asked

    def _note(self, answered_at: list[float], number: int, _: Future[Reply]) -> None:
        answered_at[number] = self._watch.now()

    def append(
        self, question: EventQuestion, outcomes: Sequence[Outcome], infos: Sequence[_Info]
    ) -> None:
        """Add an event that has been written. For the thread that writes.

        infos: what each answer says about its computation; empty for an event that failed.
        """
        event = self._in_flight.pop(question.entry.number)
        event.laps |= {name: self._watch.take_laps(name) for name in _WRITER}
        if question.shapes and question.shapes != self._shapes:
            self._shapes = question.shapes
            self._ledger.append(ImageSizes(question.shapes))
        rse, laps = question.entry.rse, event.laps
        times = EventTimes(
            entry=question.entry.number,
            run=rse.run,
            subrun=rse.subrun,
            event=rse.event,
            began=_ticks(event.began_at - self._zero_at),
            read=event.ticks_of("read"),
            chain=event.ticks_of("chain"),
            pack=event.ticks_of("pack"),
            room=event.ticks_of("room"),
            asked=event.since_began((laps["send"] or laps["room"])[-1].ended_at),
            taken=event.since_began(laps["wait"][-1].ended_at),
            check=event.ticks_of("check"),
            stitch=event.ticks_of("stitch"),
            write=event.ticks_of("write"),
            written=event.since_began(laps["write"][-1].ended_at),
            crops=self._crops(event, question, outcomes, infos or [{}] * len(outcomes)),
        )
        self._ledger.append(times)

    def _crops(
        self,
        event: _InFlight,
        question: EventQuestion,
        outcomes: Sequence[Outcome],
        infos: Sequence[_Info],
    ) -> tuple[CropTimes, ...]:
        # the first lap of `chain` is the plan; a bad event may have laps, but has no requests
        laps = zip(event.laps["chain"][1:], event.laps["pack"], event.laps["send"], strict=False)
        answers = zip(question.requests, event.answered_at, outcomes, infos, strict=True)
        return tuple(
            CropTimes(
                plane=request.plane,
                worker=self._worker(request.plane, info),
                cut=_ticks(cut.seconds),
                packed=_ticks(pack.seconds),
                sent=event.since_began(send.began_at),
                trip=_ticks(answered_at - send.began_at),
                busy=_duration(info, "busy_seconds"),
                computed=_duration(info, "seconds"),
                bytes_out=sum(map(len, request.frames)),
                bytes_in=sum(map(len, outcome)) if isinstance(outcome, list) else 0,
            )
            for (request, answered_at, outcome, info), (cut, pack, send) in zip(
                answers, laps, strict=False
            )
        )

    def _worker(self, plane: int, info: _Info) -> int:
        name = info.get("worker")
        if not isinstance(name, str):
            return UNKNOWN
        worker = WorkerName(plane, name[:_MAX_TEXT])
        if worker not in self._workers:
            self._workers[worker] = len(self._workers)
            self._ledger.append(worker)
        return self._workers[worker]


class NoRecorder:
    """Stands for a recorder in a run without a ledger."""

    def asking(self, ask: _Ask) -> _AskAll:
        return lambda question: list(ask(question))

    def append(self, *event: object) -> None:
        pass


@contextmanager
def recorded(
    job: ScoringJob, client: Client, watch: Stopwatch, *, events: int, done: int
) -> Iterator[Recorder | NoRecorder]:
    """Yield a recorder; the end of the block is the end of the run. Raises `LedgerError`.

    events: to do in this run. done: by the earlier runs that this one resumes.
    """
    if job.ledger is None:
        yield NoRecorder()
        return
    served = client.services()
    start = RunStart(
        output=job.output.name,
        inputs=tuple(map(str, job.inputs)),
        started_at=time.time(),
        host=socket.gethostname(),
        mode=str(mode_settings(job.mode)["name"]),
        events=events,
        done=done,
        window=job.window,
        window_bytes=job.window_bytes,
        pools=tuple((p, served.get(service_name(p), {}).get("workers", 0)) for p in job.planes),
    )
    fresh = job.force and not done
    with LedgerWriter(job.ledger, output=start.output, fresh=fresh) as ledger:
        recorder = Recorder(ledger, start, watch)
        try:
            yield recorder
        except BaseException as error:
            how = ": ".join(filter(None, (type(error).__name__, str(error))))
            ledger.append(RunEnd(how[:_MAX_TEXT]))
            raise
        ledger.append(RunEnd("done"))


def _ticks(seconds: float) -> int:
    return max(round(seconds / TICK_S), 0)


def _duration(info: _Info, name: str) -> int:
    """A duration that a worker measured; `UNKNOWN` if the worker sent anything else."""
    seconds = info.get(name)
    if not isinstance(seconds, float) or not 0 <= seconds < 1e9:
        return UNKNOWN
    return _ticks(seconds)

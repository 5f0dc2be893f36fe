"""Sends a share of a run's crops to a canary as well, and compares the answers.

The run never waits for a canary and never fails because of it. The canary has a connection of its
own. At most `MOST_CROPS` crops and `MOST_BYTES` bytes wait for it; the crops beyond are skipped and
counted. Its answers are compared with the real ones, and thrown away. Only when the output has its
name, `finish` waits a few seconds for the answers that are still under way.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from lartpc import LArTPCError, unpack
from mdp import Client, ClientSettings, MDPError
from services.planes import Origin

from ...errors import AnswerError
from ...flow.prefetcher import Reply
from ..crop_requests import CropRequest, EventQuestion
from ..job import ScoringJob
from ..scores import Floats, checked_answer
from .agreement import Agreement, CropName, Pair, compare
from .canary_report import CanaryReport, CropPixels, Kept, read, read_kept, report_path, write
from .canary_state import running_canary
from .crop_share import Canary, is_chosen

log = logging.getLogger(__name__)

MOST_CROPS = 32
MOST_BYTES = 256 << 20
TIMEOUT_S = 60.0
FINISH_S = 5.0
"""So long `finish` waits, if the canary has answered before; else a second."""
_SILENT_S = 1.0
_LOOK_S = 10.0  # between two looks whether the pool has a canary
_WRITE_S = 30.0  # between two reports
_SCORE_BYTES = 20  # of a pixel: its charge, and two scores of two networks
_MOST_SCORE = 1e3  # scores are probabilities; sums of larger numbers may overflow
_WRONG = "wrong answer"
_EXPECTED = (MDPError, LArTPCError, OSError, ValueError)


@dataclass
class _Pending:
    """A crop that the canary has, and what the real workers answered."""

    name: CropName
    request: CropRequest
    where: str
    size: tuple[int, int]
    future: Future[Reply]
    nbytes: int
    real: Floats | None = None


class Shadow:
    """The canary's side of one run. Use it in a `with` block.

    `offer` may be called from another thread than the rest.
    """

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._old: dict[int, str] = {}
        self._lock = threading.Lock()
        self._pending: dict[CropName, _Pending] = {}
        self._bytes = 0
        self._canary: Canary | None = None
        self._looked_at = -_LOOK_S
        self._client: Client | None = None
        self._report = CanaryReport()
        self._kept: Kept = {}
        self._written_at = time.monotonic()
        self._answered = False
        self._warned = False

    def __enter__(self) -> Shadow:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._guarded():
            self._end()

    def compared_with(self, origins: Mapping[int, Origin]) -> None:
        """Name the networks of the real workers, by plane."""
        self._old = {plane: origin.fingerprint() for plane, origin in origins.items()}

    # While the run goes on.

    def offer(self, question: EventQuestion) -> None:
        """Send those crops of an event that are in the share, if there is room for them."""
        with self._lock, self._guarded():
            self._look()
            if self._canary is not None:
                self._offer(question, self._canary)

    def take(self, question: EventQuestion, scores: Sequence[Sequence[Floats]] | None) -> None:
        """Note the real scores of an event, by plane and crop; None: it failed.

        What the canary has answered by now is compared.
        """
        with self._lock, self._guarded():
            if not self._pending:
                return
            rse = question.entry.rse
            for number, plane in enumerate(question.plan.planes):
                for crop in range(len(plane.crops)):
                    pending = self._pending.get(CropName(*rse, plane.plane, crop))
                    if pending is None:
                        continue
                    if scores is None:
                        self._forget(pending)
                        self._report.failed["the real request failed"] += 1
                    else:
                        pending.real = scores[number][crop]
            self._compare()
            if time.monotonic() >= self._written_at + _WRITE_S:
                self._write()

    def _look(self) -> None:
        """See whether there is a canary now; its report is ended if it is over."""
        now = time.monotonic()
        if now < self._looked_at + _LOOK_S:
            return
        self._looked_at = now
        canary = self._job.shadow or running_canary(self._job.broker)
        if canary == self._canary:
            return
        if self._canary:
            with self._guarded():
                self._end()
        self._canary = canary

    def _offer(self, question: EventQuestion, canary: Canary) -> None:
        rse = question.entry.rse
        crops = [(p.plane, n, c) for p in question.plan.planes for n, c in enumerate(p.crops)]
        for (plane, number, crop), request in zip(crops, question.requests, strict=True):
            if not is_chosen(canary.share, rse, plane, number):
                continue
            self._report.counts["chosen"] += 1
            name = CropName(*rse, plane, number)
            size = (crop.meta.rows, crop.meta.cols)
            nbytes = sum(map(len, request.frames)) + _SCORE_BYTES * size[0] * size[1]
            full = len(self._pending) >= MOST_CROPS or self._bytes + nbytes > MOST_BYTES
            if full or name in self._pending:
                self._report.counts["skipped"] += 1
                continue
            where = f"{question.where} plane {plane} crop {number} of canary {canary.label}"
            future = self._connected().submit(canary.service(plane), request.frames)
            self._report.counts["sent"] += 1
            self._bytes += nbytes
            self._pending[name] = _Pending(name, request, where, size, future, nbytes)

    def _connected(self) -> Client:
        if self._client is None:
            settings = ClientSettings(
                heartbeats=self._job.heartbeats,
                timeout_s=TIMEOUT_S,
                tries=1,
                lanes=MOST_CROPS,
                waits=False,
            )
            self._client = Client(self._job.broker, settings)
        return self._client

    def _forget(self, pending: _Pending) -> None:
        pending.future.cancel()
        self._bytes -= pending.nbytes
        del self._pending[pending.name]

    def _compare(self) -> None:
        """Compare what both have answered, and count what has failed."""
        for pending in list(self._pending.values()):
            if not pending.future.done():
                continue
            try:
                reply = pending.future.result()
                self._answered = True
                if pending.real is None:
                    continue
                self._compare_one(pending, pending.real, reply)
            except _EXPECTED as error:
                self._report.failed[_reason(error)] += 1
                log.debug("canary: %s", error)
            self._forget(pending)

    def _compare_one(self, pending: _Pending, old: Floats, reply: Reply) -> None:
        request = pending.request
        answer = checked_answer(request, pending.size, reply, pending.where)
        if np.abs(answer.array).max(initial=0) > _MOST_SCORE:
            raise AnswerError(f"{pending.where}: want scores from 0 to 1, got larger ones")
        [asked] = unpack(request.frames)
        charge, new = np.asarray(asked.array[0, 0], np.float32), answer.array[0]
        plane, low = request.plane, self._job.low_adc
        found = compare(pending.name, charge, old, new, low=low)
        pair = Pair(plane, self._old.get(plane, ""), Origin.of(answer.info).fingerprint())
        self._report.agreements.setdefault(pair, Agreement()).add(found)
        if found.worst:
            self._kept[pair, pending.name] = CropPixels(charge, old, new)
            worst = set(self._report.worst())
            self._kept = {key: pixels for key, pixels in self._kept.items() if key in worst}

    # Reports.

    def finish(self) -> None:
        """Wait a few seconds for the answers under way; the output is complete by now."""
        with self._lock:
            futures = [pending.future for pending in self._pending.values()]
        wait(futures, timeout=FINISH_S if self._answered else _SILENT_S)

    def _end(self) -> None:
        """Compare what is there, count what is not, close the connection, write the report."""
        self._compare()
        for pending in list(self._pending.values()):
            self._report.counts["unfinished"] += 1
            self._forget(pending)
        if self._client is not None:
            self._client.close()
            self._client = None
        self._write()

    def _write(self) -> None:
        """Add what was found since the last time to the report of this process."""
        self._written_at = time.monotonic()
        if self._canary is None or not self._report.counts:
            return
        path = report_path(self._canary.folder)
        try:
            report, kept = CanaryReport(clients=1), dict(self._kept)
            if path.exists():  # of an earlier run of this process: a reader scores many files
                report, kept = read(path), read_kept(path) | kept
            report.add(self._report)
            worst = set(report.worst())
            write(path, report, {key: pixels for key, pixels in kept.items() if key in worst})
        except _EXPECTED as error:
            self._warn(error)
            return
        self._report, self._kept = CanaryReport(), {}

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Let no error of a canary reach the run: files and answers of others decide what it is."""
        try:
            yield
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Say once that a canary gives trouble; the run goes on."""
        if not self._warned:
            log.warning("the canary gives trouble, and the run goes on without it: %s", error)
            self._warned = True


def _reason(error: Exception) -> str:
    """Return a reason to count by: the code of an error reply, or a wrong answer."""
    if isinstance(error, MDPError) and not isinstance(error, AnswerError):
        return f"{error.code} {type(error).__name__}"
    return _WRONG

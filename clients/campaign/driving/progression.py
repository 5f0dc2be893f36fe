"""Which file is asked for next, tried again or given up, and when a campaign stops. Pure.

The driver tells it of new files, of readers and of answers; it keeps no answer. A file is in one
of these places:

    waiting    nobody was asked for it yet
    in flight  a request is at the broker or at a reader
    later      it failed; it is tried again after all that wait
    open       its answer is accepted, and its output is being published
    over       done, repeated or failed (counted only)
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MOST_IN_FLIGHT = 240
"""Files in flight, at most: each takes a socket of the client."""
FEW = 10
"""So many files must have failed before their share, or their common reason, stops a campaign."""
RETRY_S = 2.0
"""Seconds from a failure to the next try, at least: a short trouble of a disk may be over then."""

Kind = Literal["", "input", "network", "write", "service", "settings", "changed"]
Next = Literal["publish", "later", "fail"]
_OF_THE_FILE = ("input", "changed")  # such a failure says nothing about the other files
_FINAL = ("settings",)  # a second try would end alike


@dataclass(frozen=True)
class Verdict:
    """What an answer says about a file."""

    number: int
    ok: bool
    kind: str = ""
    reason: str = ""


class Progression:
    """The files of a campaign that are not done, and the decisions about them.

    Invariant: every file that was added is in exactly one of the places above.
    """

    def __init__(
        self,
        *,
        file_tries: int = 2,
        max_failed: float = 0.1,
        strict: bool = False,
        done: int = 0,
        failed: int = 0,
    ) -> None:
        """done, failed: files that earlier drivers finished; only their share counts."""
        self._file_tries = file_tries
        self._max_failed = max_failed
        self._strict = strict
        self._waiting: deque[int] = deque()
        self._later: deque[tuple[float, int]] = deque()  # when it may be tried again, file
        self._in_flight: set[int] = set()
        self._open: set[int] = set()
        self._tries: Counter[int] = Counter()
        self._troubled: set[int] = set()  # those of `_later` and of those in flight that failed
        self._row = 0  # failures one after the other with `_row_reason`
        self._row_reason = ""
        self._failed_earlier = failed
        self.readers = 0
        self.batch = 0
        """How many answers came at once: while they are taken, the readers need as many files."""
        self.done, self.failed = done, failed
        self.draining = False
        """No further file is asked for; those in flight are waited for."""
        self.stopped = ""
        """Why the campaign stops before its end; empty: it does not."""

    # What the driver reports.

    def add(self, numbers: Iterable[int]) -> None:
        """Take files that wait to be scored."""
        self._waiting.extend(numbers)

    def answered(self, verdict: Verdict, now: float) -> Next:
        """Return what becomes of a file: `fail` is final, `later` is another try at the end."""
        number = verdict.number
        self._in_flight.remove(number)
        self._tries[number] += 1
        self._troubled.discard(number)
        if verdict.ok:
            self._row = 0
            self._open.add(number)
            return "publish"
        again = verdict.kind not in _FINAL and self._tries[number] < self._file_tries
        if again:
            self._troubled.add(number)
            self._later.append((now + RETRY_S, number))
        else:
            self.failed += 1
            del self._tries[number]
        self._judge(verdict)
        return "later" if again else "fail"

    def published(self, numbers: Iterable[int]) -> None:
        """Take note of files that are done, or repeat a file that is done."""
        for number in numbers:
            self._open.remove(number)
            self._tries.pop(number, None)
            self.done += 1

    def refused(self, number: int, why: str) -> None:
        """Take note of a file that failed, since its output cannot have its name."""
        self._open.remove(number)
        self._tries.pop(number, None)
        self.failed += 1
        self._judge(Verdict(number, ok=False, kind="write", reason=why))

    def returned(self, number: int, now: float) -> None:
        """Put back a file that no reader has scored, or whose output is lost; it is not a try."""
        self._in_flight.discard(number)
        self._open.discard(number)
        self._later.append((now + RETRY_S, number))

    def drain(self) -> None:
        self.draining = True

    def stop(self, why: str) -> None:
        """End before all is done, for this reason; the first reason counts."""
        self.stopped = self.stopped or why
        self.draining = True

    # What the driver asks.

    def next_files(self, now: float) -> list[int]:
        """Return the files to request now, and count them as in flight."""
        if self.draining:
            return []
        free = self.limit - len(self._in_flight)
        files: list[int] = []
        while len(files) < free and self._waiting:
            files.append(self._waiting.popleft())
        while len(files) < free and self._later and self._later[0][0] <= now:
            files.append(self._later.popleft()[1])
        self._in_flight.update(files)
        return files

    @property
    def limit(self) -> int:
        """How many files may be in flight: some more than readers, so that none has to wait."""
        more = math.ceil(self.readers / 4) + 2 + 2 * max(self.batch - 1, 0)
        return min(self.readers + more, MOST_IN_FLIGHT)

    @property
    def in_flight(self) -> frozenset[int]:
        return frozenset(self._in_flight)

    @property
    def left(self) -> int:
        """How many files are not over."""
        return len(self._waiting) + len(self._later) + len(self._in_flight) + len(self._open)

    @property
    def is_over(self) -> bool:
        """True if nothing is in flight, and nothing more will be asked for."""
        if self._in_flight or self._open:
            return False
        return self.draining or not (self._waiting or self._later)

    def deadline(self) -> float:
        """Return when a failed file may be tried again; infinity: none waits for that."""
        if self.draining or self._waiting or not self._later:
            return math.inf
        return self._later[0][0]

    # When to stop.

    def _judge(self, verdict: Verdict) -> None:
        if self._strict:
            self.stop(f"--strict: a file failed: {verdict.reason}")
        if verdict.kind not in _OF_THE_FILE:
            reason = alike(verdict.reason)
            self._row = self._row + 1 if reason == self._row_reason else 1
            self._row_reason = reason
            if self._row >= FEW:
                why = f"{self._row} files one after the other failed alike ({verdict.reason})"
                self.stop(f"{why}: mend this, and type the same command")
        troubled = self.failed - self._failed_earlier + len(self._troubled)
        tried = troubled + self.done
        if troubled >= FEW and troubled > self._max_failed * tried:
            share = f"{troubled} of the first {tried} files failed"
            limit = f"more than --max-failed {self._max_failed:g} allows"
            why = f"{share}, {limit} (the last one: {verdict.reason})"
            self.stop(f"{why}: go on with a larger --max-failed, up to 1")


def alike(reason: str) -> str:
    """Return a reason without what differs from file to file: paths and numbers."""
    words = ("PATH" if "/" in word else re.sub(r"\d+", "#", word) for word in reason.split())
    return " ".join(words)

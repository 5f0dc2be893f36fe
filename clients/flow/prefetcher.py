"""Prefetch answers: a thread reads questions and sends their requests; answers come in order.

Requests in flight are limited by a window. When the `with` block ends, the thread has ended and no
request is left.
"""

from __future__ import annotations

import functools
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from mdp import MDPError

from .in_flight import InFlightLimit
from .stopwatch import Stopwatch

# A thread that returns from zlib or ROOT usually waits this long for the GIL. Python's default of
# 5 ms would be too long: an event takes 1 to 100 ms.
_SWITCH_S = 0.0005

Reply = list[bytes]
Outcome = Reply | MDPError
Replies = Sequence["Future[Reply]"]


class Question(Protocol):
    """A group of requests that are sent together, and whose answers are taken together."""

    @property
    def nbytes(self) -> int: ...

    @property
    def where(self) -> str:
        """The input of the question, for error messages: `run7.root entry 41`."""

    @property
    def named(self) -> str:
        """The same with the event, if it is known: `run7.root entry 41 (1, 0, 5)`."""


Q = TypeVar("Q", bound=Question)


class Prefetcher(Generic[Q]):
    """The prefetcher. Iterate over it inside its `with` block to get (question, replies).

    There is one reply for each request of the question. `ask` sends a question's requests, or none
    if it needs no answer. The iteration raises the errors of the questions' iterator, and those of
    requests, which name their input.
    """

    def __init__(
        self,
        questions: Iterator[Q],
        ask: Callable[[Q], Replies],
        *,
        window: InFlightLimit,
        watch: Stopwatch,
    ) -> None:
        self._questions = questions
        self._ask = ask
        self._window = window
        self._watch = watch
        self._asked: queue.SimpleQueue[_Asked[Q] | Exception | None] = queue.SimpleQueue()
        self._current: _Asked[Q] | None = None
        self._switch_s = sys.getswitchinterval()
        self._thread = threading.Thread(target=self._run, name="reads and asks", daemon=True)

    def __enter__(self) -> Prefetcher[Q]:
        sys.setswitchinterval(_SWITCH_S)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._window.close()
        self._thread.join()
        sys.setswitchinterval(self._switch_s)
        if self._current is not None:
            self._current.cancel()
        while not self._asked.empty():
            asked = self._asked.get()
            if isinstance(asked, _Asked):
                asked.cancel()

    def __iter__(self) -> Iterator[tuple[Q, list[Reply]]]:
        for question, outcomes in self.outcomes(tolerated=lambda _: False):
            yield question, [reply for reply in outcomes if not isinstance(reply, MDPError)]

    def outcomes(
        self, *, tolerated: Callable[[MDPError], bool]
    ) -> Iterator[tuple[Q, list[Outcome]]]:
        """Yield (question, outcomes): an outcome is a reply or, in its place, a tolerated error."""
        while True:
            with self._watch.stage("wait"):
                match self._asked.get():
                    case None:
                        return
                    case Exception() as error:
                        raise error
                    case asked:
                        self._current = asked
                        outcomes = asked.outcomes(tolerated)
            yield asked.question, outcomes
            self._window.leave(asked.nbytes)

    def _run(self) -> None:
        try:
            for question in self._questions:
                with self._watch.stage("room"):
                    entered = self._window.enter(question.nbytes)
                if not entered:
                    return
                self._asked.put(_Asked(question, self._ask(question), self._window))
            self._asked.put(None)
        except Exception as error:  # raised in the iterating code, after the earlier answers
            self._asked.put(error)


class _Asked(Generic[Q]):
    """A question and its replies, once they have arrived and their bytes are counted."""

    def __init__(self, question: Q, futures: Replies, window: InFlightLimit) -> None:
        self.question = question
        self._reply_bytes = [0] * len(futures)
        self._window = window
        self._futures = futures
        self._counted = [threading.Event() for _ in futures]
        for number, future in enumerate(futures):
            future.add_done_callback(functools.partial(self._on_done, number))

    @property
    def nbytes(self) -> int:
        return self.question.nbytes + sum(self._reply_bytes)

    def _on_done(self, number: int, future: Future[Reply]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._reply_bytes[number] = sum(len(frame) for frame in future.result())
            self._window.grow(self._reply_bytes[number])
        self._counted[number].set()

    def outcomes(self, tolerated: Callable[[MDPError], bool]) -> list[Outcome]:
        return [self._outcome(number, tolerated) for number in range(len(self._futures))]

    def _outcome(self, number: int, tolerated: Callable[[MDPError], bool]) -> Outcome:
        self._counted[number].wait()  # a future wakes its waiters before its callbacks run
        try:
            return self._futures[number].result()
        except MDPError as error:
            if tolerated(error):
                return error
            named = type(error)(f"{self.question.named}: {error}")
            named.code, named.request = error.code, error.request
            raise named from error

    def cancel(self) -> None:
        for future in self._futures:
            future.cancel()

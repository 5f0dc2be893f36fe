"""Reads and asks ahead in a thread of its own; gives the answers in the order of the questions.

It holds no more than its window allows, and leaves neither thread nor request behind.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType

from mdp import MDPError

from .questions import Question
from .stopwatch import Stopwatch
from .window import Window

# of Python's 5 ms a thread that comes back from zlib or ROOT waits most; an event takes 1 to 100
_SWITCH_S = 0.0005

Reply = list[bytes]
Ask = Callable[[Question], "Future[Reply]"]


class Asker:
    """Iterate, inside of its `with`, for (question, reply); an unsent question has reply None.

    Raises what the questions' iterator raised, and the errors of requests with their entries.
    """

    def __init__(
        self, questions: Iterator[Question], ask: Ask, *, window: Window, watch: Stopwatch
    ) -> None:
        self._questions = questions
        self._ask = ask
        self._window = window
        self._watch = watch
        self._asked: queue.SimpleQueue[_Asked | Exception | None] = queue.SimpleQueue()
        self._current: _Asked | None = None
        self._switch_s = sys.getswitchinterval()
        self._thread = threading.Thread(target=self._run, name="reads and asks", daemon=True)

    def __enter__(self) -> Asker:
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

    def __iter__(self) -> Iterator[tuple[Question, Reply | None]]:
        while True:
            with self._watch.stage("wait"):
                asked = self._asked.get()
                if asked is None:
                    return
                if isinstance(asked, Exception):
                    raise asked
                self._current = asked
                reply = asked.reply()
            yield asked.question, reply
            self._window.leave(asked.nbytes)

    def _run(self) -> None:
        try:
            for question in self._questions:
                if not self._window.enter(question.nbytes):
                    return
                future = self._ask(question) if question.frames else None
                self._asked.put(_Asked(question, future, self._window))
            self._asked.put(None)
        except Exception as error:  # whoever iterates gets it, after the answers before it
            self._asked.put(error)


class _Asked:
    """A question, and its answer when that has come and been counted."""

    def __init__(self, question: Question, future: Future[Reply] | None, window: Window) -> None:
        self.question = question
        self.nbytes = question.nbytes
        self._window = window
        self._future = future
        self._counted = threading.Event()
        if future is not None:
            future.add_done_callback(self._on_done)

    def _on_done(self, future: Future[Reply]) -> None:
        if not future.cancelled() and future.exception() is None:
            reply_bytes = sum(len(frame) for frame in future.result())
            self.nbytes += reply_bytes
            self._window.grow(reply_bytes)
        self._counted.set()

    def reply(self) -> Reply | None:
        if self._future is None:
            return None
        self._counted.wait()  # a future wakes its waiters before it calls back
        try:
            return self._future.result()
        except MDPError as error:
            raise type(error)(f"{self.question.where}: {error}") from error

    def cancel(self) -> None:
        if self._future is not None:
            self._future.cancel()

"""A stop signal raises KeyboardInterrupt, and leaves no lock taken."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from mdp.system.interrupts import interrupted_by_signals, stop_signals

TRIES = 40
"""One try in six leaves the lock taken if a handler may raise anywhere."""


def _interrupted(work: Callable[[], object], *, number: signal.Signals = signal.SIGINT) -> None:
    """Run `work` until a signal interrupts it, some time within 2 ms."""

    def send() -> None:
        started.wait()
        time.sleep(random.random() * 0.002)
        os.kill(os.getpid(), number)

    started = threading.Event()
    sender = threading.Thread(target=send)
    sender.start()

    def work_on() -> None:
        with interrupted_by_signals():
            started.set()
            while True:
                work()

    with pytest.raises(KeyboardInterrupt):
        work_on()
    sender.join()


def test_no_lock_is_left_taken() -> None:
    for _ in range(TRIES):
        condition = threading.Condition()
        _interrupted(functools.partial(_notify, condition))
        assert _is_free(condition)


def _notify(condition: threading.Condition) -> None:
    with condition:
        condition.notify_all()


def _is_free(condition: threading.Condition) -> bool:
    """Whether another thread can take the lock."""
    with concurrent.futures.ThreadPoolExecutor() as other:
        return other.submit(condition.acquire, timeout=20).result()


@pytest.mark.parametrize("number", stop_signals())
def test_a_wait_for_ever_is_interrupted(number: signal.Signals) -> None:
    _interrupted(threading.Event().wait, number=number)


def test_the_join_of_a_thread_is_interrupted() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    _interrupted(thread.join)
    end.set()
    thread.join()


def test_further_signals_are_ignored_and_the_handlers_come_back() -> None:
    handlers = [signal.getsignal(number) for number in stop_signals()]

    def stop_many_times() -> None:
        with interrupted_by_signals():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                for number in stop_signals():
                    signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        stop_many_times()
    assert [signal.getsignal(number) for number in stop_signals()] == handlers


def test_a_signal_at_the_end_of_the_block_is_not_lost() -> None:
    names = {"__name__": "threading", "signal": signal}  # a frame in which nothing may be raised
    exec("def release(): signal.raise_signal(signal.SIGTERM)", names)
    order = []

    def stop_at_the_end() -> None:
        with interrupted_by_signals():
            names["release"]()  # type: ignore[operator]
            order.append("end of the block")

    with pytest.raises(KeyboardInterrupt):
        stop_at_the_end()
    assert order == ["end of the block"]

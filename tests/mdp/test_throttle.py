"""Log lines at a bounded rate."""

from __future__ import annotations

import logging

import pytest

from mdp.broker.throttle import Throttle

log = logging.getLogger("throttled")
Logged = pytest.LogCaptureFixture


def test_the_first_line_of_a_kind_is_said_at_once(caplog: Logged) -> None:
    Throttle(log).warning(100.0, "dropped %s of %d", "a message", 3)
    assert caplog.messages == ["dropped a message of 3"]


def test_more_of_its_kind_are_counted_and_said_with_the_next_line(caplog: Logged) -> None:
    throttle = Throttle(log, every_s=5.0)
    for now in (0.0, 1.0, 2.0, 4.999):
        throttle.warning(now, "dropped %s", now)
    assert caplog.messages == ["dropped 0.0"]
    throttle.warning(5.0, "dropped %s", 5.0)
    assert caplog.messages == ["dropped 0.0", "dropped 5.0 (and 3 more like it)"]


def test_a_count_that_was_said_starts_again(caplog: Logged) -> None:
    throttle = Throttle(log, every_s=5.0)
    for now in (0.0, 1.0, 5.0, 10.0):
        throttle.warning(now, "dropped")
    assert caplog.messages == ["dropped", "dropped (and 1 more like it)", "dropped"]


def test_each_kind_has_its_own_rate(caplog: Logged) -> None:
    throttle = Throttle(log, every_s=5.0)
    throttle.warning(0.0, "dropped %d", 1)
    throttle.warning(0.0, "refused %d", 2)
    throttle.warning(0.0, "dropped %d", 3)
    assert caplog.messages == ["dropped 1", "refused 2"]


def test_a_value_with_a_percent_sign_is_only_text(caplog: Logged) -> None:
    Throttle(log).warning(0.0, "dropped %s", "100%s")
    assert caplog.messages == ["dropped 100%s"]


def test_a_burst_is_logged_and_then_one_line_in_some_seconds(caplog: Logged) -> None:
    throttle = Throttle(log, every_s=5.0, burst=3)
    for now in (0.0, 0.1, 0.2, 0.3, 0.4, 5.5, 5.6):
        throttle.warning(now, "lost %s", now)
    assert caplog.messages == ["lost 0.0", "lost 0.1", "lost 0.2", "lost 5.5 (and 2 more like it)"]


def test_the_traceback_of_an_exception_is_logged(caplog: Logged) -> None:
    try:
        raise ValueError("a bad pixel")
    except ValueError:
        Throttle(log).exception(0.0, "%s failed", "handle()")
    assert caplog.messages == ["handle() failed"]
    assert "a bad pixel" in caplog.text

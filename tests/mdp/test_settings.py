"""Settings refuse what is out of range, and name it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from mdp.errors import MDPError, SettingsError
from mdp.settings import BrokerSettings, ClientSettings, Heartbeats, WorkerSettings, seconds_of

POSITIVE = [
    (Heartbeats, "interval_s"),
    (Heartbeats, "liveness"),
    (BrokerSettings, "max_attempts"),
    (BrokerSettings, "max_lost"),
    (BrokerSettings, "max_queue"),
    (BrokerSettings, "max_queue_bytes"),
    (BrokerSettings, "expiry_s"),
    (BrokerSettings, "max_services"),
    (WorkerSettings, "reconnect_s"),
    (WorkerSettings, "reconnect_max_s"),
    (WorkerSettings, "restart_s"),
    (WorkerSettings, "restart_max_s"),
    (WorkerSettings, "max_setup_failures"),
    (WorkerSettings, "orphan_s"),
    (ClientSettings, "timeout_s"),
    (ClientSettings, "tries"),
    (ClientSettings, "lanes"),
]
ALL = [Heartbeats, BrokerSettings, WorkerSettings, ClientSettings]


@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "name"), POSITIVE)
def test_a_value_that_is_not_above_zero_is_refused_by_name(
    kind: type[Any], name: str, value: float
) -> None:
    with pytest.raises(SettingsError, match=rf"\b{name}\b.*{value}"):
        kind(**{name: value})


@pytest.mark.parametrize("value", [0, -1.0, math.nan, -math.inf])
def test_a_time_limit_that_is_not_above_zero_is_refused_with_its_services_name(
    value: float,
) -> None:
    with pytest.raises(SettingsError, match="time limit of ssnet-plane1"):
        BrokerSettings(time_limits_s={"ssnet-plane0": 5.0, "ssnet-plane1": value})


@pytest.mark.parametrize(
    "value",
    [
        -1.0,
        -math.inf,
        math.nan,
    ],
)
def test_a_drain_time_below_zero_is_refused_by_name(value: float) -> None:
    with pytest.raises(SettingsError, match="drain_s"):
        BrokerSettings(drain_s=value)


def test_a_broker_may_drain_without_waiting() -> None:
    assert BrokerSettings(drain_s=0).drain_s == 0


@pytest.mark.parametrize(
    ("first", "longest"), [("reconnect_s", "reconnect_max_s"), ("restart_s", "restart_max_s")]
)
def test_a_first_wait_above_the_longest_is_refused(first: str, longest: str) -> None:
    values: dict[str, Any] = {first: 9.0, longest: 3.0}
    with pytest.raises(SettingsError, match=first):
        WorkerSettings(**values)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Heartbeats, "liveness"),
        (BrokerSettings, "max_attempts"),
        (WorkerSettings, "max_setup_failures"),
        (ClientSettings, "tries"),
        (ClientSettings, "lanes"),
    ],
)
@pytest.mark.parametrize("value", [1, 7])
def test_whole_numbers_above_zero_are_taken(kind: type[Any], name: str, value: int) -> None:
    assert getattr(kind(**{name: value}), name) == value


def test_a_settings_error_is_an_error_of_this_project_and_a_value_error() -> None:
    assert issubclass(SettingsError, MDPError)
    assert issubclass(SettingsError, ValueError)


def test_the_defaults_are_those_of_the_protocols_page() -> None:
    heartbeats = Heartbeats()
    assert (heartbeats.interval_s, heartbeats.liveness, heartbeats.silence_s) == (1.0, 3, 3.0)
    worker = WorkerSettings()
    assert (worker.reconnect_s, worker.reconnect_max_s) == (1.0, 4.0)
    assert (BrokerSettings().max_attempts, BrokerSettings().max_lost) == (3, 12)


@pytest.mark.parametrize("kind", ALL)
def test_settings_are_frozen(kind: type[Any]) -> None:
    settings = kind()
    for field in dataclasses.fields(settings):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(settings, field.name, 1)


def test_two_brokers_do_not_share_their_time_limits() -> None:
    assert BrokerSettings().time_limits_s is not BrokerSettings().time_limits_s
    assert BrokerSettings().time_limits_s == {}


def test_the_silence_is_liveness_intervals() -> None:
    assert Heartbeats(interval_s=0.25, liveness=8).silence_s == 2.0


@pytest.mark.parametrize(
    "name", ["max_attempts", "max_lost", "max_queue", "max_services", "max_bytes"]
)
def test_a_limit_that_msgpack_cannot_hold_is_refused(name: str) -> None:
    limits: dict[str, Any] = {name: 1 << 63}
    with pytest.raises(SettingsError, match=name):
        BrokerSettings(**limits)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("1.5m", 90.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("4:00:00", 14400.0),
        ("1-00:00:30", 86430.0),
        ("0", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5", "5 m", "4:00", "1:60:00", "1-00", "inf", "5w"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="want a duration"):
        seconds_of(text)

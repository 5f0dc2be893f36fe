"""Waiting for the first workers, with a stand-in for the client and for the clock."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from clients.flow import waiting
from mdp import ClientSettings, NotServed, RequestTimeout

SERVICES = {"ssnet-plane0": "ssnet worker planes --planes 0", "ssnet-plane2": "ssnet worker x"}


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class StandIn:
    """A client whose services get their workers at given times."""

    def __init__(self, clock: Clock, **ready_at: float) -> None:
        self.clock = clock
        self.ready_at = {name.replace("_", "-"): at for name, at in ready_at.items()}
        self.broker, self.broker_shown = "@b.json", "tcp://a:1 (@b.json)"
        self.settings = ClientSettings(timeout_s=300.0)

    def why_silent(self) -> str:
        return "nobody listens; `mdp broker --contact b.json` starts one"

    def services(self, *, timeout_s: float) -> dict[str, Any]:
        return {n: {"workers": int(at <= self.clock.now)} for n, at in self.ready_at.items()}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def test_the_wait_is_as_long_as_the_timeout_and_says_what_is_missing_and_what_starts_it(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    client: Any = StandIn(clock, ssnet_plane0=30.0)
    with pytest.raises(NotServed, match=r"ssnet-plane2 at tcp://a:1 \(@b.json\), .* 300 s"):
        waiting.wait_for_workers(client, SERVICES, wait_s=None)
    assert 300.0 <= clock.now < 302.0
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("waiting for workers of ssnet-plane0, ssnet-plane2, 10 s; `ssnet")
    assert "`ssnet worker planes --planes 0 --broker @b.json` starts one" in lines[0]
    assert [line.split(";")[0].split(", ")[-1] for line in lines] == [
        *("10 s", "60 s", "120 s", "180 s", "240 s")
    ]
    assert "plane0" not in lines[1]


def test_a_shorter_wait_ends_earlier_and_says_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    client: Any = StandIn(clock)
    with pytest.raises(NotServed, match="got none in 5 s"):
        waiting.wait_for_workers(client, SERVICES, wait_s=5.0)
    assert not caplog.records


def test_it_returns_when_all_have_workers(clock: Clock) -> None:
    client: Any = StandIn(clock, ssnet_plane0=1.0, ssnet_plane2=100.0)
    waiting.wait_for_workers(client, SERVICES, wait_s=None)
    assert 100.0 <= clock.now < 102.0


def test_a_broker_that_never_answers_is_named_with_what_starts_it(clock: Clock) -> None:
    class Silent(StandIn):
        def services(self, *, timeout_s: float) -> dict[str, Any]:
            assert timeout_s == 300.0
            raise RequestTimeout("no answer")

    client: Any = Silent(clock)
    with pytest.raises(RequestTimeout, match=r"tcp://a:1 \(@b.json\).*mdp broker --contact b.json"):
        waiting.wait_for_workers(client, SERVICES, wait_s=None)


class Future:
    """A request that stays in the queue."""

    cancelled = False

    def done(self) -> bool:
        return False

    def cancel(self) -> None:
        self.cancelled = True


class OfPool(StandIn):
    """A client of a pool's broker; it keeps what was asked."""

    def __init__(self, clock: Clock, **ready_at: float) -> None:
        super().__init__(clock, **ready_at)
        self.asked: dict[str, Future] = {}

    def submit(self, service: str, body: list[bytes]) -> Future:
        assert body == [b"describe"]
        assert service not in self.asked
        self.asked[service] = Future()
        return self.asked[service]


class Pool:
    """A pool whose jobs are queued until a time."""

    name = "july"

    def __init__(self, clock: Clock, queued_until: float) -> None:
        self.clock, self.queued_until = clock, queued_until

    def text(self) -> str:
        return "2 jobs queued (Priority)" if self.clock.now < self.queued_until else ""


def wait_in(monkeypatch: pytest.MonkeyPatch, pool: Pool, client: Any, wait_s: float) -> None:
    monkeypatch.setattr(waiting, "pool_of", lambda broker: pool)
    monkeypatch.setattr(waiting, "Outlook", lambda pool: pool)
    waiting.wait_for_workers(client, SERVICES, wait_s=wait_s, ask=b"describe")


def test_in_a_pool_the_wait_goes_on_while_jobs_are_queued_and_says_so(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    client: Any = OfPool(clock, ssnet_plane0=500.0, ssnet_plane2=500.0)
    wait_in(monkeypatch, Pool(clock, 510.0), client, 60.0)
    assert clock.now - 2.0 < 500.0
    lines = [record.getMessage() for record in caplog.records]
    assert "pool july: 2 jobs queued (Priority)" in lines[0]
    assert len(lines) == 9  # after 10 s, and each minute


def test_in_a_pool_a_request_waits_at_each_service_without_a_worker(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = OfPool(clock, ssnet_plane0=0.0, ssnet_plane2=5.0)
    wait_in(monkeypatch, Pool(clock, 10.0), client, 60.0)
    assert set(client.asked) == {"ssnet-plane2"}
    assert client.asked["ssnet-plane2"].cancelled


def test_in_a_pool_without_queued_jobs_the_wait_ends_with_a_hint(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = OfPool(clock)
    with pytest.raises(NotServed, match="`ssnet pool doctor july`"):
        wait_in(monkeypatch, Pool(clock, 100.0), client, 60.0)
    assert 100.0 <= clock.now < 102.0


def test_in_a_pool_the_broker_may_be_a_job_that_is_queued(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(OfPool):
        def services(self, *, timeout_s: float) -> dict[str, Any]:
            if self.clock.now < 200.0:
                self.clock.now += timeout_s
                raise RequestTimeout("no answer")
            return super().services(timeout_s=timeout_s)

    client: Any = Late(clock, ssnet_plane0=0.0, ssnet_plane2=0.0)
    wait_in(monkeypatch, Pool(clock, 210.0), client, 60.0)
    assert clock.now >= 200.0

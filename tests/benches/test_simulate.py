"""Whole sites on simulated time: seeds that hold, and faults put back on purpose that are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from benches.simulate import __main__ as command
from benches.simulate import put_back
from benches.simulate.connections import Connection, Dealer, NetworkSettings
from benches.simulate.faults import FAULTS, plan
from benches.simulate.network import Network
from benches.simulate.run import Outcome, run
from benches.simulate.shrink import shortest_prefix, without_needless
from benches.simulate.sizes import big, small
from benches.simulate.timeline import Timeline
from mdp.wire import Frames

SEEDS = 60
WITHIN = 200


def failing(name: str) -> tuple[int, Outcome]:
    """Return the first seed that finds a fault that is put back, and its run."""
    with put_back.NAMES[name]() as change:
        for seed in range(WITHIN):
            outcome = run(seed, change(small(seed)))
            if outcome.violation:
                return seed, outcome
    pytest.fail(f"{name} was not found within {WITHIN} seeds")


def test_small_sites_hold_whatever_happens() -> None:
    for seed in range(SEEDS):
        outcome = run(seed, small(seed))
        assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


@pytest.mark.parametrize("name", put_back.NAMES)
def test_a_fault_that_is_put_back_is_found(name: str) -> None:
    seed, outcome = failing(name)
    assert run(seed, small(seed)).violation is None
    assert outcome.violation


def test_a_big_site_holds_in_a_shorter_version() -> None:
    settings = replace(
        big(1), hosts=300, clients=9, requests=6000, faults=10, check_every=5000, quiet_at=20.0
    )
    outcome = run(1, settings)
    assert outcome.violation is None
    assert outcome.ends["answered"] > 4000


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (run(5, small(5), traced=True) for _ in range(2))
    assert first == second
    assert len(first.trace) > 100
    assert run(6, small(6), traced=True).trace != first.trace


def test_checks_and_the_trace_do_not_change_a_run() -> None:
    plain = run(3, small(3))
    exact = run(3, replace(small(3), check_every=1), traced=True)
    assert (exact.ends, exact.failures) == (plain.ends, plain.failures)


def test_a_failing_run_is_shrunk_to_a_prefix_and_then_to_fewer_faults() -> None:
    with put_back.NAMES["retire"]() as change:
        seed, outcome = failing("retire")
        settings = change(small(seed))
        shortest = shortest_prefix(outcome, settings)
        assert list(shortest.faults) == plan(seed, settings)[: len(shortest.faults)]
        assert run(seed, settings, faults=shortest.faults[:-1]).violation is None
        fewest = without_needless(shortest, settings)
        assert set(fewest.faults) <= set(shortest.faults)
        assert run(seed, settings, faults=fewest.faults).violation == fewest.violation


def test_every_kind_of_fault_is_planned() -> None:
    planned = {fault.kind for seed in range(50) for fault in plan(seed, small(seed))}
    assert planned == set(FAULTS)


def test_the_command_reports_a_failing_seed_and_ends_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--put-back", "starving", "--seeds", str(WITHIN), "--lines", "5"]
    assert command.main(arguments) == 1
    report = capsys.readouterr().out
    assert "shortest prefix that fails" in report
    assert "--put-back starving" in report
    assert command.main(["--first", "1"]) == 0
    assert not capsys.readouterr().out


# The simulated network.


class Peer:
    """Both kinds of owners of a socket: it keeps what arrives."""

    def __init__(self) -> None:
        self.messages: list[Frames] = []
        self.lost = 0

    def arrived(self, connection: Connection, frames: Frames) -> None:
        self.messages.append(frames)

    def disconnected(self, dealer: Dealer) -> None:
        self.lost += 1


class Wire:
    """One ROUTER and one DEALER, connected."""

    def __init__(self, settings: NetworkSettings | None = None) -> None:
        self.timeline = Timeline()
        self.network = Network(self.timeline, Random(1), settings or NetworkSettings())
        self.broker, self.peer = Peer(), Peer()
        self.router = self.network.bind(self.broker)
        self.dealer = self.network.open(b"name", 1, self.peer)
        self.run(1.0)

    def run(self, seconds: float) -> None:
        end = self.timeline.now + seconds
        self.timeline.at(end, lambda: None)
        while self.timeline.now < end:
            self.timeline.step()

    @property
    def connection(self) -> Connection:
        assert self.dealer.connection is not None
        return self.dealer.connection

    def up(self, number: int) -> None:
        self.network.send_up(self.dealer, [b"%d" % number])

    def down(self, number: int) -> bool:
        return self.network.send_down(self.router, b"name", [b"%d" % number])

    def arrived(self) -> list[int]:
        return [int(bytes(frames[0])) for frames in self.broker.messages]  # type: ignore[call-overload]


def test_messages_of_a_connection_arrive_in_order() -> None:
    wire = Wire()
    for number in range(100):
        wire.up(number)
    wire.run(1.0)
    assert wire.arrived() == list(range(100))


def test_a_cut_loses_what_is_on_the_way_and_the_dealer_connects_again() -> None:
    wire = Wire()
    wire.up(1)
    wire.network.cut(wire.connection)
    wire.up(2)  # waits in the socket
    assert not wire.down(3)
    wire.run(1.0)
    assert wire.arrived() == [2]
    assert wire.peer.lost == 1
    assert wire.down(4)


def test_a_forgotten_connection_swallows_bytes_until_the_heartbeats_notice() -> None:
    wire = Wire()
    wire.network.forget(wire.connection)
    wire.up(1)
    assert wire.down(1)
    wire.run(31.0)
    assert (wire.arrived(), wire.peer.messages, wire.peer.lost) == ([], [], 0)
    wire.run(2.0)
    assert wire.peer.lost == 1


def test_a_firewall_forgets_idle_connections_only_without_heartbeats() -> None:
    for heartbeats in (False, True):
        wire = Wire(NetworkSettings(forgets_after_s=10.0, heartbeats=heartbeats))
        wire.up(1)
        wire.run(9.0)
        wire.up(2)
        wire.run(11.0)
        wire.up(3)
        wire.run(100.0)
        assert wire.arrived() == ([1, 2, 3] if heartbeats else [1, 2])
        assert wire.peer.lost == 0


def test_a_second_peer_of_a_name_is_ignored_for_ever() -> None:
    wire = Wire()
    second = wire.network.open(b"name", 2, Peer())
    wire.run(1.0)
    wire.network.send_up(second, [b"9"])
    wire.network.close(wire.dealer)
    wire.run(1.0)
    wire.network.send_up(second, [b"9"])
    wire.run(1.0)
    assert wire.arrived() == []
    assert not wire.down(1)


@pytest.mark.parametrize(("seconds", "arrived"), [(5.0, [1, 2]), (45.0, [2])])
def test_a_partition_delays_and_drops_only_when_it_lasts(
    seconds: float, arrived: list[int]
) -> None:
    wire = Wire()
    wire.network.part(1)
    wire.up(1)
    wire.run(seconds)
    assert wire.arrived() == []
    wire.network.heal(1)
    wire.up(2)
    wire.run(2.0)
    assert sorted(wire.arrived()) == arrived


def test_a_peer_that_does_not_read_becomes_unreachable() -> None:
    wire = Wire(NetworkSettings(unread_limit=3))
    assert [_after(wire, lambda: wire.down(1)) for _ in range(5)] == [True] * 3 + [False] * 2


def _after(wire: Wire, action: Callable[[], bool]) -> bool:
    is_sent = action()
    wire.run(0.1)
    return is_sent


def test_a_router_that_ends_tells_its_peers_after_its_last_message() -> None:
    wire = Wire()
    assert wire.down(7)
    wire.network.unbind(wire.router)
    wire.run(1.0)
    assert wire.peer.messages == [[b"7"]]
    assert wire.peer.lost == 1
    wire.up(1)
    wire.router = wire.network.bind(wire.broker)
    wire.run(1.0)
    assert wire.arrived() == [1]

"""The client with its thread and real sockets: what it refuses, and what cannot end it."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from mdp import (
    Client,
    ClientClosed,
    ClientSettings,
    Heartbeats,
    MDPError,
    RequestTimeout,
    SettingsError,
    TooLarge,
)
from mdp.client import listeners
from mdp.client.lane import Lanes
from mdp.sockets import clock
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, free_port, wait_for_workers

ECHO = "mdp.echo:Echo"
HANDLERS = "tests.faults.handlers:Obedient"


@pytest.fixture
def away() -> Iterator[Client]:
    """A client of a broker that is not there."""
    with Client(f"tcp://127.0.0.1:{free_port()}") as client:
        yield client


@pytest.fixture
def client(processes: Processes, endpoint: str) -> Iterator[Client]:
    """A client of a broker with an echo worker."""
    processes.broker(endpoint)
    processes.worker(endpoint, "echo", ECHO)
    with Client(endpoint, ClientSettings(timeout_s=20.0)) as client:
        wait_for_workers(client, "echo", 1)
        yield client


# Arguments of a wrong type.


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, ("list", "NoneType")),
        ("text", ("list", "str")),
        (b"bytes", ("list", "bytes")),
        ((frame for frame in [b"x"]), ("list", "generator")),
        ({b"a": b"b"}, ("list", "dict")),
        (7, ("list", "int")),
        ([b"x", "text"], ("bytes", "str", "frame 1")),
        ([None], ("bytes", "NoneType", "frame 0")),
    ],
)
def test_a_body_of_a_wrong_type_is_a_type_error_that_says_so(
    away: Client, body: Any, words: tuple[str, ...]
) -> None:
    with pytest.raises(TypeError) as raised:
        away.submit("echo", body)
    for word in ("echo", *words):
        assert word in str(raised.value)


@pytest.mark.parametrize("arguments", [{"timeout_s": "5"}, {"tries": "3"}, {"timeout_s": [1]}])
def test_a_limit_that_is_no_number_is_a_type_error(away: Client, arguments: Any) -> None:
    (name, value), *_ = arguments.items()
    with pytest.raises(TypeError, match=name) as raised:
        away.request("echo", [b"x"], **arguments)
    assert repr(value) in str(raised.value)
    with pytest.raises(TypeError, match=name):
        ClientSettings(**arguments)


@pytest.mark.parametrize("arguments", [{"timeout_s": 0}, {"timeout_s": -1.0}, {"tries": 0}])
def test_a_limit_out_of_range_is_a_settings_error(away: Client, arguments: Any) -> None:
    with pytest.raises(SettingsError, match=next(iter(arguments))):
        away.request("echo", [b"x"], **arguments)


# Names and leases on the wire.


@pytest.mark.parametrize(("interactive", "letter"), [(False, b"L"), (True, b"I")])
def test_all_sockets_of_a_client_have_names_of_one_owner_and_the_pulse_a_lease(
    endpoint: str, interactive: bool, letter: bytes
) -> None:
    heartbeats = Heartbeats(interval_s=0.5, liveness=3)
    settings = ClientSettings(heartbeats=heartbeats, interactive=interactive)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger, router.rcvtimeo = 0, 20_000
        router.bind(endpoint)
        with Client(endpoint, settings) as client:
            futures = [client.submit("echo", [b"x"]) for _ in range(2)]
            requests: list[bytes] = []
            pulse: list[bytes] = []
            while len(requests) < 2 or not pulse:
                name, *frames = router.recv_multipart()
                assert len(name) == 17
                assert name[:1] == letter
                if frames[2] == b"mmi.broker":
                    pulse = [name, *frames[3:]]
                else:
                    requests.append(name)
            assert len({name[:9] for name in (*requests, pulse[0])}) == 1
            assert set(pulse[1:-2]) <= set(requests)
            assert pulse[-2].startswith(b"who=")
            assert pulse[-1] == b"lease=3.000"
            for future in futures:
                future.cancel()


# Sockets and open files.


def test_a_client_lives_through_a_storm_of_cancelled_requests(client: Client) -> None:
    for number in range(10_000):
        client.submit("echo", [b"x"]).cancel()
        if number % 64 == 0:
            threading.Event().wait(0.0001)  # some leave the inbox first
    assert client.request("echo", [b"after"], timeout_s=20) == [b"after"]


def test_a_client_lives_through_short_timeouts_while_the_broker_is_away(
    processes: Processes, endpoint: str
) -> None:
    settings = ClientSettings(heartbeats=QUICK_CLIENT.heartbeats, timeout_s=0.03, tries=1)
    with Client(endpoint, settings) as client:
        outcomes: set[type] = set()
        for _ in range(8):
            futures = [client.submit("echo", [b"x"]) for _ in range(64)]
            outcomes |= {type(future.exception(timeout=20)) for future in futures}
        assert outcomes == {RequestTimeout}
        processes.broker(endpoint)
        processes.worker(endpoint, "echo", ECHO)
        wait_for_workers(client, "echo", 1)
        assert client.request("echo", [b"back"], timeout_s=20) == [b"back"]


LIMITED = """
import gc, logging, resource, sys
logging.basicConfig(format="%(message)s")
soft, hard, clients, lanes = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from mdp import Client, ClientSettings
def ask():
    client = Client(sys.argv[1], ClientSettings(lanes=lanes, timeout_s=20))
    futures = [client.submit("echo", [b"x"]) for _ in range(lanes)]
    assert all(future.result() == [b"x"] for future in futures)
for _ in range(clients):
    ask()
"""


def _limited(processes: Processes, client: Client, *numbers: int) -> str:
    process = processes.python("-W", "ignore::ResourceWarning", "-c", LIMITED, client.broker,
                               *map(str, numbers))  # fmt: skip
    assert process.exit_code(within_s=60.0) == 0, process.stderr
    return process.stderr


def test_a_hundred_clients_that_nobody_closed_are_closed_when_they_are_collected(
    processes: Processes, client: Client
) -> None:
    assert _limited(processes, client, 128, 256, 100, 1) == ""


def test_the_soft_limit_of_open_files_is_raised(processes: Processes, client: Client) -> None:
    assert _limited(processes, client, 64, 1024, 1, 200) == ""


def test_with_too_few_open_files_fewer_requests_are_in_flight_and_one_line_says_so(
    processes: Processes, client: Client
) -> None:
    text = _limited(processes, client, 100, 100, 1, 300)
    assert len(text.splitlines()) == 1
    assert "300" in text
    assert "100" in text


def test_a_socket_that_cannot_be_opened_fails_one_request(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop: Any = client._loop
    really, opened = loop._dealer, []

    def dealer(name: bytes) -> Any:
        opened.append(name)
        if len(opened) == 2:
            raise MDPError("cannot open a socket: Too many open files")
        return really(name)

    monkeypatch.setattr(loop, "_dealer", dealer)
    futures = [client.submit("echo", [b"%d" % number]) for number in range(8)]
    errors = [error for future in futures if (error := future.exception(timeout=20))]
    assert len(errors) <= 1  # 0: the second socket was the probe's
    for error in errors:
        assert "echo" in str(error)
        assert "Too many open files" in str(error)
    assert client.request("echo", [b"after"]) == [b"after"]


# Errors in the thread.


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt()])
def test_a_callback_that_raises_does_not_end_the_client(
    client: Client,
    processes: Processes,
    endpoint: str,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    def callback(_: object) -> None:
        raise error

    future = client.submit("later", [b"x"])  # answered after the callback is set
    future.add_done_callback(callback)
    processes.worker(endpoint, "later", ECHO)
    assert future.result(20) == [b"x"]
    assert client.request("echo", [b"after"]) == [b"after"]
    assert type(error).__name__ in caplog.text


def test_a_bug_in_the_thread_fails_all_requests_and_names_its_cause(
    away: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    future = away.submit("echo", [b"x"])
    parts = away.stream("echo", [b"x"])

    def tick(self: Lanes, now: float) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Lanes, "tick", tick)
    with pytest.raises(ClientClosed, match="ZeroDivisionError: a bug"):
        next(parts)
    with pytest.raises(ClientClosed, match="ZeroDivisionError: a bug"):
        future.result(20)
    with pytest.raises(ClientClosed, match="ZeroDivisionError: a bug"):
        away.request("echo", [b"later"])
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert len(tracebacks) == 1


def test_waiting_for_a_cancelled_future_ends(away: Client) -> None:
    future = away.submit("echo", [b"x"])
    future.cancel()
    done, waiting = concurrent.futures.wait([future], timeout=20)
    assert (len(done), len(waiting)) == (1, 0)


# Unclosed.


def test_a_client_that_is_collected_unclosed_closes_and_warns() -> None:
    clients = [Client(f"tcp://127.0.0.1:{free_port()}")]
    thread = clients[0]._loop
    with pytest.warns(ResourceWarning, match=clients[0].broker):
        clients.clear()
    thread.join(10)
    assert not thread.is_alive()


def test_a_future_in_flight_keeps_its_client_alive(client: Client) -> None:
    other = Client(client.broker)
    alive = weakref.ref(other)
    future = other.submit("echo", [b"x"])
    del other
    gc.collect()
    assert future.result(20) == [b"x"]
    last = alive()
    assert last is not None  # by the future
    last.close()


# Outages.


def test_a_client_is_back_soon_after_the_broker_is(processes: Processes, endpoint: str) -> None:
    """With the default heartbeats: a request that was sent before, and one that was not."""
    first = processes.broker(endpoint)
    processes.worker(endpoint, "echo", ECHO, *QUICK)
    settings = ClientSettings(timeout_s=60.0, tries=1)
    with Client(endpoint, settings) as client, Client(endpoint, settings) as new:
        wait_for_workers(client, "echo", 1)
        first.kill()
        futures = [client.submit("echo", [b"known"]), new.submit("echo", [b"unknown"])]
        threading.Event().wait(8.0)
        processes.broker(endpoint, *QUICK)
        processes.worker(endpoint, "echo", ECHO, *QUICK)
        with Client(endpoint) as other:
            wait_for_workers(other, "echo", 1)
        back_at = clock()
        assert [future.result(30) for future in futures] == [[b"known"], [b"unknown"]]
        assert clock() - back_at < 5.0


# Sizes.


def test_a_request_above_the_brokers_limit_fails_at_once(
    processes: Processes, endpoint: str
) -> None:
    processes.broker(endpoint, "--max-queue-bytes", "1000000")
    with Client(endpoint) as client:
        for body in ([bytes(1_500_000)], [bytes(600_000)] * 2):
            started_at = clock()
            with pytest.raises(TooLarge, match="1000000") as raised:
                client.request("echo", body, timeout_s=30)
            assert "--max-queue-bytes" in str(raised.value)
            assert clock() - started_at < 5.0


# Streams.


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _released(folder: Path) -> bytes:
    release = folder / "release"
    release.touch()
    return os.fsencode(release)


def test_a_stream_that_is_read_slowly_takes_bounded_memory_and_is_whole(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint)
    processes.worker(endpoint, "parts", HANDLERS)
    count, size, released = 400, 1_000_000, _released(tmp_path)
    with Client(endpoint) as client:
        wait_for_workers(client, "parts", 1)
        pause, numbers, most = threading.Event(), [], 0
        earlier = _resident_bytes()
        for number, frame in client.stream(
            "parts", [b"stream_bytes", b"%d" % count, b"%d" % size, released]
        ):
            numbers.append(int(number))
            assert len(frame) == size
            if len(numbers) <= 10:
                pause.wait(0.2)  # meanwhile all the others could have come
            most = max(most, _resident_bytes() - earlier)
    assert numbers == list(range(count))
    assert most < 150e6


def test_the_timeout_of_a_stream_does_not_run_while_its_reader_lags(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint)
    processes.worker(endpoint, "parts", HANDLERS)
    with Client(endpoint) as client:
        wait_for_workers(client, "parts", 1)
        parts = client.stream(
            "parts",
            [b"stream_bytes", b"60", b"1000000", _released(tmp_path)],
            timeout_s=2.0,
            tries=1,
        )
        next(parts)
        threading.Event().wait(4.0)
        assert len(list(parts)) == 59


def test_a_stream_that_is_not_read_survives_the_end_of_its_connection(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    """libzmq must not ping on its socket then: it would abort the process."""
    first = processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "parts", HANDLERS, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "parts", 1)
        body = [b"stream_bytes", b"100", b"1000000", _released(tmp_path)]
        parts = client.stream("parts", body)
        numbers = [int(next(parts)[0])]
        threading.Event().wait(1.0)
        first.kill()
        threading.Event().wait(2.0)  # several pings later
        processes.broker(endpoint, *QUICK)
        numbers += [int(number) for number, _ in parts]
    assert numbers == list(range(100))


def test_a_listener_of_parts_is_full_and_is_resumed_when_half_is_taken() -> None:
    parts, resumed = listeners.Parts(), threading.Event()
    parts.resume = resumed.set
    full = []
    for number in range(listeners.MAX_PARTS):
        full.append(parts.is_full)
        parts.on_part([b"%d" % number])
    full.append(parts.is_full)
    assert full == [False] * listeners.MAX_PARTS + [True]
    taken = iter(parts)
    for number in range(listeners.MAX_PARTS // 2):
        assert not resumed.is_set()
        assert next(taken) == [b"%d" % number]
    assert resumed.is_set()
    full = [parts.is_full]
    parts.on_part([bytes(listeners.MAX_PART_BYTES)])
    full.append(parts.is_full)
    assert full == [False, True]

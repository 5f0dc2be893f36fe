"""A client in event loops and in other processes: pickled, spawned, forked."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdp import Client, ClientClosed, Refused, RequestTimeout
from mdp.client.listeners import MAX_PARTS
from mdp.testing import serving
from tests.faults.handlers import Obedient
from tests.support.processes import (
    QUICK_CLIENT,
    Processes,
    counters,
    held,
    until,
)

pytestmark = [
    pytest.mark.slow,
    # of newer Pythons: what a fork does to other threads is what is tested here
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """A broker with two obedient workers."""
    with serving({"obedient": Obedient}, workers=2) as site:
        yield site.broker


@pytest.fixture
def client(served: str) -> Iterator[Client]:
    with Client(served, QUICK_CLIENT) as client:
        yield client


# Event loops.


def test_requests_of_one_event_loop_are_in_flight_together_without_further_threads(
    client: Client,
) -> None:
    async def ask() -> list[list[bytes]]:
        texts = [b"%d" % number for number in range(200)]
        asked = [client.arequest("obedient", [b"reverse", text]) for text in texts]
        return await asyncio.gather(*asked)

    threads = threading.active_count()
    assert asyncio.run(ask()) == [[(b"%d" % number)[::-1]] for number in range(200)]
    assert threading.active_count() == threads


def test_errors_are_those_of_request(client: Client) -> None:
    async def ask() -> None:
        with pytest.raises(Refused, match="nothing of it"):
            await client.arequest("obedient", [b"refuse", b"nothing of it"])
        with pytest.raises(RequestTimeout):
            await client.arequest("nobody", [b"x"], timeout_s=0.05, tries=1)
        with pytest.raises(TypeError, match="bytes"):
            await client.arequest("obedient", b"x")  # type: ignore[arg-type]

    asyncio.run(ask())


def test_a_task_that_is_cancelled_cancels_its_request_at_the_broker(
    client: Client, tmp_path: Path
) -> None:
    earlier = counters(client)["cancelled"]
    wait = [b"wait_for", b"x", os.fsencode(tmp_path / "note"), os.fsencode(tmp_path / "never")]

    async def ask() -> None:
        task = asyncio.create_task(client.arequest("obedient", wait))
        while not (tmp_path / "note").is_symlink():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):  # as `asyncio.timeout` does
            await asyncio.wait_for(client.arequest("nobody", [b"x"]), 0.1)

    asyncio.run(ask())
    until(lambda: counters(client)["cancelled"] == earlier + 2, "both are cancelled")
    assert held(client, "nobody") == 0
    (tmp_path / "never").touch()  # it may end


def test_several_event_loops_use_one_client(client: Client) -> None:
    answers: list[list[bytes]] = []

    def run(number: int) -> None:
        async def ask() -> None:
            for _ in range(10):
                answers.append(await client.arequest("obedient", [b"reverse", b"%da" % number]))

        asyncio.run(ask())

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted([[b"a%d" % number] for number in range(3)] * 10)


def test_an_answer_after_the_end_of_its_event_loop_harms_nobody(client: Client) -> None:
    async def leave() -> None:
        client.submit("obedient", [b"reverse", b"x"])
        asyncio.ensure_future(client.arequest("obedient", [b"reverse", b"late"]))  # noqa: RUF006
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]


def test_parts_arrive_in_order_while_the_event_loop_runs_on(client: Client) -> None:
    count = 5 * MAX_PARTS  # more than may wait, so that the lane is paused and resumed

    async def ask() -> list[list[bytes]]:
        parts = []
        async for part in client.astream("obedient", [b"stream", b"%d" % count]):
            parts.append(part)
            await asyncio.sleep(0.001)
        return parts

    assert asyncio.run(ask()) == [[b"part", b"%d" % number] for number in range(count)]


def test_a_stream_that_is_left_is_cancelled_and_one_that_fails_raises(
    client: Client, tmp_path: Path
) -> None:
    earlier = counters(client)["cancelled"]

    async def ask() -> None:
        async for part in client.astream(
            "obedient", [b"stream_until", os.fsencode(tmp_path / "never")]
        ):
            assert part == [b"first"]
            break
        with pytest.raises(Refused):
            await anext(client.astream("obedient", [b"refuse", b"no"]))

    asyncio.run(ask())
    until(lambda: counters(client)["cancelled"] == earlier + 1, "the stream is cancelled")
    (tmp_path / "never").touch()


def test_a_cell_of_a_notebook_may_await_an_answer(served: str) -> None:
    """`python -m asyncio` runs a loop and takes `await` at the top level, as a notebook does."""
    lines = f"""
from mdp import Client
client = Client({served!r})
print(await client.arequest("obedient", [b"reverse", b"abc"]))
async for part in client.astream("obedient", [b"stream", b"2"]): print(part)

client.close()
"""

    done = subprocess.run(
        [sys.executable, "-m", "asyncio"], input=lines, capture_output=True, text=True, timeout=60
    )
    answers = [line for line in re.split(r"(?:>>>|\.\.\.|\n) ?", done.stdout) if "[" in line]
    assert answers == ["[b'cba']", "[b'part', b'0']", "[b'part', b'1']"], done.stderr


# Other processes.


def ask_once(client: Client, text: bytes) -> tuple[int, list[bytes]]:
    return os.getpid(), client.request("obedient", [b"reverse", text])


@pytest.mark.parametrize("copied", [lambda c: pickle.loads(pickle.dumps(c)), copy.copy])
def test_a_copy_is_a_new_client_of_the_same_broker(client: Client, copied: object) -> None:
    with copied(client) as other:  # type: ignore[operator]
        assert other is not client
        assert (other.broker, other.settings) == (client.broker, client.settings)
        assert other._loop is not client._loop
        assert other.request("obedient", [b"reverse", b"ab"]) == [b"ba"]


def test_a_pickled_client_holds_the_path_of_its_contact_file_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = "s" * 40
    Path("broker.json").write_text(secret)
    with Client("@broker.json") as client:
        packed = pickle.dumps(client)
        assert os.fsencode(f"@{tmp_path}/broker.json") in packed
        assert secret.encode() not in packed
        monkeypatch.chdir("/")
        with pickle.loads(packed) as other:
            assert other.broker == f"@{tmp_path}/broker.json"


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_of_a_pool_get_clients_of_their_own(client: Client, method: str) -> None:
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        answers = pool.starmap(ask_once, [(client, b"a%d" % number) for number in range(8)])
    assert [answer for _, answer in answers] == [[b"%da" % number] for number in range(8)]
    assert os.getpid() not in {pid for pid, _ in answers}
    assert client.request("obedient", [b"reverse", b"ab"]) == [b"ba"]


FORKED = """
import os, sys, threading
from mdp import Client, ClientClosed
client, closed = Client(sys.argv[1]), Client(sys.argv[1])
large = bytes(range(256)) * 1000
assert client.request("obedient", [b"reverse", large], timeout_s=20) == [large[::-1]]
closed.close()
future = client.submit("nobody", [b"x"])
child = os.fork()
if child == 0:
    future.cancel()  # the parent's
    answers = []
    def ask(number):
        answers.extend(client.request("obedient", [b"reverse", b"%d0" % number], timeout_s=20))
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert sorted(answers) == [b"00", b"01", b"02", b"03"], answers
    assert client.request("obedient", [b"reverse", large], timeout_s=20) == [large[::-1]]
    assert list(client.stream("obedient", [b"stream", b"1"])) == [[b"part", b"0"]]
    try:
        closed.request("obedient", [b"x"])
    except ClientClosed as error:
        assert "another process" in str(error), error
    else:
        raise SystemExit("no error")
    client.close()
    del client, closed, future
    sys.exit(7)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
assert not future.done()
assert client.request("obedient", [b"reverse", b"xy"], timeout_s=20) == [b"yx"]
future.cancel()
client.close()
"""


def test_after_a_fork_the_child_opens_a_connection_and_the_parents_goes_on(
    processes: Processes, served: str
) -> None:
    process = processes.python("-c", FORKED, served)
    assert process.exit_code(within_s=60.0) == 0, process.stderr


def test_a_forked_copy_that_is_only_closed_leaves_the_parents_connection(client: Client) -> None:
    child = os.fork()
    if child == 0:
        client.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert client.request("obedient", [b"reverse", b"ab"]) == [b"ba"]


def test_a_client_that_was_closed_stays_closed_in_an_event_loop(client: Client) -> None:
    client.close()
    with pytest.raises(ClientClosed):
        asyncio.run(client.arequest("obedient", [b"reverse", b"ab"]))

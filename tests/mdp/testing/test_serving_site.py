"""A site of real processes: what it serves, the faults it takes, and that it leaves nothing."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdp import (
    ArrayClient,
    BrokerSettings,
    Heartbeats,
    Refused,
    RequestTimeout,
    ServiceError,
    SettingsError,
    WireError,
)
from mdp.arrays.array_frames import pack_array, unpack_array
from mdp.testing import LocalFailed, ServingSite, WorkerProcess, serving
from tests.support.array_services import Slow, Smooth, Text, Unready
from tests.support.processes import QUICK_CLIENT, Process, Processes, until

pytestmark = pytest.mark.slow
LIMITED = BrokerSettings(heartbeats=Heartbeats(0.2, 5), time_limits_s={"slow": 1.5})


@pytest.fixture(scope="module")
def site() -> Iterator[ServingSite]:
    """A site that each test leaves as it was."""
    with serving(
        {"smooth": Smooth, "slow": Slow, "text": Text}, workers=2, settings=LIMITED
    ) as site:
        yield site


@pytest.fixture
def client(site: ServingSite) -> Iterator[ArrayClient]:
    with ArrayClient(site.broker, QUICK_CLIENT) as client:
        yield client


def image(seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(40, 30)).astype(np.float32)


def means(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same by loops."""
    rows, cols = image.shape
    near = [-1, 0, 1]
    return np.array(
        [
            [
                np.mean(
                    [
                        image[np.clip(row + i, 0, rows - 1), np.clip(col + k, 0, cols - 1)]
                        for i in near
                        for k in near
                    ]
                )
                for col in range(cols)
            ]
            for row in range(rows)
        ]
    )


# What is served.


def test_an_array_goes_to_a_worker_and_one_comes_back(client: ArrayClient) -> None:
    answer = client.request("smooth", image())
    np.testing.assert_allclose(answer, means(image()), rtol=0, atol=1e-6)
    assert answer.dtype == np.float32
    answer += 1  # it can be written


def test_several_arrays_are_in_flight_and_come_back_in_order(client: ArrayClient) -> None:
    images = [image(seed) for seed in range(12)]
    for sent, got in zip(images, client.map("smooth", iter(images), window=4), strict=True):
        np.testing.assert_allclose(got, Smooth().handle(sent))

    async def ask() -> list[Any]:
        return list(await asyncio.gather(*(client.arequest("smooth", one) for one in images)))

    for sent, got in zip(images, asyncio.run(ask()), strict=True):
        np.testing.assert_allclose(got, Smooth().handle(sent))


@pytest.mark.parametrize(
    ("array", "kind", "words"),
    [
        (np.zeros((2, 2)), Refused, r"want an array of float32, got float64 \(2, 2\)"),
        (np.full((2, 2), np.nan, np.float32), Refused, "want an image with numbers"),
        (np.full((2, 2), -1, np.float32), ServiceError, r"ArithmeticError: .*array_services.py:\d"),
    ],
)
def test_what_a_worker_does_not_accept_is_an_error_that_says_why(
    client: ArrayClient, array: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        client.request("smooth", array)


def test_frames_that_hold_no_array_are_refused_by_either_end(client: ArrayClient) -> None:
    with pytest.raises(Refused, match="want one frame with an array"):
        client.client.request("smooth", [b"one", b"two"])
    with pytest.raises(WireError, match="text: want an array"):
        client.request("text", image())
    with pytest.raises(TypeError, match="want a NumPy array, got list"):
        client.request("smooth", [1.0])  # type: ignore[arg-type]


def test_a_client_of_arrays_can_be_pickled(client: ArrayClient) -> None:
    with pickle.loads(pickle.dumps(client)) as other:
        assert other.client is not client.client
        np.testing.assert_allclose(
            other.request("smooth", image()), client.request("smooth", image())
        )


# Faults.


class Held:
    """A request of which one worker leaves a note when it has it, and waits."""

    def __init__(self, client: ArrayClient, note: Path, **limits: Any) -> None:
        self._waits = Path(f"{note}.wait")
        self._waits.touch()
        frame = pack_array(np.array(str(note)))
        self._future: Future[list[bytes]] = client.client.submit("slow", [frame], **limits)
        until(note.is_symlink, "a worker has the request")
        self.first = int(os.readlink(note))

    def answer(self) -> int:
        """Let a worker go on that still waits; the process id of the one that has answered."""
        self._waits.unlink()
        return int(unpack_array(self._future.result(timeout=60)))

    def answered_by_another(self) -> bool:
        return int(unpack_array(self._future.result(timeout=60))) != self.first


@pytest.fixture
def held(client: ArrayClient, tmp_path: Path) -> Held:
    return Held(client, tmp_path / "note")


def holder(site: ServingSite, held: Held) -> WorkerProcess:
    [worker] = [one for one in site.workers("slow") if one.pid == held.first]
    return worker


def test_the_request_of_a_worker_that_is_killed_goes_to_the_other(
    site: ServingSite, held: Held
) -> None:
    worker = holder(site, held)
    worker.kill()
    assert held.answered_by_another()
    until(lambda: not _lives(held.first), "its child is gone")
    for fault in (worker.hang, worker.crash, worker.kill):
        with pytest.raises(LocalFailed, match=r"slow#\d alive"):
            fault()
    worker.come_back()
    assert worker.pid not in (None, held.first)


def test_the_request_of_a_process_that_crashes_goes_to_the_other(
    site: ServingSite, held: Held
) -> None:
    worker = holder(site, held)
    worker.crash()
    assert held.answered_by_another()
    worker.come_back()
    assert worker.pid not in (None, held.first)
    assert "it is started again" in worker.log


def test_the_request_of_a_worker_that_hangs_goes_to_the_other_at_the_time_limit(
    site: ServingSite, held: Held
) -> None:
    worker = holder(site, held)
    worker.hang()
    assert held.answered_by_another()
    worker.come_back()


def test_a_worker_that_hangs_goes_on_when_it_comes_back(site: ServingSite, held: Held) -> None:
    worker = holder(site, held)
    worker.hang()
    worker.come_back()
    assert held.answer() == held.first


def test_the_request_of_a_worker_that_is_cut_off_goes_to_the_other(
    site: ServingSite, held: Held
) -> None:
    worker = holder(site, held)
    worker.cut()
    assert held.answered_by_another()
    worker.come_back()
    assert worker.pid is not None


def test_a_broker_that_is_killed_comes_back_and_the_request_is_answered(
    site: ServingSite, held: Held
) -> None:
    site.broker_process.kill()
    site.broker_process.come_back()
    assert held.answer() > 0
    for service in ("smooth", "slow", "text"):
        for worker in site.workers(service):
            worker.come_back()


def test_a_broker_that_hangs_answers_nobody_until_it_comes_back(
    site: ServingSite, client: ArrayClient
) -> None:
    site.broker_process.hang()
    with pytest.raises(RequestTimeout):
        client.request("smooth", image(), timeout_s=0.3, tries=1)
    site.broker_process.come_back()
    assert client.request("smooth", image()).shape == (40, 30)
    assert "serving at ipc://" in site.broker_process.log
    for worker in site.workers("smooth"):
        worker.come_back()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# What is refused at the start.


def test_a_setup_that_fails_is_one_error_with_its_reason() -> None:
    with (
        pytest.raises(LocalFailed, match=r"unready#1 ended: .*OSError: there are no weights"),
        serving({"unready": Unready}),
    ):
        pass


def test_a_class_that_no_other_process_can_import_is_refused() -> None:
    class Here(Smooth):
        pass

    for factory in (Here, functools.partial(Here), lambda: Smooth()):
        with pytest.raises(SettingsError, match="top level of a module"), serving({"x": factory}):
            pass
    with pytest.raises(SettingsError, match="at least 1"), serving({"x": Smooth}, workers=0):
        pass


def test_a_service_that_is_not_there_is_named(site: ServingSite) -> None:
    with pytest.raises(SettingsError, match=r"\['slow', 'smooth', 'text'\], got 'smoth'"):
        site.workers("smoth")


# Nothing is left.

PROGRAM = """
import sys, time
from pathlib import Path
from mdp import Client
from mdp.testing import serving
from tests.support.array_services import Slow

def main():
    with serving({"slow": Slow}) as site, Client(site.broker) as client:
        site.workers("slow")[0].hang()
        print(Path(site.broker[6:]).parent, file=sys.stderr, flush=True)
        how = sys.argv[1]
        if how == "error":
            raise LookupError("of the test")
        time.sleep(300)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("how", "code"),
    [("error", 1), (signal.SIGINT, -signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_an_end_of_any_kind_leaves_no_process_and_no_folder(
    processes: Processes, how: str | signal.Signals, code: int
) -> None:
    process = start(processes, PROGRAM, str(how))
    process.wait_until_it_says("mdp-test-")
    [folder] = [line for line in process.stderr.splitlines() if "mdp-test-" in line]
    if isinstance(how, signal.Signals):
        assert len(process.alive()) >= 4  # itself, the broker, a host and its child
        process.send(how)
    assert process.exit_code() == code, process.stderr
    process.wait_until_nothing_is_left()
    if how != signal.SIGKILL:
        assert not Path(folder).exists()


def test_a_script_without_a_main_block_says_what_it_lacks(processes: Processes) -> None:
    process = start(processes, PROGRAM.partition("if __name__")[0] + "main()\n", "error")
    assert process.exit_code() == 1
    assert process.stderr.splitlines()[-1].endswith("its error is on stderr")
    assert 'start it below `if __name__ == "__main__":`' in process.stderr
    process.wait_until_nothing_is_left()


def start(processes: Processes, program: str, how: str) -> Process:
    script = processes.folder / "script.py"
    script.write_text(program)
    return processes.python(str(script), how)

"""What is larger than the broker takes is refused at once, with its size, the limit, the option."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from mdp import Client, TooLarge
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, wait_for_workers

LIMIT = 1_000_000


@pytest.fixture
def served(processes: Processes, endpoint: str) -> str:
    processes.broker(endpoint, "--max-queue-bytes", str(LIMIT), *QUICK)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    processes.worker(endpoint, "obedient", "tests.faults.handlers:Obedient", "-n", "2", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
        wait_for_workers(client, "obedient", 2)
    return endpoint


def numbers(text: str) -> list[int]:
    """The numbers in a text, whatever separates their digits."""
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", text)]


@pytest.mark.parametrize("sizes", [[600_000, 600_000], [1_500_000]], ids=["frames", "one frame"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_above_the_limit_is_refused_at_once(
    served: str, sizes: list[int], is_first: bool
) -> None:
    with Client(served, QUICK_CLIENT) as client:
        if not is_first:
            client.request("echo", [b"x"])
        began_at = time.monotonic()
        with pytest.raises(TooLarge) as refused:
            client.request("echo", [bytes(size) for size in sizes])
        assert time.monotonic() - began_at < 20  # of the 60 s of a try
        assert {sum(sizes), LIMIT} <= set(numbers(str(refused.value)))
        assert "--max-queue-bytes" in str(refused.value)
        assert client.request("echo", [b"afterwards"]) == [b"afterwards"]


def test_an_answer_above_the_limit_is_computed_once_and_refused(
    served: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    size = 1_500_000
    with Client(served, QUICK_CLIENT) as client:
        with pytest.raises(TooLarge) as refused:
            client.request("obedient", [b"make", b"%d" % size, bytes(log)])
        assert {size, LIMIT} <= set(numbers(str(refused.value)))
        assert "--max-queue-bytes" in str(refused.value)
        assert len(log.read_text().splitlines()) == 1
        assert client.request("obedient", [b"make", b"7", bytes(log)]) == [bytes(7)]
        assert client.services()["obedient"]["workers"] == 2

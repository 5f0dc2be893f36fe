"""One broker of ours, with a worker of each dialect and a client of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mdp import Client
from tests.interop.peers import CLIENTS, DIALECTS, Ask, start_worker
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, free_port, wait_for_workers


@pytest.fixture(params=CLIENTS)
def ask(request: pytest.FixtureRequest) -> Ask:
    return CLIENTS[request.param]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with a worker of each dialect; the service is named like that."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("interop")) as processes:
        processes.broker(endpoint, *QUICK)
        for dialect in DIALECTS:
            start_worker(processes, endpoint, dialect, dialect)
        with Client(endpoint, QUICK_CLIENT) as client:
            for dialect in DIALECTS:
                wait_for_workers(client, dialect, 1)
        yield endpoint

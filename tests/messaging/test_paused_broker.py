"""A broker that was stopped for a while: what came meanwhile is still in the kernel."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

from mdp import Client
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, free_port, wait_for_workers

_STOP_S = 2.0  # longer than all silences and leases


def test_it_gives_up_no_client_and_no_request_that_lives(processes: Processes) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    broker = processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(endpoint, QUICK_CLIENT)) for _ in range(4)]
        wait_for_workers(clients[0], "echo", 1)
        waiting = [
            client.submit("later", [b"%d" % number]) for number, client in enumerate(clients)
        ]
        for _ in range(3):
            clients[0].services()
            broker.send(signal.SIGSTOP)
            time.sleep(_STOP_S)
            broker.send(signal.SIGCONT)
            assert clients[1].request("echo", [b"x"]) == [b"x"]
        counters = clients[0].management("broker")["counters"]
        assert counters["clients_lost"] == 0
        processes.worker(endpoint, "later", "mdp.echo:Echo", *QUICK)
        assert [future.result(30) for future in waiting] == [[b"0"], [b"1"], [b"2"], [b"3"]]
    assert "this process was stopped for" in broker.stderr

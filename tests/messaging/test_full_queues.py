"""A connection that ends while the queue of what it sent is full ends no process.

libzmq 4.3.5 aborts the process if a connection with heartbeats (ZMQ_HEARTBEAT_IVL) ends while the
receiver's queue is full: at the next heartbeat (`Assertion failed: !_io_error`).
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from mdp import Client
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, until, wait_for_workers
from tests.support.raw_peer import RawPeer

PEERS, EACH = 40, 3000
STALLED = """
import os, sys, time
from mdp import Client, ClientSettings, Heartbeats

endpoint, began, go_on = sys.argv[1:]
with Client(endpoint, ClientSettings(heartbeats=Heartbeats(0.2, 3))) as client:
    parts = client.stream("parts", [b"stream_bytes", b"3000", b"10000", os.devnull.encode()])
    next(parts)
    open(began, "w").close()
    while not os.path.exists(go_on):
        time.sleep(0.01)
    print(sum(1 for _ in parts))
"""


def test_peers_that_flood_and_go_do_not_end_the_broker(processes: Processes, endpoint: str) -> None:
    broker = processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
        for _ in range(2):
            with ExitStack() as stack:
                peers = [stack.enter_context(RawPeer(endpoint)) for _ in range(PEERS)]
                for peer in peers * EACH:
                    peer.ask(b"mmi.services")
                assert peers[-1].receive(within_s=30.0) is not None
            assert client.request("echo", [b"x"], timeout_s=20.0) == [b"x"]
        flooded_at = time.monotonic()
        until(lambda: time.monotonic() > flooded_at + 3.0, "15 heartbeats have passed")
        assert broker.popen.poll() is None, broker.stderr[-500:]
        assert client.request("echo", [b"x"], timeout_s=20.0) == [b"x"]


def test_a_slow_reader_of_a_stream_survives_the_brokers_end(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "parts", "tests.faults.handlers:Obedient", *QUICK)
    began, go_on = tmp_path / "began", tmp_path / "go on"
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "parts", 1)
        reader = processes.python("-c", STALLED, endpoint, str(began), str(go_on))
        until(began.exists, "the first part is read")
        stalled_at = time.monotonic()
        until(lambda: time.monotonic() > stalled_at + 1.0, "parts wait to be read")
        broker.kill()
        killed_at = time.monotonic()
        until(lambda: time.monotonic() > killed_at + 3.0, "15 heartbeats have passed")
        assert reader.popen.poll() is None, reader.stderr[-500:]
        processes.broker(endpoint, *QUICK)
        go_on.touch()
        assert reader.exit_code(within_s=40.0) == 0, reader.stderr[-500:]

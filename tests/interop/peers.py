"""A client and a worker of each dialect, all called in the same way."""

from __future__ import annotations

from collections.abc import Callable

import majortomo

from mdp import Client
from tests.interop import rfc7
from tests.support.keys import new_context
from tests.support.processes import QUICK, QUICK_CLIENT, Process, Processes

Ask = Callable[[str, bytes, list[bytes]], list[list[bytes]]]
"""Ask the broker at an endpoint a service, and return the parts of the answer."""


def ask_ours(endpoint: str, service: bytes, body: list[bytes]) -> list[list[bytes]]:
    with Client(endpoint, QUICK_CLIENT) as client:
        return list(client.stream(service.decode(), body))


def ask_majortomo(endpoint: str, service: bytes, body: list[bytes]) -> list[list[bytes]]:
    with new_context() as context, majortomo.Client(endpoint, context) as client:
        client.send(service, *body)
        return list(client.recv_all(timeout=20.0))


def ask_rfc7(endpoint: str, service: bytes, body: list[bytes]) -> list[list[bytes]]:
    with rfc7.Client(endpoint) as client:
        return [client.request(service, body)]


CLIENTS: dict[str, Ask] = {
    "our client": ask_ours,
    "majortomo client": ask_majortomo,
    "0.1 client": ask_rfc7,
}


def start_worker(processes: Processes, endpoint: str, dialect: str, service: str) -> Process:
    if dialect == "MDP/0.2":
        return processes.worker(endpoint, service, "tests.interop.ours:Ours", *QUICK)
    module = {"MDP/0.1": "rfc7", "majortomo": "majortomo_worker"}[dialect]
    return processes.python("-m", f"tests.interop.{module}", endpoint, service)


DIALECTS = ("MDP/0.1", "MDP/0.2", "majortomo")

"""Which workers, clients and services the words of an operator name."""

from __future__ import annotations

from typing import Any

import pytest

from mdp.commands.operate import selection
from mdp.commands.operate.selection import NoSuchPeer


def worker(address: str, host: str = "", pid: int = 0, job: str = "") -> dict[str, Any]:
    facts: dict[str, Any] = {"host": host, "pid": pid} if host else {}
    facts |= {"job": job} if job else {}
    return {
        "service": "plane2",
        "address": address,
        "busy_s": None,
        "retired": False,
        "facts": facts,
    }


def client(name: str, where: str, key: str = "") -> dict[str, Any]:
    return {"client": name, "where": where, "key": key}


WORKERS = [
    worker("60c5590f72eef292", "n7", 812, "8812_3"),
    worker("60c5aa0f72eef293", "n7", 812, "8812_3"),
    worker("71c5590f72eef294", "n7", 911, "8813"),
    worker("82c5590f72eef295", "n8", 812, "88"),
    worker("(given by the broker)"),
]
CLIENTS = [
    client("aa00590f72eef292", "n1:17 bob", "bob"),
    client("ab00590f72eef292", "n1:18 bob", "bob"),
    client("ac00590f72eef292", "n2:17 ann", "ann"),
]


@pytest.mark.parametrize(
    ("word", "numbers"),
    [
        ("60c5590f72eef292", [0]),
        ("60c55", [0]),
        ("60c5", [0, 1]),
        ("n7:812", [0, 1]),
        ("n8:*", [3]),
        ("n7:9??", [2]),
    ],
)
def test_a_word_names_a_worker_or_the_workers_of_a_process(word: str, numbers: list[int]) -> None:
    assert selection.workers_named(word, WORKERS) == [WORKERS[number] for number in numbers]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("n7:*", "names 3 workers"),
        ("*", "names 5 workers"),
        ("60c", "no worker"),
        ("n7:813", "near it: n7:812"),
        ("", "no worker"),
    ],
)
def test_a_word_that_names_none_or_several_is_refused(word: str, said: str) -> None:
    with pytest.raises(NoSuchPeer, match=said.replace("*", r"\*")):
        selection.workers_named(word, WORKERS)


def test_hosts_and_jobs_are_named_in_full() -> None:
    assert selection.workers_of_host("n7", WORKERS) == WORKERS[:3]
    assert selection.workers_of_job("8812", WORKERS) == WORKERS[:2], "the tasks of an array"
    assert selection.workers_of_job("8812_3", WORKERS) == WORKERS[:2]
    assert selection.workers_of_job("88", WORKERS) == WORKERS[3:4], "not 8812"
    with pytest.raises(NoSuchPeer, match="near it: n7"):
        selection.workers_of_host("n77", WORKERS)
    with pytest.raises(NoSuchPeer, match="near it: 8813"):
        selection.workers_of_job("8814", WORKERS)


@pytest.mark.parametrize(
    ("word", "number"), [("ab00", 1), ("n1:18", 1), ("ann", 2), ("n1:17 bob", 0), ("n2:*", 2)]
)
def test_a_word_names_a_client(word: str, number: int) -> None:
    assert selection.client_named(word, CLIENTS) == CLIENTS[number]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("bob", "names 2 clients"),
        ("n1:*", "names 2 clients"),
        ("n1:19", "near it: n1:1"),
        ("a", "no client"),
    ],
)
def test_a_client_that_is_not_unique_is_refused(word: str, said: str) -> None:
    with pytest.raises(NoSuchPeer, match=said.replace("*", r"\*")):
        selection.client_named(word, CLIENTS)


def test_a_service_is_named_in_full_and_its_neighbours_are_listed() -> None:
    assert selection.service_named("echo", ["echo", "plane2"]) == "echo"
    with pytest.raises(NoSuchPeer, match="near it: plane2"):
        selection.service_named("plane1", ["echo", "plane2"])
    with pytest.raises(NoSuchPeer, match="none at all"):
        selection.service_named("plane1", [])

"""The queue of a service: whose turn it is, and that no step looks at all that is queued."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from mdp.broker.fair_queue import INTERACTIVE_IN_A_ROW, FairQueue


@dataclass(frozen=True)
class Client:
    """A client, by name."""

    name: str
    interactive: bool = False


A, B, C = Client("a"), Client("b"), Client("c")
HURRIED = Client("hurried", interactive=True)


def filled(*entries: tuple[Client, str]) -> FairQueue[Client, str]:
    queue: FairQueue[Client, str] = FairQueue()
    for client, request in entries:
        queue.append(client, request)
    return queue


def served(queue: FairQueue[Client, str]) -> list[str]:
    return [queue.pop() for _ in range(queue.length)]


def test_the_requests_of_one_client_are_served_in_order() -> None:
    assert served(filled(*[(A, str(number)) for number in range(5)])) == list("01234")


def test_clients_are_served_in_turn() -> None:
    queue = filled((A, "a1"), (A, "a2"), (A, "a3"), (B, "b1"), (C, "c1"), (B, "b2"))
    assert served(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_new_client_waits_for_at_most_one_request_of_each_other_client() -> None:
    queue = filled(*[(A, f"a{number}") for number in range(1000)], (B, "b1"))
    queue.pop()
    queue.append(C, "c1")
    assert [queue.pop() for _ in range(3)] == ["b1", "a1", "c1"]


def test_interactive_clients_are_served_first_but_not_for_ever() -> None:
    queue = filled(*[(A, f"a{number}") for number in range(2)])
    for number in range(2 * INTERACTIVE_IN_A_ROW):
        queue.append(HURRIED, f"h{number}")
    order = [request[0] for request in served(queue)]
    assert order == [*"h" * INTERACTIVE_IN_A_ROW, "a", *"h" * INTERACTIVE_IN_A_ROW, "a"]


def test_interactive_requests_that_nobody_waits_for_are_not_counted() -> None:
    queue = filled(*[(HURRIED, f"h{number}") for number in range(INTERACTIVE_IN_A_ROW)])
    served(queue)
    queue.append(A, "a")
    queue.append(HURRIED, "h")
    assert served(queue) == ["h", "a"]


def test_a_request_that_is_put_back_is_the_next_one() -> None:
    queue = filled((A, "a1"), (A, "a2"), (B, "b1"))
    lost = queue.pop()
    queue.put_back(A, lost)
    assert served(queue) == ["a1", "b1", "a2"]


def test_a_client_without_other_requests_gets_the_one_that_was_put_back_first() -> None:
    queue = filled((A, "a1"), (B, "b1"))
    queue.put_back(A, queue.pop())
    assert served(queue) == ["a1", "b1"]


def test_a_removed_request_is_not_served_and_its_client_loses_no_turn() -> None:
    queue = filled((A, "a1"), (A, "a2"), (B, "b1"))
    queue.remove(A, "a1")
    assert queue.length == 2
    assert served(queue) == ["a2", "b1"]


def test_a_client_whose_requests_are_all_removed_has_no_turn() -> None:
    queue = filled((A, "a1"), (B, "b1"))
    queue.remove(A, "a1")
    assert queue.queued_by(A) == 0
    assert list(queue.heads()) == ["b1"]


def test_an_empty_queue_has_no_next_request() -> None:
    with pytest.raises(KeyError):
        filled().pop()


def test_the_heads_are_the_oldest_requests_of_each_client() -> None:
    queue = filled((A, "a1"), (A, "a2"), (HURRIED, "h1"), (B, "b1"))
    assert sorted(queue.heads()) == ["a1", "b1", "h1"]


def test_whatever_happens_all_requests_are_served_once_and_nobody_waits_for_two_rounds() -> None:
    dice = random.Random(1)
    clients = [A, B, C, Client("d"), HURRIED]
    queue: FairQueue[Client, str] = FairQueue()
    queued: dict[str, Client] = {}
    waits: Counter[Client] = Counter()
    gone: set[str] = set()
    for number in range(4_000):
        act = dice.random()
        if act < 0.5:
            client, request = dice.choice(clients), f"{number}"
            queue.append(client, request)
            queued[request] = client
        elif act < 0.6 and queued:
            request = dice.choice(list(queued))
            queue.remove(queued.pop(request), request)
            gone.add(request)
        elif queued:
            request = queue.pop()
            assert request not in gone
            client = queued.pop(request)
            gone.add(request)
            waits[client] = 0
            for other in set(queued.values()) - {client}:
                waits[other] += 1
                limit = 1 if other.interactive else len(clients) * (INTERACTIVE_IN_A_ROW + 1)
                assert waits[other] <= limit
        assert queue.length == len(queued)
        for client in clients:
            assert queue.queued_by(client) == list(queued.values()).count(client)
            if client not in queued.values():
                waits[client] = 0

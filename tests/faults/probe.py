"""Asks every plane a small question, all the time: it sees when answers come, and that they do."""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from mdp import Client, MDPError
from services.planes import DESCRIBE, service_name
from tests.faults.plan import PLANES

_REST_S = 0.05


@dataclass(frozen=True)
class Heard:
    """An answer."""

    plane: int
    asked_at: float
    at: float


class Probe:
    """One question at a time to each plane."""

    def __init__(self, client: Client) -> None:
        self.asked = 0
        self.answered = 0
        self.complaints: list[str] = []
        self._client = client
        self._heard: deque[tuple[Heard, Future[list[bytes]]]] = deque()
        self.resting = False
        """It asks nothing more."""
        self._next_at: dict[int, float] = dict.fromkeys(PLANES, 0.0)
        self._answers: dict[int, list[bytes]] = {}

    def look(self, now: float) -> list[Heard]:
        """Ask whom it is time to ask; gives the answers since the last look."""
        heard = []
        while self._heard:
            item, future = self._heard.popleft()
            self._next_at[item.plane] = now + _REST_S
            if self._is_right(item.plane, future):
                heard.append(item)
        for plane in PLANES:
            if now >= self._next_at[plane] and not self.resting:
                self._ask(plane)
        return heard

    @property
    def open(self) -> int:
        """Questions without an answer, right or wrong."""
        return self.asked - self.answered - len(self.complaints)

    def _ask(self, plane: int) -> None:
        self._next_at[plane] = math.inf
        self.asked += 1
        asked_at = time.monotonic()
        future = self._client.submit(service_name(plane), [DESCRIBE])
        future.add_done_callback(
            lambda done: self._heard.append((Heard(plane, asked_at, time.monotonic()), done))
        )

    def _is_right(self, plane: int, future: Future[list[bytes]]) -> bool:
        try:
            answer = future.result()
        except MDPError as error:
            self.complaints.append(f"a question to plane {plane} failed: {error}")
            return False
        if answer != self._answers.setdefault(plane, answer):
            self.complaints.append(f"plane {plane} answered otherwise than before")
            return False
        self.answered += 1
        return True

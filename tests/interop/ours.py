"""Our worker, for `mdp worker`: it answers what the others answer."""

from __future__ import annotations

from collections.abc import Iterator

from mdp import Refused, Worker
from mdp.worker.worker import Body
from tests.interop.answers import parts_of


class Ours(Worker):
    def handle(self, frames: list[bytes]) -> Body | Iterator[Body]:
        if frames[0] == b"refuse":
            raise Refused("want another input")
        return parts_of(frames)

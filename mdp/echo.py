"""The echo worker: a template to copy, and a load to measure a broker with."""

from __future__ import annotations

from .worker.worker import Body, Worker


class Echo(Worker):
    """Answers what it was asked."""

    def handle(self, frames: list[bytes]) -> Body:
        return frames

"""The echo worker: a template for your own, and a service for measuring a broker."""

from __future__ import annotations

from .worker.worker import Body, Worker


class Echo(Worker):
    """A worker that answers each request with the request's own frames."""

    def handle(self, frames: list[bytes]) -> Body:
        return frames

"""For how long how many requests were out at once: whether workers had something to do. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .spread import Seconds

_MOST = 4096  # requests of one plane at once; the client has 256 sockets


class Demand:
    """Add requests in about the order in which they were sent; memory does not grow with them."""

    def __init__(self) -> None:
        self.seconds = np.zeros(_MOST + 1)
        """By number of requests out."""
        self._waiting: npt.NDArray[np.float64] = np.empty((0, 2))  # (when, up or down), not counted
        self._out = 0
        self._now_s: float | None = None

    def add(self, sent: Seconds, answered: Seconds) -> None:
        """Of requests, all of them sent later than those of the calls before."""
        if not sent.size:
            return
        ups = np.stack([sent, np.ones_like(sent)], axis=1)
        downs = np.stack([answered, -np.ones_like(sent)], axis=1)
        self._waiting = np.concatenate([self._waiting, ups, downs])
        self._count(until_s=float(sent.max()))

    def close(self) -> None:
        """Count what is left, too: nothing is out any more."""
        self._count(until_s=np.inf)
        self._now_s = None

    def _count(self, *, until_s: float) -> None:
        # at one instant answers go first: nobody waits for more than was ever out at once
        order = np.lexsort((self._waiting[:, 1], self._waiting[:, 0]))
        edges = self._waiting[order]
        ripe = edges[:, 0] <= until_s
        self._waiting, edges = edges[~ripe], edges[ripe]
        if not len(edges):
            return
        start_s = float(edges[0, 0]) if self._now_s is None else self._now_s
        spent = np.diff(np.concatenate([[start_s], edges[:, 0]]))
        out = self._out + np.concatenate([[0], np.cumsum(edges[:, 1])])
        levels = np.clip(out[:-1], 0, _MOST).astype(np.int64)
        self.seconds += np.bincount(levels, weights=spent, minlength=_MOST + 1)
        self._out, self._now_s = int(out[-1]), float(edges[-1, 0])

    def wanting(self, workers: float, *, of_s: float) -> float:
        """The share of so many workers' time in which there was no request for them, 0 to 1.

        `of_s`: for how long they were there; what is not counted here was without requests.
        """
        idle = np.clip(workers - np.arange(_MOST + 1), 0, None)
        idle_s = float((idle * self.seconds).sum())
        idle_s += workers * max(of_s - float(self.seconds.sum()), 0.0)
        return idle_s / (of_s * workers) if of_s else 0.0

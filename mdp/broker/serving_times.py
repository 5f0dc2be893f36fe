"""How long requests wait, and how long workers hold them, in constant memory. Pure."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

_FIRST_S = 1e-3
_PER_OCTAVE = 4  # each bucket is 19 % wider than the one before
_BUCKETS = 28 * _PER_OCTAVE  # the last one: more than three days
_ENDS_S: list[float] = [
    _FIRST_S * 2.0 ** ((bucket + 1) / _PER_OCTAVE) for bucket in range(_BUCKETS)
]
_INNER_ENDS_S = _ENDS_S[:-1]
_HALVE_AT = 10_000
_UPDATE_EVERY = 50
_BOUNDS = 22

BOUNDS_S = tuple(_FIRST_S * 2**octave for octave in range(1, _BOUNDS + 1))
"""Upper bounds of a report's histograms in seconds: 2 ms, 4 ms, and so on up to 70 minutes."""


class WaitingTimes:
    """Counts times in one bucket for each octave, since the start."""

    __slots__ = ("_counts", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (_BOUNDS + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def up_to_bounds(self) -> list[int]:
        """Return how many times were at most each of `BOUNDS_S`, and last how many there were."""
        return list(accumulate(self._counts))


class ServingTimes:
    """Counts times in buckets of a logarithmic scale, since the start.

    In its quantiles the latest 10,000 times weigh most. update_every: after so many times `p99` is
    computed again, and the old times get less weight.
    """

    __slots__ = ("_counts", "_old", "_update_at", "_update_every", "measured", "p99", "sum_s")

    def __init__(self, update_every: int = _UPDATE_EVERY) -> None:
        self._counts = [0] * _BUCKETS
        self._old: list[int] | None = None  # those of them that do not count for quantiles
        self._update_at = self._update_every = update_every
        self.measured = 0
        """The number of times that were added."""
        self.sum_s = 0.0
        self.p99 = 0.0
        """The 99 % quantile in seconds, as of the latest update."""

    def add(self, seconds: float) -> int:
        """Add a time; return its bucket, for `count`."""
        # the broker calls this for each answer, so all that can wait is done in _update
        bucket = bisect_left(_INNER_ENDS_S, seconds)
        self._counts[bucket] += 1
        self.sum_s += seconds
        self.measured += 1
        if self.measured == self._update_at:
            self._update()
        return bucket

    def count(self, bucket: int) -> None:
        """Add a time whose bucket is known; `sum_s` does not have it."""
        self._counts[bucket] += 1
        self.measured += 1
        if self.measured == self._update_at:
            self._update()

    def _update(self) -> None:
        self._update_at += self._update_every
        recent = self._recent()
        if sum(recent) >= _HALVE_AT:
            self._old = [count - new // 2 for count, new in zip(self._counts, recent, strict=True)]
        self.p99 = self.quantile(0.99)

    def _recent(self) -> list[int]:
        if self._old is None:
            return self._counts
        return [count - old for count, old in zip(self._counts, self._old, strict=True)]

    def up_to_bounds(self) -> list[int]:
        """Return how many times were at most each of `BOUNDS_S`, and last how many there were."""
        below = list(accumulate(self._counts))
        return [*below[_PER_OCTAVE - 1 : _PER_OCTAVE * _BOUNDS : _PER_OCTAVE], self.measured]

    def quantile(self, share: float) -> float:
        """Return the time that this share of the requests did not exceed, up to 19 % too long."""
        bucket, _ = self._place(share)
        return _ENDS_S[bucket] if self.measured else 0.0

    def estimate(self, share: float) -> float:
        """Return the quantile as if times were even within a bucket: closer, in either direction.

        It is 0 if no time was added.
        """
        bucket, part = self._place(share)
        start_s = _ENDS_S[bucket - 1] if bucket else 0.0
        return start_s + part * (_ENDS_S[bucket] - start_s)

    def _place(self, share: float) -> tuple[int, float]:
        """Return the quantile's bucket, and which part of the bucket's times lies below it.

        share: above 0.
        """
        recent = self._recent()
        up_to = list(accumulate(recent))
        if not up_to[-1]:
            return 0, 0.0
        rank = share * up_to[-1]
        bucket = bisect_left(up_to, rank)
        below = up_to[bucket - 1] if bucket else 0
        return bucket, (rank - below) / recent[bucket]

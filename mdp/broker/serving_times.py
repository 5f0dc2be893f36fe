"""How long the workers of a service hold a request: quantiles in constant memory. Pure."""

from __future__ import annotations

from math import log2

_FIRST_S = 1e-3  # the first bucket: all times below
_PER_OCTAVE = 4  # each bucket is 19 % wider than the one before
_BUCKETS = 28 * _PER_OCTAVE  # the last one: more than three days
_HALVE_AT = 10_000
_UPDATE_EVERY = 50


class ServingTimes:
    """Counts times in buckets of a logarithmic scale; the latest 10,000 weigh most."""

    __slots__ = ("_counts", "_update_at", "measured", "p99")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._update_at = _UPDATE_EVERY
        self.measured = 0
        """The number of times that were added."""
        self.p99 = 0.0
        """The 99 % quantile in seconds, as of the latest `_UPDATE_EVERY` times."""

    def add(self, seconds: float) -> None:
        # the broker calls this for each answer, so all that can wait is done in _update
        bucket = int(log2(seconds / _FIRST_S) * _PER_OCTAVE) if seconds > _FIRST_S else 0
        self._counts[bucket if bucket < _BUCKETS else -1] += 1
        self.measured += 1
        if self.measured == self._update_at:
            self._update()

    def _update(self) -> None:
        self._update_at += _UPDATE_EVERY
        if sum(self._counts) >= _HALVE_AT:
            self._counts = [count // 2 for count in self._counts]
        self.p99 = self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """Return the time that this share of the requests did not exceed, up to 19 % too long."""
        bucket, _ = self._place(share)
        return _end_s(bucket) if self.measured else 0.0

    def estimate(self, share: float) -> float:
        """Return the quantile as if times were even within a bucket: closer, in either direction.

        It is 0 if no time was added.
        """
        bucket, part = self._place(share)
        start_s = _end_s(bucket - 1) if bucket else 0.0
        return start_s + part * (_end_s(bucket) - start_s)

    def _place(self, share: float) -> tuple[int, float]:
        """Return the quantile's bucket, and which part of the bucket's times lies below it."""
        left = share * sum(self._counts)
        for bucket, count in enumerate(self._counts):
            if count and left <= count:
                return bucket, left / count
            left -= count
        return 0, 0.0


def _end_s(bucket: int) -> float:
    return float(_FIRST_S * 2.0 ** ((bucket + 1) / _PER_OCTAVE))

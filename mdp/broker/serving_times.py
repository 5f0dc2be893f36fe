"""How long the workers of a service hold a request: a quantile in constant memory. Pure."""

from __future__ import annotations

import math

_FIRST_S = 1e-3  # the first bucket: all times below
_PER_OCTAVE = 4  # each bucket is 19 % wider than the one before
_BUCKETS = 28 * _PER_OCTAVE  # the last one: more than three days
_HALVE_AT = 10_000
_UPDATE_EVERY = 50


class ServingTimes:
    """Counts times in buckets of a logarithmic scale; the latest 10,000 weigh most."""

    __slots__ = ("_counts", "_total", "measured", "p99")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0
        self.measured = 0
        """The number of times that were added."""
        self.p99 = 0.0
        """The 99 % quantile in seconds, as of the latest `_UPDATE_EVERY` times."""

    def add(self, seconds: float) -> None:
        octaves = math.log2(seconds / _FIRST_S) if seconds > _FIRST_S else 0.0
        self._counts[min(int(octaves * _PER_OCTAVE), _BUCKETS - 1)] += 1
        self._total += 1
        self.measured += 1
        if self._total >= _HALVE_AT:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)
        if self.measured % _UPDATE_EVERY == 0:
            self.p99 = self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """Return the time that this share of the requests did not exceed, up to 19 % too long."""
        left = share * self._total
        for number, count in enumerate(self._counts):
            left -= count
            if left <= 0 and count:
                return float(_FIRST_S * 2.0 ** ((number + 1) / _PER_OCTAVE))
        return 0.0

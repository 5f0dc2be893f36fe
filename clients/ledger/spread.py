"""Percentiles of millions of durations in a few kilobytes. Pure."""

from __future__ import annotations

import numpy as np

PERCENTILES = (50, 90, 99)
_FIRST_S, _LAST_S = 1e-5, 1e7  # shorter durations count as 0
_STEP = 1.01  # from one bin to the next: percentiles are right within half a percent
_BINS = int(np.log(_LAST_S / _FIRST_S) / np.log(_STEP)) + 2
_BEYOND = 10  # 90 % of 100 events, 99 % of 1000: with fewer, a percentile is one or two odd events
_AT_ONCE = 4096


class Spread:
    """A histogram of durations. `close` it before it is read."""

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.min_s = np.inf
        self.max_s = 0.0
        self._bins = np.zeros(_BINS, np.int64)
        self._added: list[float] = []

    def add(self, seconds: float) -> None:
        self._added.append(seconds)
        if len(self._added) >= _AT_ONCE:
            self.close()

    def close(self) -> None:
        """Count what was added last."""
        seconds = np.array(self._added)
        self._added.clear()
        self.count += seconds.size
        self.total_s += float(seconds.sum())
        self.min_s = float(seconds.min(initial=self.min_s)) if self.count else 0.0
        self.max_s = float(seconds.max(initial=self.max_s))
        steps = np.log(np.maximum(seconds, _FIRST_S / 2) / _FIRST_S) / np.log(_STEP)
        bins = np.clip(np.floor(steps) + 1, 0, _BINS - 1).astype(np.int64)
        self._bins += np.bincount(bins, minlength=_BINS)

    def is_sure(self, percent: float) -> bool:
        """Whether ten durations lie beyond a percentile, so that one odd event does not decide it.

        The median is always taken as sure.
        """
        return percent == 50 or self.count * (100 - percent) >= 100 * _BEYOND

    def percentile(self, percent: float) -> float:
        """The time that `percent` of the durations do not exceed; 0 if there are none."""
        wanted = max(int(np.ceil(self.count * percent / 100)), 1)
        number = int(np.searchsorted(np.cumsum(self._bins), wanted))
        if not self.count or number == 0:
            return 0.0
        middle_s = float(_FIRST_S * _STEP ** (number - 0.5))
        return max(self.min_s, min(middle_s, self.max_s))

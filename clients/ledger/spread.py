"""How times are spread: percentiles of millions of them in a few kilobytes. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]

_FIRST_S, _LAST_S = 1e-5, 1e7
_STEP = 1.01  # a bin's ends: percentiles are right within half a percent
_BEYOND = 10  # 90 % of 100 events, 99 % of 1000: of fewer, a percentile is an odd event or two
_BINS = int(np.log(_LAST_S / _FIRST_S) / np.log(_STEP)) + 2


class Spread:
    """Of durations from 10 us to 100 days; shorter ones count as 0."""

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.max_s = 0.0
        self.min_s = 0.0
        self._bins = np.zeros(_BINS, np.int64)

    def add(self, seconds: Seconds) -> None:
        if not seconds.size:
            return
        least_s = float(seconds.min())
        self.min_s = min(self.min_s, least_s) if self.count else least_s
        self.count += seconds.size
        self.total_s += float(seconds.sum())
        self.max_s = max(self.max_s, float(seconds.max()))
        steps = np.log(np.maximum(seconds, _FIRST_S / 2) / _FIRST_S) / np.log(_STEP)
        bins = np.clip(np.floor(steps) + 1, 0, _BINS - 1).astype(np.int64)
        self._bins += np.bincount(bins, minlength=_BINS)

    def tells(self, percent: float) -> bool:
        """Whether a percentile is more than one odd event: ten are to lie beyond it."""
        return self.count * (100 - percent) >= 100 * _BEYOND

    def percentile(self, percent: float) -> float:
        """The time that so many percent do not exceed; 0 where there are none."""
        wanted = max(int(np.ceil(self.count * percent / 100)), 1)
        bin_ = int(np.searchsorted(np.cumsum(self._bins), wanted))
        if not self.count or bin_ == 0:
            return 0.0
        middle_s = float(_FIRST_S * _STEP ** (bin_ - 0.5))
        return max(self.min_s, min(middle_s, self.max_s))

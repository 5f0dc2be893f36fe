"""What a broker counts, added up over all its lives. Pure.

A broker's counters end with it: what it counted after it was last asked is missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


class Lives:
    """Takes the reports of `mmi.broker`."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter[str]] = {}

    def take(self, report: Mapping[str, Any]) -> bool:
        """True if it is a new broker's."""
        instance = str(report["instance"])
        is_new = instance not in self._counters
        self._counters[instance] = Counter(report["counters"])
        return is_new

    def __len__(self) -> int:
        return len(self._counters)

    @property
    def total(self) -> Counter[str]:
        return sum(self._counters.values(), Counter[str]())

"""Shrink a failing run: the shortest prefix of its faults that fails, then fewer faults."""

from __future__ import annotations

from collections.abc import Sequence

from .faults import Fault
from .run import Outcome, run
from .sizes import SiteSettings

_LINEAR = 16  # prefixes of at most this many faults are tried one by one


def shortest_prefix(outcome: Outcome, settings: SiteSettings) -> Outcome:
    """Return the run with the shortest prefix of the faults that violates an invariant.

    It may be another invariant than in `outcome`. A long plan is halved until it is short; because
    a fault can hide what an earlier one does, the result is then short, and not always the
    shortest.
    """
    best, low = outcome, 0
    while len(best.faults) - low > _LINEAR:
        middle = (low + len(best.faults)) // 2
        shorter = run(outcome.seed, settings, faults=best.faults[:middle])
        if shorter.violation:
            best = shorter
        else:
            low = middle + 1
    for length in range(low, len(best.faults)):
        shorter = run(outcome.seed, settings, faults=best.faults[:length])
        if shorter.violation:
            return shorter
    return best


def without_needless(outcome: Outcome, settings: SiteSettings) -> Outcome:
    """Leave out each fault without which the run still fails."""
    best = outcome
    for fault in outcome.faults:
        rest = _without(best.faults, fault)
        shorter = run(outcome.seed, settings, faults=rest)
        if shorter.violation:
            best = shorter
    return best


def _without(faults: Sequence[Fault], fault: Fault) -> list[Fault]:
    return [other for other in faults if other is not fault]

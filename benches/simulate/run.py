"""One run of a simulated site, from a seed and the first faults of its plan."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from .calls import End, Violation
from .faults import Fault, plan, strike
from .site import Site
from .sizes import SiteSettings
from .timeline import Line

_RESTS_S = (20.0, 80.0)  # after the last call, until nothing may be left anywhere
_HORIZON_S = 4000.0  # simulated


@dataclass
class Outcome:
    """What happened in one run. `violation` is None if everything held."""

    seed: int
    faults: Sequence[Fault]
    violation: str | None = None
    at: float = 0.0
    """Simulated seconds at the end."""
    events: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    """How many calls ended in which way."""
    failures: dict[str, int] = field(default_factory=dict)
    trace: list[Line] = field(default_factory=list)


def run(
    seed: int,
    settings: SiteSettings,
    *,
    faults: Sequence[Fault] | None = None,
    traced: bool = False,
    progress: Callable[[Site, int], None] | None = None,
) -> Outcome:
    """Simulate a site until all its calls are over, or until an invariant does not hold.

    faults: instead of all those of the seed. progress: called at each complete check.
    """
    if faults is None:
        faults = plan(seed, settings)
    outcome = Outcome(seed, faults)
    site = Site(seed, settings, traced=traced)
    for fault in faults:
        site.timeline.at(fault.at, strike, site, fault)
    try:
        with _logging(site):
            _simulate(site, outcome, progress)
    except Violation as violation:
        outcome.violation = str(violation)
    except Exception as error:  # a core has failed
        outcome.violation = f"{type(error).__name__}: {error}"
        if traced:
            for line in traceback.format_exception(error):
                site.timeline.note("ERROR", line.rstrip())
    outcome.at = site.timeline.now
    outcome.trace = list(site.timeline.trace)
    outcome.ends = {end.name.lower(): site.calls.count(end) for end in End}
    outcome.failures = site.calls.failures
    return outcome


def _simulate(site: Site, outcome: Outcome, progress: Callable[[Site, int], None] | None) -> None:
    step, timeline, every = site.timeline.step, site.timeline, site.settings.check_every
    while not site.is_over():
        for _ in range(every):
            step()
        outcome.events += every
        site.check()
        if progress is not None:
            progress(site, outcome.events)
        if timeline.now > _HORIZON_S:
            raise Violation(f"{site.calls.open} calls are open after {_HORIZON_S:.0f} s")
    _rest(site, outcome)


def _rest(site: Site, outcome: Outcome) -> None:
    """Check that nothing is left in the cores after a while; the longest lease may be awaited."""
    over_at = site.timeline.now
    for rest_s in _RESTS_S:
        while site.timeline.now < over_at + rest_s:
            site.timeline.step()
            outcome.events += 1
        site.check()
        try:
            site.check_empty()
        except Violation:
            if rest_s == _RESTS_S[-1]:
                raise
        else:
            return


class _TraceLog(logging.Handler):
    """Writes what the cores log into the trace."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site

    def emit(self, record: logging.LogRecord) -> None:
        self._site.timeline.note(record.name.removeprefix("mdp."), record.getMessage())


@contextmanager
def _logging(site: Site) -> Iterator[None]:
    """Without a trace nothing is logged, because texts cost time."""
    log = logging.getLogger("mdp")
    if not site.timeline.traced:
        disabled = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
        return
    handler, level, propagates = _TraceLog(site), log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagates

"""The status of a campaign as lines, tables and JSON. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mdp.settings import short_text
from mdp.wire import one_line

from ...terminal.narrow import Rows
from ..records.lease import STALE_S, Driver
from .host_sums import percent
from .observing import Look
from .reasons import without_path
from .standing import STATES, Rate, Running, Standing, WorstFile

TimeText = Callable[[float], str]
_BEAT_S = 15.0  # a driver beats each 2 s
_NOTE_S = 30.0  # a reader writes each 5 s
_MOST_HOSTS = 10
_MOST_READERS = 20


def driver_line(driver: Driver | None, folder: str, *, is_complete: bool, time: TimeText) -> str:
    """Say who drives a campaign, or how to go on with it."""
    again = f"`ssnet campaign start -o {shlex.quote(folder)}` goes on"
    if driver is None:
        return "nobody" if is_complete else f"nobody; {again}"
    who = f"process {driver.pid} on {driver.host} (user {driver.user})"
    if driver.alive:
        if not driver.started_at:
            return who  # its note cannot be read at this moment
        since = f"{who} since {time(driver.started_at)}"
        if driver.age_s <= _BEAT_S:
            return since
        silent = f"{since}, no sign for {short_text(driver.age_s)}"
        gone = f"; if it is gone, {again.removesuffix(' goes on')} takes over"
        return silent if driver.age_s <= STALE_S else f"{silent}{gone}"
    if driver.released:
        ended = f"nobody; {who} ended at {time(driver.beat_at)}"
    else:
        ended = f"nobody; {who} is gone, its last sign came at {time(driver.beat_at)}"
    return ended if is_complete else f"{ended}; {again}"


def lines(look: Look, time: TimeText) -> list[tuple[str, str]]:
    """Return what stands above the tables: pairs of a heading and a text."""
    standing = look.standing
    driver = driver_line(look.driver, look.folder, is_complete=standing.is_complete, time=time)
    pairs = [
        ("campaign", look.folder),
        ("driver", driver),
        ("files", _files(standing)),
        ("events", _events(standing)),
        ("rate", _rates(standing)),
    ]
    if not standing.is_complete:
        pairs.append(("to go", _left(look, time)))
        limit = look.limit
        pairs.append(("limit", f"{limit.text}; {limit.todo}" if limit.todo else limit.text))
    return pairs


def _files(standing: Standing) -> str:
    done, every = standing.of("done").files, standing.of().files
    share = f" ({percent(done / standing.to_score)})" if standing.to_score else ""
    going = len(standing.running)
    counts = {
        "being scored": going,
        "waiting": max(standing.of("waiting").files - going, 0),
        "being moved to their places": standing.of("publishing").files,
        "failed": standing.of("failed").files,
        "changed after they were scored": standing.of("changed").files,
        "wrong in a check": standing.of().wrong,
    }
    parts = [f"{done:,} of {standing.to_score:,} done{share}"]
    parts += [f"{number:,} {what}" for what, number in counts.items() if number]
    if copies := standing.of("repeated").files:
        parts.append(f"{copies:,} of {every:,} inputs are copies of others")
    return ", ".join(parts)


def _events(standing: Standing) -> str:
    every = standing.scored
    if not every.events:
        return "none yet"
    lost = f", {every.failed_events:,} of them failed" if every.failed_events else ""
    share = f" ({percent(every.failed_events / every.events)})" if lost else ""
    return f"{every.events:,} in the outputs{lost}{share}"


def _rates(standing: Standing) -> str:
    texts = []
    recent, whole = standing.recent, standing.whole
    if recent.events_per_s and not standing.is_complete:
        texts.append(f"{rate_text(recent)} over the last {short_text(recent.over_s)}")
    if whole.events_per_s:
        texts.append(f"{rate_text(whole)} over all {short_text(whole.over_s)} of work")
    return "; ".join(texts) or "no event is scored yet"


def rate_text(rate: Rate) -> str:
    """Format a rate: `312 events and 3.1 files a minute`."""
    events, files = 60 * rate.events_per_s, 60 * rate.files_per_s
    return f"{_number(events)} events and {_number(files)} files a minute"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _left(look: Look, time: TimeText) -> str:
    standing = look.standing
    if standing.left_s is None:
        return "not known before the first file is scored"
    if not look.is_driven:
        return f"{short_text(standing.left_s)} of work"
    return f"{short_text(standing.left_s)}, until {time(standing.now + standing.left_s)}"


# Tables.


def tables(look: Look) -> list[Rows]:
    """Return the tables: what each reader does, the worst files, the worst hosts."""
    standing = look.standing
    shown = []
    if standing.running:
        shown.append(_readers(standing))
    if standing.worst_files:
        rows = [[one_line(cell) for cell in _worst(one)] for one in standing.worst_files]
        shown.append(Rows(("worst files", "state", "tries", "host", "reason"), rows, 5, 1))
    if standing.suspects:
        texts = [[one.host or "unknown", one_line(one.why)] for one in standing.suspects]
        shown.append(Rows(("worst hosts", "why"), texts[:_MOST_HOSTS], 2, 1))
    return shown


def _readers(standing: Standing) -> Rows:
    """Return a row for each reader, those first that have been at their file for longest."""
    longest = sorted(standing.running, key=lambda one: one.began_at)[:_MOST_READERS]
    rows = [[one_line(cell) for cell in _reader(one, standing.now)] for one in longest]
    if left := len(standing.running) - len(longest):
        rows.append([f"and {left} more", "", "", "", "", "--json has all"])
    return Rows(("reader", "job", "events", "for", "does", "file"), rows, 6, 1)


def _reader(one: Running, now: float) -> tuple[str, ...]:
    events = f"{one.done} of {one.total}" if one.total else str(one.done or "")
    silent_s = now - one.beat_at
    does = f"no sign for {short_text(silent_s)}" if silent_s > _NOTE_S else one.step
    age = short_text(max(now - one.began_at, 0.0))
    return f"{one.host}:{one.pid}", one.job, events, age, does, one.path


def _worst(one: WorstFile) -> tuple[str, ...]:
    reason = without_path(one.reason, one.path)
    if one.failed_events and not reason:
        share = percent(one.failed_events / one.events) if one.events else "all"
        reason = f"{one.failed_events:,} of {one.events:,} events failed ({share})"
    return one.path, one.state, str(one.tries), one.host, reason


# JSON.


def as_json(look: Look) -> dict[str, Any]:
    """Return everything that the status shows, for JSON; times are Unix times."""
    standing = look.standing
    return {
        "campaign": look.name,
        "folder": look.folder,
        "time": standing.now,
        "created_at": look.created_at,
        "complete": standing.is_complete,
        "driver": _driver_json(look.driver),
        "files": {"all": standing.of().files, **_of_states(standing, "files")},
        "events": _events_json(standing),
        "rate": {"recent": _rate_json(standing.recent), "whole": _rate_json(standing.whole)},
        "left": {"files": standing.left.files, "bytes": standing.left.bytes, "s": standing.left_s},
        "limit": look.limit._asdict(),
        "services": None if look.services is None else [asdict(one) for one in look.services],
        "readers": [asdict(one) for one in standing.running],
        "worst_files": [asdict(one) for one in standing.worst_files],
        "worst_hosts": [asdict(one) for one in standing.suspects],
        "hosts": [{**asdict(one), "share": one.share} for one in standing.hosts],
        "last_end_at": standing.last_end_at,
    }


def _driver_json(driver: Driver | None) -> dict[str, Any] | None:
    return None if driver is None else {**asdict(driver), "age_s": driver.age_s}


def _of_states(standing: Standing, field: str) -> dict[str, int]:
    return {state: getattr(standing.of(state), field) for state in STATES}


def _events_json(standing: Standing) -> dict[str, int]:
    every = standing.scored
    return {"scored": every.events - every.failed_events, "failed": every.failed_events}


def _rate_json(rate: Rate) -> dict[str, float]:
    return rate._asdict()

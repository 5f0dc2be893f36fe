"""The figures of a campaign out of its catalogue, by sums that SQLite makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..records.queries import ReadCatalogue
from .host_sums import HostSums, hosts_of, suspects
from .standing import (
    NO_RATE,
    RECENT_S,
    Rate,
    Running,
    Span,
    Standing,
    Sums,
    WorstFile,
    covered_s,
    left_s,
    rate_of,
)

_WORST = 5
_FILES = """select state, host, count(*), total(bytes), total(entries), total(failed_events),
total(failed_events > 0), total(seconds),
total("check" not in ('', 'ok') and state != 'changed') from files group by state, host"""
_RECENT = """select began_at, ended_at, events, bytes from tries
where outcome = 'done' and ended_at > ?"""
_TIMES = "select began_at, ended_at from tries where began_at > 0"
_TRIES = """select host, outcome, count(*), total(events), total(seconds), total(bytes),
max(ended_at) from tries group by host, outcome"""
_WITH_OUTPUT = ("done", "publishing", "changed")
_FILE = "number, path, state, tries, entries, failed_events, seconds, host, reason"
FAILED_FILES = f"select {_FILE} from files where state = 'failed' order by tries desc, number"
LOSSY_FILES = f"""select {_FILE} from files where state in ('done', 'publishing')
and failed_events > 0 order by 1.0 * failed_events / max(entries, 1) desc, failed_events desc"""
WRONG_FILES = f"""select {_FILE.replace("reason", '"check"')} from files
where "check" not in ('', 'ok') and state != 'changed' order by number"""
CHANGED_FILES = f"select {_FILE} from files where state = 'changed' order by number"


def standing_of(
    catalogue: ReadCatalogue, going: Sequence[Running], *, now: float, is_driven: bool
) -> Standing:
    """Return how far a campaign is.

    is_driven: somebody drives it, so that the recent rate tells when it will end.
    """
    files, tries = catalogue.rows(_FILES), catalogue.rows(_TRIES)
    recent = rate_of(
        (Span(*row) for row in catalogue.rows(_RECENT, now - RECENT_S)),
        going,
        since=now - RECENT_S,
        until=now,
    )
    whole, last_end_at = _whole_rate(catalogue, tries)
    hosts = _hosts(files, tries)
    numbers = {one.number for one in going}
    sizes = _files_of(catalogue, numbers)
    going = [
        replace(one, path=sizes[one.number][0], bytes=sizes[one.number][1])
        for one in going
        if one.number in sizes
    ]
    standing = Standing(
        now=now,
        by_state=_by_state(files),
        running=going,
        recent=recent,
        whole=whole,
        left_s=None,
        last_end_at=last_end_at,
        worst_files=_worst(catalogue),
        suspects=suspects(hosts),
        hosts=hosts,
    )
    return replace(
        standing, left_s=left_s(standing.left, going, recent if is_driven else NO_RATE, whole)
    )


def _by_state(files: Iterable[tuple[Any, ...]]) -> dict[str, Sums]:
    by_state: dict[str, Sums] = {}
    for state, _, number, size, entries, failed, _, seconds, wrong in files:
        sums = by_state.get(state, Sums())
        added = (number, int(size), int(entries), int(failed), seconds, int(wrong))
        by_state[state] = Sums(*(old + new for old, new in zip(sums, added, strict=True)))
    return by_state


def _whole_rate(
    catalogue: ReadCatalogue, tries: Iterable[tuple[Any, ...]]
) -> tuple[Rate, float | None]:
    done = [row for row in tries if row[1] == "done"]
    last_end_at = max((row[6] for row in done), default=None)
    over_s = covered_s(sorted(catalogue.rows(_TIMES)))
    if not over_s:
        return NO_RATE, last_end_at
    files, events, size = (sum(row[k] for row in done) for k in (2, 3, 5))
    return Rate(over_s, files / over_s, events / over_s, size / over_s), last_end_at


def _hosts(files: Iterable[tuple[Any, ...]], tries: Iterable[tuple[Any, ...]]) -> list[HostSums]:
    """Return the hosts of the readers, the worst first."""
    outputs = [
        (host, number, lossy, entries, failed)
        for state, host, number, _, entries, failed, lossy, *_ in files
        if state in _WITH_OUTPUT
    ]
    return hosts_of([row[:5] for row in tries], outputs)


def files_in(catalogue: ReadCatalogue, sql: str, most: int) -> list[WorstFile]:
    """Return the first files of one of the queries above."""
    return [WorstFile(*row) for row in catalogue.rows(f"{sql} limit ?", most)]


def _worst(catalogue: ReadCatalogue) -> list[WorstFile]:
    return [
        *files_in(catalogue, FAILED_FILES, _WORST),
        *files_in(catalogue, WRONG_FILES, _WORST),
        *files_in(catalogue, CHANGED_FILES, _WORST),
        *files_in(catalogue, LOSSY_FILES, _WORST),
    ]


def _files_of(catalogue: ReadCatalogue, numbers: Iterable[int]) -> dict[int, tuple[str, int]]:
    """Return path and size of those of the files that wait."""
    waiting: dict[int, tuple[str, int]] = {}
    for number in numbers:
        rows: list[tuple[Any, ...]] = catalogue.rows(
            "select path, bytes from files where number = ? and state = 'waiting'", number
        )
        waiting.update((number, (path, size)) for path, size in rows)
    return waiting

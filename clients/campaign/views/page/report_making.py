"""Makes the page of a campaign: reads its catalogue once, and draws a few events."""

from __future__ import annotations

import getpass
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lartpc import FileExists
from lartpc.files.whole_file import write_whole
from mdp import __version__

from ...records.lease import driver_of
from ...records.queries import ReadCatalogue
from ...records.reading import reading
from ..catalogue_figures import (
    CHANGED_FILES,
    FAILED_FILES,
    LOSSY_FILES,
    WRONG_FILES,
    files_in,
    standing_of,
)
from ..host_sums import HostSums
from ..reader_notes import notes_of
from ..standing import Standing, WorstFile
from ..standing_tables import driver_line
from .report_contents import Picture, Report
from .report_figures import FailedEvent, Part, ReasonRow, Reasons, Timed, Try, pace, rates
from .report_figures import worker_hosts as by_worker_host
from .report_page import GENERATOR, page

_FILES, _EVENTS, _REASONS, _HOSTS, _SLOW = 100, 100, 30, 100, 30
_EVENTS_OF_FILE = 5
_MERGED = 100
_MOST_EVENTS = 100_000  # failures that are read: a campaign may have millions

_TRIES = """select file, began_at, ended_at, host, outcome, reason, events from tries"""
_TIMED = """select f.number, f.path, t.host, t.events, t.seconds from tries t
join files f on f.number = t.file where t.outcome = 'done' order by t.ended_at"""
_FAILED = "select number, host, reason, path from files where state = 'failed'"
_EVENT_ROWS = """select e.file, f.path, e.entry, e.run, e.subrun, e.event, e.plane, e.code,
e.reason, e.host from events e join files f on f.number = e.file order by e.file, e.entry limit ?"""


def make(folder: Path, *, draws: bool = True) -> str:
    """Return the page as HTML. draws: with event displays. Raises `NoCampaign`."""
    with reading(folder) as catalogue:
        report = _report(catalogue, folder, draws=draws)
    return page(report, time_text)


def write(folder: Path, path: Path, *, draws: bool = True, replaces: bool = False) -> None:
    """Make the page and write it. Only an earlier page is replaced, unless `replaces`.

    Raises `NoCampaign`, `FileExists` and `WriteError`.
    """
    if not replaces and path.exists() and not _is_page(path):
        raise FileExists(f"{path} exists and is no page of a campaign; --force replaces it")
    text = make(folder, draws=draws)
    data = text.encode("utf-8", "backslashreplace")
    write_whole(path, lambda part: part.write_bytes(data))


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


def time_text(unix_s: float) -> str:
    """Format a time: `Sat 28 Nov 2026 15:52`."""
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%a %d %b %Y %H:%M %Z")


def _report(catalogue: ReadCatalogue, folder: Path, *, draws: bool) -> Report:
    now, whole = time.time(), folder.resolve()
    driver = driver_of(folder)
    is_driven = driver is not None and driver.alive
    standing = standing_of(catalogue, notes_of(folder), now=now, is_driven=is_driven)
    tries = [Try(*row) for row in catalogue.rows(_TRIES)]
    failed = {
        number: (host, reason, path) for number, host, reason, path in catalogue.rows(_FAILED)
    }
    events = [FailedEvent(*row) for row in catalogue.rows(_EVENT_ROWS, _MOST_EVENTS)]
    ((failures,),) = catalogue.rows("select count(*) from events")
    shown = _pictures(catalogue, whole) if draws else []
    return Report(
        name=whole.name,
        folder=str(whole),
        made_at=now,
        made_by=_made_by(),
        software=f"ssnetserver {__version__}, Python {platform.python_version()}",
        driven_by=_driven_by(
            driver_line(driver, str(whole), is_complete=standing.is_complete, time=time_text)
        ),
        is_driven=is_driven,
        standing=standing,
        rates=rates(tries),
        pace=pace(_timed(catalogue), most=_SLOW),
        reasons=_reasons_of_files(failed),
        try_reasons=_reasons_of_tries(catalogue, tries, failed),
        event_reasons=_reasons_of_events(events),
        hosts=_hosts(standing),
        worker_hosts=by_worker_host(events, most=_HOSTS),
        failed_files=_part(catalogue, FAILED_FILES),
        lossy_files=_part(catalogue, LOSSY_FILES),
        changed_files=_part(catalogue, CHANGED_FILES),
        wrong_files=_part(catalogue, WRONG_FILES),
        failed_events=_some_events(events, failures),
        pictures=shown,
        settings=settings_rows(catalogue.settings.as_dict()),
        networks=network_rows(catalogue.networks),
        troubles=_troubles(len(events), failures),
        merged=[(one.output, one.bytes, len(one.files)) for one in catalogue.merged()[:_MERGED]],
        began_at=min((one.began_at for one in tries if one.began_at), default=None),
    )


def _pictures(catalogue: ReadCatalogue, folder: Path) -> Sequence[Picture]:
    from .sample_pictures import pictures

    return pictures(catalogue, folder)


def _driven_by(line: str) -> str:
    return (
        f"Driven by {line.removeprefix('by ')}."
        if not line.startswith("nobody")
        else (f"Driven by {line}.".replace("Driven by nobody", "Nobody drives it"))
    )


def _made_by() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user} on {platform.node()}"


def _troubles(read: int, failures: int) -> list[str]:
    if read == failures:
        return []
    return [
        f"Only the first {read:,} of {failures:,} failures of events are counted by reason and by"
        " host."
    ]


def _some_events(events: Sequence[FailedEvent], total: int) -> Part[FailedEvent]:
    """Return the first failed events, but of one file only a few."""
    shown: Counter[int] = Counter()
    rows: list[FailedEvent] = []
    for one in events:
        shown[one.file] += 1
        if shown[one.file] <= _EVENTS_OF_FILE and len(rows) < _EVENTS:
            rows.append(one)
    return Part(rows, total)


def _hosts(standing: Standing) -> Part[HostSums]:
    """Put the hosts that stand out first, then those that fail most."""
    suspects = {one.host for one in standing.suspects}
    rows = sorted(standing.hosts, key=lambda one: one.host not in suspects)
    return Part(rows[:_HOSTS], len(rows))


def _timed(catalogue: ReadCatalogue) -> list[Timed]:
    """Return the last try that scored each file."""
    return list({row[0]: Timed(*row) for row in catalogue.rows(_TIMED)}.values())


def _part(catalogue: ReadCatalogue, sql: str) -> Part[WorstFile]:
    ((total,),) = catalogue.rows(f"select count(*) from ({sql})")
    return Part(files_in(catalogue, sql, _FILES), total)


# Reasons.


def _reasons_of_files(failed: Mapping[int, tuple[str, str, str]]) -> Part[ReasonRow]:
    counted = Reasons()
    for host, reason, path in failed.values():
        counted.add(reason, host=host, path=path)
    return counted.part(_REASONS)


def _reasons_of_tries(
    catalogue: ReadCatalogue, tries: Sequence[Try], failed: Mapping[int, object]
) -> Part[ReasonRow]:
    """Count the tries that failed of files that have not failed in the end."""
    counted = Reasons()
    lost = [one for one in tries if one.outcome != "done" and one.file not in failed]
    paths = dict(catalogue.rows("select number, path from files")) if lost else {}
    for one in lost:
        counted.add(one.reason, host=one.host, path=paths.get(one.file, ""))
    return counted.part(_REASONS)


def _reasons_of_events(events: Sequence[FailedEvent]) -> Part[ReasonRow]:
    counted = Reasons()
    for one in events:
        counted.add(
            one.reason,
            host=one.host,
            path=one.path,
            entry=one.entry,
            plane=one.plane,
            code=one.code,
        )
    return counted.part(_REASONS)


# Settings.


def settings_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return settings as pairs of a name and a text; those of `options` come first."""
    options = values.get("options", {})
    plain = {name: value for name, value in values.items() if name != "options"}
    return [(name, _value(value)) for name, value in (*options.items(), *plain.items())]


def _value(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def network_rows(networks: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each plane: its network, its weights, and what computes."""
    rows = []
    for plane, origin in sorted(networks.items(), key=lambda pair: str(pair[0])):
        values = origin if isinstance(origin, Mapping) else {"origin": origin}
        rows.append({"plane": str(plane), **{name: _short(v) for name, v in values.items()}})
    return rows


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:16]}…" if len(text) == 64 else text

"""The output of the commands: the broker's reports as tables, and frames as text. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

_LEFT = (
    "client",
    "where",
    "key",
    "requests",
    "service",
    "worker",
    "dialect",
    "state",
    "fingerprint",
    "host",
    "job",
    "device",
)
_SHORT = 24  # characters of a fingerprint
_SHOWN_IDS = 3  # of the requests of a client


def size(count: float) -> str:
    """Format a number of bytes: `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Format a duration: `340 ms`, `12.3 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def services(
    report: Mapping[str, Mapping[str, Any]], *, rates: Mapping[str, float] | None = None
) -> Table:
    """Return a table with one row per service. `rates`, in answers/s, adds a column."""
    table = _table("service", "workers", "idle", "busy", "queued", "bytes", "answered", "requeued")
    if rates is not None:
        table.add_column("per s", justify="right")
    pauses = {name: row["paused"] for name, row in report.items() if row.get("paused")}
    if pauses:
        table.add_column("paused", justify="left")
    for name in sorted(report):
        row = report[name]
        workers = str(row["workers"]) if row["workers"] else "[bold red]0[/]"
        queued = f"[yellow]{row['queued']}[/]" if row["queued"] else "0"
        cells: list[str | Text] = [Text(name), workers, str(row["idle"]), str(row["busy"]), queued]
        cells += [size(row["bytes"]), str(row["answered"]), str(row["requeued"])]
        cells += [] if rates is None else [f"{rates.get(name, 0.0):.1f}"]
        if pauses:
            cells.append(Text(paused_text(pauses.get(name)), style="yellow"))
        table.add_row(*cells)
    return table


def paused_text(pause: Mapping[str, Any] | None) -> str:
    """Describe a pause: `by key ann, 3 min 20 s`; empty if the service is not paused."""
    return f"by {pause['by']}, {duration(pause['for_s'])}" if pause else ""


def clients(report: list[Mapping[str, Any]]) -> Table:
    """Return a table with one row per client that waits, the one that has waited longest first."""
    table = _table(
        *("client", "where", "key", "queued", "held", "bytes", "oldest", "progress", "requests")
    )
    for row in sorted(report, key=lambda row: -row["oldest_s"]):
        ids = [request["id"] for request in row["requests"][:_SHOWN_IDS]]
        more = row["queued"] + row["held"] - len(ids)
        requests = " ".join([*ids, f"and {more} more"] if more else ids)
        named = [Text(row[name]) for name in ("client", "where", "key")]
        counts = (str(row["queued"]), str(row["held"]), size(row["bytes"]))
        progress = Text(progress_text(row.get("progress")))
        table.add_row(*named, *counts, duration(row["oldest_s"]), progress, Text(requests))
    return table


def progress_text(progress: Mapping[str, Any] | None) -> str:
    """Describe what a client says about its work: `12 of 100 events`."""
    if not progress:
        return ""
    whole = f" of {progress['of']}" if "of" in progress else ""
    return f"{progress['done']}{whole} {progress.get('what', '')}".rstrip()


def workers(report: list[Mapping[str, Any]]) -> Table:
    """Return a table with one row per worker, sorted by service, the oldest worker first.

    A foreign worker says nothing about its host and its job.
    """
    table = _table(
        *("service", "worker", "dialect", "state", "for", "registered", "heard", "fingerprint"),
        *("host", "pid", "job", "threads", "device", "until"),
    )
    for row in sorted(report, key=lambda row: (row["service"], -row["since_s"])):
        busy = row["busy_s"] is not None
        state = "[green]busy[/]" if busy else "leaving" if row.get("retired") else "idle"
        since = duration(row["busy_s"]) if busy else ""
        age, heard = duration(row["since_s"]), duration(row["heard_s"])
        named = (Text(row["service"]), Text(row["address"]), Text(row["dialect"]))
        short = row.get("fingerprint", "")  # brokers of older versions have none
        short = short if len(short) <= _SHORT else short[: _SHORT - 3] + "..."
        place = [Text(fact) for fact in _place(row.get("facts", {}))]
        table.add_row(*named, state, since, age, heard, Text(short), *place)
    return table


def _place(facts: Mapping[str, Any]) -> list[str]:
    """Return the cells that say where a worker is; empty ones for what it has not said."""
    cells = [str(facts.get(name, "")) for name in ("host", "pid", "job", "threads", "device")]
    return [*cells, _minute(facts["until"]) if "until" in facts else ""]


def _minute(unix_s: float) -> str:
    """Format a time as local ISO 8601, to the minute: `2026-11-28T15:52`."""
    try:
        return datetime.fromtimestamp(unix_s).isoformat(timespec="minutes")
    except (ValueError, OverflowError, OSError):
        return ""  # a worker may have sent any number


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        left = column in _LEFT
        table.add_column(column, justify="left" if left else "right", no_wrap=not left)
    return table


def frame(content: bytes) -> str:
    """Format a frame: printable text as it is, else its length and the start of its SHA-256."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(char.isprintable() or char in "\n\t" for char in text):
        return text
    return f"<{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}>"

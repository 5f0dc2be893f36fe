"""What `mdp top` shows, and what its keys do. Pure, apart from rich's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..tables import duration, size
from .selection import job_of, process_of

SORTS = ("service", "process", "job", "state", "busy", "since", "heard")
KEYS = (
    "s and S change the column that rows are sorted by, r reverses the order, w switches between"
    " workers and services, f shows the next service only, arrows (or j, k), Page Up, Page Down,"
    " Home and End scroll, q ends"
)
_FOOT = "s/S sort  r reverse  w workers/services  f filter  arrows scroll  q end"
_HEAD_ROWS, _MOST_SERVICES, _LEAST_HEIGHT = 2, 6, 8
_SERVICE_SORTS = ("service", "workers", "busy", "queued", "bytes", "answered", "rate", "p95")

Row = Mapping[str, Any]
_ESCAPES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
    b"\x1bOH": "home",
    b"\x1bOF": "end",
}
_LETTERS = {b"k": "up", b"j": "down", b"g": "home", b"G": "end", b" ": "page down"}


class View:
    """The state of the screen. `see` takes a look at the broker, `press` takes keys."""

    def __init__(self, broker: str, service: str | None = None, sort: str = SORTS[0]) -> None:
        self.is_over = False
        self.sort = sort
        self.service_sort = _SERVICE_SORTS[0]
        self.is_reversed = False
        self.shows_services = False
        self.only = service
        self.first = 0
        """The number of the first row that is shown."""
        self._broker = broker
        self._seen: dict[str, Any] = {}
        self._error = ""
        self._rates: dict[str, float] = {}
        self._page = 1
        self._count = 0

    def see(self, look: dict[str, Any]) -> None:
        """Take a look: `services` and `workers`, or `error`; `time`, and `at` in s."""
        self._error = look.get("error", "")
        if self._error:
            return
        passed_s = max(look["at"] - self._seen.get("at", look["at"]), 1e-3)
        before = self._seen.get("services", {})
        self._rates = {
            name: max(0, row["answered"] - before[name]["answered"]) / passed_s
            for name, row in look["services"].items()
            if name in before
        }
        self._seen = look

    def press(self, keys: bytes) -> None:
        """Handle the bytes of keys that have been pressed."""
        while keys:
            name = next((code for code in _ESCAPES if keys.startswith(code)), keys[:1])
            keys = keys[len(name) :]
            self._press(_ESCAPES.get(name) or _LETTERS.get(name) or name.decode("latin-1"))

    def _press(self, key: str) -> None:
        match key:
            case "q" | "Q" | "\x03" | "\x04":
                self.is_over = True
            case "s" | "S":
                self._sort_by_next(1 if key == "s" else -1)
            case "r":
                self.is_reversed = not self.is_reversed
            case "w" | "\t":
                self.shows_services = not self.shows_services
                self.first = 0
            case "f":
                self._filter_next()
            case "up" | "down":
                self._scroll(-1 if key == "up" else 1)
            case "page up" | "page down":
                self._scroll(-self._page if key == "page up" else self._page)
            case "home":
                self.first = 0
            case "end":
                self._scroll(self._count)

    def _sort_by_next(self, step: int) -> None:
        if self.shows_services:
            at = _SERVICE_SORTS.index(self.service_sort) + step
            self.service_sort = _SERVICE_SORTS[at % len(_SERVICE_SORTS)]
        else:
            self.sort = SORTS[(SORTS.index(self.sort) + step) % len(SORTS)]
        self.first = 0

    def _filter_next(self) -> None:
        choices: list[str | None] = [None, *sorted(self._seen.get("services", {}))]
        at = choices.index(self.only) if self.only in choices else 0
        self.only = choices[(at + 1) % len(choices)]
        self.first = 0

    def _scroll(self, by: int) -> None:
        self.first = max(0, min(self.first + by, self._count - self._page))

    # The screen.

    def screen(self, width: int, height: int) -> RenderableType:
        """Return what a terminal of this size shows: exactly `height` lines at most."""
        parts: list[RenderableType] = [self._head(width)]
        has_foot = height >= _LEAST_HEIGHT
        room = height - _HEAD_ROWS - has_foot
        if self.shows_services:
            parts.append(self._table(self._service_rows(), room, width))
        else:
            services = self._service_rows()[:_MOST_SERVICES]
            if self.only is None and height >= 20 and services:
                parts += [_as_table(services, None, width), Text("")]
                room -= len(services) + 2
            parts.append(self._table(self._worker_rows(), room, width))
        if has_foot:
            parts.append(Text(_fit(_FOOT, width), style="dim", no_wrap=True))
        return Group(*parts)

    def _head(self, width: int) -> RenderableType:
        workers = self._workers()
        busy = sum(row["busy_s"] is not None for row in workers)
        services = self._seen.get("services", {})
        queued = sum(row["queued"] for row in services.values())
        rate = sum(self._rates.values())
        title = f"mdp top  {self._broker}  {self._seen.get('time', '')[:19]}"
        counts = f"{len(workers)} workers, {busy} busy, {queued} queued, {rate:.1f} answers/s"
        if self._error:
            second = Text(_fit(f"no answer, still trying: {self._error}", width), style="red")
        elif not self._seen:
            second = Text("asking the broker", style="dim")
        else:
            shown = f"; only {self.only} (f: next)" if self.only else ""
            second = Text(_fit(f"{counts}{shown}", width))
        return Group(Text(_fit(title, width), style="bold"), second)

    def _table(self, rows: list[dict[str, str]], room: int, width: int) -> RenderableType:
        self._count, self._page = len(rows), max(1, room - 2)
        self.first = max(0, min(self.first, self._count - self._page))
        shown = rows[self.first : self.first + self._page]
        sort = self.service_sort if self.shows_services else self.sort
        last = self.first + len(shown)
        place = f"{self.first + 1}-{last} of {self._count}" if shown else "none"
        order = f"sorted by {sort}{', reversed' if self.is_reversed else ''}"
        return Group(
            Text(_fit(f"{place}, {order}", width), style="dim"), _as_table(shown, sort, width)
        )

    def _workers(self) -> list[Row]:
        rows = self._seen.get("workers", [])
        return [row for row in rows if self.only in (None, row["service"])]

    def _worker_rows(self) -> list[dict[str, str]]:
        rows = sorted(self._workers(), key=_worker_key(self.sort), reverse=self.is_reversed)
        return [_worker_cells(row) for row in rows]

    def _service_rows(self) -> list[dict[str, str]]:
        services = {
            name: {**row, "service": name, "rate": self._rates.get(name, 0.0)}
            for name, row in self._seen.get("services", {}).items()
        }
        rows = sorted(
            services.values(), key=_service_key(self.service_sort), reverse=self.is_reversed
        )
        return [_service_cells(row) for row in rows]


def state_of(worker: Row) -> str:
    """Return `busy`, `leaving` or `idle`; a leaving worker may be busy, too."""
    if worker.get("retired"):
        return "leaving"
    return "idle" if worker["busy_s"] is None else "busy"


def _worker_key(sort: str) -> Callable[[Row], Any]:
    keys: dict[str, Callable[[Row], Any]] = {
        "service": lambda row: row["service"],
        "process": process_of,
        "job": job_of,
        "state": state_of,
        "busy": lambda row: -(row["busy_s"] or 0.0),  # the longest first
        "since": lambda row: -row["since_s"],
        "heard": lambda row: -row["heard_s"],
    }
    return lambda row: (keys[sort](row), row["service"], process_of(row), row["address"])


def _service_key(sort: str) -> Callable[[Row], Any]:
    def value(row: Row) -> Any:
        if sort == "p95":
            return -((row.get("serving_s") or {}).get("p95", 0.0))
        return row["service"] if sort == "service" else -row[sort]

    return lambda row: (value(row), row["service"])


def _worker_cells(row: Row) -> dict[str, str]:
    facts = row.get("facts", {})
    return {
        "service": row["service"],
        "process": process_of(row) or row["address"],
        "job": job_of(row),
        "state": state_of(row),
        "busy": "" if row["busy_s"] is None else duration(row["busy_s"]),
        "since": duration(row["since_s"]),
        "heard": duration(row["heard_s"]),
        "device": str(facts.get("device", "")),
        "worker": row["address"],
    }


def _service_cells(row: Row) -> dict[str, str]:
    serving = row.get("serving_s")
    return {
        "service": row["service"] + (" (paused)" if row.get("paused") else ""),
        "workers": str(row["workers"]),
        "busy": str(row["busy"]),
        "queued": str(row["queued"]),
        "bytes": size(row["bytes"]),
        "answered": str(row["answered"]),
        "rate": f"{row['rate']:.1f}/s",
        "p95": duration(serving["p95"]) if serving else "",
    }


_LEFT = ("service", "process", "job", "state", "device", "worker")
_STYLES = {"busy": "green", "leaving": "yellow"}
_WIDEST = {"service": 18, "process": 20, "job": 10, "device": 7, "worker": 16}


def _as_table(rows: Sequence[Mapping[str, str]], sort: str | None, width: int) -> Table:
    """Return one line per row: long names are cut, and columns that do not fit are left out."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    names = list(rows[0]) if rows else []
    cut = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    cut = {name: min(wide, _WIDEST.get(name, 12)) for name, wide in cut.items()}
    while names and sum(cut[name] + 1 for name in names) > width + 1:
        names.pop()
    for name in names:
        style = "reverse" if name == sort else None
        side: Any = "left" if name in _LEFT else "right"
        table.add_column(Text(name, style=style or ""), justify=side, no_wrap=True, width=cut[name])
    for row in rows:
        cells = {name: _fit(row[name], cut[name]) for name in names}
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells.values()))
    return table


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}~"

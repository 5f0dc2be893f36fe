"""The figures of a ledger as tables for people and as plain values for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from mdp.commands.tables import size

from ..terminal import screen
from .figures import CROP_STAGES, EVENT_STAGES, Figures
from .limits import Verdict, pools
from .records import LedgerError
from .spread import PERCENTILES, Spread

GROUP_EVENT_S = 0.44
"""Seconds per event of the group's own GPU system: reading, scoring three planes, writing."""
GROUP_SIZES = {((1008, 3456),) * 3}
"""The sizes of the images for `GROUP_EVENT_S`; other events are not compared with it."""
EVENT_NAMES = {
    "read": "reading",
    "chain": "cutting crops",
    "pack": "packing",
    "room": "waiting for room",
    "send": "handing over",
    "turn": "waiting for its turn",
    "check": "unpacking and checking",
    "stitch": "stitching",
    "write": "writing",
}
CROP_NAMES = {
    "chain": "cutting",
    "pack": "packing",
    "queued": "queue and wire",
    "worker": "in the worker",
    "computed": "of which computing",
    "trip": "from sent to answered",
}
_MOST_WORKERS = 40  # rows of a table; --json has all


def check(figures: Figures, name: str) -> None:
    """Raise `LedgerError` if there is no event."""
    if not figures.events:
        how = f": the run ended with {figures.ends[-1]}" if figures.ends else ""
        raise LedgerError(f"want a ledger of some events, got none in {name}{how}")


def run_lines(figures: Figures, *, torn_bytes: int) -> list[str]:
    """Return lines that say which runs the figures describe, and what is special about them."""
    event_s = figures.span_s / figures.events
    first = f"{figures.events} events of {figures.runs[-1].output}"
    first += f", in {len(figures.runs)} runs" if len(figures.runs) > 1 else ""
    first += f": {1 / event_s:.3g} events/s, {event_s:.3g} s an event"
    if figures.sizes == GROUP_SIZES:
        first += f"; the group's system takes {GROUP_EVENT_S} s for events of this size:"
        first += f" {GROUP_EVENT_S / event_s:.2g} times as fast"
    lines = [f"{first}."]
    if figures.earlier:
        lines.append(f"The file also holds {figures.earlier} earlier runs of other jobs.")
    if len(figures.ends) < len(figures.runs):
        lines.append("A run was killed, or goes on.")
    lines += [f"A run ended with {how}." for how in figures.ends if how != "done"]
    if torn_bytes:
        lines.append(f"The last {torn_bytes} bytes are not a whole record and are left out.")
    if figures.untimed:
        lines.append(
            f"{figures.untimed} crops' workers did not say how long they took; the tables of crops"
            " and workers leave these crops out."
        )
    sent, received = size(figures.bytes_out), size(figures.bytes_in)
    return [*lines, f"{figures.crops} crops: {sent} sent, {received} received"]


def values(figures: Figures, verdicts: Sequence[Verdict], *, torn_bytes: int) -> dict[str, Any]:
    """Return all figures, for JSON and for `tables`: times in seconds, shares from 0 to 1."""
    run, stages, crop_stages = figures.runs[-1], figures.stages, figures.crop_stages
    return {
        **_only(run, "output", "inputs", "host", "mode", "window"),
        "runs": len(figures.runs),
        "ends": figures.ends,
        "torn_bytes": torn_bytes,
        **_only(figures, "events", "empty", "crops", "bytes_out", "bytes_in", "span_s"),
        "event_s": figures.span_s / figures.events,
        "group_event_s": GROUP_EVENT_S if figures.sizes == GROUP_SIZES else None,
        "image_sizes": sorted(figures.sizes),
        "reading": figures.reading_s / figures.span_s,
        "writing": figures.writing_s / figures.span_s,
        "limits": [verdict._asdict() for verdict in verdicts],
        "event_stages": {name: _spread(stages[name]) for name in EVENT_STAGES},
        "own": _spread(figures.worked),
        "crop_stages": {
            str(plane): {name: _spread(crop_stages[plane, name]) for name in CROP_STAGES}
            for plane in figures.planes
        },
        "pools": [_only(pool, "plane", "workers", "busy", "wanting") for pool in pools(figures)],
        "workers": [
            _only(worker, "plane", "name", "crops", "busy_s", "computed_s")
            | {"busy": _ratio(worker.busy_s, figures.present_s(worker))}
            for _, worker in sorted(figures.workers.items())
        ],
        "slowest": [
            _only(slow, "entry", "rse", "stage", "stage_s", "plane", "worker")
            | {"own_s": slow.worked_s}
            for slow in figures.slowest
        ],
    }


def _only(record: object, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _spread(spread: Spread) -> dict[str, float | None]:
    """Return plain values; a percentile is None if there are too few durations for it."""
    percentiles = {
        f"p{p}_s": spread.percentile(p) if spread.is_sure(p) else None for p in PERCENTILES
    }
    ends = {"min_s": spread.min_s, "max_s": spread.max_s}
    return {"n": spread.count, "total_s": spread.total_s, **percentiles, **ends}


def tables(values: Mapping[str, Any]) -> list[Table]:
    """Stages of events, stages of crops by plane, pools, workers, the slowest events."""
    of_crops = (_crop_table, _pool_table, _worker_table) if values["crops"] else ()
    return [table(values) for table in (_event_table, *of_crops, _slow_table)]


_COLUMNS = ("n", "least", "50 %", "90 %", "99 %", "most")


def _event_table(values: Mapping[str, Any]) -> Table:
    rows = screen.table("an event", *_COLUMNS, "share")
    for stage, name in EVENT_NAMES.items():
        spread = values["event_stages"][stage]
        rows.add_row(name, *_cells(spread), _percent(spread["total_s"] / values["span_s"]))
    rows.add_row("all but the two waits", *_cells(values["own"]), "")
    return rows


def _crop_table(values: Mapping[str, Any]) -> Table:
    rows = screen.table("a crop", "plane", *_COLUMNS)
    for stage, name in CROP_NAMES.items():
        for plane, stages in values["crop_stages"].items():
            rows.add_row(name, plane, *_cells(stages[stage]))
    return rows


def _pool_table(values: Mapping[str, Any]) -> Table:
    rows = screen.table("plane", "workers", "crops", "busy", "no requests", "could do")
    for pool in values["pools"]:
        worked = values["crop_stages"][str(pool["plane"])]["worker"]
        could = _rate(_ratio(values["events"] * pool["workers"], worked["total_s"]))
        shares = map(_percent, (pool["busy"], pool["wanting"]))
        rows.add_row(str(pool["plane"]), f"{pool['workers']:.1f}", str(worked["n"]), *shares, could)
    for name in ("reading", "writing"):
        could = _rate(_ratio(values["events"], values[name] * values["span_s"]))
        rows.add_row(name, "", "", _percent(values[name]), "", could)
    return rows


def _worker_table(values: Mapping[str, Any]) -> Table:
    rows = screen.table("worker", "plane", "crops", "busy", "a crop", "computing")
    for worker in values["workers"][:_MOST_WORKERS]:
        cells = (str(worker["plane"]), str(worker["crops"]), _percent(worker["busy"]))
        means = (worker[name] / worker["crops"] for name in ("busy_s", "computed_s"))
        rows.add_row(screen.escaped(worker["name"]), *cells, *map(_seconds, means))
    if (more := len(values["workers"]) - _MOST_WORKERS) > 0:
        rows.add_row(f"and {more} more: --json")
    return rows


def _slow_table(values: Mapping[str, Any]) -> Table:
    rows = screen.table("slowest events", "entry", "took", "most of it", "", "where", left=1)
    for slow in values["slowest"]:
        is_crop = slow["plane"] is not None
        name = (CROP_NAMES if is_crop else EVENT_NAMES)[slow["stage"]]
        where = screen.escaped(f"plane {slow['plane']} {slow['worker']}") if is_crop else ""
        cells = (str(slow["entry"]), _seconds(slow["own_s"]), name, _seconds(slow["stage_s"]))
        rows.add_row(",".join(map(str, slow["rse"])), *cells, where)
    return rows


def _cells(spread: Mapping[str, Any]) -> list[str]:
    times = [spread[name] for name in ("min_s", *(f"p{p}_s" for p in PERCENTILES), "max_s")]
    return [str(spread["n"]), *("-" if time is None else _seconds(time) for time in times)]


def _seconds(value: float) -> str:
    """A time in three digits."""
    if value < 1e-3:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _rate(events_s: float) -> str:
    return f"{events_s:.3g} events/s"

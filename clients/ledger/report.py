"""What a ledger says, as tables for people and as plain values for programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from mdp.commands.tables import size

from ..terminal import screen
from .figures import CROP_STAGES, EVENT_STAGES, Figures, Slow, Worker
from .limits import Pool, Verdict, pools
from .records import LedgerError
from .spread import Spread

GROUP_EVENT_S = 0.44
"""Of the group's own system on its GPU machine: reading, three planes, writing ..."""
GROUP_SIZES = {((1008, 3456),) * 3}
"""... of events of these images: other events cannot be compared."""
PERCENTILES = (50, 90, 99)
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
    "own": "all but the two waits",
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
    """Raise `LedgerError` where there is no event to tell of."""
    if not figures.events:
        how = f": the run ended with {figures.ends[-1]}" if figures.ends else ""
        raise LedgerError(f"want a ledger of some events, got none in {name}{how}")


def run_lines(figures: Figures, *, torn_bytes: int) -> list[str]:
    """Which runs the figures are of, and what is odd about them."""
    run, each_s = figures.runs[-1], figures.span_s / figures.events
    done = f"{figures.events} events of {run.output}"
    resumed = f", in {len(figures.runs)} runs" if len(figures.runs) > 1 else ""
    lines = [
        f"{done}{resumed}: {1 / each_s:.3g} events/s, {each_s:.3g} s an event"
        + (
            f"; the group's system takes {GROUP_EVENT_S} s for events of this size:"
            f" {GROUP_EVENT_S / each_s:.2g} times as fast."
            if comparable(figures)
            else "."
        )
    ]
    if figures.earlier:
        lines.append(f"The file also holds {figures.earlier} earlier runs, which began anew.")
    if len(figures.ends) < len(figures.runs):
        lines.append("A run was killed, or goes on.")
    lines += [f"A run ended with {how}." for how in figures.ends if how != "done"]
    if torn_bytes:
        lines.append(f"The last {torn_bytes} bytes are no whole record, and left out.")
    if figures.unsaid:
        lines.append(
            f"{figures.unsaid} crops' workers did not say how long they took: left out below."
        )
    return lines


def comparable(figures: Figures) -> bool:
    """Whether the events have the size for which the group's figure is known."""
    return figures.sizes == GROUP_SIZES


def tables(figures: Figures) -> list[Table]:
    """Stages of events, stages of crops by plane, pools, workers, the slowest events."""
    each = pools(figures)
    return [
        _event_table(figures),
        *(
            [_crop_table(figures), _pool_table(figures, each), _worker_table(figures)]
            if each
            else []
        ),
        _slow_table(figures.slowest),
    ]


def _event_table(figures: Figures) -> Table:
    made = screen.table("an event", *_SPREAD_COLUMNS, "share")
    for stage in (*EVENT_STAGES, "own"):
        spread = figures.own if stage == "own" else figures.stages[stage]
        share = "" if stage == "own" else f"{100 * spread.total_s / figures.span_s:.0f} %"
        made.add_row(EVENT_NAMES[stage], *_percentiles(spread), share)
    return made


def _crop_table(figures: Figures) -> Table:
    made = screen.table("a crop", "plane", *_SPREAD_COLUMNS)
    for stage in CROP_STAGES:
        for plane in figures.planes:
            spread = figures.crop_stages[plane, stage]
            made.add_row(CROP_NAMES[stage], str(plane), *_percentiles(spread))
    return made


def _pool_table(figures: Figures, each: Sequence[Pool]) -> Table:
    made = screen.table("plane", "workers", "crops", "busy", "no requests", "could do")
    for pool in each:
        crops = figures.crop_stages[pool.plane, "worker"].count
        rate = figures.events * pool.workers / pool.busy_s if pool.busy_s else 0.0
        shares = (f"{100 * pool.busy:.0f} %", f"{100 * pool.wanting:.0f} %")
        could = f"{rate:.3g} events/s"
        made.add_row(str(pool.plane), f"{pool.workers:.1f}", str(crops), *shares, could)
    for name, spent_s in (("reading", figures.reading_s), ("writing", figures.writing_s)):
        rate = figures.events / spent_s if spent_s else 0.0
        share = f"{100 * spent_s / figures.span_s:.0f} %"
        made.add_row(name, "", "", share, "", f"{rate:.3g} events/s")
    return made


def _worker_table(figures: Figures) -> Table:
    made = screen.table("worker", "plane", "crops", "busy", "a crop", "computing")
    workers = sorted(figures.workers.values(), key=lambda w: (w.plane, w.name))
    for worker in workers[:_MOST_WORKERS]:
        share = _share(figures, worker)
        each = (worker.busy_s / worker.crops, worker.computed_s / worker.crops)
        cells = (str(worker.plane), str(worker.crops), f"{100 * share:.0f} %", *map(seconds, each))
        made.add_row(screen.escaped(worker.name), *cells)
    if len(workers) > _MOST_WORKERS:
        made.add_row(f"and {len(workers) - _MOST_WORKERS} more: --json")
    return made


def _share(figures: Figures, worker: Worker) -> float:
    present_s = figures.present_s(worker)
    return worker.busy_s / present_s if present_s else 0.0


def _slow_table(slowest: Sequence[Slow]) -> Table:
    made = screen.table("slowest events", "entry", "took", "most of it", "", "where", left=1)
    for slow in slowest:
        name = CROP_NAMES.get(slow.stage) if slow.plane is not None else EVENT_NAMES[slow.stage]
        where = "" if slow.plane is None else f"plane {slow.plane} {slow.worker}"
        rse = ",".join(str(number) for number in slow.rse)
        times = (seconds(slow.own_s), name, seconds(slow.stage_s))
        made.add_row(rse, str(slow.entry), *times, screen.escaped(where))
    return made


_SPREAD_COLUMNS = ("n", "least", "50 %", "90 %", "99 %", "most")


def _percentiles(spread: Spread) -> list[str]:
    """How many, the extremes, and those percentiles that so many can tell; `-` for the others."""
    tail = [seconds(spread.percentile(p)) if spread.tells(p) else "-" for p in PERCENTILES[1:]]
    median, least = spread.percentile(50), spread.min_s
    return [str(spread.count), seconds(least), seconds(median), *tail, seconds(spread.max_s)]


def seconds(value: float) -> str:
    """A time in three digits."""
    if value < 1e-3:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def sent_and_received(figures: Figures) -> str:
    """What went over the wire."""
    return (
        f"{figures.crops} crops: {size(figures.bytes_out)} sent, {size(figures.bytes_in)} received"
    )


def values(figures: Figures, said: Sequence[Verdict], *, torn_bytes: int) -> dict[str, Any]:
    """Everything, for JSON; times in seconds, shares from 0 to 1."""
    run = figures.runs[-1]
    return {
        "output": run.output,
        "inputs": list(run.inputs),
        "host": run.host,
        "mode": run.mode,
        "window": run.window,
        "runs": len(figures.runs),
        "ends": figures.ends,
        "torn_bytes": torn_bytes,
        "events": figures.events,
        "empty": figures.empty,
        "crops": figures.crops,
        "bytes_out": figures.bytes_out,
        "bytes_in": figures.bytes_in,
        "span_s": figures.span_s,
        "event_s": figures.span_s / figures.events,
        "group_event_s": GROUP_EVENT_S if comparable(figures) else None,
        "image_sizes": sorted(figures.sizes),
        "reading": figures.reading_s / figures.span_s,
        "writing": figures.writing_s / figures.span_s,
        "limits": [{"kind": verdict.kind, "text": verdict.text} for verdict in said],
        "event_stages": {name: _spread(figures.stages[name]) for name in EVENT_STAGES},
        "own": _spread(figures.own),
        "crop_stages": {
            str(plane): {name: _spread(figures.crop_stages[plane, name]) for name in CROP_STAGES}
            for plane in figures.planes
        },
        "pools": [
            {"plane": p.plane, "workers": p.workers, "busy": p.busy, "wanting": p.wanting}
            for p in pools(figures)
        ],
        "workers": [
            {
                "plane": worker.plane,
                "name": worker.name,
                "crops": worker.crops,
                "busy": _share(figures, worker),
                "busy_s": worker.busy_s,
                "computed_s": worker.computed_s,
            }
            for worker in figures.workers.values()
        ],
        "slowest": [
            {
                "entry": slow.entry,
                "rse": list(slow.rse),
                "own_s": slow.own_s,
                "stage": slow.stage,
                "stage_s": slow.stage_s,
                "plane": slow.plane,
                "worker": slow.worker,
            }
            for slow in figures.slowest
        ],
    }


def _spread(spread: Spread) -> dict[str, float | None]:
    """Percentiles that so few cannot tell are None."""
    percentiles = {
        f"p{percent}_s": spread.percentile(percent)
        if percent == 50 or spread.tells(percent)
        else None
        for percent in PERCENTILES
    }
    ends = {"min_s": spread.min_s, "max_s": spread.max_s}
    return {"n": spread.count, "total_s": spread.total_s, **percentiles, **ends}

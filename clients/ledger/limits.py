"""What limits a run, in words with figures, and what to do about it. Pure.

A run has three parts that work at the same time: the client's thread that reads, the pools, and
its thread that writes. The one that is always at work limits; where none is, the window does, or
what cannot be seen from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from .figures import Figures, Worker

Kind = Literal[
    "nothing",
    "pools",
    "planes",
    "worker",
    "reading",
    "writing",
    "client",
    "window",
    "bytes",
    "elsewhere",
    "unclear",
]

FULL = 0.9  # of its time at work: more does not fit in, with all that goes between
SPARE = 0.75  # below, a part has time to spare
CLIENT_FULL = 0.85  # a thread also waits for the other one's hold of the interpreter
_WAITING = 0.25  # of the time: enough to be worth a remedy
_SLOW = 1.5  # times its plane's other workers
_FEW_CROPS = 3  # of a worker: no more than a chance
_WORTH = 0.95  # of the time, that a move of workers must bring it below


@dataclass(frozen=True)
class Verdict:
    """What limits, and the words for it."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Pool:
    """A plane's workers, all together."""

    plane: int
    workers: float
    """There at a time, on average."""
    busy: float
    """The share of their time at work for this client, 0 to 1."""
    wanting: float
    """The share of their time in which this client had nothing for them, 0 to 1."""
    busy_s: float
    """All together."""

    @property
    def elsewhere(self) -> float:
        """Neither at our work nor without it: at others' crops, or waiting for ours to arrive."""
        return max(1 - self.busy - self.wanting, 0.0)


def pools(figures: Figures) -> list[Pool]:
    """Of each plane that had crops."""
    return [_pool(figures, plane) for plane in figures.planes]


def _pool(figures: Figures, plane: int) -> Pool:
    workers = figures.workers_of(plane)
    present_s = sum(figures.present_s(worker) for worker in workers)
    busy_s = sum(worker.busy_s for worker in workers)
    at_a_time = present_s / figures.pools_s if figures.pools_s else 0.0
    return Pool(
        plane=plane,
        workers=max(at_a_time, 1.0) if workers else 0.0,
        busy=busy_s / present_s if present_s else 0.0,
        wanting=figures.demand[plane].wanting(max(at_a_time, 1.0), of_s=figures.pools_s),
        busy_s=busy_s,
    )


def verdicts(figures: Figures) -> list[Verdict]:
    """What limits first, then what else is worth a word; `nothing` where there was no crop."""
    each = pools(figures)
    if not each or not figures.span_s:
        return [Verdict("nothing", "No event had crops: there is nothing to say about limits.")]
    slow = slow_workers(figures)
    first = _limit(figures, each, slow)
    if first.kind == "worker":
        return [first]
    return [first, *(Verdict("worker", _slow_text(figures, worker)) for worker in slow)]


def _limit(figures: Figures, each: Sequence[Pool], slow: Sequence[Worker]) -> Verdict:
    reading, writing = figures.reading_s / figures.span_s, figures.writing_s / figures.span_s
    room = figures.stages["room"].total_s / figures.span_s
    if any(pool.busy >= FULL for pool in each):
        return _full_pools(figures, each)
    if reading >= CLIENT_FULL and reading >= writing:
        return _reading(figures, reading)
    if writing >= CLIENT_FULL:
        return _writing(figures, writing)
    if room >= _WAITING and slow:
        return Verdict("worker", _slow_text(figures, slow[0]) + _SLOW_BLOCKS)
    tightest = min(each, key=lambda pool: pool.wanting)
    if tightest.elsewhere >= _WAITING and tightest.elsewhere >= tightest.wanting:
        return _elsewhere(figures, tightest)
    if room >= _WAITING:
        return _window(figures, each, room)
    # with fewer events than the window has room for, the first one's way and the last's are the run
    if reading + writing >= FULL and figures.events > figures.runs[-1].window:
        return _client(figures, reading, writing)
    return Verdict(
        "unclear",
        f"Nothing was at work all the time. {_shares(each)}, the client"
        f" {_percent(reading)} reading and {_percent(writing)} writing. Short runs"
        " spend their time on the first event and the last.",
    )


# The pools.


def _full_pools(figures: Figures, each: Sequence[Pool]) -> Verdict:
    full = [pool for pool in each if pool.busy >= FULL]
    spare = [pool for pool in each if pool.busy < SPARE]
    if not spare:
        return Verdict("pools", _saturated_text(figures, each))
    said = f"{_shares([*full, *spare])}: "
    counts = [max(round(pool.workers), 1) for pool in each]
    better = best_split([pool.busy_s for pool in each], sum(counts))
    before_s = max(pool.busy_s / count for pool, count in zip(each, counts, strict=True))
    after_s = max(pool.busy_s / count for pool, count in zip(each, better, strict=True))
    after_s = max(after_s, figures.reading_s, figures.writing_s)
    if after_s > _WORTH * before_s:
        planes = _listed([f"plane {pool.plane}" for pool in full])
        return Verdict("planes", said + f"add workers to {planes}; the others have time to spare.")
    givers = [pool.plane for pool, a, b in zip(each, counts, better, strict=True) if b < a]
    takers = [pool.plane for pool, a, b in zip(each, counts, better, strict=True) if b > a]
    text = (
        f"move workers from {_planes(givers)} to {_planes(takers)}. As {_split(each, better)}"
        f" instead of {_split(each, counts)} the same workers need about"
        f" {_percent(after_s / before_s)} of the time."
    )
    return Verdict("planes", said + text)


def best_split(busy_s: Sequence[float], workers: int) -> list[int]:
    """So many workers shared out among planes so that the last one is done soonest."""
    split = [1] * len(busy_s)
    for _ in range(workers - len(split)):
        behind = max(range(len(split)), key=lambda k: busy_s[k] / split[k])
        split[behind] += 1
    return split


def _saturated_text(figures: Figures, each: Sequence[Pool]) -> str:
    said = f"{_shares(each)}: the networks limit, as they should."
    if all(figures.crop_stages[p.plane, "worker"].count <= p.workers for p in each):
        return f"{said} More workers do not help so short a run: each had one crop."
    client_s = max(figures.reading_s, figures.writing_s)
    what = "reading" if figures.reading_s >= figures.writing_s else "writing"
    most = figures.span_s / client_s if client_s else 0.0
    return (
        f"{said} More workers of every plane help, up to about {most:.1f} times as many; then this"
        f" client's {what} would limit."
    )


def slow_workers(figures: Figures) -> list[Worker]:
    """Those that took much longer for a crop than others of their plane; the slowest first."""
    found: list[tuple[float, Worker]] = []
    for plane in figures.planes:
        own = [worker for worker in figures.workers_of(plane) if worker.crops >= _FEW_CROPS]
        for worker in own:
            others = [_each_s(other) for other in own if other is not worker]
            if others and _each_s(worker) > _SLOW * median(others):
                found.append((_each_s(worker) / median(others), worker))
    return [worker for _, worker in sorted(found, key=lambda pair: -pair[0])]


def _each_s(worker: Worker) -> float:
    return worker.busy_s / worker.crops


def _slow_text(figures: Figures, slow: Worker) -> str:
    others = [
        _each_s(worker)
        for worker in figures.workers_of(slow.plane)
        if worker is not slow and worker.crops >= _FEW_CROPS
    ]
    return (
        f"Plane {slow.plane}'s worker {slow.name} took {_each_s(slow):.3g} s a crop, the plane's"
        f" others {median(others):.3g} s: see what else runs there, or stop it."
    )


_SLOW_BLOCKS = (
    " Events are written in order: those behind its crops filled the window while the other"
    " workers waited. A wider --window helps, too."
)


# The client.


def _reading(figures: Figures, share: float) -> Verdict:
    parts = _parts(figures, ("read", "chain", "pack", "send"))
    return Verdict(
        "reading",
        f"The client was reading {_percent(share)} of the time ({parts}): reading limits, more"
        " workers do not help. Run several clients, each on files or --start and --end of its own.",
    )


def _writing(figures: Figures, share: float) -> Verdict:
    parts = _parts(figures, ("check", "stitch", "write"))
    return Verdict(
        "writing",
        f"The client was writing {_percent(share)} of the time ({parts}): writing limits, more"
        " workers do not help. Run several clients, each on files or --start and --end of its own.",
    )


def _client(figures: Figures, reading: float, writing: float) -> Verdict:
    return Verdict(
        "client",
        f"The client was reading {_percent(reading)} and writing {_percent(writing)} of the time,"
        " and its two threads share one interpreter: the client limits, more workers do not help."
        " Run several clients, each on files or --start and --end of its own.",
    )


def _window(figures: Figures, each: Sequence[Pool], room: float) -> Verdict:
    run = figures.runs[-1]
    in_flight = figures.in_flight_s / figures.span_s
    wanting = ", ".join(f"plane {pool.plane}'s {_percent(pool.wanting)}" for pool in each)
    said = (
        f"The workers waited for requests ({wanting} of the time) while the client waited"
        f" {_percent(room)} of the time for room"
    )
    if in_flight < 0.7 * run.window:
        return Verdict(
            "bytes",
            f"{said}: {in_flight:.1f} events were under way, not {run.window}, for more than"
            f" {run.window_bytes >> 20} MB of messages are not held. Smaller crops or tiles help.",
        )
    return Verdict("window", f"{said} in its window of {run.window} events: widen --window.")


def _elsewhere(figures: Figures, pool: Pool) -> Verdict:
    queued = figures.crop_stages[pool.plane, "queued"].percentile(50)
    worker = figures.crop_stages[pool.plane, "worker"].percentile(50)
    return Verdict(
        "elsewhere",
        f"Plane {pool.plane}'s workers were busy with this client's crops {_percent(pool.busy)} of"
        f" the time, though crops were waiting for them all but {_percent(pool.wanting)} of it (in"
        f" the median {queued:.3g} s, to be computed in {worker:.3g} s): they were busy for other"
        " clients (`mdp services --watch` tells), or the way there and back took the time: broker,"
        " network, machines with too little to compute on.",
    )


def _parts(figures: Figures, stages: Sequence[str]) -> str:
    names = {"read": "files", "chain": "cutting", "pack": "packing", "send": "sending"}
    names |= {"check": "unpacking", "stitch": "stitching", "write": "the file"}
    shares = {name: figures.stages[name].total_s / figures.span_s for name in stages}
    return ", ".join(f"{names[name]} {_percent(share)}" for name, share in shares.items())


# Words.


def _shares(each: Sequence[Pool]) -> str:
    first, *more = each
    said = [f"Plane {first.plane}'s workers were busy {_percent(first.busy)} of the time"]
    said += [f"plane {pool.plane}'s {_percent(pool.busy)}" for pool in more]
    return ", ".join(said)


def _split(each: Sequence[Pool], counts: Sequence[int]) -> str:
    return _listed([f"{count} of plane {p.plane}" for p, count in zip(each, counts, strict=True)])


def _planes(numbers: Sequence[int]) -> str:
    return _listed([f"plane {number}" for number in numbers])


def _listed(words: Sequence[str]) -> str:
    *firsts, last = words
    return f"{', '.join(firsts)} and {last}" if firsts else last


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

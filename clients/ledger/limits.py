"""What limits a run, in words with figures, and what to do about it. Pure.

A run has three parts that work at the same time: the client's thread that reads, the pools of
workers, and the client's thread that writes. The part that works all the time is the limit. If
none does, the limit is the window, or something that the ledger does not record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal, NamedTuple

from mdp.pool.advice import SPARE, better_split

from .figures import Figures, WorkerFigures

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

FULL = 0.9  # the share of time from which a part has no time to spare: pauses between take the rest
CLIENT_FULL = 0.85  # of a thread, which also waits until the other one releases the interpreter
_WAITING = 0.25  # the share of time from which waiting is worth a remedy
_SLOW = 1.5  # times as long for a crop as the plane's other workers
_FEW_CROPS = 3  # with fewer, a slow worker may be a chance


class Verdict(NamedTuple):
    """What limits a run, as a word and as text."""

    kind: Kind
    text: str


class PoolFigures(NamedTuple):
    """The workers of one plane, all together."""

    plane: int
    workers: float
    """The mean number of workers at a time."""
    busy: float
    """The share of their time in which they worked for this client, 0 to 1."""
    wanting: float
    """The share of their time in which this client had no request for them, 0 to 1."""
    busy_s: float
    """The time in which they worked for this client, summed over the workers."""

    @property
    def elsewhere(self) -> float:
        """The share of their time that is left: others' crops, or requests on their way."""
        return max(1 - self.busy - self.wanting, 0.0)


def pools(figures: Figures) -> list[PoolFigures]:
    """The pool of each plane that had crops."""
    return [_pool(figures, plane) for plane in figures.planes]


def _pool(figures: Figures, plane: int) -> PoolFigures:
    workers = figures.workers_of(plane)
    present_s = sum(figures.present_s(worker) for worker in workers)
    busy_s = sum(worker.busy_s for worker in workers)
    at_a_time = max(present_s / figures.pools_s if figures.pools_s else 0.0, 1.0)
    return PoolFigures(
        plane=plane,
        workers=at_a_time if workers else 0.0,
        busy=busy_s / present_s if present_s else 0.0,
        wanting=figures.demand[plane].wanting(at_a_time, of_s=figures.pools_s),
        busy_s=busy_s,
    )


def verdicts(figures: Figures) -> list[Verdict]:
    """Return what limits the run, then slow workers; `nothing` if no event had crops."""
    of_planes = pools(figures)
    if not of_planes or not figures.span_s:
        return [Verdict("nothing", "No event had crops, so the limits are not known.")]
    slow = slow_workers(figures)
    first = _limit(figures, of_planes, slow)
    return [first, *(Verdict("worker", text) for _, text in slow if first.kind != "worker")]


_Slow = tuple[WorkerFigures, str]


def _limit(figures: Figures, of_planes: Sequence[PoolFigures], slow: Sequence[_Slow]) -> Verdict:
    reading, writing = figures.reading_s / figures.span_s, figures.writing_s / figures.span_s
    room = figures.stages["room"].total_s / figures.span_s
    if any(pool.busy >= FULL for pool in of_planes):
        return _full_pools(figures, of_planes)
    if reading >= CLIENT_FULL and reading >= writing:
        did = f"reading {_percent(reading)} of the time ({_parts(figures, _READING)}): reading"
        return Verdict("reading", _CLIENT.format(did))
    if writing >= CLIENT_FULL:
        did = f"writing {_percent(writing)} of the time ({_parts(figures, _WRITING)}): writing"
        return Verdict("writing", _CLIENT.format(did))
    if room >= _WAITING and slow:
        return Verdict("worker", slow[0][1] + _SLOW_BLOCKS)
    tightest = min(of_planes, key=lambda pool: pool.wanting)
    if tightest.elsewhere >= _WAITING and tightest.elsewhere >= tightest.wanting:
        return _elsewhere(figures, tightest)
    if room >= _WAITING:
        return _window(figures, of_planes, room)
    # a run of fewer events than the window holds is mostly its first event and its last one
    if reading + writing >= FULL and figures.events > figures.runs[-1].window:
        did = (
            f"reading {_percent(reading)} and writing {_percent(writing)} of the time, and its two"
            " threads share one interpreter: the client"
        )
        return Verdict("client", _CLIENT.format(did))
    return Verdict(
        "unclear",
        f"No part of the run worked all the time. {_shares(of_planes)}, the client"
        f" {_percent(reading)} reading and {_percent(writing)} writing. Short runs spend their"
        " time on the first event and the last one.",
    )


_CLIENT = (
    "The client was {} limits, and more workers do not help. Run several clients, each on other"
    " files, or on another range of entries (--start, --end)."
)
_SLOW_BLOCKS = (
    " Events are written in order: the events behind its crops filled the window while the other"
    " workers waited. A wider --window helps, too."
)
_READING = {"read": "files", "chain": "cutting", "pack": "packing", "send": "sending"}
_WRITING = {"check": "unpacking", "stitch": "stitching", "write": "the file"}


def _full_pools(figures: Figures, of_planes: Sequence[PoolFigures]) -> Verdict:
    full = [pool for pool in of_planes if pool.busy >= FULL]
    spare = [pool for pool in of_planes if pool.busy < SPARE]
    if not spare:
        return Verdict("pools", _saturated_text(figures, of_planes))
    shares, counts = _shares([*full, *spare]), [max(round(pool.workers), 1) for pool in of_planes]
    client_s = max(figures.reading_s, figures.writing_s)
    split = better_split([pool.busy_s for pool in of_planes], counts, least_s=client_s)
    if split is None:
        text = f"{shares}: add workers to {_planes(full)}; the others have time to spare."
        return Verdict("planes", text)
    moves = list(zip(of_planes, counts, split.counts, strict=True))
    givers = [pool for pool, now, then in moves if then < now]
    takers = [pool for pool, now, then in moves if then > now]
    return Verdict(
        "planes",
        f"{shares}: move workers from {_planes(givers)} to {_planes(takers)}. With"
        f" {_split(of_planes, split.counts)} instead of {_split(of_planes, counts)}, the same"
        f" workers need about {_percent(split.share)} of the time.",
    )


def _saturated_text(figures: Figures, of_planes: Sequence[PoolFigures]) -> str:
    text = f"{_shares(of_planes)}: the networks limit, as they should."
    if all(figures.crop_stages[p.plane, "worker"].count <= p.workers for p in of_planes):
        return f"{text} More workers do not help so short a run, in which each worker had one crop."
    client_s = max(figures.reading_s, figures.writing_s)
    what = "reading" if figures.reading_s >= figures.writing_s else "writing"
    most = figures.span_s / client_s if client_s else 0.0
    return (
        f"{text} More workers of every plane help, up to about {most:.1f} times as many; then this"
        f" client's {what} would limit."
    )


def slow_workers(figures: Figures) -> list[_Slow]:
    """The workers that took much longer for a crop than others of their plane, the slowest first.

    With the text about each of them.
    """
    slow: list[tuple[float, _Slow]] = []
    for plane in figures.planes:
        took = {
            worker.name: (worker, worker.busy_s / worker.crops)
            for worker in figures.workers_of(plane)
            if worker.crops >= _FEW_CROPS
        }
        for name, (worker, crop_s) in took.items():
            others = [other_s for other, (_, other_s) in took.items() if other != name]
            if others and crop_s > _SLOW * median(others):
                text = (
                    f"Plane {plane}'s worker {name} took {crop_s:.3g} s a crop, and the plane's"
                    f" other workers {median(others):.3g} s: see what else runs there, or stop it."
                )
                slow.append((crop_s / median(others), (worker, text)))
    return [of_worker for _, of_worker in sorted(slow, key=lambda pair: -pair[0])]


def _window(figures: Figures, of_planes: Sequence[PoolFigures], room: float) -> Verdict:
    run, in_flight = figures.runs[-1], figures.in_flight_s / figures.span_s
    wanting = ", ".join(f"plane {pool.plane}'s {_percent(pool.wanting)}" for pool in of_planes)
    text = (
        f"The workers waited for requests ({wanting} of the time) while the client waited"
        f" {_percent(room)} of the time for room"
    )
    if in_flight >= 0.7 * run.window:
        text += f" in its window of {run.window} events: widen --window."
        return Verdict("window", text)
    return Verdict(
        "bytes",
        f"{text}: {in_flight:.1f} events were in flight, not {run.window}, because the client holds"
        f" at most {run.window_bytes >> 20} MB of messages. Smaller crops or tiles help.",
    )


def _elsewhere(figures: Figures, pool: PoolFigures) -> Verdict:
    queued = figures.crop_stages[pool.plane, "queued"].percentile(50)
    worker = figures.crop_stages[pool.plane, "worker"].percentile(50)
    return Verdict(
        "elsewhere",
        f"Plane {pool.plane}'s workers were busy with this client's crops {_percent(pool.busy)} of"
        f" the time, but crops were waiting for them all but {_percent(pool.wanting)} of it (the"
        f" median is {queued:.3g} s of waiting and {worker:.3g} s in the worker). Either they"
        " worked for other clients (see `mdp services --watch`), or the way there and back took"
        " the time: the broker, the network, or machines with too few cores.",
    )


def _parts(figures: Figures, names: dict[str, str]) -> str:
    shares = {name: figures.stages[name].total_s / figures.span_s for name in names}
    return ", ".join(f"{names[name]} {_percent(share)}" for name, share in shares.items())


def _shares(of_planes: Sequence[PoolFigures]) -> str:
    first, *more = of_planes
    text = f"Plane {first.plane}'s workers were busy {_percent(first.busy)} of the time"
    return ", ".join([text, *(f"plane {pool.plane}'s {_percent(pool.busy)}" for pool in more)])


def _split(of_planes: Sequence[PoolFigures], counts: Sequence[int]) -> str:
    return _listed(f"{n} of plane {p.plane}" for p, n in zip(of_planes, counts, strict=True))


def _planes(of_planes: Sequence[PoolFigures]) -> str:
    return _listed(f"plane {pool.plane}" for pool in of_planes)


def _listed(words: Iterable[str]) -> str:
    *firsts, last = words
    return f"{', '.join(firsts)} and {last}" if firsts else last


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

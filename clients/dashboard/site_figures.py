"""From looks at a broker to the figures of the page. Pure.

A look is a map: `at` (Unix time, s), and the answers `services`, `metrics`, and for operators
`workers` and `clients`; or `error`, if the broker did not answer.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from mdp.pool.advice import Load, advice
from mdp.settings import short_text

RATE_S = 10.0
"""The period over which rates are computed."""
CHART_S = 600.0
MOST_POINTS = 700
_MOST_RUNS = 50
_MOST_SERVICES = 200
_PLANE = "ssnet-plane"
_ADVISED = 5  # looks whose mean decides what limits

Look = Mapping[str, Any]


class Headline(NamedTuple):
    """The state of the site in words. level: `good`, `warn` or `bad`."""

    level: str
    text: str


class History:
    """The last looks, as many as the rates need, and the points of the chart."""

    def __init__(self) -> None:
        self.points: deque[tuple[float, dict[str, float]]] = deque(maxlen=MOST_POINTS)
        """(Unix time, answers/s by service)."""
        self._answered: deque[tuple[float, dict[str, int]]] = deque(maxlen=MOST_POINTS)
        self._instance = ""

    def see(self, look: Look) -> None:
        """Take a look at which the broker answered."""
        instance = look["metrics"]["instance"]
        if instance != self._instance:  # another broker counts from 0
            self._answered.clear()
        self._instance = instance
        answered = {name: int(row["answered"]) for name, row in look["services"].items()}
        if self._answered:
            self.points.append((look["at"], _rates(self._answered[-1], (look["at"], answered))))
        self._answered.append((look["at"], answered))
        while len(self._answered) > 2 and self._answered[1][0] <= look["at"] - RATE_S:
            self._answered.popleft()
        while self.points and self.points[0][0] < look["at"] - CHART_S:
            self.points.popleft()

    @property
    def rates(self) -> dict[str, float]:
        """Return the answers per second by service, over the last 10 s."""
        if len(self._answered) < 2:
            return {}
        return _rates(self._answered[0], self._answered[-1])


def _rates(
    before: tuple[float, Mapping[str, int]], after: tuple[float, Mapping[str, int]]
) -> dict[str, float]:
    passed_s = max(after[0] - before[0], 1e-3)
    return {
        name: max(count - before[1].get(name, 0), 0) / passed_s for name, count in after[1].items()
    }


def service_rows(look: Look, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a row for each service; the counts are those of `mmi.services`."""
    measured = look["metrics"]["services"]
    rows = []
    for name, row in sorted(look["services"].items())[:_MOST_SERVICES]:
        more = measured.get(name, {})
        rows.append(
            {
                "service": name,
                **{key: row[key] for key in ("workers", "idle", "busy", "retired", "queued")},
                "answered": row["answered"],
                "requeued": row["requeued"],
                "rate": rates.get(name, 0.0),
                "oldest_s": more.get("oldest_s", 0.0),
                "p95_s": (row.get("serving_s") or {}).get("p95"),
                "failed": sum((more.get("failed") or {}).values()),
                "codes": dict(more.get("failed") or {}),
                "paused": row.get("paused"),
            }
        )
    return rows


def run_rows(look: Look) -> list[dict[str, Any]]:
    """Return a row for each client that waits for answers, with its progress if it reports one."""
    rows = []
    for client in look.get("clients", ())[:_MOST_RUNS]:
        rows.append(
            {
                "client": client["client"],
                "where": str(client.get("where") or ""),
                "key": str(client.get("key") or ""),
                "queued": client["queued"],
                "held": client["held"],
                "services": list(client["services"]),
                **progress_of(client.get("progress"), look["at"]),
            }
        )
    return rows


def progress_of(progress: Any, now: float) -> dict[str, Any]:
    """Return what a client says about its work; empty if it says nothing that can be used.

    A peer has sent it, so nothing in it is sure. `rate`: per second, since it began; `left_s`: None
    if the whole is not known.
    """
    if not isinstance(progress, Mapping):
        return {}
    done, whole = progress.get("done"), progress.get("of")
    begun_at = progress.get("begun_at")
    if not _is_number(done) or not _is_number(begun_at):
        return {}
    total = whole if _is_number(whole) and whole > 0 else None
    passed_s = max(now - begun_at, 0.0)
    earlier = progress.get("before")
    done_now = max(done - earlier, 0) if _is_number(earlier) else done
    rate = done_now / passed_s if passed_s > 0 else 0.0
    left_s = max(total - done, 0) / rate if total is not None and rate > 0 else None
    failed = progress.get("failed")
    return {
        "what": str(progress.get("what") or "events")[:40],
        "done": int(done),
        "of": None if total is None else int(total),
        "rate": rate,
        "left_s": left_s,
        "failed": int(failed) if _is_number(failed) else 0,
        "output": str(progress.get("output") or "")[:500],
    }


def _is_number(value: Any) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def tiles(
    services: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    campaigns: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the large figures: events/s, crops/s, how long the work takes, queued, failed.

    A value is None if nothing tells it.
    """
    going = [one for one in campaigns if "events_per_s" in one and not one["complete"]]
    told = [run for run in runs if run.get("what") == "events"]
    events = [one["events_per_s"] for one in going] + [run["rate"] for run in told]
    left = [one["left_s"] for one in going] + [run["left_s"] for run in told]
    known = [value for value in left if value is not None]
    return {
        "events_per_s": sum(events) if events else None,
        "crops_per_s": sum(row["rate"] for row in services if row["service"].startswith(_PLANE)),
        "left_s": max(known) if known else None,
        "queued": sum(row["queued"] for row in services),
        "failed": sum(row["failed"] for row in services),
    }


_LIMITS = "limits you: "  # as `advice` begins


def headline(
    looks: Sequence[Look],
    *,
    silent_since: float | None,
    reason: str,
    now: float,
    limits: Sequence[str] = (),
) -> Headline:
    """Return the state in words.

    looks: the last ones at which the broker answered. silent_since: when it stopped to answer; None
    if it answers. limits: what limits the campaigns, in words.
    """
    if silent_since is not None:
        since = short_text(max(now - silent_since, 0.0))
        return Headline("bad", f"no answer from the broker for {since}: {reason}")
    if not looks:
        return Headline("warn", "asking the broker")
    services = looks[-1]["services"]
    if looks[-1]["metrics"].get("draining"):
        return Headline("bad", "the broker is about to end, and takes no requests")
    planes = {name: row for name, row in services.items() if name.startswith(_PLANE)}
    lacking = [label(name) for name, row in planes.items() if row["workers"] <= row["retired"]]
    if lacking:
        verb = "has" if len(lacking) == 1 else "have"
        return Headline("bad", f"{_listed(lacking)} {verb} no worker")
    if paused := [label(name) for name, row in services.items() if row.get("paused")]:
        return Headline("warn", f"{_listed(paused)} {'is' if len(paused) == 1 else 'are'} paused")
    starved = [
        label(name) for name, row in services.items() if row["queued"] and not row["workers"]
    ]
    if starved:
        return Headline("bad", f"requests wait for {_listed(starved)}, but no worker serves it")
    if limits:
        return Headline("good", f"running; {'; '.join(limits)}")
    if any(row["busy"] or row["queued"] for row in services.values()):
        found = _limiting(looks[-_ADVISED:])
        return Headline("good", f"running; {found}" if found else "running")
    if not any(row["workers"] for row in services.values()):
        return Headline("warn", "the broker answers, but has no workers")
    return Headline("good", "idle: workers wait for requests")


def label(service: str) -> str:
    """Return `plane 2` for `ssnet-plane2`, `readers` for `ssnet-files`, else the name."""
    number = service.removeprefix(_PLANE)
    if number != service and number.isdecimal():
        return f"plane {number}"
    return "readers" if service == "ssnet-files" else service


def _listed(names: Sequence[str]) -> str:
    *first, last = sorted(names)
    return f"{', '.join(first)} and {last}" if first else last


def _limiting(looks: Sequence[Look]) -> str:
    """Return which services limit, from the mean of the last looks; empty if none does."""
    loads = []
    for name, last in looks[-1]["services"].items():
        rows = [look["services"][name] for look in looks if name in look["services"]]
        ready = last["workers"] - last["retired"]
        if not ready:
            continue
        busy = sum(row["busy"] for row in rows) / len(rows)
        loads.append(
            Load(
                service=name,
                want=ready,
                ready=ready,
                busy=ready if busy >= 0.9 * ready else math.floor(busy),
                waiting=round(sum(row["queued"] for row in rows) / len(rows)),
                coming=0,
                answered=last["answered"],
                typical_s=float((last.get("serving_s") or {}).get("p50", 0.0)),
            )
        )
    by_text: dict[str, list[str]] = {}
    for name, text in advice(loads, label).items():
        by_text.setdefault(text, []).append(label(name))
    return "; ".join(_sentence(names, text) for text, names in by_text.items())


def _sentence(names: Sequence[str], text: str) -> str:
    """Return `plane 0 and plane 1 limit: add workers` for advice `limits you: add workers`."""
    what_to_do = text.removeprefix(_LIMITS)
    if what_to_do == text:
        return f"{_listed(names)}: {text}"
    return f"{_listed(names)} {'limits' if len(names) == 1 else 'limit'}: {what_to_do}"

"""Whether a broker answers, and whether its services have workers: /healthz and /readyz."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

from .looking import Report, Seen

PLANES = ("ssnet-plane*",)
"""What is needed if no option says it: a pattern stands for the services that the broker knows."""


def why_not_healthy(seen: Seen) -> str:
    """Return why the broker does not answer; empty if it does."""
    return seen.reason if seen.report is None else ""


def why_not_ready(seen: Seen, needed: Sequence[str]) -> str:
    """Return in one line what is missing; empty if every needed service has a worker."""
    if seen.report is None:
        return seen.reason
    if seen.report["draining"]:
        return "the broker is about to stop, and accepts no requests"
    states = service_states(seen.report, needed)
    unknown = [pattern for pattern in needed if not any(_matching(states, pattern))]
    if unknown:
        names = ", ".join(unknown)
        return f"the broker knows no service {names} (--need NAME says what is needed)"
    lacking = sorted(name for name, is_served in states.items() if not is_served)
    return f"no worker for {', '.join(lacking)}" if lacking else ""


def service_states(report: Report, needed: Iterable[str]) -> dict[str, bool]:
    """Return for each needed service whether it has a worker that takes requests.

    A name without `*`, `?` and `[` is in the result also if the broker does not know it.
    """
    services: dict[str, Any] = report["services"]
    states: dict[str, bool] = {}
    for name in needed:
        known = [name] if _is_name(name) else _matching(services, name)
        states.update({one: _is_served(services.get(one)) for one in known})
    return states


def _is_served(service: dict[str, Any] | None) -> bool:
    return service is not None and service["idle"] + service["busy"] > 0


def _is_name(text: str) -> bool:
    return not set(text) & set("*?[")


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    return [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]

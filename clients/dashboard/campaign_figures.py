"""From one look at a campaign to what the page shows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..campaign.records.reading import reading
from ..campaign.views import reasons
from ..campaign.views.observing import Look

_MOST_REASONS = 8
_MOST_READ = 2000  # failures whose reasons are grouped
_MOST_HOSTS = 5
_FILES = "select reason, path, host from files where state = 'failed' order by number desc limit ?"
_EVENTS = "select reason, '', host from events order by rowid desc limit ?"


def figures(look: Look, folder: Path) -> dict[str, Any]:
    """Return the figures of a campaign. Raises `NoCampaign` and `CatalogueDamaged`."""
    standing = look.standing
    scored, failed = standing.of("done", "changed"), standing.of("failed")
    share = 1.0
    if standing.to_score:
        running = sum(one.share for one in standing.running)
        share = min((standing.to_score - standing.left.files + running) / standing.to_score, 1.0)
    limit = look.limit
    return {
        "name": look.name,
        "folder": look.folder,
        "complete": standing.is_complete,
        "driven": look.is_driven,
        "files": standing.to_score,
        "files_done": scored.files,
        "files_failed": failed.files,
        "running": len(standing.running),
        "events": standing.scored.events,
        "events_failed": standing.scored.failed_events,
        "share": share,
        "events_per_s": standing.recent.events_per_s,
        "left_s": standing.left_s if look.is_driven else None,
        "limiting": limit.text,
        "limit": f"{limit.text}; {limit.todo}" if limit.todo else limit.text,
        "hosts": [
            {"host": one.host or "unknown", "why": one.why}
            for one in standing.suspects[:_MOST_HOSTS]
        ],
        "reasons": _reasons(folder) if failed.files or standing.scored.failed_events else [],
    }


def unreadable(folder: Path, error: Exception) -> dict[str, Any]:
    """Return what is shown of a campaign that cannot be read."""
    why = " ".join(str(error).split())
    return {"name": folder.name, "folder": str(folder), "complete": False, "trouble": why}


def _reasons(folder: Path) -> list[dict[str, Any]]:
    """Return the kinds of reasons of the newest failures, with the hosts where each occurred."""
    with reading(folder) as catalogue:
        read = {
            what: catalogue.rows(select, _MOST_READ)
            for what, select in (("files", _FILES), ("events", _EVENTS))
        }
    kinds_shown = []
    for what, rows in read.items():
        kinds = reasons.Kinds()
        hosts: dict[str, dict[str, int]] = {}
        for reason, path, host in rows:
            counts = hosts.setdefault(kinds.add(reason or "no reason", path).kind, {})
            counts[host or "unknown"] = counts.get(host or "unknown", 0) + 1
        for kind in kinds.most_common[:_MOST_REASONS]:
            kinds_shown.append(
                {
                    "what": what,
                    "count": kind.count,
                    "reason": kind.text,
                    "hosts": _most(hosts[kind.kind]),
                }
            )
    return kinds_shown


def _most(counts: dict[str, int]) -> list[str]:
    most = sorted(counts.items(), key=lambda one: -one[1])
    shown = [f"{host} ({count})" for host, count in most[:_MOST_HOSTS]]
    return [*shown, f"and {len(most) - len(shown)} more"] if len(most) > len(shown) else shown

"""What the page shows besides the broker: campaigns, the pool, and the last event as a picture.

Threads look while a page is open, since a shared file system or a batch system may not answer
for minutes: what they have seen last stays on the page.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mdp import MDPError
from mdp.pool.observe import Observer as PoolObserver
from mdp.pool.observe import launcher_of
from mdp.pool.pool_folder import PoolFolder

from ..campaign.views.observing import Observer
from . import campaign_figures
from .newest_picture import NewestPicture

log = logging.getLogger(__name__)

CAMPAIGN_S, POOL_S = 3.0, 10.0
"""Seconds between looks at campaigns, and at the pool."""
_MOST_JOBS = 200


class Sources:
    """Looks at folders. Reading an attribute never waits for one."""

    def __init__(
        self, campaigns: Sequence[Path], pool: Path | None, pictures: Sequence[Path]
    ) -> None:
        self.is_watched = False
        self.campaigns: list[dict[str, Any]] = []
        self.pool: dict[str, Any] | None = None
        self.picture = NewestPicture(campaigns, pictures)
        self._campaigns = campaigns
        self._observers = {folder: Observer(folder) for folder in campaigns}
        self._pool = pool
        self._is_over = threading.Event()

    def start(self) -> None:
        work: list[tuple[str, float, Callable[[], None]]] = [
            ("campaigns", CAMPAIGN_S, self._look_at_campaigns),
            ("pool", POOL_S, self._look_at_pool),
            ("pictures", CAMPAIGN_S, self.picture.look),
        ]
        for name, every_s, look in work:
            # they end with the process: nothing has to be finished
            threading.Thread(
                target=self._repeat, args=(every_s, look), name=name, daemon=True
            ).start()

    def stop(self) -> None:
        self._is_over.set()

    @property
    def limits(self) -> list[str]:
        """Return in words what limits each campaign that goes on."""
        going = [one for one in self.campaigns if one.get("limit") and not one["complete"]]
        if len(going) == 1:
            return [going[0]["limiting"]]
        return [f"{one['name']}: {one['limiting']}" for one in going]

    def figures(self) -> dict[str, Any]:
        """Return what was seen last."""
        return {"campaigns": self.campaigns, "pool": self.pool, "picture": self.picture.figures}

    def _repeat(self, every_s: float, look: Callable[[], None]) -> None:
        last_at = -every_s
        while not self._is_over.wait(0.2):
            if self.is_watched and time.monotonic() - last_at >= every_s:
                look()
                last_at = time.monotonic()

    def _look_at_campaigns(self) -> None:
        self.campaigns = [self._campaign(folder) for folder in self._campaigns]

    def _campaign(self, folder: Path) -> dict[str, Any]:
        try:
            return campaign_figures.figures(self._observers[folder].look(), folder)
        except (MDPError, OSError) as error:
            return campaign_figures.unreadable(folder, error)

    def _look_at_pool(self) -> None:
        if self._pool is None:
            return
        try:
            self.pool = _pool_figures(PoolFolder(self._pool))
        except (MDPError, OSError) as error:
            self.pool = {"name": self._pool.name, "trouble": " ".join(str(error).split())}


def _pool_figures(folder: PoolFolder) -> dict[str, Any]:
    settings = folder.read_settings()
    sight = PoolObserver(folder, settings, launcher_of(folder, settings)).report()
    jobs = sorted(sight.jobs, key=lambda job: (job.state != "running", job.ends_at or 0.0))
    shown = ("id", "state", "reason", "host", "ends_at", "started_at")
    return {
        "name": sight.name,
        "silence": sight.silence,
        "trouble": sight.keeper.trouble,
        "keeper_alive": sight.keeper_alive,
        "stopped": sight.stopped_at is not None,
        "want": dict(sight.want),
        "jobs": [
            {"kind": job.kind, **{key: asdict(job)[key] for key in shown}}
            for job in jobs[:_MOST_JOBS]
        ],
        "left_out": max(len(jobs) - _MOST_JOBS, 0),
    }

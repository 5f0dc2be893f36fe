"""One look at a campaign: its catalogue, its driver, its readers' notes, and its broker.

It changes nothing, and asks the broker only for its own reports.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdp import MDPError
from mdp.system import contact
from mdp.system.broker_report import broker_reports

from ..plan import CampaignSettings
from ..records.lease import Driver, driver_of
from ..records.reading import reading
from .bottleneck import Circumstances, Limit, Service, limit, services_of
from .catalogue_figures import standing_of
from .reader_notes import notes_of
from .standing import Standing

_LOOKS = 3  # at the broker, since one alone may find a worker between two requests
_PAUSE_S = 0.08
_BROKER_S = 0.6
_KEPT_LOOKS = 12


@dataclass(frozen=True)
class Look:
    """All that was seen of a campaign."""

    name: str
    folder: str
    settings: CampaignSettings
    created_at: float
    standing: Standing
    driver: Driver | None
    """None: there never was one."""
    services: tuple[Service, ...] | None
    """The planes and the readers; None: the broker does not answer, or was not asked."""
    limit: Limit

    @property
    def broker(self) -> str:
        return str(self.driver.extra.get("broker") or "") if self.driver else ""

    @property
    def is_driven(self) -> bool:
        return self.driver is not None and self.driver.alive


class Observer:
    """Looks at a campaign again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looks: deque[Mapping[str, Any]] = deque(maxlen=_KEPT_LOOKS)
        self._broker = ""

    def look(self) -> Look:
        """Look now. Raises `NoCampaign` and `CatalogueDamaged`."""
        with reading(self._folder) as catalogue:
            driver = driver_of(self._folder)
            asking = self._ask(driver)
            settings, created_at = catalogue.settings, catalogue.created_at
            is_driven = driver is not None and driver.alive
            notes = notes_of(self._folder)
            standing = standing_of(catalogue, notes, now=time.time(), is_driven=is_driven)
        asking.join()
        services = services_of(self._looks) if self._looks else None
        folder = self._folder.resolve()
        seen = Look(
            name=folder.name,
            folder=str(folder),
            settings=settings,
            created_at=created_at,
            standing=standing,
            driver=driver,
            services=None if services is None else tuple(services),
            limit=Limit("unclear", ""),
        )
        return replace(seen, limit=limit(_circumstances(seen)))

    def _ask(self, driver: Driver | None) -> threading.Thread:
        """Ask the broker for its services in a thread."""
        broker = str(driver.extra.get("broker") or "") if driver and driver.alive else ""
        if broker != self._broker or not broker:
            self._looks.clear()
        self._broker = broker
        thread = threading.Thread(target=self._take_looks, args=(broker,), daemon=True)
        thread.start()
        return thread

    def _take_looks(self, broker: str) -> None:
        try:
            place = contact.locate(broker) if broker else None
        except MDPError:
            place = None
        if place is None:
            self._looks.clear()
            return
        for number in range(_LOOKS):
            if number:
                time.sleep(_PAUSE_S)
            reports = broker_reports(
                place.address, [b"mmi.services"], place.keys, timeout_s=_BROKER_S
            )
            if reports is None:
                self._looks.clear()
                return
            self._looks.append(reports[0])


def _circumstances(look: Look) -> Circumstances:
    standing = look.standing
    waiting = standing.of("waiting").files - len(standing.running)
    return Circumstances(
        is_complete=standing.is_complete,
        waiting=max(waiting, 0),
        is_driven=look.is_driven,
        broker=look.broker,
        services=look.services,
        planes=look.settings.options.planes,
        running=standing.running,
        more_readers=_more_readers(look),
    )


def _more_readers(look: Look) -> str:
    pool = str(look.driver.extra.get("pool") or "") if look.driver else ""
    if pool:
        return f"ssnet pool scale {shlex.quote(pool)} readers={{all}}"
    return f"ssnet worker files -n {{more}} --broker {shlex.quote(look.broker)}"

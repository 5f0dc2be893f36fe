"""What `mdp services` does: look at what a broker serves, once or again and again."""

from __future__ import annotations

import json as json_text
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from . import tables
from .client import Client
from .errors import MDPError
from .settings import ClientSettings
from .sockets import Bell, Poll, clock


class Look:
    """One broker, seen through its own reports; a single service, or all."""

    def __init__(
        self, broker: str, service: str | None, *, workers: bool, timeout_s: float
    ) -> None:
        self._broker = broker
        self._service = service
        self._workers = workers
        self._timeout_s = timeout_s
        self._answered: dict[str, int] = {}  # at the look before, for the rates
        self._looked_at = 0.0

    def once(self, *, json: bool) -> bool:
        """Print; False if a service was named for which no worker lives."""
        with Client(self._broker, ClientSettings(tries=1)) as client:
            report = self._report(client)
        if json:
            print(json_text.dumps(report, indent=2))
        else:
            Console().print(self._tables(report, rates=None))
        return self._service is None or self._lives(report)

    def watch(self, *, every_s: float) -> None:
        """Show it again and again, until Ctrl-C; a broker that is away is waited for."""
        with Client(self._broker, ClientSettings(tries=1)) as client, Live(screen=True) as live:
            bell = Bell()  # which nobody rings: Ctrl-C ends this
            pause = Poll(bell)
            while True:
                try:
                    live.update(self._view(self._report(client)), refresh=True)
                except MDPError:
                    text = f"no broker answers at {self._broker}; still trying (Ctrl-C ends)"
                    live.update(Text(text, style="red"), refresh=True)
                pause.wait(clock() + every_s)

    def _report(self, client: Client) -> dict[str, Any]:
        services = client.services(timeout_s=self._timeout_s)
        if self._service is not None:
            services = {name: row for name, row in services.items() if name == self._service}
        report: dict[str, Any] = {"services": services}
        if self._workers:
            workers = client.management("workers", timeout_s=self._timeout_s)["workers"]
            wanted = self._service
            report["workers"] = [w for w in workers if wanted in (None, w["service"])]
        return report

    def _lives(self, report: dict[str, Any]) -> bool:
        return any(row["workers"] for row in report["services"].values())

    def _view(self, report: dict[str, Any]) -> RenderableType:
        now = clock()
        answered = {name: row["answered"] for name, row in report["services"].items()}
        passed_s = max(now - self._looked_at, 1e-3)
        rates = {
            name: max(0, count - self._answered.get(name, count)) / passed_s
            for name, count in answered.items()
        }
        self._answered, self._looked_at = answered, now
        title = Text(f"{self._broker}   (Ctrl-C ends)\n", style="dim")
        return Group(title, self._tables(report, rates=rates))

    def _tables(self, report: dict[str, Any], *, rates: dict[str, float] | None) -> RenderableType:
        if not report["services"]:
            missing = f"no worker for {self._service}" if self._service else "no services yet"
            return Text(missing)
        shown: list[RenderableType] = [tables.services(report["services"], rates=rates)]
        if "workers" in report:
            shown += [Text(""), tables.workers(report["workers"])]
        return Group(*shown)

"""The command `mdp services`: show the services of a broker, once or repeatedly."""

from __future__ import annotations

import functools
import json as json_text
import sys
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ..client.client import Client
from ..errors import MDPError, RequestTimeout, SettingsError
from ..settings import ClientSettings
from ..sockets import clock, unix_time
from ..system.logs import timestamp
from . import tables
from .watching import WIDE, Watch

_SETTINGS = ClientSettings(tries=1, interactive=True)

Report = dict[str, Any]


class Look:
    """Shows a broker's own reports, for one service or for all."""

    def __init__(
        self,
        broker: str,
        service: str | None,
        *,
        workers: bool,
        clients: bool = False,
        timeout_s: float,
    ) -> None:
        self._broker = broker
        self._service = service
        self._workers = workers
        self._clients = clients
        self._timeout_s = timeout_s
        if not timeout_s > 0:
            raise SettingsError(f"want timeout_s above 0, got {timeout_s}")
        self._answered: dict[str, int] = {}  # in the previous report, for the rates
        self._reported_at = 0.0

    def once(self, *, json: bool, quiet: bool = False) -> bool:
        """Print a report, unless quiet. Return False if the named service has no worker."""
        with Client(self._broker, _SETTINGS) as client:
            try:
                report = self._report(client)
            except RequestTimeout:
                raise RequestTimeout(self._no_answer(client)) from None
        if json and not quiet:
            print(json_text.dumps(report, indent=2))
        elif not quiet:
            wide = None if sys.stdout.isatty() else WIDE
            Console(width=wide).print(self._tables(report, rates=None))
        return self._service is None or self._has_workers(report)

    def watch(self, *, every_s: float, json: bool) -> None:
        """Show reports until KeyboardInterrupt, also while no broker answers."""
        with Client(self._broker, _SETTINGS) as client:
            look = functools.partial(self._timed_report, client)
            Watch(self._broker, look=look, view=self._view, as_json=dict).run(
                every_s=every_s, json=json
            )

    def _timed_report(self, client: Client) -> Report:
        """Return a report with the time; it has only `error` while no broker answers."""
        try:
            report = self._report(client)
        except MDPError:
            report = {"error": f"{self._no_answer(client)}; still trying"}
        return {"time": timestamp(unix_time()), **report}

    def _report(self, client: Client) -> Report:
        services = client.services(timeout_s=self._timeout_s)
        if self._service is not None:
            services = {name: row for name, row in services.items() if name == self._service}
        report: Report = {"services": services}
        if self._workers:
            workers = client.management("workers", timeout_s=self._timeout_s)["workers"]
            wanted = self._service
            report["workers"] = [w for w in workers if wanted in (None, w["service"])]
        if self._clients:
            clients = client.management("clients", timeout_s=self._timeout_s)["clients"]
            wanted = self._service
            report["clients"] = [c for c in clients if wanted is None or wanted in c["services"]]
        return report

    def _no_answer(self, client: Client) -> str:
        waited = f"within {self._timeout_s:g} s"
        return f"no broker answers at {client.broker_shown} {waited}: {client.why_silent()}"

    def _has_workers(self, report: Report) -> bool:
        return any(row["workers"] for row in report["services"].values())

    def _view(self, report: Report) -> RenderableType:
        if "error" in report:
            return Text(report["error"], style="red")
        now = clock()
        answered = {name: row["answered"] for name, row in report["services"].items()}
        passed_s = max(now - self._reported_at, 1e-3)
        rates = {
            name: max(0, count - self._answered.get(name, count)) / passed_s
            for name, count in answered.items()
        }
        self._answered, self._reported_at = answered, now
        return self._tables(report, rates=rates)

    def _tables(self, report: Report, *, rates: dict[str, float] | None) -> RenderableType:
        if not report["services"]:
            missing = f"no worker for {self._service}" if self._service else "no services yet"
            return Text(missing)
        shown: list[RenderableType] = [tables.services(report["services"], rates=rates)]
        if "workers" in report:
            shown += [Text(""), tables.workers(report["workers"])]
        if "clients" in report:
            shown += [Text(""), tables.clients(report["clients"])]
        return Group(*shown)

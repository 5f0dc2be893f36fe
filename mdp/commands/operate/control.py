"""`mdp service pause|resume`, `mdp retire`, `cancel` and `drain`: orders to a running broker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgpack
import typer

from ...client.client import Client
from ...errors import RequestTimeout, SettingsError
from ...settings import DEFAULT_ENDPOINT, ClientSettings
from ...system.contact import host_name, locate, user_name
from ...system.logs import configure_logging
from ..command_line import (
    SERVED,
    TERMINAL,
    Broker,
    PoolName,
    Quiet,
    Timeout,
    Verbose,
    broker_of,
    new_group,
    option,
)
from ..tables import duration
from . import selection
from .selection import Row

service_app = new_group("service", "Pause a service: its requests wait and its workers stay.")

_SETTINGS = ClientSettings(tries=1, interactive=True)
_TIMEOUT_S = 3.0  # a person waits
_LISTED = 10  # rows before the question

Yes = Annotated[
    bool, option(TERMINAL, "--yes", help="Do not ask before the order is sent: for scripts.")
]
ServiceName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the service.")]


PAUSE_HELP = """Pause a service: its requests are queued, and no worker gets one.

Workers finish the requests that they hold, and stay, also those with --idle. Clients wait, and \
their log says who has paused the service and since when. The time of their requests stands still \
(--timeout of clients, --expiry of the broker). The pause ends with `mdp service resume`, or with \
the broker.

[bold]Examples[/]

  mdp service pause ssnet-plane2
  mdp service pause ssnet-plane2 --broker @july/broker.json --yes
  mdp service pause square --pool numbers
"""


@service_app.command(help=PAUSE_HELP)
def pause(
    context: typer.Context,
    name: ServiceName,
    yes: Yes = False,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    timeout: Timeout = _TIMEOUT_S,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    with _operator(context, broker, pool_name, timeout) as orders:
        service = orders.service(name)
        row = orders.services[service]
        if row.get("paused"):
            orders.report(f"{service} is paused already, {_since(row['paused'])}", quiet=quiet)
            return
        ask = f"pause {service} ({row['queued']} requests queued, {row['busy']} workers busy)?"
        _confirm(ask, yes=yes)
        state = orders.send("pause", {"service": service})
        counts = f"{state['queued']} requests wait, workers hold {state['held']}"
        orders.report(f"{service} is paused; {counts}", quiet=quiet)


RESUME_HELP = """End the pause of a service: its requests are handed out again.

[bold]Example[/]

  mdp service resume ssnet-plane2
"""


@service_app.command(help=RESUME_HELP)
def resume(
    context: typer.Context,
    name: ServiceName,
    yes: Yes = False,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    timeout: Timeout = _TIMEOUT_S,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    with _operator(context, broker, pool_name, timeout) as orders:
        service = orders.service(name)
        paused = orders.services[service].get("paused")
        if not paused:
            orders.report(f"{service} is not paused", quiet=quiet)
            return
        _confirm(f"resume {service}, {_since(paused)}?", yes=yes)
        state = orders.send("resume", {"service": service})
        orders.report(f"{service} goes on; {state['queued']} requests are queued", quiet=quiet)


RETIRE_HELP = """End workers in order: each finishes its request, gets no other one, and leaves.

WORKER is a worker's name as `mdp services --by-worker` shows it, its beginning, host:pid (all \
workers of that process), or a pattern that fits only one. A process ends with exit code 0 when \
its last worker has left. The keeper of a pool does not count that as a failed job, and starts \
another job if the pool still wants as many workers: `mdp pool scale` changes that.

[bold]Examples[/]

  mdp retire n7:8120
  mdp retire 60c5590f72eef292
  mdp retire --host n7 --yes
  mdp retire --job 8812
"""


def retire(
    context: typer.Context,
    worker: Annotated[
        str | None, typer.Argument(metavar="[WORKER]", help="The worker: a name, or host:pid.")
    ] = None,
    host: Annotated[
        str | None,
        option(SERVED, "--host", metavar="HOST", help="All workers on this host."),
    ] = None,
    job: Annotated[
        str | None,
        option(
            SERVED,
            "--job",
            metavar="JOB",
            help="All workers of this batch job, or of all tasks of a job array.",
        ),
    ] = None,
    yes: Yes = False,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    timeout: Timeout = _TIMEOUT_S,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    _one_of(WORKER=worker, **{"--host": host, "--job": job})
    with _operator(context, broker, pool_name, timeout) as orders:
        rows = orders.report_of("workers")["workers"]
        if worker is not None:
            found = selection.workers_named(worker, rows)
        elif host is not None:
            found = selection.workers_of_host(host, rows)
        else:
            found = selection.workers_of_job(job or "", rows)
        foreign = sum(row["address"].startswith("(") for row in found)
        if foreign:
            text = "they have no name at this broker; stop their processes instead"
            raise selection.NoSuchPeer(f"{foreign} of these workers cannot be told: {text}")
        _confirm(_question("retire", "worker", found, selection.worker_text), yes=yes)
        done = orders.send("dismiss", {"workers": [row["address"] for row in found]})
        gone = f"; {len(done['unknown'])} had left" if done["unknown"] else ""
        text = f"{_count(done['dismissed'], 'worker')} told to end{gone}"
        orders.report(text, quiet=quiet)


CANCEL_HELP = """Cancel the requests of a client, or one request: the client gets error 410.

NAME is a client's name as `mdp services --by-client` shows it, its beginning, host:pid, the name \
of its key if no other client uses it, or a pattern that fits only one. An ID is in every error \
that a user sees, in the logs, and in `mdp services --by-client`. Workers have 10 s to finish what \
was cancelled; they are not ended.

[bold]Examples[/]

  mdp services --by-client
  mdp cancel --client n7:8120
  mdp cancel --client bob --yes
  mdp cancel --request 5f0c1d2e3a4b5c6d
"""


def cancel(
    context: typer.Context,
    client: Annotated[
        str | None,
        option(SERVED, "--client", metavar="NAME", help="All requests of this client."),
    ] = None,
    request: Annotated[
        str | None,
        option(SERVED, "--request", metavar="ID", help="Only the request with this id."),
    ] = None,
    yes: Yes = False,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    timeout: Timeout = _TIMEOUT_S,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    _one_of(**{"--client": client, "--request": request})
    with _operator(context, broker, pool_name, timeout) as orders:
        if client is not None:
            row = selection.client_named(client, orders.report_of("clients")["clients"])
            if row["client"].startswith("("):
                text = "this client has no name at this broker; cancel its requests by their ids"
                raise selection.NoSuchPeer(text)
            count = f"{row['queued']} queued and {row['held']} held requests"
            _confirm(f"cancel {count} of client {selection.client_text(row)}?", yes=yes)
            done = orders.send("abort", {"client": row["client"]})
        else:
            _confirm(f"cancel request {request}?", yes=yes)
            done = orders.send("abort", {"requests": [request]})
            if not done["cancelled"]:
                raise selection.NoSuchPeer(f"no client waits for a request {request!r} any more")
        orders.report(f"cancelled {_count(done['cancelled'], 'request')}", quiet=quiet)


DRAIN_HELP = """End a broker in order, as SIGTERM does: it takes no new requests, and ends.

It refuses what is queued (503: clients of ours wait for the next broker and send it again), waits \
for the requests that workers hold, for --drain of `mdp broker` at most, and exits with 0. Its \
workers look for the next broker.

[bold]Examples[/]

  mdp drain
  mdp drain --broker @july/broker.json --yes
"""


def drain(
    context: typer.Context,
    yes: Yes = False,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    timeout: Timeout = _TIMEOUT_S,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    with _operator(context, broker, pool_name, timeout) as orders:
        queued = sum(row["queued"] for row in orders.services.values())
        _confirm(f"end the broker at {orders.broker} ({queued} requests queued)?", yes=yes)
        state = orders.send("drain", {})
        counts = f"workers hold {state['held']} requests, {state['queued']} queued are refused"
        orders.report(f"the broker ends; {counts}", quiet=quiet)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file to `mdp`."""
    app.add_typer(service_app)
    for command, text in ((retire, RETIRE_HELP), (cancel, CANCEL_HELP), (drain, DRAIN_HELP)):
        app.command(help=text)(command)


class OrderSender:
    """A broker that is asked what there is, and given orders."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.services = client.services(timeout_s=timeout_s)

    @property
    def broker(self) -> str:
        return self._client.broker_shown

    def service(self, name: str) -> str:
        return selection.service_named(name, self.services)

    def report_of(self, name: str) -> dict[str, Any]:
        return self._client.management(name, timeout_s=self._timeout_s)

    def send(self, order: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Send an order; the broker's log shows who has sent it."""
        body = msgpack.packb({**wanted, "by": f"{user_name()}@{host_name()}"})
        return self._client.management(order, [body], timeout_s=self._timeout_s)

    def report(self, text: str, *, quiet: bool) -> None:
        if not quiet:
            typer.echo(text)


@contextmanager
def _operator(
    context: typer.Context, broker: str, pool: Path | None, timeout_s: float
) -> Iterator[OrderSender]:
    """Connect to the broker that the options name. Raises `RequestTimeout` if none answers."""
    broker = broker_of(context, pool, broker)
    locate(broker)  # an error at once, if there is no contact file
    with Client(broker, _SETTINGS) as client:
        try:
            orders = OrderSender(client, timeout_s)
        except RequestTimeout:
            text = f"no broker answers at {client.broker_shown} within {timeout_s:g} s"
            raise RequestTimeout(f"{text}: {client.why_silent()}") from None
        yield orders


def _confirm(question: str, *, yes: bool) -> None:
    """Ask once, on the terminal. Raises `SettingsError` if there is none, and exits at "no"."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{question} Nobody can be asked here: add --yes")
    typer.confirm(question, abort=True, err=True)


def _question(verb: str, what: str, rows: Sequence[Row], describe: Any) -> str:
    """Return the question before an order, with the first rows that it is about."""
    lines = [f"  {describe(row)}" for row in rows[:_LISTED]]
    if len(rows) > _LISTED:
        lines.append(f"  and {len(rows) - _LISTED} more")
    return os.linesep.join([*lines, f"{verb} {_count(rows, what)}?"])


def _count(rows: Sequence[Any], what: str) -> str:
    return f"{len(rows)} {what}{'' if len(rows) == 1 else 's'}"


def _since(paused: Any) -> str:
    return f"for {duration(paused['for_s'])}, by {paused['by']}"


def _one_of(**values: str | None) -> None:
    """Raise `SettingsError` unless the user has given exactly one of these."""
    given = [name for name, value in values.items() if value is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise SettingsError(f"want one of {', '.join(values)}, got {got}")

"""The `mdp` command: parse, build, run. Results to stdout, logs to stderr.

Exit codes: 0 done, 1 failed, 2 misused.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from .. import addresses
from ..errors import SettingsError
from ..process import (
    configure_logging,
    ended_by_signals,
    errors_reported,
    raise_file_limit,
    stop_bell,
)
from ..settings import DEFAULT_ENDPOINT, BrokerSettings, ClientSettings, Pulse, WorkerSettings
from ..wire import service_name
from ..worker.worker import Worker, load
from .command_line import (
    PULSE_OPTIONS,
    Bind,
    Broker,
    BrokerToLoad,
    Quiet,
    Verbose,
    finite,
    new_app,
    options_named,
)

app = new_app("mdp", "The Majordomo protocol: a broker, its workers and its clients.")

Heartbeat = Annotated[
    float, typer.Option(help="Seconds between heartbeats; the same for a broker and its workers.")
]
Liveness = Annotated[int, typer.Option(help="Heartbeats missed until a peer counts as gone.")]


def main() -> None:
    with errors_reported():
        app()


BROKER_HELP = """Run a broker.

It queues requests by service, hands each to the worker that has been idle longest, and gives it \
to another one when that worker dies.

SIGTERM or Ctrl-C: it waits for what workers hold, then stops; a second one stops it at once.

[bold]Examples[/]

  mdp broker
  mdp broker --bind tcp://0.0.0.0:5555 --public
  mdp broker --bind tcp://\\[::]:5555 --public     # IPv4 and IPv6
  mdp broker --bind tcp://127.0.0.1:5555 --bind ipc:///tmp/mdp.sock
  mdp broker --time-limit ssnet-plane0=120 --time-limit ssnet-plane2=120
"""


@app.command(help=BROKER_HELP)
def broker(
    bind: Bind = None,
    public: Annotated[
        bool, typer.Option("--public", help="Allow an address that other machines can reach.")
    ] = False,
    time_limit: Annotated[
        list[str] | None,
        typer.Option(help="SERVICE=SECONDS a worker may hold a request; repeatable."),
    ] = None,
    max_attempts: Annotated[int, typer.Option(help="Workers a request may cost.")] = 3,
    max_queue: Annotated[int, typer.Option(help="Requests queued for a service.")] = 100_000,
    max_queue_bytes: Annotated[int, typer.Option(help="Bytes held for a service.")] = 2 << 30,
    expiry: Annotated[float, typer.Option(help="Seconds a request waits without workers.")] = 60.0,
    drain: Annotated[float, typer.Option(help="Seconds that stopping may take.")] = 60.0,
    heartbeat: Heartbeat = 1.0,
    liveness: Liveness = 3,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    from ..broker.serve import become_broker

    endpoints = bind or [DEFAULT_ENDPOINT]
    with options_named(
        **PULSE_OPTIONS,
        max_attempts="--max-attempts",
        max_queue="--max-queue",
        max_queue_bytes="--max-queue-bytes",
        expiry_s="--expiry",
        drain_s="--drain",
    ):
        settings = BrokerSettings(
            pulse=Pulse(heartbeat, liveness),
            max_attempts=max_attempts,
            max_queue=max_queue,
            max_queue_bytes=max_queue_bytes,
            expiry_s=expiry,
            time_limits_s=_time_limits(time_limit or []),
            drain_s=drain,
        )
    configure_logging(verbose=verbose, quiet=quiet)
    _check_public(endpoints, public=public)
    become_broker(endpoints, settings, verbose=verbose, quiet=quiet)


def _time_limits(texts: list[str]) -> dict[str, float]:
    limits = {}
    for text in texts:
        service, _, seconds = text.rpartition("=")
        try:
            name, limit_s = service_name(service).decode(), float(seconds)
            BrokerSettings(time_limits_s={name: limit_s})
        except (SettingsError, ValueError):
            text = f"want --time-limit SERVICE=SECONDS, with SECONDS above 0, got {text!r}"
            raise SettingsError(text) from None
        limits[name] = limit_s
    return limits


def _check_public(endpoints: list[str], *, public: bool) -> None:
    """Raise `SettingsError` for a public address without --public.

    Anyone who can reach a broker can read and answer requests, so the user must choose this.
    """
    reachable = [text for text in endpoints if not addresses.parse(text, bind=True).is_local]
    if reachable and not public:
        raise SettingsError(f"{reachable[0]} can be reached from other machines: add --public")
    for endpoint in reachable:
        text = "%s can be reached from other machines, by anyone: there is no password"
        logging.getLogger(__name__).warning(text, endpoint)


WORKER_HELP = """Register workers for a service.

CLASS is a subclass of mdp.Worker in MODULE; the current folder is on the path. Each worker \
computes in a process of its own. Exit code 1 if a worker's setup() failed again and again.

SIGTERM or Ctrl-C: what is in hand is finished first; a second one stops at once.

[bold]Examples[/]

  mdp worker echo mdp.echo:Echo
  mdp worker doubler mymodule:Doubler --broker tcp://node7:5555 -n 4
"""


@app.command(help=WORKER_HELP)
def worker(
    service: Annotated[str, typer.Argument(help="The service's name.")],
    target: Annotated[str, typer.Argument(metavar="MODULE:CLASS", help="What computes.")],
    broker: Broker = DEFAULT_ENDPOINT,
    count: Annotated[int, typer.Option("--number", "-n", min=1, help="Workers to run.")] = 1,
    heartbeat: Heartbeat = 1.0,
    liveness: Liveness = 3,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    from ..worker.worker_loop import serve_workers

    sys.path.insert(0, os.getcwd())
    module, name = _check_target(target)
    with options_named(**PULSE_OPTIONS):
        settings = WorkerSettings(pulse=Pulse(heartbeat, liveness))
    configure_logging(verbose=verbose, quiet=quiet)
    factory: Callable[[], Worker] = functools.partial(load, module, name)
    prepare = functools.partial(configure_logging, verbose=verbose, quiet=quiet)
    with stop_bell() as stop:
        serve_workers(
            broker, [(service, factory)] * count, stop, settings=settings, prepare=prepare
        )


def _check_target(target: str) -> tuple[str, str]:
    """Check that the module exists, without importing it: only the child process imports it."""
    module, _, name = target.partition(":")
    if not module or not name:
        raise SettingsError(f"want MODULE:CLASS, got {target!r}")
    try:
        found = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise SettingsError(f"there is no module {module!r} in {os.getcwd()} or on Python's path")
    return module, name


CALL_HELP = """Ask a service; print text frames as text, others as length and digest.

The request's frames are the FRAMEs, then the contents of the files (- is standard input). A \
service that nobody serves is an error at once, unless --wait waits for a worker.

[bold]Examples[/]

  mdp call echo hello world
  mdp call ssnet-plane2 --file event.bin --out answers --timeout 60
  mdp call echo x --repeat 10000 --window 32
  mdp call echo hello --wait 60
  mdp call mmi.service echo
"""


@app.command(help=CALL_HELP)
def call(
    service: Annotated[str, typer.Argument(help="The service's name.")],
    frames: Annotated[list[str] | None, typer.Argument(metavar="[FRAME]...")] = None,
    file: Annotated[list[str] | None, typer.Option(help="A frame from a file; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the answer's frames.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Ask so many times.")] = 1,
    window: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    timeout: Annotated[float, typer.Option(help="Seconds for one try.")] = 10.0,
    tries: Annotated[int, typer.Option(min=1, help="How often it is sent.")] = 3,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a worker first.", callback=finite)
    ] = 0.0,
    broker: Broker = DEFAULT_ENDPOINT,
    verbose: Verbose = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Nothing on stderr but warnings and errors.")
    ] = False,
) -> None:
    from . import calls

    configure_logging(verbose=verbose, quiet=quiet)
    body = [frame.encode("utf-8", "surrogateescape") for frame in frames or []]
    body += [calls.read_frame(name) for name in file or []]
    calls.make_folder(out)
    with options_named(timeout_s="--timeout", tries="--tries", lanes="--window"):
        settings = ClientSettings(timeout_s=timeout, tries=tries, lanes=window)
    call = calls.Call(service, body, out=out, wait_s=wait, quiet=quiet)
    if repeat == 1:
        calls.call_once(broker, settings, call)
    else:
        calls.call_often(broker, settings, call, repeat=repeat, window=window)


SERVICES_HELP = """Show what is served: by how many workers, idle and busy, how deep the queues are.

With a SERVICE, the exit code is 0 if a worker lives for it and 1 if not. --watch ends with Ctrl-C \
or SIGTERM; into a file or a pipe it writes plain lines with the time, and with --json an object a \
line.

[bold]Examples[/]

  mdp services
  mdp services --watch
  mdp services --watch --every 60 >> services.log
  mdp services --watch --json | jq '.services.echo.queued'
  mdp services --workers
  mdp services ssnet-plane2 --quiet && echo "there are workers"
  mdp services --json | jq '.services.echo.idle'
"""


@app.command(help=SERVICES_HELP)
def services(
    service: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    workers: Annotated[bool, typer.Option("--workers", help="A row a worker, too.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    every: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="With --watch: seconds between two looks \\[1].", callback=finite
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for the broker.", callback=finite)
    ] = 3.0,
    broker: Broker = DEFAULT_ENDPOINT,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing: the exit code tells.")
    ] = False,
) -> None:
    from . import discovery

    logging.getLogger("mdp").setLevel(logging.ERROR)
    with options_named(timeout_s="--timeout"):
        look = discovery.Look(broker, service, workers=workers, timeout_s=timeout)
    if every is not None and not watch:
        raise SettingsError("want --every with --watch")
    if quiet and (watch or json or service is None):
        raise SettingsError("want --quiet with a SERVICE and without --watch and --json")
    if watch:
        with ended_by_signals():
            look.watch(every_s=every or 1.0, json=json)
        return
    sys.exit(0 if look.once(json=json, quiet=quiet) else 1)


BENCH_HELP = """Load a service of any Majordomo broker, and show how fast it goes.

Without --broker a broker and echo workers are started for the time of the measurement. \
--ceiling also measures a bare loop that forwards frames from a ROUTER to a DEALER socket and \
back, in turn with the broker, and prints the ratio.

[bold]Examples[/]

  mdp bench
  mdp bench --ceiling --sizes 64,100000,5000000
  mdp bench --workers 10,1000,5000 --sizes 64
  mdp bench --windows 100000 --sizes 64
  mdp bench --broker tcp://node7:5555 --service echo --windows 1,32
"""


@app.command(help=BENCH_HELP)
def bench(
    broker: BrokerToLoad = None,
    service: Annotated[str, typer.Option(help="The service to load.")] = "echo",
    sizes: Annotated[str, typer.Option(help="Payload bytes, by commas.")] = "64,100000,5000000",
    windows: Annotated[str, typer.Option(help="Requests in flight, by commas.")] = "1,100",
    workers: Annotated[str, typer.Option(help="Echo workers, by commas; 0 for none.")] = "",
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Length of one measurement.", callback=finite)
    ] = 2.0,
    rounds: Annotated[
        int, typer.Option(min=1, help="Measurements of each; the median is shown.")
    ] = 3,
    dialect: Annotated[str, typer.Option(help="MDP/0.1, MDP/0.2 or majortomo.")] = "MDP/0.2",
    ceiling: Annotated[bool, typer.Option("--ceiling", help="Measure the bare loop, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    from . import load_generator as measure

    with options_named(
        sizes="--sizes", windows="--windows", workers="--workers", dialect="--dialect"
    ):
        plan = measure.Plan(
            broker=broker,
            service=service,
            sizes=_numbers(sizes, "--sizes"),
            windows=_numbers(windows, "--windows"),
            workers=_numbers(workers or ("0" if broker else "16"), "--workers"),
            seconds=seconds,
            rounds=rounds,
            dialect=measure.dialect_named(dialect),
            ceiling=ceiling,
        )
    raise_file_limit()
    measure.show(plan, json=json, quiet=quiet)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"want {option} as numbers with commas, got {text!r}") from None

"""The `mdp` command: parse, build, run. Results to stdout, logs to stderr.

Exit codes: 0 done, 1 failed, 2 misused.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import math
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from ..keys.key_folder import KeyFolder
from ..settings import (
    DEFAULT_ENDPOINT,
    BrokerSettings,
    ClientSettings,
    Heartbeats,
    WorkerLife,
    WorkerSettings,
)
from ..sockets import addresses
from ..system import batch_job
from ..system.contact import NoContact, locate
from ..system.contact import read as read_contact
from ..system.logs import chosen, configure_logging, logging_of_children
from ..system.machine import memory_bytes
from ..system.process import ended_by_signals, errors_reported, raise_file_limit, stop_signal
from ..wire import service_name
from ..worker.worker import AnyWorker, load
from . import keys as key_commands
from . import pool, pool_reports
from .command_line import (
    COMPUTED,
    CONTACT_HELP,
    FAILURES,
    FILES,
    HEARTBEAT_OPTIONS,
    PUBLISH_HELP,
    SECURITY,
    SERVED,
    TERMINAL,
    Bind,
    Broker,
    BrokerToLoad,
    Every,
    Heartbeat,
    Json,
    Liveness,
    PoolName,
    Quiet,
    Timeout,
    Tries,
    Until,
    Verbose,
    Wait,
    WatchIt,
    Workers,
    broker_of,
    end_time,
    finite,
    new_app,
    option,
    options_named,
)
from .config_file import shown, with_config_file
from .metrics.command import METRICS_HELP, metrics
from .operate import control, top
from .worker_options import with_worker_life

if TYPE_CHECKING:
    from ..broker.broker_loop import Serving

app = new_app("mdp", "The Majordomo protocol: a broker, its workers and its clients.")
app.add_typer(pool.app)
app.add_typer(key_commands.app)
pool_reports.add_to(pool.app)
control.add_to(app)
top.add_to(app)

HEARTBEATS = Heartbeats()
BROKER = BrokerSettings()
CLIENT = ClientSettings()
CALL_TIMEOUT_S, CALL_LANES, LOOK_TIMEOUT_S = 10.0, 8, 3.0  # a person waits


def main() -> None:
    with errors_reported():
        app()


BROKER_HELP = """Run a broker, which queues requests by service and hands each to an idle worker.

The clients of a service are served in turn, one request each, so that nobody waits for another \
one's whole queue. If a worker dies, or holds a request longer than the time limit, the request \
goes to another one.

With --contact the broker writes a file with its address; workers and clients with \
`--broker @FILE` read it, and follow the broker when it moves. If the file names another broker \
later, this one hands over to it: it waits for the requests that workers hold, and ends.

On SIGTERM, SIGUSR1 or Ctrl-C the broker first waits for the requests that workers hold (--drain); \
a second signal stops it at once, but a SIGTERM within 2 s of another one does not.

[bold]Examples[/]

  mdp broker
  mdp broker --bind tcp://0.0.0.0:5555 --public
  mdp broker --bind tcp://\\[::]:5555 --public     # IPv4 and IPv6
  mdp broker --bind tcp://127.0.0.1:5555 --bind ipc:///tmp/mdp.sock
  mdp broker --time-limit ssnet-plane0=120 --time-limit training=none
  mdp broker --max-bytes 20000000000 --supervise
  mdp broker --bind tcp://0.0.0.0:0 --public --contact july/broker.json    # any free port
  mdp broker --bind tcp://0.0.0.0:0 --public --contact july/broker.json --take-over --until auto
  mdp broker --max-queue 1000 --show-config > broker.toml
  mdp broker --config broker.toml
"""


@app.command(help=BROKER_HELP)
@with_config_file
def broker(
    context: typer.Context,
    show_config: bool,
    bind: Bind = None,
    public: Annotated[
        bool,
        option(SERVED, "--public", help="Allow a --bind address that other machines can reach."),
    ] = False,
    time_limit: Annotated[
        list[str] | None,
        option(
            FAILURES,
            metavar="SERVICE=SECONDS",
            help="Seconds that a worker may hold a request of SERVICE; then the request is tried on"
            " one other worker. Or auto (10 times the 99 % quantile of measured times, 60 at least)"
            " or none; repeatable. Default: auto for the planes of SSNet, else none.",
        ),
    ] = None,
    max_attempts: Annotated[
        int,
        option(FAILURES, help="Refuse a request when this many workers died while they held it."),
    ] = BROKER.max_attempts,
    max_lost: Annotated[
        int,
        option(
            FAILURES,
            help="Refuse a request when this many workers were lost while they held it: their hosts"
            " or connections went away.",
        ),
    ] = BROKER.max_lost,
    max_queue: Annotated[
        int,
        option(
            SERVED,
            help="Maximum number of requests of one client in the queue of a service; more are"
            " refused.",
        ),
    ] = BROKER.max_queue,
    max_queue_bytes: Annotated[
        int | None,
        option(
            SERVED,
            help="Maximum bytes in all requests of a service, queued or at workers, and in one"
            " message; more are refused. Default: 2 GiB, or half of --max-bytes if that is less.",
        ),
    ] = None,
    max_bytes: Annotated[
        int | None,
        option(
            SERVED,
            help="Maximum memory in bytes for all requests, and for the answers that peers have not"
            " read; one client gets about half. Default: a quarter of this machine's memory.",
        ),
    ] = None,
    expiry: Annotated[
        float,
        option(
            FAILURES,
            help="Seconds that a request waits if its service has no worker; then it is refused.",
        ),
    ] = BROKER.expiry_s,
    drain: Annotated[
        float,
        option(
            FAILURES,
            help="Seconds that a stopped broker waits for the requests that workers hold.",
        ),
    ] = BROKER.drain_s,
    supervise: Annotated[
        bool,
        option(FAILURES, "--supervise", help="Start the broker again if its process dies."),
    ] = False,
    contact: Annotated[
        Path | None,
        option(
            SERVED,
            metavar="FILE",
            help=CONTACT_HELP,
        ),
    ] = None,
    advertise: Annotated[
        str | None,
        option(
            SERVED,
            metavar="HOST",
            help="Host in the contact file. Default: that of --bind, or the name of this machine.",
        ),
    ] = None,
    take_over: Annotated[
        bool,
        option(
            SERVED,
            "--take-over",
            help="Write the contact file although it names another running broker, which then hands"
            " over and ends.",
        ),
    ] = False,
    keys: Annotated[
        bool,
        option(
            SECURITY,
            "--keys",
            help="Ask for keys at ipc:// and loopback addresses, too; needs --contact. Other"
            " users of this machine reach a loopback address. Default: as the broker before, if"
            " the contact file has keys beside it.",
        ),
    ] = False,
    publish: Annotated[
        Path | None,
        option(
            SECURITY,
            metavar="FILE",
            help=f"{PUBLISH_HELP} Default: that of the broker before, if there is one.",
        ),
    ] = None,
    insecure: Annotated[
        bool,
        option(
            SECURITY,
            "--insecure",
            help="Ask for no keys, although other machines can reach the broker, or although the"
            " broker before asked for keys: anyone who reaches it can read and answer requests.",
        ),
    ] = False,
    until: Until = None,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    from ..broker.serve import become_broker

    endpoints = bind or [DEFAULT_ENDPOINT]
    with options_named(
        **HEARTBEAT_OPTIONS,
        max_attempts="--max-attempts",
        max_lost="--max-lost",
        max_queue="--max-queue",
        max_queue_bytes="--max-queue-bytes",
        max_bytes="--max-bytes",
        expiry_s="--expiry",
        drain_s="--drain",
    ):
        memory = memory_bytes() // 4 if max_bytes is None else max_bytes
        if max_queue_bytes is None:
            max_queue_bytes = max(1, min(BROKER.max_queue_bytes, memory // 2))
        settings = BrokerSettings(
            heartbeats=Heartbeats(heartbeat, liveness),
            max_attempts=max_attempts,
            max_lost=max_lost,
            max_queue=max_queue,
            max_queue_bytes=max_queue_bytes,
            max_bytes=max(memory, 2 * max_queue_bytes) if max_bytes is None else memory,
            expiry_s=expiry,
            time_limits_s=_time_limits(time_limit or []),
            drain_s=drain,
        )
    configure_logging(verbose=verbose, quiet=quiet)
    has_keys = _has_keys(endpoints, contact, public=public, keys=keys, insecure=insecure)
    serving = replace(
        _serving(contact, advertise, take_over=take_over, until=until),
        keys=has_keys,
        publish=_published_file(publish, contact, has_keys=has_keys),
        command=shlex.join(["mdp", *(word for word in sys.argv[1:] if word != "--take-over")]),
        insecure=insecure,
    )
    if show_config:
        print(shown(context))
        return
    become_broker(
        endpoints, settings, verbose=verbose, quiet=quiet, supervise=supervise, serving=serving
    )


def _serving(
    path: Path | None, advertise: str | None, *, take_over: bool, until: str | None
) -> Serving:
    from ..broker.broker_loop import Serving

    if path is None and (advertise is not None or take_over):
        raise SettingsError(f"{'--take-over' if take_over else '--advertise'} needs --contact")
    if advertise is not None:
        try:
            addresses.advertised(["tcp://0.0.0.0:1"], "", advertise)
        except SettingsError:
            want = "want --advertise as a host name or an IP address"
            raise SettingsError(f"{want}, got {advertise!r}") from None
    replaces = None
    if path is not None and take_over:
        with contextlib.suppress(NoContact):
            replaces = read_contact(path).instance
    job = batch_job.here()
    return Serving(
        contact=None if path is None else os.path.abspath(path),
        advertise=advertise,
        job="" if job is None else job.id,
        replaces=replaces,
        ends_at=end_time(until),
    )


def _time_limits(texts: list[str]) -> dict[str, float | None]:
    limits: dict[str, float | None] = {}
    for text in texts:
        service, _, seconds = text.rpartition("=")
        try:
            name = service_name(service).decode()
            limit_s = _LIMITS[seconds] if seconds in _LIMITS else _finite(float(seconds))
            BrokerSettings(time_limits_s={name: limit_s})
        except (SettingsError, ValueError):
            want = "want --time-limit SERVICE=SECONDS, with SECONDS above 0, auto or none"
            raise SettingsError(f"{want}, got {text!r}") from None
        limits[name] = limit_s
    return limits


_LIMITS = {"auto": None, "none": math.inf}


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise ValueError(f"want a finite number, got {seconds}")
    return seconds


def _has_keys(
    endpoints: list[str], contact: Path | None, *, public: bool, keys: bool, insecure: bool
) -> bool:
    """Return whether the broker asks for keys. Refuses what is not safe unless the user says so."""
    if keys and insecure:
        raise SettingsError("--keys cannot be combined with --insecure")
    if keys and contact is None:
        raise SettingsError("--keys needs --contact FILE: the file has the keys of its readers")
    reachable = [text for text in endpoints if not addresses.parse(text, bind=True).is_local]
    if reachable and not public:
        raise SettingsError(f"{reachable[0]} can be reached from other machines: add --public")
    had_keys = contact is not None and KeyFolder(contact).exists
    if insecure and not reachable and not had_keys:
        raise SettingsError("--insecure is for a --bind address that other machines can reach")
    if reachable and contact is None and not insecure:
        raise SettingsError(
            f"{reachable[0]} can be reached from other machines: add --contact FILE, which makes"
            " keys, or --insecure for a broker that anyone can use"
        )
    return keys or (bool(reachable or had_keys) and not insecure)


def _published_file(publish: Path | None, contact: Path | None, *, has_keys: bool) -> str | None:
    """Return the path of the published file: as typed, or that of the broker before."""
    if publish is None:
        last = KeyFolder(contact).last_start().publish if contact and has_keys else ""
        return last or None
    if publish == Path("none"):
        return None
    if contact is not None and publish.resolve() == contact.resolve():
        raise SettingsError(f"want another file for --publish than for --contact, got {publish}")
    if not has_keys:
        raise SettingsError("--publish is for a broker with keys: add --contact FILE and --keys")
    return os.path.abspath(publish)


WORKER_HELP = """Start workers of a service; a Python class of yours answers its requests.

CLASS is a subclass of mdp.Worker or mdp.ArrayWorker in MODULE; the current folder is on Python's \
path. Each worker computes in its own process. The exit code is 1 if a worker's setup() failed \
several times in a row.

On Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP the workers finish the requests that they hold; a second \
signal stops them at once, but a SIGTERM within 2 s of another one does not. In a Slurm job they \
leave before the end of its time, and then exit with 0.

[bold]Examples[/]

  mdp worker echo mdp.echo:Echo
  mdp worker smooth smooth:Smooth              # docs/write-a-service.md
  mdp worker doubler mymodule:Doubler --broker tcp://node7:5555 -n 4
  mdp worker doubler mymodule:Doubler --broker @july/broker.json --idle 10m
  mdp worker doubler mymodule:Doubler --until 4:00:00 --broker-wait 30m
"""


@app.command(help=WORKER_HELP)
@with_worker_life
def worker(
    service: Annotated[str, typer.Argument(help="Name of the service.")],
    target: Annotated[
        str, typer.Argument(metavar="MODULE:CLASS", help="The class that answers requests.")
    ],
    *,
    broker: Broker = DEFAULT_ENDPOINT,
    workers: Workers = 1,
    life: WorkerLife,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    from ..worker.worker_loop import serve_workers

    sys.path.insert(0, os.getcwd())
    module, name = _check_target(target)
    with options_named(**HEARTBEAT_OPTIONS):
        settings = WorkerSettings(heartbeats=Heartbeats(heartbeat, liveness), life=life)
    configure_logging(verbose=verbose, quiet=quiet)
    factory: Callable[[], AnyWorker] = functools.partial(load, module, name)
    prepare = logging_of_children(verbose=verbose, quiet=quiet)
    raise_file_limit()
    with stop_signal() as stop:
        serve_workers(
            broker,
            [(service, factory)] * workers,
            stop,
            settings=settings,
            prepare=prepare,
            job=batch_job.here(),
            log_path=batch_job.log_path(),
        )


def _check_target(target: str) -> tuple[str, str]:
    """Check that the module exists, without importing it: the worker's process does that."""
    module, _, name = target.partition(":")
    if not module or not name:
        raise SettingsError(f"want MODULE:CLASS, got {target!r}")
    try:
        exists = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        exists = False
    if not exists:
        raise SettingsError(f"there is no module {module!r} in {os.getcwd()} or on Python's path")
    return module, name


CALL_HELP = """Send a request to a service, and print the answer.

The request consists of the FRAMEs, then of the contents of each --file. In the answer, a frame of \
text is printed as it is, any other frame as its length and SHA-256. If the service has no worker, \
the command fails at once; with --wait it first waits for one. The broker hands out a single \
request before those of production clients, but not the requests of --repeat.

[bold]Examples[/]

  mdp call echo hello world
  mdp call ssnet-plane2 --file event.bin -o answers --timeout 60
  mdp call echo x --repeat 10000 --window 32
  mdp call echo hello --wait 60
  mdp call square 7 --pool numbers
  mdp call mmi.service echo
"""


@app.command(help=CALL_HELP)
def call(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="Name of the service.")],
    frames: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FRAME]...", help="Frames of the request, as text."),
    ] = None,
    file: Annotated[
        list[str] | None,
        option(FILES, help="File to send as one frame, - for standard input; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        option(FILES, "--output", "-o", help="Folder for the answer, one file for each frame."),
    ] = None,
    repeat: Annotated[int, option(COMPUTED, min=1, help="Number of requests to make.")] = 1,
    window: Annotated[int, option(SERVED, min=1, help="Requests in flight at once.")] = CALL_LANES,
    timeout: Timeout = CALL_TIMEOUT_S,
    tries: Tries = CLIENT.tries,
    wait: Wait = 0.0,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    from . import calls

    configure_logging(verbose=verbose, quiet=quiet)
    broker = broker_of(context, pool_name, broker)
    body = [frame.encode("utf-8", "surrogateescape") for frame in frames or []]
    body += [calls.read_frame(name) for name in file or []]
    calls.make_folder(output)
    with options_named(timeout_s="--timeout", tries="--tries", lanes="--window"):
        settings = ClientSettings(
            timeout_s=timeout if pool_name is None else max(timeout, wait),
            tries=tries,
            lanes=window,
            interactive=repeat == 1,
            waits=pool_name is not None and wait > 0,
        )
    if not wait:
        locate(broker)  # an error at once, if there is no contact file
    call = calls.CallSettings(service, body, out=output, wait_s=wait, quiet=quiet)
    if repeat == 1:
        calls.call_once(broker, settings, call)
    else:
        calls.call_often(broker, settings, call, repeat=repeat, window=window)


SERVICES_HELP = """Show the services of a broker: idle and busy workers, and queue depths.

If you name a SERVICE, the exit code is 0 if it has a worker, else 1; --quiet then prints nothing. \
--watch ends with Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP. To a file or a pipe it writes plain lines, \
each with the time; with --json, it writes one object per line. --by-worker shows where each \
worker runs (host, process id, job), with how many threads, on which device, and until when. \
--by-client shows what each client waits for, and the ids of its oldest requests.

[bold]Examples[/]

  mdp services
  mdp services --watch
  mdp services --watch --every 60 >> services.log
  mdp services --watch --json | jq '.services.echo.queued'
  mdp services --by-worker
  mdp services --by-worker --pool july
  mdp services --by-client
  mdp services ssnet-plane2 --quiet && echo "there are workers"
  mdp services --json | jq '.services.echo.idle'
"""


@app.command(help=SERVICES_HELP)
def services(
    context: typer.Context,
    service: Annotated[
        str | None, typer.Argument(help="Show only the service of this name.")
    ] = None,
    by_worker: Annotated[
        bool, option(TERMINAL, "--by-worker", help="Also show a row for each worker.")
    ] = False,
    by_client: Annotated[
        bool,
        option(TERMINAL, "--by-client", help="Also show a row for each client that waits."),
    ] = False,
    watch: WatchIt = False,
    every: Every = None,
    timeout: Timeout = LOOK_TIMEOUT_S,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from . import discovery

    configure_logging(verbose=verbose, quiet=quiet)
    broker = broker_of(context, pool_name, broker)
    if not verbose and not chosen().level:
        logging.getLogger("mdp").setLevel(logging.ERROR)
    with options_named(timeout_s="--timeout"):
        look = discovery.Look(
            broker, service, workers=by_worker, clients=by_client, timeout_s=timeout
        )
    if every is not None and not watch:
        raise SettingsError("--every needs --watch")
    if quiet and (watch or json or service is None):
        raise SettingsError("--quiet needs a SERVICE, and neither --watch nor --json")
    if not watch:
        locate(broker)  # an error at once, if there is no contact file
    if watch:
        with ended_by_signals():
            look.watch(every_s=every or 1.0, json=json)
        return
    sys.exit(0 if look.once(json=json, quiet=quiet) else 1)


BENCH_HELP = """Measure the request rate and the latency of a service, at any Majordomo broker.

Without --broker, a broker and echo workers are started for the measurement. --bare-loop also \
measures, for comparison, a loop that only forwards frames between a ROUTER and a DEALER socket. \
The measurement alternates between the broker and the loop, and shows the ratio of their rates. \
--with-keys measures a broker that asks for keys, and for comparison one that does not.

[bold]Examples[/]

  mdp bench
  mdp bench --bare-loop --sizes 64,100000,5000000
  mdp bench --with-keys --windows 32
  mdp bench --workers 10,1000,5000 --sizes 64
  mdp bench --windows 100000 --sizes 64
  mdp bench --broker tcp://node7:5555 --service echo --windows 1,32
"""


@app.command(help=BENCH_HELP)
def bench(
    broker: BrokerToLoad = None,
    service: Annotated[
        str, option(SERVED, "--service", "-s", help="Name of the service.")
    ] = "echo",
    sizes: Annotated[
        str, option(COMPUTED, help="Request sizes to measure, in bytes, separated by commas.")
    ] = "64,100000,5000000",
    windows: Annotated[
        str, option(SERVED, help="Numbers of requests in flight at once, separated by commas.")
    ] = "1,100",
    workers: Annotated[
        str | None,
        option(
            SERVED,
            *("--workers", "-n"),
            help="Numbers of echo workers to start, separated by commas. Default: 16, or 0 with"
            " --broker.",
        ),
    ] = None,
    seconds: Annotated[
        float, option(COMPUTED, min=0.1, callback=finite, help="Seconds for one measurement.")
    ] = 2.0,
    rounds: Annotated[
        int, option(COMPUTED, min=1, help="Measurements of each combination; the median is shown.")
    ] = 3,
    dialect: Annotated[
        str, option(SERVED, help="Dialect of the workers: MDP/0.1, MDP/0.2 or majortomo.")
    ] = "MDP/0.2",
    bare_loop: Annotated[
        bool,
        option(COMPUTED, "--bare-loop", help="Also measure a loop that only forwards frames."),
    ] = False,
    with_keys: Annotated[
        bool,
        option(
            SECURITY,
            "--with-keys",
            help="Measure a broker with keys, and one without in comparison.",
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from . import load_generator as measure

    configure_logging(verbose=verbose, quiet=quiet)
    with options_named(
        sizes="--sizes", windows="--windows", workers="--workers", dialect="--dialect"
    ):
        place = None if broker is None else locate(broker)
        plan = measure.LoadPlan(
            broker=None if place is None else place.address,
            service=service,
            sizes=_numbers(sizes, "--sizes"),
            windows=_numbers(windows, "--windows"),
            workers=_numbers(workers or ("0" if broker else "16"), "--workers"),
            seconds=seconds,
            rounds=rounds,
            dialect=measure.dialect_named(dialect),
            ceiling=bare_loop,
            keys=None if place is None else place.keys,
            with_keys=with_keys,
        )
    raise_file_limit()
    measure.show(plan, json=json, quiet=quiet)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"want {option} as numbers with commas, got {text!r}") from None


app.command(help=METRICS_HELP)(metrics)

"""`mdp pool`: pools of workers on a batch system; what `ssnet pool` shares with it."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from ..pool.launcher import Resources
from ..pool.pool_folder import PoolFolder
from ..pool.pool_settings import Kind, PoolSettings, adapt_range, checked_broker, checked_raw
from ..system.logs import configure_logging
from ..system.process import stop_signal
from ..wire import service_name
from .command_line import (
    FAILURES,
    PUBLISH_HELP,
    SECURITY,
    SERVED,
    TERMINAL,
    Duration,
    Quiet,
    Verbose,
    new_group,
    option,
    options_named,
)

HELP = """Run pools of workers on a batch system (Slurm), or as processes of this machine.

A pool has a folder, NAME, on a file system that all hosts share. The broker and the keeper run \
beside it; the keeper submits jobs, replaces those whose walltime ends, and excludes hosts where \
they fail. Everything can be killed at any time: the same command goes on.

[bold]Examples[/]

  mdp pool start numbers square mymodule:Square -n 8 --time 4:00:00 --partition batch
  mdp pool start numbers square mymodule:Square -n 2 --launcher local
  mdp call square 7 --broker @numbers/broker.json
  mdp pool stop numbers
"""

START_HELP = """Start a pool of workers of one service, or go on with it.

CLASS is a subclass of mdp.Worker in MODULE; the jobs run in the current folder, which is on \
Python's path. With only a NAME the settings of NAME/pool.toml are used; they may be edited.

[bold]Examples[/]

  mdp pool start numbers square mymodule:Square -n 8 --time 4:00:00 --dry-run
  mdp pool start numbers square mymodule:Square -n 8 --time 4:00:00 --per-job 4 --cpus 4
  mdp pool start numbers square mymodule:Square --adapt 0:12 --idle 5m --time 1:00:00
  mdp pool start numbers
"""

SCALE_HELP = """Change how many workers a pool has.

Workers that are too many finish their requests before they end. With --adapt their number follows \
what is queued, between two limits for each service.

[bold]Examples[/]

  mdp pool scale numbers square=6
  mdp pool scale numbers --adapt 0:12 --idle 5m
"""

STOP_HELP = """Stop a pool: cancel its queued jobs, drain its running ones, stop its broker.

It waits until no job is left. If it is interrupted, the same command goes on.

[bold]Examples[/]

  mdp pool stop numbers
  mdp pool stop numbers --now
"""

SCRIPT_HELP = """Print the job script of a pool, to submit by hand on any system.

Such a job joins the pool by its contact file, NAME/broker.json.

[bold]Examples[/]

  mdp pool script numbers > job.sh
"""

app = new_group("pool", HELP)


class LauncherName(str, enum.Enum):
    """What runs the jobs."""

    slurm = "slurm"
    local = "local"


Name = Annotated[Path, typer.Argument(metavar="NAME", help="Folder of the pool.")]
Count = Annotated[
    int,
    option(SERVED, "--workers", "-n", min=0, help="Workers to start and keep for each service."),
]
Time = Annotated[
    float | None,
    option(
        SERVED,
        **Duration,
        help="Walltime of each job, such as 4:00:00. Default: the partition's.",
    ),
]
Partition = Annotated[str, option(SERVED, help="Partition of the jobs.")]
Account = Annotated[str, option(SERVED, help="Account of the jobs.")]
Qos = Annotated[str, option(SERVED, help="Quality of service of the jobs.")]
Gpus = Annotated[int, option(SERVED, min=0, help="GPUs of each job.")]
Cpus = Annotated[int, option(SERVED, min=0, help="CPU cores of each job.")]
Mem = Annotated[str, option(SERVED, help="Memory of each job, with a unit: 8G.")]
PerJob = Annotated[
    int, option(SERVED, min=0, help="Workers in one job. Default: 1 of each service.")
]
Sbatch = Annotated[
    list[str] | None,
    option(SERVED, metavar="RAW", help="Another option of sbatch, as it is; repeatable."),
]
Setup = Annotated[
    list[str] | None,
    option(SERVED, metavar="COMMAND", help="Shell command that each job runs first; repeatable."),
]
Container = Annotated[
    str, option(SERVED, metavar="IMAGE", help="Container image for apptainer, with this project.")
]
Stagger = Annotated[
    float,
    option(
        SERVED,
        **Duration,
        show_default=False,
        help="Each job starts at random up to this much later. Default: 0.",
    ),
]
Idle = Annotated[
    float | None,
    option(
        SERVED,
        **Duration,
        help="With --adapt: how long workers are idle before they end. Default: 10m.",
    ),
]
Adapt = Annotated[
    str | None,
    option(
        SERVED,
        metavar="MIN:MAX",
        help="Least and most workers of each service; their number follows what is queued.",
    ),
]
Launcher = Annotated[
    LauncherName, option(SERVED, help="What runs the jobs; local: processes of this machine.")
]
PoolBroker = Annotated[
    str,
    option(
        SERVED,
        "--broker",
        "-b",
        help="Where the broker runs: here, job (a job with one core), or yours: an address or"
        " @FILE.",
    ),
]
PoolPublish = Annotated[
    Path | None,
    option(
        SECURITY,
        "--publish",
        metavar="FILE",
        help=PUBLISH_HELP,
    ),
]
DryRun = Annotated[
    bool,
    option(
        TERMINAL, "--dry-run", help="Show the job scripts and when they would start; do nothing."
    ),
]
Now = Annotated[bool, option(FAILURES, "--now", help="End running jobs at once, without a drain.")]
Sizes = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SERVICE=WORKERS]...", help="Workers to have for a service."),
]


def pool_settings(
    kinds: Sequence[Kind],
    *,
    workers: int,
    time: float | None,
    partition: str,
    account: str,
    qos: str,
    gpus: int,
    cpus: int,
    mem: str,
    per_job: int,
    sbatch: list[str] | None,
    setup: list[str] | None,
    container: str,
    stagger: float,
    idle: float | None,
    adapt: str | None,
    launcher: LauncherName,
    broker: str,
    publish: Path | None = None,
) -> PoolSettings:
    """Return the settings of a pool from the options of `start`."""
    if broker.startswith("@"):
        broker = f"@{os.path.abspath(broker[1:])}"
    with options_named(broker="--broker"):
        broker = checked_broker(broker)
    with options_named(sbatch="--sbatch"):
        raw = checked_raw(sbatch or ())
    if idle is not None and adapt is None:
        raise SettingsError("--idle needs --adapt")
    with options_named(adapt="--adapt"):
        low_high = None if adapt is None else adapt_range(adapt)
    services = dict.fromkeys(service for kind in kinds for service in kind.workers)
    want = dict.fromkeys(services, workers)
    if low_high:
        want = {name: min(low_high[1], max(low_high[0], count)) for name, count in want.items()}
    settings = PoolSettings(
        kinds=tuple(kinds),
        want=want,
        adapt=low_high,
        launcher=launcher.value,
        broker=broker,
        publish="" if publish in (None, Path("none")) else os.path.abspath(publish),
        per_job=per_job,
        stagger_s=stagger,
        setup=tuple(setup or ()),
        container=container,
        python=sys.executable,
        directory=os.getcwd(),
        resources=Resources(
            time_s=time or 0.0,
            partition=partition,
            account=account,
            qos=qos,
            gpus=gpus,
            cpus=cpus,
            mem=mem,
            raw=raw,
        ),
    )
    return settings if idle is None else replace(settings, idle_s=idle)


def is_asked(context: typer.Context, *, but: Sequence[str] = ("name",)) -> bool:
    """True if the user gave any option or argument other than these."""
    ignored = {*but, "quiet", "verbose", "dry_run"}
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return any(
        source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")
        for name, source in sources.items()
        if name not in ignored
    )


def start_pool(
    name: Path, settings: PoolSettings | None, *, dry_run: bool, verbose: bool, quiet: bool
) -> None:
    """Run `start`, for `mdp pool` and `ssnet pool`. settings: None: those of the folder."""
    from ..pool import start as verbs

    configure_logging(verbose=verbose, quiet=quiet, default="warning")
    pool = PoolFolder(name)
    if dry_run:
        if settings is None:
            pool.require()
        verbs.dry_run(pool, settings or pool.read_settings(), typer.echo)
    else:
        verbs.start(pool, settings, _say(quiet))


def _say(quiet: bool) -> Callable[[str], None]:
    return (lambda line: None) if quiet else typer.echo


def scale_pool(
    name: Path,
    sizes: dict[str, int],
    *,
    adapt: str | None,
    idle: float | None,
    verbose: bool,
    quiet: bool,
    optional: Sequence[Kind] = (),
) -> None:
    """Run `scale`. optional: kinds of jobs that a pool gets if their workers are asked for."""
    from ..pool import start as verbs

    configure_logging(verbose=verbose, quiet=quiet, default="warning")
    with options_named(adapt="--adapt"):
        low_high = None if adapt is None else adapt_range(adapt)
    pool, say = PoolFolder(name), _say(quiet)
    verbs.scale(pool, sizes, say, adapt=low_high, idle_s=idle, optional=optional)


def workers_by_service(texts: Sequence[str] | None) -> dict[str, int]:
    """Parse `SERVICE=WORKERS`."""
    sizes = {}
    for text in texts or ():
        service, equals, count = text.rpartition("=")
        if not (equals and service and count.isdecimal()):
            raise SettingsError(f"want SERVICE=WORKERS, got {text!r}")
        sizes[service] = int(count)
    return sizes


def stop_pool(name: Path, *, now: bool, verbose: bool, quiet: bool) -> None:
    from ..pool import start as verbs

    configure_logging(verbose=verbose, quiet=quiet, default="warning")
    verbs.stop(PoolFolder(name), _say(quiet), now=now)


def script_of(name: Path, *, verbose: bool, quiet: bool) -> None:
    from ..pool import start as verbs

    configure_logging(verbose=verbose, quiet=quiet, default="warning")
    pool = PoolFolder(name)
    pool.require()
    verbs.script(pool, pool.read_settings(), typer.echo)


@app.command(help=START_HELP)
def start(
    context: typer.Context,
    name: Name,
    service: Annotated[
        str | None, typer.Argument(metavar="[SERVICE]", help="Name of the service.")
    ] = None,
    target: Annotated[
        str | None, typer.Argument(metavar="[MODULE:CLASS]", help="Class that answers requests.")
    ] = None,
    workers: Count = 1,
    time: Time = None,
    partition: Partition = "",
    account: Account = "",
    qos: Qos = "",
    gpus: Gpus = 0,
    cpus: Cpus = 0,
    mem: Mem = "",
    per_job: PerJob = 0,
    sbatch: Sbatch = None,
    setup: Setup = None,
    container: Container = "",
    stagger: Stagger = 0.0,
    idle: Idle = None,
    adapt: Adapt = None,
    launcher: Launcher = LauncherName.slurm,
    broker: PoolBroker = "here",
    publish: PoolPublish = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    if service is None and not is_asked(context):
        return start_pool(name, None, dry_run=dry_run, verbose=verbose, quiet=quiet)
    if service is None or target is None or ":" not in target:
        raise SettingsError("want SERVICE MODULE:CLASS after the NAME of a new pool")
    text = service_name(service).decode()
    count = per_job or 1
    command = ("mdp", "worker", text, target, "-n", str(count))
    kinds = [Kind("workers", {text: count}, command)]
    settings = pool_settings(
        kinds,
        workers=workers,
        time=time,
        partition=partition,
        account=account,
        qos=qos,
        gpus=gpus,
        cpus=cpus,
        mem=mem,
        per_job=per_job,
        sbatch=sbatch,
        setup=setup,
        container=container,
        stagger=stagger,
        idle=idle,
        adapt=adapt,
        launcher=launcher,
        broker=broker,
        publish=publish,
    )
    return start_pool(name, settings, dry_run=dry_run, verbose=verbose, quiet=quiet)


@app.command(help=SCALE_HELP)
def scale(
    name: Name,
    sizes: Sizes = None,
    adapt: Adapt = None,
    idle: Idle = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    by_service = workers_by_service(sizes)
    scale_pool(name, by_service, adapt=adapt, idle=idle, verbose=verbose, quiet=quiet)


@app.command(help=STOP_HELP)
def stop(name: Name, now: Now = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    stop_pool(name, now=now, verbose=verbose, quiet=quiet)


@app.command(help=SCRIPT_HELP)
def script(name: Name, quiet: Quiet = False, verbose: Verbose = False) -> None:
    script_of(name, verbose=verbose, quiet=quiet)


@app.command(hidden=True, help="Keep a pool: the process that `start` leaves beside the broker.")
def keep(name: Name, quiet: Quiet = False, verbose: Verbose = False) -> None:
    from ..pool.keep import Keeping

    configure_logging(verbose=verbose, quiet=quiet)
    with stop_signal() as stopping:
        Keeping(PoolFolder(name), stopping).run()

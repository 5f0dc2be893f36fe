"""`ssnet pool`: pools of workers of the planes on a batch system."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError
from mdp.commands.command_line import new_group
from mdp.commands.pool import (
    Account,
    Adapt,
    Container,
    Count,
    Cpus,
    DryRun,
    Gpus,
    Idle,
    Launcher,
    LauncherName,
    Mem,
    Name,
    Now,
    Partition,
    PerJob,
    PoolBroker,
    PoolPublish,
    Qos,
    Sbatch,
    Setup,
    Stagger,
    Time,
    is_asked,
    pool_settings,
    scale_pool,
    script_of,
    start_pool,
    stop_pool,
    workers_by_service,
)
from mdp.pool.pool_settings import Kind, with_want

from ..option_checks import numbers
from ..options import (
    ALL_PLANES,
    COMPUTED,
    Engine,
    EngineName,
    Network,
    Planes,
    Quiet,
    Readers,
    Threads,
    Verbose,
    option,
)

HELP = """Run a pool of workers on a batch system (Slurm), or as processes of this machine.

A pool has a folder, NAME, on a file system that all hosts share. The broker and the keeper run \
beside it; the keeper submits jobs, replaces those whose walltime ends, and excludes hosts where \
they fail. Everything can be killed at any time: the same command goes on.

[bold]Examples[/]

  ssnet pool start july --planes 0,1,2 -n 4 --time 4:00:00 --partition gpu --gpus 1 --per-job 3
  ssnet run in.root -o out.root --pool july
  ssnet pool stop july
"""

START_HELP = """Start a pool of workers that score planes, or go on with it.

With --per-job a multiple of the number of planes, each job has workers of all planes; else each \
plane has jobs of its own. With --readers the pool also has readers, which `ssnet campaign start` \
needs: each is a job of one core, without a GPU. Without --device, jobs with GPUs use all of them, \
others the CPU. With only a NAME the settings of NAME/pool.toml are used; they may be edited.

[bold]Examples[/]

  ssnet pool start july -n 4 --time 4:00:00 --partition gpu --gpus 1 --per-job 3 --dry-run
  ssnet pool start july -n 4 --time 4:00:00 --partition gpu --gpus 1 --per-job 3
  ssnet pool start july --planes 2 --adapt 0:12 --idle 5m --time 1:00:00 --broker job
  ssnet pool start july --launcher local -n 1
  ssnet pool start july -n 12 --readers 8 --time 4:00:00 --partition gpu --gpus 1 --per-job 3
  ssnet pool start july --time 4:00:00 --setup 'module load cuda' --sbatch '--constraint=a100'
"""

SCALE_HELP = """Change how many workers a pool has.

Workers that are too many finish their requests before they end. With --adapt their number follows \
what is queued, between two limits for each plane. `readers=4` gives the pool readers of files for \
campaigns; with --adapt there are at most so many.

[bold]Examples[/]

  ssnet pool scale july plane2=6
  ssnet pool scale july plane0=2 plane2=6
  ssnet pool scale july readers=4
  ssnet pool scale july --adapt 0:12 --idle 5m
"""

STOP_HELP = """Stop a pool: cancel its queued jobs, drain its running ones, stop its broker.

It waits until no job is left. If it is interrupted, the same command goes on.

[bold]Examples[/]

  ssnet pool stop july
  ssnet pool stop july --now
"""

SCRIPT_HELP = """Print the job scripts of a pool, to submit by hand on any system.

Such a job joins the pool by its contact file, NAME/broker.json.

[bold]Examples[/]

  ssnet pool script july > job.sh
"""

app = new_group("pool", HELP)

WorkerOptions = Annotated[
    list[str] | None,
    option(
        COMPUTED,
        "--worker-option",
        metavar="RAW",
        help="Another option of `ssnet worker planes`, as it is; repeatable: '--threshold 5'.",
    ),
]
PoolDevice = Annotated[
    str | None,
    option(
        COMPUTED,
        "--device",
        help="Device that computes: cpu, auto or cuda:0. Default: auto with --gpus, else cpu.",
    ),
]
PlaneSizes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[planeN=WORKERS]... [readers=WORKERS]",
        help="Workers to have for a plane, and readers of files.",
    ),
]


@app.command(help=START_HELP)
def start(
    context: typer.Context,
    name: Name,
    planes: Planes = ALL_PLANES,
    workers: Count = 1,
    readers: Readers = 0,
    network: Network = None,
    engine: Engine = EngineName.onnx,
    device: PoolDevice = None,
    threads: Threads = 0,
    worker_option: WorkerOptions = None,
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
    if not is_asked(context) and (name / "pool.toml").exists():
        return start_pool(name, None, dry_run=dry_run, verbose=verbose, quiet=quiet)
    more = _worker_options(network, engine, device, threads, worker_option, gpus=gpus)
    kinds = plane_kinds(numbers(planes), per_job, more)
    if readers:
        kinds.append(reader_kind())
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
    if readers:
        settings = with_want(settings, dict.fromkeys(reader_kind().workers, readers))
    return start_pool(name, settings, dry_run=dry_run, verbose=verbose, quiet=quiet)


def _worker_options(
    network: Path | None,
    engine: EngineName,
    device: str | None,
    threads: int,
    raw: list[str] | None,
    *,
    gpus: int,
) -> list[str]:
    words = ["--network", str(network)] if network else []
    if engine is not EngineName.onnx:
        words += ["--engine", engine.value]
    if device or gpus:
        words += ["--device", device or "auto"]
    if threads:
        words += ["--threads", str(threads)]
    for text in raw or ():
        try:
            words += shlex.split(text)
        except ValueError as error:
            raise SettingsError(f"--worker-option: {error}, got {text!r}") from None
    return words


def plane_kinds(planes: tuple[int, ...], per_job: int, more: list[str]) -> list[Kind]:
    """Return what one job runs: workers of all planes, or a kind of jobs for each plane."""
    from services.planes import service_name

    if not planes:
        raise SettingsError("want planes as in --planes 0,1,2, got none")
    command = ("ssnet", "worker", "planes")
    if len(planes) > 1 and per_job and per_job % len(planes) == 0:
        count = per_job // len(planes)
        which = ",".join(map(str, planes))
        words = (*command, "--planes", which, "-n", str(count), *more)
        return [Kind("all", {service_name(plane): count for plane in planes}, words)]
    count = per_job or 1
    return [
        Kind(
            f"plane{plane}",
            {service_name(plane): count},
            (*command, "--planes", str(plane), "-n", str(count), *more),
        )
        for plane in planes
    ]


def reader_kind() -> Kind:
    """Return what a job of readers runs: one reader, a client of the workers of the planes."""
    from ...campaign.file_request import SERVICE

    return Kind("readers", {SERVICE: 1}, ("ssnet", "worker", "files"), calls_others=True)


@app.command(help=SCALE_HELP)
def scale(
    name: Name,
    sizes: PlaneSizes = None,
    adapt: Adapt = None,
    idle: Idle = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    by_service = {_service(word): n for word, n in workers_by_service(sizes).items()}
    scale_pool(
        name,
        by_service,
        adapt=adapt,
        idle=idle,
        verbose=verbose,
        quiet=quiet,
        optional=[reader_kind()],
    )


def _service(word: str) -> str:
    """Return the service of `plane2` or `readers`; other words are names of services."""
    from services.planes import service_name

    from ...campaign.file_request import SERVICE

    if word[:5] == "plane" and word[5:].isdecimal():
        return service_name(int(word[5:]))
    return SERVICE if word == "readers" else word


@app.command(help=STOP_HELP)
def stop(name: Name, now: Now = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    stop_pool(name, now=now, verbose=verbose, quiet=quiet)


@app.command(help=SCRIPT_HELP)
def script(name: Name, quiet: Quiet = False, verbose: Verbose = False) -> None:
    script_of(name, verbose=verbose, quiet=quiet)

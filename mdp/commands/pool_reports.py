"""`mdp pool status`, `logs` and `doctor`; what `ssnet pool` shares with them."""

from __future__ import annotations

import json as json_text
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import SettingsError
from ..pool import doctor as doctors
from ..pool import status as statuses
from ..pool.job_logs import Follower, cause, end_of, lives, whole
from ..pool.observe import Observer, launcher_of
from ..pool.pool_folder import PoolError, PoolFolder
from ..sockets import unix_time
from ..system.logs import configure_logging
from ..system.process import ended_by_signals
from ..wire import one_line
from .command_line import (
    FAILURES,
    SERVED,
    TERMINAL,
    Every,
    Json,
    Quiet,
    Verbose,
    WatchIt,
    option,
)
from .pool import Name
from .watching import WIDE, Watch

STATUS_HELP = """Show the services of a pool: workers, jobs, requests, and what limits it.

It works without the broker, and without the batch system: then it shows what was last known. The \
exit code is 0 if the broker answers and every service that is wanted has a worker, else 1; \
--quiet then prints nothing.

[bold]Examples[/]

  mdp pool status numbers
  mdp pool status numbers --watch
  mdp pool status numbers --json | jq '.services.square.ready'
  until mdp pool status numbers --quiet; do sleep 10; done
"""

LOGS_HELP = """Show the logs of a pool's jobs.

Without options, the last lines of each job's log. With --job, the whole log of a job: a requeued \
job has several lives in it. With --failed, why each job that ended badly did so, and its last \
lines.

[bold]Examples[/]

  mdp pool logs numbers
  mdp pool logs numbers --job 8812_3
  mdp pool logs numbers --failed
  mdp pool logs numbers --follow
"""

DOCTOR_HELP = """Find out why a pool does not work, and say what to do.

Each line begins with ok, note or WRONG. The exit code is 1 if something is WRONG.

[bold]Examples[/]

  mdp pool doctor numbers
  mdp pool doctor numbers --json | jq '.findings[] | select(.level == "WRONG")'
"""

Job = Annotated[
    str | None, option(SERVED, help="Show the whole log of this job, or of all jobs of an array.")
]
Failed = Annotated[
    bool, option(FAILURES, "--failed", help="Show why jobs ended badly, with their last lines.")
]
Follow = Annotated[
    bool, option(TERMINAL, "--follow", "-f", help="Show new lines as they come, until Ctrl-C.")
]
Lines = Annotated[int, option(TERMINAL, min=0, help="Lines of each log to show.")]
OfService = Annotated[str | None, option(SERVED, "--service", "-s", help="Name of the service.")]

_POLL_S = 0.5
_LINES = 20
_STYLES = {"ok": "green", "note": "yellow", "WRONG": "bold red"}


class Speech(NamedTuple):
    """How a program speaks of services: `mdp` by their names, `ssnet` by planes."""

    program: str
    heading: str
    """Of the column of services."""
    short: Callable[[str], str]
    """A service in that column."""
    label: Callable[[str], str]
    """A service in a sentence."""
    unit: str
    """What a request is."""


MDP = Speech("mdp", "service", str, str, "request")


def time_text(unix_s: float) -> str:
    """Format a time: `15:52`, or with the day if it is not near."""
    when = datetime.fromtimestamp(unix_s)
    is_near = abs(unix_s - unix_time()) < 43200
    return when.strftime("%H:%M" if is_near else "%a %d %b %H:%M")


def observer_of(name: Path) -> Observer:
    """Return what looks at a pool; raises `PoolError` if there is none."""
    pool = PoolFolder(name)
    pool.require()
    settings = pool.read_settings()
    return Observer(pool, settings, launcher_of(pool, settings))


# Status.


def show_status(
    name: Path, speech: Speech, *, watch: bool, every: float | None, json: bool, quiet: bool
) -> int:
    """Run `status`; return the exit code."""
    if every is not None and not watch:
        raise SettingsError("--every needs --watch")
    if quiet and (watch or json):
        raise SettingsError("--quiet can have neither --watch nor --json")
    observer = observer_of(name)

    def view(sight: statuses.Sight) -> RenderableType:
        return status_view(sight, statuses.rows(sight, speech.label), speech)

    def as_json(sight: statuses.Sight) -> dict[str, object]:
        return statuses.as_json(sight, statuses.rows(sight, speech.label))

    if watch:
        with ended_by_signals():
            Watch(str(name), look=observer.report, view=view, as_json=as_json).run(
                every_s=every or 1.0, json=json
            )
        return 0
    sight = observer.report()
    if json:
        print(json_text.dumps(as_json(sight), indent=2))
    elif not quiet:
        Console(width=None if sys.stdout.isatty() else WIDE, highlight=False).print(view(sight))
    return 0 if statuses.is_serving(sight, statuses.rows(sight)) else 1


def status_view(
    sight: statuses.Sight, rows: Iterable[statuses.Row], speech: Speech
) -> RenderableType:
    """Return the lines about the pool, and the table of its services."""
    pairs = statuses.lines(sight, program=speech.program, time_text=time_text)
    lines = [Text(f"{heading:<9}{text}", overflow="fold") for heading, text in pairs]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    table.add_column(speech.heading, no_wrap=True)
    for column in ("want", "ready", "busy", "starting", "queued jobs", "waiting"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in (f"s/{speech.unit} p50/p95", "ends next"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("advice")
    for row in rows:
        table.add_row(*_cells(row, speech))
    return Group(*lines, Text(""), table)


def _cells(row: statuses.Row, speech: Speech) -> list[Text]:
    counts = (row.ready, row.busy, row.starting)
    ready = [Text("?" if count is None else str(count)) for count in counts]
    if row.ready == 0 and row.want:
        ready[0].style = "bold red"
    return [
        Text(speech.short(row.service)),
        Text(str(row.want)),
        *ready,
        Text(_queued(row)),
        Text("?" if row.waiting is None else str(row.waiting)),
        Text("" if row.p50_s is None else f"{_short(row.p50_s)} / {_short(row.p95_s or 0.0)}"),
        Text("" if row.ends_next is None else time_text(row.ends_next)),
        Text(row.advice),
    ]


def _short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.3f}"


def _queued(row: statuses.Row) -> str:
    """Say how many jobs are queued, and why: `2 (Priority)`, `3 (2 Priority, 1 Resources)`."""
    if row.queued_jobs is None:
        return "?"
    if not row.queued_jobs:
        return "0"
    if len(row.reasons) == 1:
        return f"{row.queued_jobs} ({next(iter(row.reasons))})"
    reasons = (f"{count} {reason}" for reason, count in row.reasons.items())
    return f"{row.queued_jobs} ({', '.join(reasons)})"


# Logs.


def show_logs(
    name: Path,
    services: Iterable[str] | None,
    *,
    job: str | None,
    failed: bool,
    follow: bool,
    lines: int,
) -> int:
    """Run `logs`; return the exit code. services: only jobs with workers of these; None: all."""
    if job and failed:
        raise SettingsError("--job and --failed cannot be combined")
    pool = PoolFolder(name)
    pool.require()
    kinds = None if services is None else _kinds(pool, set(services))

    def logs() -> dict[str, Path]:
        paths = pool.job_logs()
        if job:
            return {k: path for k, path in paths.items() if job in (k, k.partition("_")[0])}
        if kinds is None:
            return paths
        kind_of = _kinds_of_jobs(pool)
        return {k: path for k, path in paths.items() if kind_of(k) in kinds}

    shown = logs()
    if job and not shown and not follow:
        known = ", ".join(list(pool.job_logs())[-10:]) or "none"
        raise PoolError(f"there is no log of job {job} in {pool.logs}; there are: {known}")
    follower = Follower(logs)
    if failed:
        _print_failed(pool, shown, lines)
    elif job:
        for number, path in enumerate(shown.values()):
            _print_whole(path, is_first=number == 0)
    else:
        _print_ends(shown, lines)
    if follow:
        with ended_by_signals():
            _follow(follower)
    return 0


def _kinds(pool: PoolFolder, services: set[str]) -> set[str]:
    settings = pool.read_settings()
    if strange := services - set(settings.want):
        known = ", ".join(sorted(settings.want))
        raise SettingsError(f"this pool has no service {sorted(strange)[0]!r}; it has {known}")
    return {kind.key for kind in settings.kinds if services & set(kind.workers)}


def _kinds_of_jobs(pool: PoolFolder) -> Callable[[str], str]:
    """Return a function from a job's id to its kind, from the history."""
    of_array = {
        str(event.get("array")): str(event.get("kind"))
        for event in pool.history()
        if event["event"] == "submitted"
    }
    of_job = {
        str(event["job"]): str(event["kind"])
        for event in pool.history()
        if "job" in event and "kind" in event
    }
    return lambda job: of_job.get(job) or of_array.get(job.partition("_")[0], "")


def _print_line(line: str) -> None:
    """Print a line of a log; a terminal gets no control characters but tabs."""
    print("\t".join(map(one_line, line.split("\t"))) if sys.stdout.isatty() else line)


def _print_whole(path: Path, *, is_first: bool) -> None:
    if not is_first:
        print()
    for line in whole(path):
        _print_line(line)
    sys.stdout.flush()


def _print_ends(logs: dict[str, Path], lines: int) -> None:
    if not logs:
        print("no job has written a log yet")
    for job, path in logs.items():
        for line in end_of(path).splitlines()[-lines:] if lines else ():
            _print_line(f"{job}: {line}")
    sys.stdout.flush()


def _print_failed(pool: PoolFolder, logs: dict[str, Path], lines: int) -> None:
    """Print the jobs that ended badly: those of the history, and those whose script says so."""
    ended = {str(e.get("job")): e for e in pool.history() if e["event"] == "ended"}
    count = 0
    for job, path in logs.items():
        all_lives = lives(end_of(path))
        event = ended.get(job, {})
        bad = [life for life in all_lives if life.code]
        if not bad and not event.get("bad"):
            continue
        life = bad[-1] if bad else all_lives[-1] if all_lives else None
        code = event.get("code", "") if life is None or life.code is None else f"code {life.code}"
        host = life.host if life else event.get("host", "")
        why = cause(life.lines) if life else None
        count += 1
        print(f"{job} on {host or 'an unknown host'} ended with {code}{_why(why)}")
        for line in life.lines[-lines:] if life and lines else ():
            _print_line(f"    {line}")
    if not count:
        print("no job has ended badly")
    sys.stdout.flush()


def _why(why: object) -> str:
    text, todo = getattr(why, "text", ""), getattr(why, "todo", "")
    return f": {text}{f' ({todo})' if todo else ''}" if text else ""


def _follow(follower: Follower) -> None:
    pause = threading.Event()  # never set: only its `wait` is used
    while True:
        for job, line in follower.new_lines():
            _print_line(f"{job}: {line}")
        sys.stdout.flush()
        pause.wait(_POLL_S)


# Doctor.


def show_findings(name: Path, speech: Speech, *, json: bool, quiet: bool) -> int:
    """Run `doctor`; return the exit code."""
    observer = observer_of(name)
    sight = observer.report(timeout_s=5.0)
    evidence = doctors.gather(observer.pool, sight, program=speech.program)
    findings = doctors.diagnose(sight, evidence)
    if json:
        objects = [{**finding._asdict(), "lines": list(finding.lines)} for finding in findings]
        print(json_text.dumps({"pool": sight.name, "findings": objects}, indent=2))
    else:
        shown = [f for f in findings if f.level == "WRONG"] if quiet else findings
        _print_findings(shown)
    return 1 if doctors.is_wrong(findings) else 0


def _print_findings(findings: Iterable[doctors.Finding]) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    for finding in findings:
        table = Table.grid(padding=(0, 2))
        table.add_column(width=5, no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(
            Text(finding.level, style=_STYLES[finding.level]), Text(one_line(finding.text))
        )
        for line in finding.lines:
            table.add_row("", Text(f"| {one_line(line)}", style="dim"))
        if finding.todo:
            table.add_row("", Text(f"to do: {finding.todo}"))
        with console.capture() as captured:
            console.print(table)
        rows = captured.get().splitlines()
        sys.stdout.writelines(f"{row.rstrip()}\n" for row in rows)
    sys.stdout.flush()


# The commands of `mdp`.


def add_to(group: typer.Typer) -> None:
    """Add the commands to `mdp pool`."""
    group.command(help=STATUS_HELP)(status)
    group.command(help=LOGS_HELP)(logs)
    group.command(help=DOCTOR_HELP)(doctor)


def prepare(*, verbose: bool, quiet: bool) -> None:
    """Set up the log of a command that reports; at a silent broker it says so itself."""
    configure_logging(verbose=verbose, quiet=quiet, default="warning")


def status(
    name: Name,
    watch: WatchIt = False,
    every: Every = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    prepare(verbose=verbose, quiet=quiet)
    sys.exit(show_status(name, MDP, watch=watch, every=every, json=json, quiet=quiet))


def logs(
    name: Name,
    service: OfService = None,
    job: Job = None,
    failed: Failed = False,
    follow: Follow = False,
    lines: Lines = _LINES,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    prepare(verbose=verbose, quiet=quiet)
    services = None if service is None else [service]
    sys.exit(show_logs(name, services, job=job, failed=failed, follow=follow, lines=lines))


def doctor(name: Name, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    prepare(verbose=verbose, quiet=quiet)
    sys.exit(show_findings(name, MDP, json=json, quiet=quiet))

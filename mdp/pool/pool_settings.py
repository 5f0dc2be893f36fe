"""What a user asked of a pool, and `pool.toml`, its text. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tomlkit
import tomlkit.exceptions

from ..errors import SettingsError
from ..settings import clock_text, seconds_of
from ..sockets import addresses
from .launcher import Resources

FORMAT = "mdp pool 1"
BROKER_KIND = "broker"
"""The kind of the job that runs the broker, with `--broker job`."""
LAUNCHERS = ("slurm", "local")
PROGRAMS = {"ssnet": "clients", "mdp": "mdp"}
"""The programs that run workers, and their packages."""
_OURS = (
    *("--array", "--chdir", "--clusters", "--error", "--job-name", "--output", "--open-mode"),
    *("--parsable", "--test-only", "--version", "--wait", "--wrap"),
)
_OURS_SHORT = ("-a", "-D", "-e", "-J", "-M", "-o", "-V", "-W")
_KEY = re.compile(r"[A-Za-z0-9_-]+")  # without a dot: it divides the parts of a job's name


@dataclass(frozen=True)
class Kind:
    """What one job of a pool runs."""

    key: str
    """`plane0`, `all`, ...: the part of the job's name after the pool's."""
    workers: dict[str, int]
    """Workers of each service in one job."""
    command: tuple[str, ...]
    """The worker command without the options that all kinds have: `ssnet worker planes ...`."""
    calls_others: bool = False
    """Its workers are clients of the pool's other services. So its jobs ask for no GPUs, its
    workers are not counted against the others' in advice, and `adapt` gives at most `want`."""


@dataclass(frozen=True)
class PoolSettings:
    """What a user asked for: `pool.toml`."""

    kinds: tuple[Kind, ...]
    want: dict[str, int]
    """Workers of each service; with `adapt`, how many there are at the start."""
    adapt: tuple[int, int] | None = None
    """The least and the most workers of each service; None: always `want`."""
    launcher: str = "slurm"
    broker: str = "here"
    """`here`, `job`, an address, or `@FILE`."""
    publish: str = ""
    """The broker's published file, for people with keys of their own; empty: there is none."""
    per_job: int = 0
    """Workers in one job, of all services together; 0: one of each service of its kind."""
    idle_s: float = 600.0
    """With `adapt`: a worker that had no request for so long may leave."""
    stagger_s: float = 0.0
    """Each job waits for a random part of this before it starts its workers."""
    setup: tuple[str, ...] = ()
    """Shell commands that each job runs first."""
    container: str = ""
    """An image; the worker command runs in it, by `apptainer exec`."""
    python: str = ""
    """The Python that has this project, outside a container."""
    directory: str = ""
    """Where `pool start` was run: the jobs run there, so that relative paths mean the same."""
    resources: Resources = field(default_factory=Resources)

    def jobs_wanted(self, want: dict[str, int] | None = None) -> dict[str, int]:
        """Return how many jobs of each kind give at least these workers."""
        workers = self.want if want is None else want
        return {
            kind.key: max(-(-workers.get(service, 0) // n) for service, n in kind.workers.items())
            for kind in self.kinds
        }

    def kind(self, key: str) -> Kind | None:
        return next((kind for kind in self.kinds if kind.key == key), None)

    @property
    def callers(self) -> frozenset[str]:
        """The services whose workers are clients of the others."""
        return frozenset(name for kind in self.kinds if kind.calls_others for name in kind.workers)

    def adapt_limits(self, service: str) -> tuple[int, int] | None:
        """Return the least and the most workers of a service; None: always `want`."""
        if self.adapt is None or service not in self.callers:
            return self.adapt
        return min(self.adapt[0], self.want[service]), self.want[service]


def parse(text: str, name: str) -> PoolSettings:
    """Read the text of a `pool.toml`; raises `SettingsError` that names the file and the key."""
    try:
        table = tomlkit.parse(text).unwrap()
    except tomlkit.exceptions.ParseError as error:
        raise SettingsError(f"{name}: {error}") from None
    if table.get("format") != FORMAT:
        raise SettingsError(f"{name}: want format = {FORMAT!r}, got {table.get('format')!r}")
    try:
        return _settings(table)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SettingsError(f"{name}: {type(error).__name__}: {error}") from None


def _settings(table: dict[str, Any]) -> PoolSettings:
    kinds = tuple(_kind(key, fields) for key, fields in table["kinds"].items())
    want = {service: _count(n, f"want.{service}") for service, n in table["want"].items()}
    services = {service for kind in kinds for service in kind.workers}
    if not kinds or services != set(want):
        raise SettingsError(
            f"want: want a number for each service of the kinds ({', '.join(sorted(services))}),"
            f" got {', '.join(want) or 'none'}"
        )
    launcher, broker = str(table.get("launcher", "slurm")), str(table.get("broker", "here"))
    if launcher not in LAUNCHERS:
        raise SettingsError(f"launcher: want {' or '.join(LAUNCHERS)}, got {launcher!r}")
    return PoolSettings(
        kinds=kinds,
        want=want,
        adapt=adapt_range(str(table["adapt"])) if table.get("adapt") else None,
        launcher=launcher,
        broker=checked_broker(broker),
        publish=str(table.get("publish", "")),
        per_job=_count(table.get("per-job", 0), "per-job"),
        idle_s=seconds(table.get("idle", "10m"), "idle"),
        stagger_s=seconds(table.get("stagger", "0"), "stagger"),
        setup=_texts(table.get("setup", []), "setup"),
        container=str(table.get("container", "")),
        python=str(table.get("python", "")),
        directory=str(table.get("directory", "")),
        resources=Resources(
            time_s=seconds(table["time"], "time") if table.get("time") else 0.0,
            partition=str(table.get("partition", "")),
            account=str(table.get("account", "")),
            qos=str(table.get("qos", "")),
            gpus=_count(table.get("gpus", 0), "gpus"),
            cpus=_count(table.get("cpus", 0), "cpus"),
            mem=str(table.get("mem", "")),
            raw=checked_raw(_texts(table.get("sbatch", []), "sbatch")),
            exclude=_texts(table.get("exclude", []), "exclude"),
        ),
    )


def seconds(value: object, name: str) -> float:
    """Parse a duration; an error names the setting."""
    try:
        return seconds_of(str(value).strip())
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None


def _kind(key: str, fields: dict[str, Any]) -> Kind:
    if not _KEY.fullmatch(key) or key == BROKER_KIND:
        raise SettingsError(
            f"kinds: want names of letters, digits, '_' and '-' other than {BROKER_KIND!r}, got"
            f" {key!r}"
        )
    table = f"kinds.{key}"
    workers = {name: _count(n, f"{table}.workers") for name, n in fields["workers"].items()}
    command = _texts(fields["command"], f"{table}.command")
    if not workers or not all(workers.values()):
        raise SettingsError(f"{table}.workers: want 1 or more workers of each service")
    if not command or command[0] not in PROGRAMS:
        raise SettingsError(f"{table}.command: want a list of words that begins with ssnet or mdp")
    calls_others = fields.get("calls-others", False)
    if not isinstance(calls_others, bool):
        raise SettingsError(f"{table}.calls-others: want true or false, got {calls_others!r}")
    return Kind(key, workers, command, calls_others)


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SettingsError(f"{name}: want a whole number, 0 or more, got {value!r}")
    return int(value)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise SettingsError(f"{name}: want a list of texts, got {value!r}")
    return tuple(texts)


def checked_raw(texts: Sequence[str]) -> tuple[str, ...]:
    """Return options for sbatch; raises `SettingsError` for those that the pool itself sets.

    With another name or folder a pool would not find its jobs, and submit others for ever.
    """
    for text in texts:
        if not text.isprintable() or not text.startswith("-"):
            raise SettingsError(f"sbatch: want an option in one line, such as --x=y, got {text!r}")
        for word in text.split():
            name = word.partition("=")[0]
            is_long = name.startswith("--") and len(name) > 3  # sbatch takes their beginnings, too
            if any(is_long and ours.startswith(name) for ours in _OURS) or word[:2] in _OURS_SHORT:
                raise SettingsError(f"sbatch: {name} is set by the pool itself, got {text!r}")
    return tuple(texts)


def checked_broker(broker: str) -> str:
    """Return `here`, `job`, `@FILE` or an address; raises `SettingsError` for anything else."""
    if broker in ("here", "job") or broker.startswith("@"):
        return broker
    try:
        return addresses.parse(broker).text
    except SettingsError as error:
        raise SettingsError(f"broker: want here, job, @FILE or {error}") from None


def adapt_range(text: str) -> tuple[int, int]:
    """Parse `MIN:MAX`; raises `SettingsError`."""
    low, colon, high = text.partition(":")
    if not (colon and low.isdecimal() and high.isdecimal() and int(low) <= int(high) > 0):
        raise SettingsError(f"want adapt as MIN:MAX with 0 <= MIN <= MAX and MAX > 0, got {text!r}")
    return int(low), int(high)


def update(document: tomlkit.TOMLDocument, settings: PoolSettings) -> None:
    """Write settings into a document, and leave everything else in it as it is."""
    resources = settings.resources
    low_high = settings.adapt
    plain = {
        "format": FORMAT,
        "launcher": settings.launcher,
        "broker": settings.broker,
        "publish": settings.publish,
        "per-job": settings.per_job,
        "adapt": f"{low_high[0]}:{low_high[1]}" if low_high else "",
        "idle": clock_text(settings.idle_s) if low_high else "",
        "stagger": clock_text(settings.stagger_s) if settings.stagger_s else "",
        "time": clock_text(resources.time_s) if resources.time_s else "",
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "gpus": resources.gpus,
        "cpus": resources.cpus,
        "mem": resources.mem,
        "sbatch": list(resources.raw),
        "exclude": list(resources.exclude),
        "setup": list(settings.setup),
        "container": settings.container,
        "python": settings.python,
        "directory": settings.directory,
    }
    for key, value in plain.items():
        if value in ("", 0, []) and key not in document:
            continue
        if key not in document or document[key] != value:
            document[key] = value
    document["want"] = dict(settings.want)
    document["kinds"] = {
        kind.key: {
            "workers": dict(kind.workers),
            "command": list(kind.command),
            **({"calls-others": True} if kind.calls_others else {}),
        }
        for kind in settings.kinds
    }


def with_want(settings: PoolSettings, want: dict[str, int]) -> PoolSettings:
    """Return settings with other numbers of workers; every service must be known."""
    if strange := sorted(set(want) - set(settings.want)):
        known = ", ".join(sorted(settings.want))
        raise SettingsError(f"this pool has no service {strange[0]!r}; it has {known}")
    return replace(settings, want={**settings.want, **want})


def with_kind(settings: PoolSettings, kind: Kind) -> PoolSettings:
    """Return settings with one more kind of jobs, of which none is wanted yet."""
    want = {**settings.want}
    for service in kind.workers:
        want.setdefault(service, 0)
    return replace(settings, kinds=(*settings.kinds, kind), want=want)

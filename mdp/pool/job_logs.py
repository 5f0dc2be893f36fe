"""The logs of a pool's jobs: their lives, why a job does not work, and `pool logs`.

A requeued job appends to its log. So a log holds one life after another, each between two lines
that the job script writes: `... job 8812_3 on n7 started TIME` and `... ended with code 0 at TIME`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .pool_folder import PoolError

_FIRST = re.compile(
    r"\w+ pool: (?P<name>\S+) job (?P<job>\S+) on (?P<host>\S+) started (?P<at>\S+)"
)
_LAST = re.compile(
    r"\w+ pool: job (?P<job>\S+) on (?P<host>\S+) ended with code (?P<code>\d+) at (?P<at>\S+)"
)
_READY = re.compile(r": ready\b")
_END_BYTES = 256 << 10  # of a log, for its last lines and its last life


@dataclass
class Life:
    """What a job wrote in one life: from its start to its end or to its next start."""

    host: str = ""
    started: str = ""
    """As the job script wrote it: ISO 8601."""
    code: int | None = None
    """The exit code; None: it wrote no last line, so it runs or was killed."""
    ended: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def was_ready(self) -> bool:
        """True if a worker of it has said that a broker answered it."""
        return any(_READY.search(line) for line in self.lines)


def lives(text: str) -> list[Life]:
    """Return the lives in a log. What stands before the first start is a life without a host."""
    all_lives: list[Life] = []
    for line in text.splitlines():
        if first := _FIRST.fullmatch(line):
            all_lives.append(Life(host=first["host"], started=first["at"]))
        elif not all_lives:
            all_lives.append(Life())
        all_lives[-1].lines.append(line)
        if last := _LAST.fullmatch(line):
            all_lives[-1].code, all_lives[-1].ended = int(last["code"]), last["at"]
    return all_lives


class Cause(NamedTuple):
    """Why a job does not work, as its log tells it."""

    text: str
    todo: str = ""
    """What to do; empty if the line only looks like an error."""
    no_broker: bool = False
    """No broker answered the workers."""
    waits: bool = False
    """The job waits for something, as it was told to."""


_UNREACHABLE = (
    "the compute nodes cannot reach the broker's host: --broker job runs it on a compute node;"
    " or, if the host has another name or address there, --advertise"
)
_CAUSES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), todo)
    for pattern, todo in (
        (r"no broker answers at .*(is not a known name|refuses the connection)", _UNREACHABLE),
        (r"no broker answers at .*(does not react|cannot be reached)", _UNREACHABLE),
        (
            r"no broker answers at .*accepts connections, but no broker answers",
            "another program has this port, or the broker is stuck: stop the pool, start it again",
        ),
        (r"no broker answers at ", _UNREACHABLE),
        (
            r"there is no .*broker\.json",
            "the node does not see the pool folder, or the broker has ended: use a folder on a file"
            " system that all nodes share",
        ),
        (r"no contact file |cannot read the contact file ", "use a folder that all nodes share"),
        (r"standing by: ", "it waits until the workers with the other fingerprint are gone"),
        (r"is served by .* of .*fingerprint", "drain the old workers first, or add --standby"),
        (r"is not this contact file's broker|instance", "the job reads an old contact file"),
        (r"command not found", "correct --setup: this command is not there on the node"),
        (r"--setup failed with code", "correct --setup: the log says which command failed"),
        (r"no module named|module\w*error", "correct --setup: the node lacks this installation"),
        (r"^(ssnet|mdp): ", "correct the option that it names"),
        (r"cuda|out of memory|oom.kill|cannot allocate", "ask for more: --mem, --gpus"),
        (r"setup\(\) failed", "the log says why the worker cannot start"),
        (r"no space left|disk quota exceeded", "make room on the file system"),
        (r"permission denied", "the compute nodes may not read or run this file"),
        (r"error\b|traceback|fatal|cannot ", ""),
    )
)


def cause(lines: Sequence[str]) -> Cause | None:
    """Return why a job does not work: the most telling of its lines, the last one of that kind."""
    for pattern, todo in _CAUSES:
        for line in reversed(lines):
            if pattern.search(line) and not _LAST.fullmatch(line):
                return Cause(
                    _without_time(line),
                    todo,
                    no_broker="no broker answers at " in line,
                    waits="standing by" in line,
                )
    return None


def _without_time(line: str) -> str:
    """Return a log line without its time and level, or without the name of its script."""
    line = re.sub(r"^\d{4}-\d\d-\d\dT\S+ +[A-Z]+ +", "", line)
    return re.sub(r"^(ssnet|mdp)( pool)?: |^\S+: line \d+: ", "", line).strip()


# Reading the files.


def end_of(path: Path, *, most_bytes: int = _END_BYTES) -> str:
    """Return the end of a log, from the start of a line; empty if it is not there."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most_bytes))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise PoolError(f"cannot read {path}: {error.strerror}") from None
    return text if size <= most_bytes else text.partition("\n")[2]


def last_life(path: Path) -> Life:
    """Return the last life in a log; an empty one if there is no log."""
    all_lives = lives(end_of(path))
    return all_lives[-1] if all_lives else Life()


def whole(path: Path) -> Iterator[str]:
    """Yield all lines of a log."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from (line.rstrip("\n") for line in file)
    except OSError as error:
        raise PoolError(f"cannot read {path}: {error.strerror}") from None


class Follower:
    """Returns the lines that were added to logs since the last look; new logs are found, too."""

    def __init__(self, logs: Callable[[], Mapping[str, Path]]) -> None:
        self._logs = logs
        self._places = {job: _size(path) for job, path in logs().items()}

    def new_lines(self) -> list[tuple[str, str]]:
        """Return pairs of a job and a line."""
        lines: list[tuple[str, str]] = []
        for job, path in self._logs().items():
            text = _read_from(path, self._places.get(job, 0))
            end = text.rfind(b"\n") + 1  # the rest comes with the next look
            self._places[job] = self._places.get(job, 0) + end
            lines += [(job, line) for line in text[:end].decode(errors="replace").splitlines()]
        return lines


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_from(path: Path, place: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(place)
            return file.read(1 << 20)
    except OSError:
        return b""

"""The rows of a campaign's catalogue: files, tries, failed events, merged outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mdp import MDPError

State = Literal["waiting", "publishing", "done", "failed", "repeated", "changed"]
"""The state of a file.

waiting: not scored yet. publishing: scored, and the driver moves the output to its name. done: the
output has its name. failed: not scored after all tries. repeated: another input, which is done, has
the same content. changed: the input changed after it was scored.
"""


class NoCampaign(MDPError, LookupError):
    """A folder has no catalogue of a campaign."""


class CatalogueDamaged(MDPError, ValueError):
    """The catalogue of a campaign cannot be read: it was changed by another program."""


class CatalogueFailed(MDPError, OSError):
    """The catalogue of a campaign cannot be written or read now: no space, no permission."""


@dataclass(frozen=True)
class New:
    """An input to add to a catalogue."""

    path: str
    """Absolute and resolved; bytes that are not UTF-8 as in `os.fsdecode`."""
    bytes: int
    mtime_ns: int
    output: str
    """The name of its output, relative to the campaign's folder."""


@dataclass(frozen=True)
class File:
    """An input of a campaign, and what became of it."""

    number: int
    """Counts from 1, in the order in which the inputs were added."""
    path: str
    bytes: int
    """Of the input, as `mtime_ns`: when it was added or, once it is scored, when it was read."""
    mtime_ns: int
    state: State
    output: str
    tries: int = 0
    """How many attempts were answered, since the file was added or retried."""
    sha256: str = ""
    """The checksum of the input, as `clients.files.checksums` makes it."""
    entries: int = 0
    """Of the output; `events` is the same number. How many events an attempt scored itself, and did
    not adopt from earlier attempts, is in `tries`."""
    events: int = 0
    failed_events: int = 0
    crops: int = 0
    seconds: float = 0.0
    """How long the last attempt took."""
    host: str = ""
    """The host of the reader of the last attempt."""
    reader: str = ""
    """That reader, as `host:pid`."""
    job: str = ""
    """Its batch job; empty outside a batch system."""
    ended_at: float = 0.0
    """When the last attempt ended, in seconds since 1970; 0: none has."""
    kind: str = ""
    """What failed: `input`, `network`, `write`, `service`, `settings` or `changed`."""
    reason: str = ""
    """Why the file is failed, repeated, changed or waits again; one line."""
    out_bytes: int = 0
    out_sha256: str = ""
    token: str = ""
    """The folder of the attempt whose output was taken, in `work/NUMBER/`."""
    check: str = ""
    """What `ssnet campaign check` found: empty (not checked), `ok`, or what is wrong."""
    tick_order: str = ""
    """As scored."""
    mode: str = ""
    """As scored."""

    @property
    def is_repeat(self) -> bool:
        """Whether the file has no output, since another has the content that was scored."""
        return self.state == "repeated" or (self.state == "changed" and not self.out_sha256)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attempt at a file that was answered."""

    number: int
    token: str = ""
    began_at: float = 0.0
    ended_at: float = 0.0
    seconds: float = 0.0
    host: str = ""
    reader: str = ""
    job: str = ""


@dataclass(frozen=True, kw_only=True)
class Scored(Attempt):
    """An attempt that scored its file."""

    bytes: int
    """Of the input as it was read; `mtime_ns` and `sha256` likewise."""
    mtime_ns: int
    sha256: str
    out_bytes: int
    out_sha256: str
    entries: int
    events: int
    failed_events: int = 0
    crops: int = 0
    computed_s: float = 0.0
    """Seconds that the workers of the planes computed for it, all together."""
    tick_order: str = ""
    mode: str = ""
    failures: tuple[Mapping[str, Any], ...] = ()
    """The failed events, with the fields of `clients.files.failed_report.Failure`."""


@dataclass(frozen=True, kw_only=True)
class Unscored(Attempt):
    """An attempt that did not score its file."""

    kind: str
    reason: str
    again: bool = False
    """Try it again: the state becomes `waiting`, not `failed`."""


@dataclass(frozen=True)
class Merged:
    """A file that `ssnet campaign merge` made out of outputs."""

    output: str
    """Relative to the campaign's folder if it lies there, else absolute."""
    bytes: int
    sha256: str
    files: tuple[int, ...]
    """The numbers of the files whose outputs it holds, in this order."""
    ended_at: float = 0.0


@dataclass(frozen=True)
class Counts:
    """How many files are in each state, and the events of those that are done."""

    states: Mapping[State, int]
    """All states, also those with 0 files."""
    events: int
    failed_events: int

    @property
    def files(self) -> int:
        return sum(self.states.values())

    @property
    def left(self) -> int:
        """Files that are waiting or publishing."""
        return self.states["waiting"] + self.states["publishing"]

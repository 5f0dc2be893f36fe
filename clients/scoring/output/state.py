"""The saved state of a run as JSON: settings and finished parts. Refuses other settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mdp import SettingsError

from ...files.failed_report import Failure

FORMAT = 1
_SHOWN = 4  # differences in an error message

RunSettings = dict[str, Any]
"""The settings that decide the output, besides the networks, as a JSON object."""


@dataclass(frozen=True)
class Part:
    """A finished file of the folder, and the entries that it holds; `stop` is exclusive."""

    file: str
    start: int
    stop: int
    bytes: int

    def holds(self, entry: int) -> bool:
        return self.start <= entry < self.stop


@dataclass(frozen=True)
class FileId:
    """The identity of a file, whatever its name is."""

    inode: int
    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileId | None:
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass
class State:
    """The state of an unfinished run. Invariant: the parts are in order and do not overlap."""

    run: RunSettings
    """The inputs, entries and settings that decide the output."""
    networks: RunSettings = field(default_factory=dict)
    """The origin of each plane's scores."""
    parts: list[Part] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    """The failures of the events in the parts."""
    joined: FileId | None = None
    """The complete file, set shortly before it is renamed into place."""

    @property
    def events(self) -> int:
        """How many events the parts hold."""
        return sum(part.stop - part.start for part in self.parts)

    def hint(self, folder: Path) -> str:
        """Return the end of an error message: how to start over, and what that discards."""
        return f"--fresh starts over, and discards the {self.events} events in {folder}"

    def pack(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def unpack(cls, packed: bytes) -> State:
        """Read a state from the bytes of `pack`. Raises `ValueError` for any others."""
        try:
            state = json.loads(packed)
            if state["format"] != FORMAT:
                raise ValueError(f"want format {FORMAT}, got {state['format']!r}")
            return cls(
                state["run"],
                state["networks"],
                [Part(**part) for part in state["parts"]],
                [Failure(**failure) for failure in state["failed"]],
                FileId(**state["joined"]) if state["joined"] else None,
            )
        except (TypeError, KeyError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None


def plain(settings: Mapping[str, Any]) -> RunSettings:
    """Return the settings as JSON reads them: tuples become lists, and keys become text."""
    copy: RunSettings = json.loads(json.dumps(settings))
    return copy


def check_same_networks(was: RunSettings, now: RunSettings, *, what: str, hint: str) -> None:
    """Compare the origin of each plane's scores as `check_same` does.

    Older software did not record the dtype of the scores; a missing dtype is not compared.
    """
    check_same(with_dtypes(was, now), now, what=what, hint=hint)


def with_dtypes(was: RunSettings, now: RunSettings) -> RunSettings:
    """Return `was`, with a missing dtype taken from the same plane in `now`."""
    missing = {plane for plane, origin in was.items() if not origin.get("dtype")}
    dtypes = {plane: now.get(plane, {}).get("dtype", "") for plane in missing}
    return {
        plane: {**origin, "dtype": dtypes[plane]} if plane in missing else origin
        for plane, origin in was.items()
    }


def check_same(was: RunSettings, now: RunSettings, *, what: str, hint: str) -> None:
    """Raise `SettingsError` with the differences, if there are any; `hint` ends the message."""
    old, new = dict(_flat(was)), dict(_flat(now))
    changed = [
        f"{name} (was {old.get(name, 'nothing')}, is {new.get(name, 'nothing')})"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if changed:
        shown = ", ".join(changed[:_SHOWN]) + (", ..." if changed[_SHOWN:] else "")
        raise SettingsError(f"want {what}, got another {shown}: {hint}")


def _flat(settings: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of a joined name, such as `inputs 0 bytes`, and its value."""
    if isinstance(settings, dict | list):
        items = settings.items() if isinstance(settings, dict) else enumerate(settings)
        for key, value in items:
            yield from _flat(value, f"{name} {key}".strip())
    else:
        yield name, settings

"""The settings of a run and what of it is safe on disk, as JSON. Refuses to mix two runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mdp import SettingsError

from .failures import Failure

FORMAT = 1
_SHOWN = 4  # differences

RunSettings = dict[str, Any]
"""What decides the output besides the networks, as JSON has it."""


@dataclass(frozen=True)
class Part:
    """A file of the folder that is whole, and the entries that it holds."""

    file: str
    start: int
    stop: int
    bytes: int


@dataclass(frozen=True)
class FileId:
    """Which file it is, whatever its name."""

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
    """All that is known of a run that is not over. Invariant: parts are in order, apart."""

    run: RunSettings
    """Inputs, entries and settings: what decides the output."""
    networks: RunSettings = field(default_factory=dict)
    """The origin of each plane's scores."""
    parts: list[Part] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    """Of the events in the parts."""
    joined: FileId | None = None
    """The whole file, from shortly before it gets its name."""

    @property
    def events(self) -> int:
        """How many events the parts hold."""
        return sum(part.stop - part.start for part in self.parts)

    def way_out(self, folder: Path) -> str:
        """The end of an error that refuses to go on: how to start over, and what that costs."""
        return f"--fresh starts over, and gives up the {self.events} events in {folder}"

    def pack(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def unpack(cls, packed: bytes) -> State:
        """Raises `ValueError` for what `pack` has not made."""
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
    """The settings as JSON gives them back: tuples are lists, and keys are text."""
    copy: RunSettings = json.loads(json.dumps(settings))
    return copy


def check_same_networks(was: RunSettings, now: RunSettings, *, what: str, way_out: str) -> None:
    """Compare the origin of each plane's scores as `check_same` does.

    Older software did not record the dtype of the scores; a dtype that is missing is not compared.
    """
    check_same(with_dtypes(was, now), now, what=what, way_out=way_out)


def with_dtypes(was: RunSettings, now: RunSettings) -> RunSettings:
    """`was`, with the dtype of the same plane in `now` where `was` has none."""
    missing = {plane for plane, origin in was.items() if not origin.get("dtype")}
    dtypes = {plane: now.get(plane, {}).get("dtype", "") for plane in missing}
    return {
        plane: {**origin, "dtype": dtypes[plane]} if plane in missing else origin
        for plane, origin in was.items()
    }


def check_same(was: RunSettings, now: RunSettings, *, what: str, way_out: str) -> None:
    """Raise `SettingsError` that names what differs, if anything does."""
    old, new = dict(_flat(was)), dict(_flat(now))
    changed = [
        f"{name} (was {old.get(name, 'nothing')}, is {new.get(name, 'nothing')})"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if changed:
        shown = ", ".join(changed[:_SHOWN]) + (", ..." if changed[_SHOWN:] else "")
        raise SettingsError(f"want {what}, got another {shown}: {way_out}")


def _flat(settings: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of a joined name, such as `inputs 0 bytes`, and its value."""
    if isinstance(settings, dict | list):
        items = settings.items() if isinstance(settings, dict) else enumerate(settings)
        for key, value in items:
            yield from _flat(value, f"{name} {key}".strip())
    else:
        yield name, settings

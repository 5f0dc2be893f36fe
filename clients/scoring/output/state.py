"""What a run was told and what of it is safe on disk, as JSON. Refuses to mix two runs."""

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

Told = dict[str, Any]


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
            said = path.stat()
        except OSError:
            return None
        return cls(said.st_ino, said.st_size, said.st_mtime_ns)


@dataclass
class State:
    """All that is known of a run that is not over. Invariant: parts are in order, apart."""

    run: Told
    """Inputs, entries and settings: what decides the output."""
    networks: Told = field(default_factory=dict)
    """The origin of each plane's scores."""
    parts: list[Part] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    """Of the events in the parts."""
    joined: FileId | None = None
    """The whole file, from shortly before it gets its name."""

    def pack(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def unpack(cls, packed: bytes) -> State:
        """Raises `ValueError` for what `pack` has not made."""
        try:
            said = json.loads(packed)
            if said["format"] != FORMAT:
                raise ValueError(f"want format {FORMAT}, got {said['format']!r}")
            return cls(
                said["run"],
                said["networks"],
                [Part(**each) for each in said["parts"]],
                [Failure(**each) for each in said["failed"]],
                FileId(**said["joined"]) if said["joined"] else None,
            )
        except (TypeError, KeyError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None


def plain(told: Mapping[str, Any]) -> Told:
    """As it comes back out of JSON, where tuples are lists and keys are text."""
    made: Told = json.loads(json.dumps(told))
    return made


def check_same_networks(was: Told, now: Told, *, what: str, way_out: str) -> None:
    """As `check_same`, of each plane's origin; older software did not say the dtype of scores."""
    check_same(with_dtypes(was, now), now, what=what, way_out=way_out)


def with_dtypes(was: Told, now: Told) -> Told:
    """`was`, with the dtype that `now` says of a plane where `was` says none."""
    unsaid = {plane for plane, origin in was.items() if not origin.get("dtype")}
    dtypes = {plane: now.get(plane, {}).get("dtype", "") for plane in unsaid}
    return {
        plane: {**origin, "dtype": dtypes[plane]} if plane in unsaid else origin
        for plane, origin in was.items()
    }


def check_same(was: Told, now: Told, *, what: str, way_out: str) -> None:
    """Raise `SettingsError` that names what differs, if anything does."""
    before, after = dict(_flat(was)), dict(_flat(now))
    changed = [
        f"{name} (was {before.get(name, 'nothing')}, is {after.get(name, 'nothing')})"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    if changed:
        shown = ", ".join(changed[:_SHOWN]) + (", ..." if changed[_SHOWN:] else "")
        raise SettingsError(f"want {what}, got another {shown}: {way_out}")


def _flat(told: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested names as one: `input 0 bytes`."""
    if isinstance(told, dict | list):
        several = told.items() if isinstance(told, dict) else enumerate(told)
        for key, value in several:
            yield from _flat(value, f"{name} {key}".strip())
    else:
        yield name, told

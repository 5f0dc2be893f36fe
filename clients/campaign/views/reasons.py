"""Reasons of failures, grouped by kind: numbers and names in a reason do not make a new kind. Pure.

`run7.root entry 41: want 3 planes, got 2` and `run8.root entry 5: want 3 planes, got 2` are one
kind, `… entry N: want 3 planes, got 2`: numbers that are the same in all reasons of a kind stay.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

_HEX = r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b"
_PATH = r"(?:[\w.+@%=~-]*/)+[\w.+@%=~-]*|[\w.+@%=~-]+\.(?:root|h5|hdf5|json|sqlite|txt)\b"
_NUMBER = r"(?<![A-Za-z_])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(rf"(?P<own>\0)|(?P<path>{_PATH})|(?P<hex>{_HEX})|(?P<number>{_NUMBER})")
_SHOWN = {"own": "FILE", "path": "FILE", "hex": "ID", "number": "N"}
_MARK = re.compile(r"[\d/.\0]")
_PLACE = re.compile("\0([A-Z]+)\0")
_LONGEST = 300  # characters of a reason; some quote a whole answer


@dataclass(frozen=True)
class Folded:
    """A reason without what differs between reasons of one kind."""

    kind: str
    """The text with FILE, ID and N, each between two NUL, in the places of names and numbers."""
    values: tuple[str, ...]
    """What stood in these places."""


def folded(reason: str, path: str = "") -> Folded:
    """Replace names of files, checksums and numbers; white space becomes one blank.

    path: of the file that the reason is about: its name may hold blanks.
    """
    values: list[str] = []

    def replace(match: re.Match[str]) -> str:
        # the file's own name differs in the next reason, even if this reason is the only one
        values.append("" if match["own"] else match[0])
        return f"\0{_SHOWN[str(match.lastgroup)]}\0"

    reason = reason.replace("\0", " ")
    for name in (path, os.path.basename(path)) if path else ():
        reason = reason.replace(name, "\0")
    text = " ".join(reason.split())[:_LONGEST]
    # most words have nothing to replace, and the long pattern is slow
    words = (_TOKEN.sub(replace, w) if _MARK.search(w) else w for w in text.split(" "))
    return Folded(" ".join(words), tuple(values))


@dataclass
class Kind:
    """All reasons of one kind."""

    kind: str
    count: int
    example: str
    """The first of the reasons, whole."""
    common: list[str | None]
    """For each place, the value that all reasons have there; None: they differ."""

    @property
    def text(self) -> str:
        """The reason with the values that are the same in all of its kind."""
        values = iter(self.common)
        return _PLACE.sub(lambda match: next(values) or match[1], self.kind)


class Kinds:
    """Counts reasons by kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._known: dict[str, Kind] = {}  # reasons that were folded already: many are equal

    def add(self, reason: str, path: str = "") -> Kind:
        """Count a reason; return its kind. path: of the file that it is about."""
        if (known := self._known.get(reason)) is not None:
            known.count += 1
            return known
        fold = folded(reason, path)
        kind = self._kinds.get(fold.kind)
        if kind is None:
            kind = self._kinds[fold.kind] = Kind(fold.kind, 0, reason, list(fold.values))
        kind.count += 1
        pairs = zip(kind.common, fold.values, strict=True)
        kind.common = [old if old == new else None for old, new in pairs]
        self._known[reason] = kind
        return kind

    @property
    def most_common(self) -> list[Kind]:
        """All kinds, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: (-kind.count, kind.kind))


def without_path(reason: str, path: str) -> str:
    """Return a reason without the path at its beginning, for where the path stands beside it."""
    return reason.removeprefix(f"{path}: ")


def kinds(reasons: Iterable[str]) -> list[Kind]:
    """Return the kinds of reasons, the most frequent first."""
    counted = Kinds()
    for reason in reasons:
        counted.add(reason)
    return counted.most_common

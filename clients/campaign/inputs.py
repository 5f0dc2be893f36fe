"""The inputs of a campaign: files, folders, patterns and lists, each file once; their outputs.

Files are looked at (stat), and not opened, so that 100,000 files take seconds.
"""

from __future__ import annotations

import codecs
import glob
import logging
import os
import re
import stat
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from mdp import SettingsError

from .plan import DEFAULT_NAME

log = logging.getLogger(__name__)

SUFFIXES = (".root", ".h5", ".hdf5")
_SHOWN = 10  # names that an error lists
_MOST_NAME = 255 - len(".failed.json")  # bytes: the report beside an output has a longer name
_FIELDS = ("folder", "stem", "suffix", "number")
_WIDTH = re.compile(r"0?\d{0,2}d?", re.ASCII)
"""Of a number in a name, such as `05d`: a larger one would fill the memory."""
_EXAMPLE = "--name '{folder}/{number}_{stem}_ssnet{suffix}'"


@dataclass(frozen=True)
class Given:
    """An input file, found by a word of the command line."""

    path: Path
    """Absolute, and without links."""
    under: Path | None
    """The folder that was given, or in which a pattern begins; None for a file."""
    bytes: int
    mtime_ns: int
    shown: Path
    """The name by which it was found, which may be a link. The output has its name from it."""


def expand(words: Sequence[str], *, folder: Path, may_be_empty: bool = False) -> list[Given]:
    """Return the files that the words name, each once, in the order of the words.

    A word is a file; a folder (all `.root`, `.h5` and `.hdf5` files below it, sorted, without
    hidden ones); a pattern with `*`, `?` or `[`; or `@LIST`, a file with one of these a line. `#`
    begins a comment. A relative line is looked for in the folder of the list, then in the current
    folder. A file is taken once, whatever links lead to it.

    folder: DIR of the campaign; a file in it is refused, or left out of a folder or a pattern.
    may_be_empty: do not refuse a folder without files. Raises `SettingsError`, which names all
    missing files at once, at most ten.
    """
    search = _Search(folder, may_be_empty=may_be_empty)
    for word in words:
        if word.startswith("@") and not os.path.lexists(word):
            for line in _lines(Path(word[1:])):
                search.take(line.text, line.starts, where=line.where)
        else:
            search.take(word, ("",))
    return search.result()


def found(word: str, *, folder: Path) -> tuple[list[Given], list[str]]:
    """Return the files that a word names now, as `expand` does, and what is to be left out."""
    search = _Search(folder, may_be_empty=True)
    search.take(word, ("",))
    missing = [f"{name}, which is not there" for name in search.missing]
    return list(search.files.values()), [*missing, *search.unfit]


# Looking for files.


@dataclass
class _Search:
    """Collects files and what is wrong with the words."""

    folder: Path
    may_be_empty: bool = False
    files: dict[tuple[int, int], Given] = field(default_factory=dict)
    """By device and inode, so that links to one file count once."""
    repeats: int = 0
    missing: list[str] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._campaign = os.path.realpath(self.folder)
        self._inside = os.path.join(self._campaign, "")
        self._real = lru_cache(maxsize=None)(os.path.realpath)
        self._absolute = lru_cache(maxsize=None)(os.path.abspath)  # with links, without `..`

    def take(self, word: str, starts: Iterable[str], *, where: str = "") -> None:
        """Take a file, a folder or a pattern; `starts`: the folders in which it is looked for."""
        for start in starts if word else ():
            path = os.path.join(start, os.path.expanduser(word))
            status = _status(path)
            if status is not None and stat.S_ISDIR(status.st_mode):
                self._take_folder(path, word)
            elif status is not None:
                self._add(path, None, status, is_link=os.path.islink(path), where=where)
            elif os.path.islink(path):
                self.missing.append(f"{where}{path} (a link to nowhere)")
            elif glob.has_magic(word) and (matches := glob.glob(path, recursive=True)):
                self._take_pattern(path, sorted(matches), word)
            else:
                continue
            return
        self.missing.append(f"{where}{word or 'an empty name'}")

    def _take_pattern(self, path: str, matches: Sequence[str], word: str) -> None:
        under = Path(self._absolute(_before_pattern(path)))
        outside = [match for match in matches if not self._is_below(match)]
        if not outside:
            self.unfit.append(f"{word}, which matches only files in {self.folder}")
        for match in outside:
            if os.path.isdir(match):
                self._take_folder(match, match, under)
            elif status := _status(match):
                self._add(match, under, status, is_link=os.path.islink(match))
            else:
                self.missing.append(f"{match} (a link to nowhere)")

    def _take_folder(self, path: str, word: str, under: Path | None = None) -> None:
        before = (len(self.files), self.repeats, len(self.unfit), len(self.missing))
        under, others = under or Path(self._absolute(path)), 0
        for entry in self._below(path):
            if not entry.name.endswith(SUFFIXES):
                others += 1
            elif status := _status(entry.path):
                self._add(entry.path, under, status, is_link=entry.is_symlink())
            else:
                self.missing.append(f"{entry.path} (a link to nowhere)")
        after = (len(self.files), self.repeats, len(self.unfit), len(self.missing))
        if after == before and not self.may_be_empty:
            inside = f", or only files in {self.folder}" if self._holds_campaign(path) else ""
            self.unfit.append(
                f"the folder {word} without any ({others} files of other kinds{inside})"
            )

    def _below(self, path: str) -> Iterator[os.DirEntry[str]]:
        """All files below a folder, sorted, without hidden ones and those of the campaign."""
        todo, seen = [path], set[tuple[int, int]]()
        while todo:
            folder = todo.pop()
            if self._is_inside(self._real(folder)):
                log.info("%s: left out, it belongs to the campaign", folder)
                continue
            try:
                status = os.stat(folder)
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.unfit.append(f"the folder {folder} ({error.strerror})")
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue  # links that lead round in a circle
            seen.add((status.st_dev, status.st_ino))
            listed = [entry for entry in listed if not entry.name.startswith(".")]
            below: list[str] = []
            for entry in listed:
                if _is_folder(entry):
                    below.append(entry.path)
                else:
                    yield entry
            todo += reversed(below)

    def _add(
        self,
        path: str,
        under: Path | None,
        status: os.stat_result,
        *,
        is_link: bool,
        where: str = "",
    ) -> None:
        parent, name = os.path.split(path)
        real = os.path.realpath(path) if is_link else os.path.join(self._real(parent), name)
        shown = os.path.join(self._absolute(parent), name)
        if not stat.S_ISREG(status.st_mode):
            self.unfit.append(f"{where}{path}, which is not a regular file")
        elif self._is_inside(real):
            if under is None:
                self.unfit.append(f"{where}{path}, which lies in the campaign's folder")
        elif (status.st_dev, status.st_ino) in self.files:
            self.repeats += 1
        else:
            resolved = Path(real)
            self.files[status.st_dev, status.st_ino] = Given(
                path=resolved,
                under=under,
                bytes=status.st_size,
                mtime_ns=status.st_mtime_ns,
                shown=resolved if shown == real else Path(shown),
            )

    def _is_below(self, path: str) -> bool:
        """Whether a path leads into the campaign's folder; a link at its end is not followed."""
        parent, name = os.path.split(path)
        return self._is_inside(os.path.join(self._real(parent), name))

    def _is_inside(self, real: str) -> bool:
        return real == self._campaign or real.startswith(self._inside)

    def _holds_campaign(self, path: str) -> bool:
        return self._inside.startswith(os.path.join(self._real(path), ""))

    def result(self) -> list[Given]:
        """Return the files. Raises `SettingsError` for all that was wrong, on one line."""
        if self.missing:
            url = any("://" in name for name in self.missing)
            hint = ": copy them to a local path first (xrdcp)" if url else ""
            count = f"{len(self.missing)} that are" if len(self.missing) > 1 else "one that is"
            raise SettingsError(
                f"want inputs that exist, got {count} not there: {_listed(self.missing)}{hint}"
            )
        if self.unfit:
            raise SettingsError(
                f"want inputs of {', '.join(SUFFIXES)} outside of {self.folder} (-o), got"
                f" {_listed(self.unfit)}"
            )
        if not self.files and not self.may_be_empty:
            raise SettingsError("want at least one input, got none: name files, folders or @LIST")
        if self.repeats:
            log.info("%d inputs are given more than once: each is taken once", self.repeats)
        return list(self.files.values())


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):  # ValueError: a null character in a name
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _before_pattern(path: str) -> str:
    """Return the folder in front of the first part with a wildcard."""
    parts = Path(path).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:first]))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more


# Lists.


@dataclass(frozen=True)
class _Line:
    text: str
    starts: tuple[str, ...]
    where: str


def _lines(path: Path) -> Iterator[_Line]:
    """Return the lines of a list that name something. Raises `SettingsError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"want a list of inputs in {path}, got: {error.strerror} (@LIST is a file with one name"
            " a line)"
        ) from None
    if b"\0" in content and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SettingsError(
            f"want a list of inputs in {path}, a text with one name a line, got a binary file: to"
            f" score it, leave out the @"
        )
    starts = (str(path.parent), "") if path.parent != Path() else ("",)
    count = 0
    for number, line in enumerate(_decoded(content).split("\n"), 1):
        name = _name_in(line.removesuffix("\r"), starts)
        if name:
            count += 1
            yield _Line(name, starts, f"{path} line {number}: ")
    if not count:
        raise SettingsError(f"want a list with a name a line, got {path} without any")


def _decoded(content: bytes) -> str:
    """Decode a list as names of files are decoded; a byte order mark is dropped."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _name_in(line: str, starts: Sequence[str]) -> str:
    """Return the name in a line, without spaces around it and without a comment."""
    name = line.strip()
    if not name or name.startswith("#"):
        return ""
    if name == line and " #" not in name:
        return name
    for whole in (line, name):  # a name may end in a space, or hold a #
        if any(os.path.lexists(os.path.join(start, whole)) for start in starts):
            return whole
    before, mark, _ = name.partition(" #")
    return before.rstrip() if mark else name


# Names of outputs.


def names(
    given: Sequence[Given], pattern: str = DEFAULT_NAME, *, first_number: int = 1
) -> list[str]:
    """Return the name of each output, relative to DIR.

    The pattern may have {folder} (of the input, from the folder or pattern that was given; empty
    for a file), {stem}, {suffix} (with its dot) and {number} (`{number:05d}` has leading zeros).
    Raises `SettingsError` for a name that leaves DIR, is hidden, is too long or has another suffix
    than `.root`, `.h5` or `.hdf5`, and if two inputs have one name.
    """
    filled = _filler(pattern)
    first: dict[str, Given] = {}
    for number, one in enumerate(given, first_number):
        name = _relative(filled(one, number), one)
        other = first.setdefault(name, one)
        if other is not one:
            raise SettingsError(
                f"want an output for each input, got {name} for both {other.path} and"
                f" {one.path}: {_EXAMPLE} tells them apart"
            )
    return list(first)


def is_like_output(name: str, pattern: str) -> bool:
    """Whether an output of a further input could have this name, which is relative to DIR."""
    fields = {"folder": ".*", "stem": "[^/]+", "suffix": r"\.(root|h5|hdf5)", "number": r"\d+"}
    parsed = string.Formatter().parse(pattern)
    form = "".join(re.escape(text) + fields.get(field or "", "") for text, field, *_ in parsed)
    # a file that was given by its name has no folder
    return any(re.fullmatch(form, one) for one in (name, f"/{name}"))


def _filler(pattern: str) -> Callable[[Given, int], str]:
    """Return what fills a pattern. Raises `SettingsError` for a wrong pattern."""
    want = "want a pattern (--name) with {folder}, {stem}, {suffix} or {number}"
    try:
        fields = [parts[1:] for parts in string.Formatter().parse(pattern) if parts[1] is not None]
        used = {name for name, _, _ in fields}
        for name, width, conversion in fields:
            if conversion or (width and not (name == "number" and _WIDTH.fullmatch(width))):
                raise ValueError(
                    "only {number} may have a width, of at most two digits: {number:05d}"
                )
        pattern.format(folder="", stem="", suffix="", number=1)
    except (ValueError, LookupError, AttributeError) as error:
        raise SettingsError(f"{want}, got {pattern!r} ({error})") from None
    if not used <= set(_FIELDS) or not used & {"stem", "number"}:
        hint = "without {stem} and {number}, all outputs have one name"
        raise SettingsError(f"{want}, got {pattern!r}{'' if used - set(_FIELDS) else f': {hint}'}")

    def fill(one: Given, number: int) -> str:
        parent, name = os.path.split(one.shown)
        stem, suffix = os.path.splitext(name)
        under = os.path.join(one.under, "") if one.under else ""
        below = under and parent.startswith(under)
        folder = parent.removeprefix(under) if below else ""
        return pattern.format(folder=folder, stem=stem, suffix=suffix, number=number)

    return fill


def _relative(name: str, one: Given) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    problem = ""
    if not parts or not name.endswith(SUFFIXES):
        problem = f"a suffix other than {', '.join(SUFFIXES)}"
    elif ".." in parts:
        problem = "a name outside of the campaign's folder"
    elif hidden := [part for part in parts if part.startswith(".")]:
        problem = f"the hidden name {hidden[0]}"
    elif any(len(os.fsencode(part)) > _MOST_NAME for part in parts):
        problem = f"a name of more than {_MOST_NAME} bytes"
    if problem:
        raise SettingsError(
            f"want a name for the output of {one.path}, got {problem}: {name[:300]} (--name"
            " '{number}_ssnet.root')"
        )
    return "/".join(parts)


# Files that may still grow.


@dataclass(frozen=True)
class Seen:
    """A file that may still grow: its size and time of change, and since when they are so."""

    bytes: int
    mtime_ns: int
    since: float


def settled(
    found: Mapping[Path, tuple[int, int]],
    seen: Mapping[Path, Seen],
    *,
    now: float,
    settle_s: float,
) -> tuple[list[Path], dict[Path, Seen]]:
    """Return the files that have stopped growing, and what to pass as `seen` the next time.

    found: (bytes, mtime_ns) of the files that are there now and are not taken yet. A file is taken
    when both stayed the same for `settle_s`, and it is not empty.
    """
    taken: list[Path] = []
    growing: dict[Path, Seen] = {}
    for path, (size, mtime_ns) in found.items():
        before = seen.get(path)
        same = before is not None and (before.bytes, before.mtime_ns) == (size, mtime_ns)
        state = before if before is not None and same else Seen(size, mtime_ns, now)
        if size and now - state.since >= settle_s:
            taken.append(path)
        else:
            growing[path] = state
    return taken, growing

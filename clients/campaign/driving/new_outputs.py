"""Whether new outputs of a campaign can have their names: nothing of another may be lost by them.

No output is written through a link that leads out of DIR, and none replaces an input, whatever
`--force` says.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from mdp import SettingsError

from ..inputs import SUFFIXES, Given, names
from ..records.queries import ReadCatalogue
from ..records.rows import New

_THERE = "is there already"


class NewOutputs:
    """Says of one name after the other why no output can have it. It looks once at each folder."""

    def __init__(
        self,
        folder: Path,
        inputs: Iterable[Given],
        *,
        force: bool = False,
        catalogue: ReadCatalogue | None = None,
    ) -> None:
        """inputs: of this start; those of the catalogue are looked up if it must be."""
        self._folder = folder
        self._inputs = inputs
        self._force = force
        self._catalogue = catalogue
        self._names: set[str] = set()
        self._above: set[str] = set()  # the folders of these names
        self._earlier: set[str] | None = None  # outputs of the catalogue in odd folders
        self._sources: dict[tuple[int, int], str] | None = None
        self._listed = lru_cache(maxsize=None)(self._list)
        self._wrong_folder = lru_cache(maxsize=None)(self._folder_trouble)

    def trouble(self, name: str) -> str:
        """Return why no output can have this name; empty: it can, and has it from here on."""
        parent, last = os.path.split(name)
        why = self._wrong_folder(parent) or self._clash(name)
        if not why and last in self._listed(parent):
            why = self._present(self._folder / name)
        if not why:
            self._names.add(name)
            self._above.update(_parents(name))
        return why

    def _folder_trouble(self, parent: str) -> str:
        path = self._folder / parent
        if why := leads_out(path, self._folder):
            return why
        first = next(one for one in (path, *path.parents) if os.path.lexists(one))
        return "" if first.is_dir() else f"{first} is a file, and {path} is to be a folder"

    def _list(self, parent: str) -> frozenset[str]:
        path = self._folder / parent
        try:
            return frozenset(os.listdir(path)) if path.is_dir() else frozenset()
        except OSError as error:
            raise SettingsError(f"cannot read the folder {path}: {error.strerror}") from None

    def _clash(self, name: str) -> str:
        """Say which other output is above or below this one."""
        parents = [one for one in _parents(name) if one.endswith(SUFFIXES)]
        for one in parents:
            if one in self._names or self._has(one):
                return f"{self._folder / one} is an output, and is to be a folder for {name}"
        if name in self._above or name in self._odd_folders():
            return f"{self._folder / name} is a folder of other outputs"
        return ""

    def _has(self, name: str) -> bool:
        if self._catalogue is None:
            return False
        return bool(self._catalogue.outputs_named(name))

    def _odd_folders(self) -> set[str]:
        """Return those folders of the catalogue's outputs whose names are like files'."""
        if self._earlier is None:
            likes = " OR ".join(f"output LIKE '%{suffix}/%'" for suffix in SUFFIXES)
            rows = (
                self._catalogue.rows(f"SELECT output FROM files WHERE {likes}")
                if self._catalogue
                else []
            )
            self._earlier = {parent for (output,) in rows for parent in _parents(output)}
        return self._earlier

    def _present(self, path: Path) -> str:
        """Say why what has the name already cannot be replaced."""
        try:
            if stat.S_ISDIR(path.lstat().st_mode):
                return f"{path} is a folder"
            if not self._force:
                return f"{path} {_THERE}"
            status = path.stat()
        except OSError:  # a link to nowhere
            return "" if self._force else f"{path} {_THERE}"
        source = self._identities().get((status.st_dev, status.st_ino), "")
        return f"{path} is an input, {source}" if source else ""

    def _identities(self) -> dict[tuple[int, int], str]:
        if self._sources is None:
            earlier = self._catalogue.rows("SELECT path FROM files") if self._catalogue else []
            paths = {*(path for (path,) in earlier), *(str(one.path) for one in self._inputs)}
            self._sources = {}
            for path in paths:
                try:
                    status = os.stat(path)
                except OSError:
                    continue
                self._sources[status.st_dev, status.st_ino] = path
        return self._sources


def new_rows(
    new: Sequence[Given],
    pattern: str,
    folder: Path,
    *,
    force: bool,
    catalogue: ReadCatalogue | None = None,
) -> list[New]:
    """Return inputs with the names of their outputs. Raises `SettingsError` if any cannot be."""
    first = catalogue.next_number() if catalogue else 1
    outputs = names(new, pattern, first_number=first)
    places = NewOutputs(folder, new, force=force, catalogue=catalogue)
    if troubles := [why for output in outputs if (why := places.trouble(output))]:
        raise SettingsError(_refusal(troubles))
    return [row(given, output) for given, output in zip(new, outputs, strict=True)]


def fitting_rows(
    new: Sequence[Given], pattern: str, folder: Path, *, force: bool, catalogue: ReadCatalogue
) -> tuple[list[New], list[str]]:
    """Return those inputs whose outputs can have their names, and why the others cannot."""
    first = catalogue.next_number()
    places = NewOutputs(folder, new, force=force, catalogue=catalogue)
    rows: list[New] = []
    troubles: list[str] = []
    here: dict[str, str] = {}
    for given in new:
        try:
            [output] = names([given], pattern, first_number=first + len(rows))
            others = [here[output]] if output in here else catalogue.outputs_named(output)
            why = f"{output} is the output of {others[0]}" if others else places.trouble(output)
        except SettingsError as error:
            why = str(error)
        if why:
            troubles.append(f"{given.path}: {why}")
        else:
            here[output] = str(given.path)
            rows.append(row(given, output))
    return rows, troubles


def row(given: Given, output: str) -> New:
    return New(str(given.path), given.bytes, given.mtime_ns, output)


def _refusal(troubles: Sequence[str]) -> str:
    others = [why for why in troubles if not why.endswith(_THERE)]
    more = f" and {len(troubles) - 1} more" if len(troubles) > 1 else ""
    if others:
        return (
            f"want outputs that can have their names, got: {others[0]}{more}: give other names"
            " (--name), or another folder (-o)"
        )
    return (
        f"want outputs that are not there yet, got {troubles[0].removesuffix(f' {_THERE}')}{more}:"
        " --name gives other names, --force replaces the files"
    )


def leads_out(path: Path, folder: Path) -> str:
    """Say where a folder of outputs leads, if that is not in DIR; a link may have been made."""
    real, home = os.path.realpath(path), os.path.realpath(folder)
    hidden = os.path.join(home, ".campaign")
    inside = real == home or real.startswith(os.path.join(home, ""))
    if inside and real != hidden and not real.startswith(os.path.join(hidden, "")):
        return ""
    return f"{path} is a link out of the outputs' folder, to {real}"


def _parents(name: str) -> list[str]:
    """Return the folders of a name below DIR."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]

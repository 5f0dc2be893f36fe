"""Outputs get their final names, by the driver alone; every step can be the last one of a kill.

A reader leaves an output in the folder of its attempt, `.campaign/work/NUMBER/TOKEN/`. The steps
for a batch of files:

    accept     the catalogue has `publishing`, with token and checksum
    stage      report of failed events, ledger, then output: into the stage of the driver's lease
    name       from there to the final name, in the same order
    sync       the folders of the final names: the names are on disk
    commit     the catalogue has `done`
    sweep      the folder of the file's attempts is removed; the next driver removes what is left

After a kill behind `accept`, `recover` finds each output in the attempt's folder, in the stage or
at its final name. A driver that takes over removes the stage of the earlier one, so that a late
driver cannot rename anything to a final name (`lease`).
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lartpc import ReadError, WriteError
from lartpc.files.whole_file import named, sync

from ...files.checksums import checksum
from ...files.failed_report import report_path
from .new_outputs import leads_out

log = logging.getLogger(__name__)

WORK = Path(".campaign", "work")
_OF_THE_NAME = {
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP)
}
"""Errors of one name: they say nothing about the disk."""
_PATIENCE_S, _LOOK_S = 5.0, 0.05  # a network file system may show a new file later


class _NameRefused(WriteError):
    """What is on the disk is in the way of one name."""


@dataclass(frozen=True)
class Staged:
    """An output that a reader has finished, and what belongs to it."""

    number: int
    token: str
    output: str
    """The final name, relative to the campaign's folder."""
    out_bytes: int
    out_sha256: str
    has_report: bool
    """Some of its events failed, so it has a report."""
    has_ledger: bool

    def parts(self) -> list[Part]:
        """Return the files that belong to it, the output last."""
        final = Path(self.output)
        report, ledger = report_path(final), final.with_name(f"{final.name}.ledger")
        return [
            Part(str(report), "failed.json", self.has_report),
            Part(str(ledger), "ledger", self.has_ledger),
            Part(self.output, "out", True),
        ]


class Part(NamedTuple):
    """A file of an output: its final name, its ending in the stage; False: an earlier one goes."""

    name: str
    ending: str
    is_new: bool


class Unnamed(NamedTuple):
    """Outputs that have not got their final names."""

    lost: set[int]
    """They are not where their readers put them."""
    refused: dict[int, str]
    """Why an output cannot have its name, and what to do."""

    @property
    def numbers(self) -> set[int]:
        return {*self.lost, *self.refused}


class Publisher:
    """Renames the outputs of a campaign. `after` gets the name of each step, for tests."""

    def __init__(
        self, campaign: Path, stage: Path, *, after: Callable[[str], object] | None = None
    ) -> None:
        self._campaign = campaign
        self._stage = stage
        self._after = after or (lambda step: None)

    def publish(self, files: Iterable[Staged]) -> Unnamed:
        """Give outputs their final names, which are on disk then; returns those without them.

        An output is lost if its attempt's folder does not have it. Raises `WriteError`.
        """
        unnamed, folders = Unnamed(set(), {}), set[Path]()
        for staged in files:
            with self._refusals(staged, unnamed):
                if not (_appears(self._attempted(staged)) and self._move(staged, folders)):
                    unnamed.lost.add(staged.number)
        self._sync(folders)
        return unnamed

    def recover(self, files: Iterable[Staged]) -> Unnamed:
        """Go on after a kill with files that are `publishing`; returns those without names."""
        unnamed, folders = Unnamed(set(), {}), set[Path]()
        for staged in files:
            final = self._campaign / staged.output
            places = (self._attempted(staged), self._staged(staged, "out"), final)
            where = next((place for place in places if _is(place, staged)), None)
            with self._refusals(staged, unnamed):
                if where is None or not self._move(staged, folders, is_named=where == final):
                    unnamed.lost.add(staged.number)
        self._sync(folders)
        return unnamed

    @contextmanager
    def _refusals(self, staged: Staged, unnamed: Unnamed) -> Iterator[None]:
        """Take note of an output that cannot have its name; others still can have theirs."""
        try:
            yield
        except WriteError as error:
            cause = error.__cause__
            if not isinstance(error, _NameRefused) and not (
                isinstance(cause, OSError) and cause.errno in _OF_THE_NAME
            ):
                raise
            unnamed.refused[staged.number] = (
                f"{error}: remove what is in the way, then type `ssnet campaign retry"
                f" {self._campaign}`"
            )
            for _, ending, _ in staged.parts():
                self._staged(staged, ending).unlink(missing_ok=True)

    def _move(self, staged: Staged, folders: set[Path], *, is_named: bool = False) -> bool:
        """Move the parts of an output; False if the output itself is not there.

        A part that is not in the attempt's folder may be in the stage, or have its name, after a
        kill. `is_named`: the output has its name.
        """
        attempt = self._attempted(staged).parent
        self._check_names(Path(name) for name, _, _ in staged.parts())
        for name, ending, is_new in staged.parts():
            final, between = self._campaign / name, self._staged(staged, ending)
            with named(final):
                if not is_new:
                    self._drop(final, self._staged(staged, f"{ending}.old"))
                    continue
                if ending == "out" and is_named:
                    folders.add(final.parent)
                    continue
                self._make_folder(final.parent, folders)
                with suppress(FileNotFoundError):
                    os.replace(attempt / final.name, between)
                    self._after("stage")
                try:
                    os.replace(between, final)
                except FileNotFoundError:
                    if ending == "out":
                        return False
                folders.add(final.parent)
                self._after("name")
        return True

    def withdraw(self, files: Iterable[tuple[int, str]]) -> None:
        """Remove the outputs of files, by number and name, that are to be scored again."""
        for number, output in files:
            final = self._campaign / output
            paths = (final, report_path(final), final.with_name(f"{final.name}.ledger"))
            try:
                self._check_names(paths)
            except WriteError as error:  # it is not the campaign's any more
                log.warning("%s: it is left as it is", error)
                continue
            for path in paths:
                with named(path):
                    self._drop(path, self._stage / f"{number}.old")

    def _drop(self, final: Path, between: Path) -> None:
        """Remove a file of an earlier output; by way of the stage, which a late driver lacks."""
        with suppress(FileNotFoundError, NotADirectoryError):
            os.replace(final, between)
        between.unlink(missing_ok=True)

    def _check_names(self, names: Iterable[Path]) -> None:
        """Raise `WriteError` if a folder, or a link out of DIR, has come where a file is to be."""
        paths = [self._campaign / name for name in names]
        for folder in {path.parent for path in paths}:
            if why := leads_out(folder, self._campaign):
                raise _NameRefused(f"cannot write {paths[-1]}: {why}")
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                raise _NameRefused(f"cannot write {path}: a folder has this name")

    def _attempted(self, staged: Staged) -> Path:
        """Return the output's path in the folder of its attempt."""
        folder = self._campaign / WORK / str(staged.number) / staged.token
        return folder / Path(staged.output).name

    def _staged(self, staged: Staged, ending: str) -> Path:
        return self._stage / f"{staged.number}.{ending}"

    def _make_folder(self, folder: Path, folders: set[Path]) -> None:
        if folder in folders or folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        above = (p for p in folder.parents if p.is_relative_to(self._campaign))
        folders.update(above)

    def _sync(self, folders: Iterable[Path]) -> None:
        for folder in sorted(folders):
            with named(folder):
                sync(folder)
            self._after("sync")


def _appears(path: Path) -> bool:
    """Whether a file is there; a network file system may show it some time after its reader."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not path.exists():
        if time.monotonic() > give_up_at or not path.parent.parent.is_dir():
            return False
        time.sleep(_LOOK_S)
        with suppress(OSError):
            os.listdir(path.parent)  # it makes the client of NFS ask its server again
    return True


def _is(path: Path, staged: Staged) -> bool:
    try:
        if path.stat().st_size != staged.out_bytes:
            return False
        return checksum(path).sha256 == staged.out_sha256
    except (OSError, ReadError):
        return False


def sweep(campaign: Path, numbers: Iterable[int]) -> None:
    """Remove the folders of the attempts at files; a late reader finds its folder gone."""
    for number in numbers:
        shutil.rmtree(campaign / WORK / str(number), ignore_errors=True)


def attempted(campaign: Path) -> list[int]:
    """Return the files that have folders of attempts."""
    try:
        names = os.listdir(campaign / WORK)
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdecimal())

"""Merges the outputs of a campaign, and records the merged files in its catalogue.

Each merged file is complete before the next one is begun. If it is stopped, the same command goes
on: merged files that hold what they should are left as they are. One that has other bytes than the
catalogue says is made anew if it has the events and records of these outputs; else it is somebody
else's, and only --force replaces it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lartpc import ReadError, WriteError
from lartpc.files.whole_file import named
from mdp import SettingsError

from ...files.checksums import checksum
from ...files.failed_report import report_path
from ...flow.progress import Progress
from ..inputs import is_like_output
from ..plan import CampaignSettings
from ..records.catalogue import Catalogue
from ..records.lease import Lease
from ..records.rows import File, Merged
from ..records.snapshot import campaign_folder
from .merging import cut, merge
from .outputs import Known, ScoredFile, check_fit, look_at, repeated_events

log = logging.getLogger(__name__)

NUMBER = "{number}"
MERGED = "merged"
"""The folder in DIR for merged files."""
WRONG_OUTPUT = "output: "
"""How the finding of a check begins (`File.check`) if the output is gone, changed or wrong."""
_OVER = ("done", "repeated")
_MOST_NAMED = 10


@dataclass(frozen=True)
class Merging:
    """What to merge, and where to. Raises `SettingsError` for a target that does not fit."""

    folder: Path
    """The campaign's folder, absolute."""
    target: Path
    """The merged file; with `to_bytes` the pattern of all, with {number} in its name."""
    to_bytes: int = 0
    """The most bytes of a merged file; 0: one file, whatever its size."""
    partial: bool = False
    """Leave out files that are not done, and outputs that a check found wrong."""
    force: bool = False
    """Replace files that have other contents."""
    replaces_own: bool = False
    """Replace and remove files that an earlier merge of this campaign made, if nobody has changed
    them since."""

    def __post_init__(self) -> None:
        if bool(self.to_bytes) != (NUMBER in self.target.name):
            raise SettingsError(
                "want {number} in the name of the merged files if a size (--to) is given, and no"
                f" {NUMBER} without one, got {self.target}"
            )

    @classmethod
    def at_end(cls, folder: Path, settings: CampaignSettings) -> Merging:
        """What `start --merge-to` does at the end. The suffix is that of the first output."""
        target = folder / MERGED / f"merged_{NUMBER}"
        return cls(folder, target, settings.merge_to, replaces_own=True)

    def path(self, number: int, suffix: str) -> Path:
        """Return the path of merged file `number`, which counts from 1."""
        name = self.target.name.replace(NUMBER, f"{number:03d}")
        path = self.target.with_name(name)
        return path if path.suffix else path.with_name(f"{name}{suffix}")


@dataclass(frozen=True)
class MergedFile:
    """A merged file, for a table."""

    path: Path
    files: int
    events: int
    failed_events: int
    bytes: int


def merge_campaign(asked: Merging, *, progress: Progress | None = None) -> list[MergedFile]:
    """Merge the outputs of a campaign, in the order of its inputs.

    Raises `SettingsError` for files that are not done or do not fit together, `ReadError` for
    damaged outputs, `LeaseHeld` while a driver runs; then nothing is written.
    """
    progress = progress or Progress()
    with (
        Lease(asked.folder, on_wait=progress.step) as lease,
        Catalogue.create_or_open(asked.folder, None, lease.epoch) as catalogue,
        lease.beating(),
    ):
        return _Merger(asked, catalogue, lease, progress).run()


class _Merger:
    def __init__(
        self, asked: Merging, catalogue: Catalogue, lease: Lease, progress: Progress
    ) -> None:
        self._asked = asked
        self._catalogue = catalogue
        self._lease = lease
        self._progress = progress

    def run(self) -> list[MergedFile]:
        rows = self._rows()
        scored = self._scored(rows)
        groups = cut(scored, self._asked.to_bytes)
        suffix = scored[0].path.suffix
        targets = [self._asked.path(number, suffix) for number in range(1, len(groups) + 1)]
        self._check_targets(targets)
        numbers = dict(
            zip((file.path for file in scored), (row.number for row in rows), strict=True)
        )
        text = f"{len(scored)} outputs of {self._asked.folder}, into {len(groups)} files"
        self._progress.begin(text, total=len(scored))
        done = 0
        merged = []
        for group, target in zip(groups, targets, strict=True):
            merged.append(self._merge(group, target, done=done, total=len(scored), numbers=numbers))
            done += len(group)
        self._drop_others(targets)
        return merged

    def _rows(self) -> list[File]:
        """Return the files that are done. Raises `SettingsError` if others are left."""
        states = self._catalogue.counts().states
        others = {state: count for state, count in states.items() if count and state not in _OVER}
        if others and not self._asked.partial:
            left = ", ".join(f"{count} {state}" for state, count in others.items())
            raise SettingsError(
                f"want all files done, got {left}: `ssnet campaign retry {self._asked.folder}`"
                " scores them again, --partial merges the others"
            )
        rows = list(self._catalogue.files("done"))
        wrong = [row for row in rows if row.check.startswith(WRONG_OUTPUT)]
        if wrong and not self._asked.partial:
            raise SettingsError(
                f"want outputs that `ssnet campaign check` found right, got {wrong[0].output}"
                f" ({wrong[0].check}): `ssnet campaign retry {self._asked.folder}` scores it"
                " again, --partial merges the others"
            )
        rows = [row for row in rows if not row.check.startswith(WRONG_OUTPUT)]
        if not rows:
            raise SettingsError(f"want outputs to merge, got none in {self._asked.folder}")
        return rows

    def _scored(self, rows: Sequence[File]) -> list[ScoredFile]:
        paths = [self._asked.folder / row.output for row in rows]
        sums = (Known(row.out_bytes, row.out_sha256) for row in rows)
        self._progress.step(f"looking at {len(rows)} outputs")
        scored = look_at(paths, dict(zip(paths, sums, strict=True)), self._progress)
        check_fit(scored)
        lines = repeated_events(scored)
        for line in lines[:_MOST_NAMED]:
            log.warning("%s", line)
        if len(lines) > _MOST_NAMED:
            log.warning("and %d more events that come again", len(lines) - _MOST_NAMED)
        return scored

    def _check_targets(self, targets: Sequence[Path]) -> None:
        """Raise `SettingsError` if a merged file would replace an input or an output to come."""
        for target in targets:
            self._check_place(target)
        names = {self._name(target): target for target in targets}
        paths = {os.path.realpath(target) for target in targets}
        present = {(one.st_dev, one.st_ino) for one in _statuses(targets)}
        for path, output in self._catalogue.rows("SELECT path, output FROM files"):
            is_input = path in paths or (
                bool(present) and any((s.st_dev, s.st_ino) in present for s in _statuses([path]))
            )
            if is_input or output in names:
                what = f"the input {path}" if is_input else f"the output {output}"
                raise SettingsError(f"want a merged file with a name of its own, got {what}")
        folder = targets[0].parent
        if folder.is_relative_to(self._asked.folder):
            with named(folder):
                folder.mkdir(parents=True, exist_ok=True)
        elif not folder.is_dir():
            raise WriteError(f"cannot write {targets[0]}: no directory {folder}")

    def _check_place(self, target: Path) -> None:
        """Raise `SettingsError` for a folder, and for the places that other files have in DIR."""
        folder = self._asked.folder
        inner = campaign_folder(folder)
        if target.is_dir():
            raise SettingsError(f"want a file to merge into, got the folder {target}")
        if any(Path(one).is_relative_to(inner) for one in (target, os.path.realpath(target))):
            raise SettingsError(f"want a merged file outside {inner}, got {target}")
        merged = folder / MERGED
        if not target.is_relative_to(folder) or target.is_relative_to(merged):
            return
        pattern = self._catalogue.settings.name
        if is_like_output(self._name(target), pattern):
            raise SettingsError(
                f"want a merged file with a name of its own, got {target}: an output of a further"
                f" input may have this name ({pattern}); {merged} is a place for merged files"
            )

    def _merge(
        self,
        group: Sequence[ScoredFile],
        target: Path,
        *,
        done: int,
        total: int,
        numbers: dict[Path, int],
    ) -> MergedFile:
        self._progress.step(f"merging into {target.name}")
        is_own = self._is_own(target)
        is_changed = not is_own and self._row(target) is not None and target.exists()
        if is_changed:
            log.warning("%s changed since it was merged", target)
        sum_of_it = merge(
            group,
            target,
            force=self._asked.force or (self._asked.replaces_own and is_own),
            # a file that has the right events and records may still be damaged in its images
            anew=is_changed or (self._asked.force and not is_own),
            progress=_Part(self._progress, done, total),
            allowed=self._lease.check,
        )
        self._progress(done + len(group), total)
        self._lease.check()
        self._catalogue.add_merged(
            [
                Merged(
                    output=self._name(target),
                    bytes=sum_of_it.bytes,
                    sha256=sum_of_it.sha256,
                    files=tuple(numbers[file.path] for file in group),
                    ended_at=time.time(),
                )
            ]
        )
        return MergedFile(
            path=target,
            files=len(group),
            events=sum(len(file.events) for file in group),
            failed_events=sum(record.failed_events for file in group for record in file.records),
            bytes=sum_of_it.bytes,
        )

    def _name(self, target: Path) -> str:
        """Return the name of a merged file in the catalogue."""
        folder = self._asked.folder
        return str(target.relative_to(folder) if target.is_relative_to(folder) else target)

    def _is_own(self, path: Path) -> bool:
        """Whether a merge of this campaign made a file, and nobody has changed it since."""
        row = self._row(path)
        try:
            return row is not None and checksum(path)[:2] == (row.bytes, row.sha256)
        except ReadError:
            return False

    def _row(self, path: Path) -> Merged | None:
        """Return what the catalogue says of a merged file."""
        name = self._name(path)
        return next((row for row in self._catalogue.merged() if row.output == name), None)

    def _drop_others(self, targets: Sequence[Path]) -> None:
        """Remove, or name, the files that an earlier merge made and that are not needed now."""
        for path in [*self._earlier(targets)]:
            if not (self._asked.replaces_own and self._is_own(path)):
                log.warning("%s is left from an earlier merge, and is not one of these files", path)
                continue
            self._lease.check()
            self._catalogue.drop_merged([self._name(path)])
            with named(path):
                report_path(path).unlink(missing_ok=True)
                path.unlink()

    def _earlier(self, targets: Sequence[Path]) -> Iterator[Path]:
        before, _, after = self._asked.target.name.partition(NUMBER)
        for row in self._catalogue.merged():
            path = self._asked.folder / row.output
            fits = path.name.startswith(before) and path.name.endswith(after)
            if fits and path.parent == targets[0].parent and path not in targets and path.exists():
                yield path


def _statuses(paths: Iterable[Path | str]) -> Iterator[os.stat_result]:
    """Yield the status of each file that is there."""
    for path in paths:
        with suppress(OSError):
            yield os.stat(path)


class _Part(Progress):
    """Reports the progress of one merged file as that of all."""

    def __init__(self, progress: Progress, done: int, total: int) -> None:
        self._progress = progress
        self._done = done
        self._total = total

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        self._progress(self._done + done, self._total)

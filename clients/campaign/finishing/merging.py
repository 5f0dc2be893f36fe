"""Joins outputs into one file, without unpacking their images.

The merged file has the events and the provenance records of all outputs, in their order, and a
report of the failed events of all. It appears under its name only when it is complete, has been
read back, and is synced to disk; a signal, a full disk or a kill leaves no part of it there. An
output of the other format is converted first, event by event.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lartpc import (
    FileExists,
    Format,
    LArTPCError,
    ReadError,
    format_to_write,
    open_reader,
    open_writer,
)
from lartpc.files.formats import SUFFIXES
from lartpc.files.open import check_output, check_target
from lartpc.files.ticks import turned_to
from lartpc.files.whole_file import check_free, move, named
from mdp import SettingsError

from ...files.checksums import FileChecksum, checksum
from ...files.failed_report import FailedReport, Failure, report_path
from ...flow.progress import Progress
from ...flow.signals import uninterrupted
from ...scoring.output.parts_folder import PartsFolder
from ..file_content import content_of
from .outputs import ScoredFile

log = logging.getLogger(__name__)


def cut(files: Sequence[ScoredFile], to_bytes: int) -> list[list[ScoredFile]]:
    """Cut outputs, in their order, into groups of at most `to_bytes` (0: one group).

    Joining does not change the size of the images, so this is the size of the merged files. An
    output that is larger is a group of its own.
    """
    groups: list[list[ScoredFile]] = []
    total = 0
    for file in files:
        if not groups or (to_bytes and total + file.bytes > to_bytes):
            groups.append([])
            total = 0
        groups[-1].append(file)
        total += file.bytes
    return groups


def merge(
    files: Sequence[ScoredFile],
    target: Path,
    *,
    force: bool = False,
    anew: bool = False,
    progress: Progress | None = None,
    allowed: Callable[[], object] = lambda: None,
) -> FileChecksum:
    """Join outputs, which must fit (`outputs.check_fit`), and return the checksum of the file.

    If `target` holds exactly these outputs already, it stays; with `anew` it is made anew, since
    its images may be damaged. `allowed` is called just before the file is renamed into place, and
    may raise. Raises `FileExists` without `force`, `WriteError`,
    `ReadError`.
    """
    check_target(target)
    failed = _failed_report(files)
    is_same = holds(target, files)
    if is_same and not anew:
        _settle_report(target, failed)
        return checksum(target)
    check_output(target, force=True, inputs=[file.path for file in files])
    force = force or is_same
    if os.path.lexists(target) and not force:
        raise FileExists(f"{target} is there already and holds something else: --force replaces it")
    with PartsFolder(target) as folder:
        if folder.load() is not None:
            raise FileExists(f"want {target} for a merged file, `ssnet run` has begun to write it")
        folder.clear()
        joined = folder.path / f"joined{target.suffix}"
        with uninterrupted() as let_through:
            _join(files, joined, progress or Progress(), let_through)
            _check_joined(joined, files)
        allowed()
        with uninterrupted(too_late=True):
            check_free(target, force=force)  # again: merging may take hours
            sum_of_it = checksum(joined)
            if failed is not None:
                # first, so that a file with empty events never exists without a report
                _write_report(joined, target, failed)
            with named(target):
                move(joined, target)
                _settle_report(target, failed)
        return sum_of_it


def holds(target: Path, files: Sequence[ScoredFile]) -> bool:
    """Whether a file is what `merge` makes out of these outputs."""
    if not target.is_file() or target.suffix not in SUFFIXES:
        return False
    try:
        _check_joined(target, files)
    except LArTPCError as error:
        log.debug("%s", error)
        return False
    return True


# Joining.


def _join(
    files: Sequence[ScoredFile], joined: Path, progress: Progress, pause: Callable[[], object]
) -> None:
    format = _format(files, joined)
    parts = [_part(file, joined, format, number, pause) for number, file in enumerate(files)]
    # a file without entries has no images to join, and only its provenance is kept
    filled = [part for part, file in zip(parts, files, strict=True) if len(file.events)]
    count = sum(len(file.events) for file in files)

    def on_part(number: int) -> None:
        pause()
        progress(number, len(filled))

    with open_writer(joined, format=format, force=True) as writer:
        writer.append(filled or parts[:1], range(count), on_part)
        writer.provenance = tuple(text for file in files for text in file.texts)
        pause()
    progress(len(filled), len(filled))
    for part, file in zip(parts, files, strict=True):
        if part != file.path:
            part.unlink(missing_ok=True)


def _format(files: Sequence[ScoredFile], joined: Path) -> Format:
    return format_to_write(joined, inputs=[file.format for file in files])


def _part(
    file: ScoredFile, joined: Path, format: Format, number: int, pause: Callable[[], object]
) -> Path:
    """Return an output in the format of the joined file: itself, or a copy that is converted."""
    if file.format == format:
        return file.path
    copy = joined.with_name(f"converted-{number:06d}{joined.suffix}")
    kinds = {product.partition("_")[0] for product in file.products}
    if kinds - {"image2d", "partroi"}:
        raise SettingsError(
            f"{file.path} has products of {joined.suffix} files cannot hold: {sorted(kinds)}"
        )
    rois = [
        name.removeprefix("partroi_")
        for name in sorted(file.products)
        if name.startswith("partroi_")
    ]
    order = turned_to(file.records[0].tick_order)
    with (
        open_reader(file.path, tick_order=order, rois=rois) as reader,
        open_writer(
            copy, format=format, force=True, images=reader.images, rois=reader.rois
        ) as writer,
    ):
        for event in reader:
            pause()
            writer.write(event)
    return copy


def _check_joined(joined: Path, files: Sequence[ScoredFile]) -> None:
    """Raise `ReadError` unless a file has the events and the records of these outputs."""
    content = content_of(joined)
    if content.texts != tuple(text for file in files for text in file.texts):
        raise ReadError(f"want the provenance of {len(files)} outputs in {joined}")
    if not np.array_equal(content.events, np.concatenate([file.events for file in files])):
        raise ReadError(f"want the events of {len(files)} outputs in {joined}")
    if content.products != files[0].products:
        got = sorted(content.products)
        raise ReadError(f"want {sorted(files[0].products)} in {joined}, got {got}")


# The report of failed events.


def _failed_report(files: Sequence[ScoredFile]) -> FailedReport | None:
    """Return the report about all outputs, with entries counted over all inputs; None: no failures.

    It does not yet state the checksum of the merged file.
    """
    failed: list[Failure] = []
    start = 0
    for file in files:
        for failure in file.report.failed if file.report else ():
            failed.append(replace(failure, entry=failure.entry + start))
        start += file.input_entries
    first = next((file.report for file in files if file.report), None)
    if first is None:
        return None
    inputs = [
        {**one.checksum.of(Path(one.path)), "entries": one.entries}
        for file in files
        for record in file.records
        for one in record.inputs
    ]
    run = {**first.run, "inputs": inputs, "entries": [0, start]}
    return FailedReport(run, first.networks, {}, tuple(failed))


def _write_report(file: Path, target: Path, failed: FailedReport) -> None:
    """Write the report about `file`, which has or will have the name `target`."""
    replace(failed, output=checksum(file).of(target)).write(report_path(target))


def _settle_report(target: Path, failed: FailedReport | None) -> None:
    """Write or remove the report, so that it describes the file that is in place."""
    if failed is None:
        report_path(target).unlink(missing_ok=True)
    else:
        _write_report(target, target, failed)

"""The outputs to merge: what each one holds, and whether all fit into one file.

Outputs are only looked at here: nothing is written. Refuses outputs of different networks,
settings, tick orders or products, and names two that differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lartpc import Format, LArTPCError, LibraryMissing, ReadError
from lartpc.files.formats import LARCV_NAMES
from lartpc.files.open import format_of
from lartpc.files.reader import raise_together
from mdp import SettingsError
from services.planes import answer_name

from ...check.provenance_checks import differences, planes_of
from ...files.checksums import checksum
from ...files.entries import Names, repeats
from ...files.failed_report import FailedReport, report_path
from ...files.provenance import Record
from ...flow.progress import Progress
from ..file_content import content_of


class Known(NamedTuple):
    """The size and the checksum of an output when it was scored."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ScoredFile:
    """An output, as merging needs it."""

    path: Path
    bytes: int
    format: Format
    products: frozenset[str]
    events: Names
    """(run, subrun, event) of each entry."""
    texts: tuple[str, ...]
    """The provenance records as text; `records` are the same ones."""
    records: tuple[Record, ...]
    report: FailedReport | None
    """The report of its failed events; None if no event failed."""

    @property
    def input_entries(self) -> int:
        """How many entries the inputs have."""
        return sum(file.entries for record in self.records for file in record.inputs)


def look_at(
    paths: Sequence[Path], known: Mapping[Path, Known], progress: Progress
) -> list[ScoredFile]:
    """Look at outputs, all of which must be good.

    `known`: the checksums that outputs must have. Raises one error that names all bad ones.
    """
    files: list[ScoredFile] = []
    errors: list[LArTPCError] = []
    for number, path in enumerate(paths):
        progress(number, len(paths), len(errors))
        try:
            files.append(_look_at(path, known.get(path)))
        except LibraryMissing:
            raise
        except LArTPCError as error:
            errors.append(error)
    raise_together(errors, files=len(paths))
    return files


def _look_at(path: Path, known: Known | None) -> ScoredFile:
    if known is not None:
        check_known(path, known)
    content = content_of(path, is_known=known is not None)
    records = _records(path, content.texts)
    scores = {f"image2d_{answer_name(plane)}" for plane in planes_of(records[0])}
    if missing := sorted(scores - content.products):
        raise ReadError(f"want the scores of each plane in {path}, got no {missing}")
    events = content.events
    if (want := sum(record.events for record in records)) != len(events):
        raise ReadError(f"want the {want} events of the provenance in {path}, got {len(events)}")
    return ScoredFile(
        path=path,
        bytes=path.stat().st_size,
        format=format_of(path),
        products=content.products,
        events=events,
        texts=content.texts,
        records=records,
        report=failed_report(path, records),
    )


def _records(path: Path, texts: Sequence[str]) -> tuple[Record, ...]:
    if not texts:
        raise ReadError(f"want an output of ssnet run, got {path}, which has no provenance")
    try:
        records = tuple(map(Record.unpack, texts))
    except ReadError as error:
        raise ReadError(f"{path}: {error}") from error
    other = next((record.made_by for record in records if record.made_by != "ssnet run"), None)
    if other is not None:
        raise ReadError(f"want an output of ssnet run, got {path}, made by {other!r}")
    return records


def check_known(path: Path, known: Known) -> None:
    """Raise `ReadError` if a file is not the one that was scored."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ReadError(f"cannot read {path}: {error.strerror}") from error
    if size != known.bytes:
        raise ReadError(
            f"{path} changed since it was scored: it had {known.bytes} bytes, has {size}"
        )
    if checksum(path).sha256 != known.sha256:
        raise ReadError(f"{path} changed since it was scored: its checksum differs")


def failed_report(path: Path, records: Sequence[Record]) -> FailedReport | None:
    """Read the report of failed events. Raises `ReadError` if it is missing or of another file."""
    failed = sum(record.failed_events for record in records)
    if not failed:
        return None
    try:
        report = FailedReport.read(report_path(path))
    except SettingsError as error:
        raise ReadError(f"{failed} events of {path} failed: {error}") from error
    if report.output != checksum(path).of(path):
        raise ReadError(
            f"want a report about {path}, got one about another file: {report_path(path)}"
        )
    return report


def check_fit(files: Sequence[ScoredFile]) -> None:
    """Raise `SettingsError`, which names two outputs, if not all can be in one file."""
    stated: ScoredFile | None = None
    roots = {file.format: file.path for file in files if file.format != "larcv3"}
    if len(roots) > 1:
        named = ", ".join(f"{path} is {LARCV_NAMES[its]}" for its, path in roots.items())
        raise SettingsError(
            f"{named}: they do not fit into one file; score their inputs again with one --format"
        )
    for file in files:
        if file.products != files[0].products:
            odd = ", ".join(sorted(file.products ^ files[0].products))
            raise SettingsError(f"{files[0].path} and {file.path} do not fit: only one has {odd}")
        for record in file.records:
            first = files[0].records[0]
            difference = next(_setting_differences(first, record), "")
            if not difference and _states_networks(record):
                stated = stated or file
                difference = next(differences(_first_stated(stated), record), "")
            if difference:
                other = files[0] if stated is None else stated
                raise SettingsError(f"{other.path} and {file.path} do not fit: {difference}")


def _setting_differences(first: Record, record: Record) -> Iterator[str]:
    """How a record differs in what a record without events states, too."""
    if record.tick_order != first.tick_order:
        yield f"want tick_order {first.tick_order} throughout, got {record.tick_order}"
    if planes_of(record) != planes_of(first):
        yield f"want planes {planes_of(first)} throughout, got {planes_of(record)}"
    copies = [one.settings.get("copy_input", False) for one in (first, record)]
    if copies[0] != copies[1]:
        yield f"want copy_input {copies[0]} throughout, got {copies[1]}"


def _states_networks(record: Record) -> bool:
    """Whether networks scored any of its events."""
    return record.events > 0 and any(record.services.values())


def _first_stated(file: ScoredFile) -> Record:
    return next(record for record in file.records if _states_networks(record))


def repeated_events(files: Sequence[ScoredFile]) -> list[str]:
    """Return one line for each entry whose event has come already; each names the outputs."""
    return repeated_in([(str(file.path), file.events) for file in files])


def repeated_in(outputs: Sequence[tuple[str, Names]]) -> list[str]:
    """Return the same as `repeated_events`, for the names of outputs and of their events."""
    if not outputs or not repeats(np.concatenate([events for _, events in outputs])).more:
        return []
    lines: list[str] = []
    first: dict[bytes, str] = {}
    for output, events in outputs:
        for event in events:
            other = first.setdefault(bytes(event), "")
            if other == output:
                lines.append(f"event {event.item()} is twice in {output}")
            elif other:
                lines.append(f"event {event.item()} is in {other} and in {output}")
            else:
                first[bytes(event)] = output
    return lines

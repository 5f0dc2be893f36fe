"""Compares every output of a campaign with its input, and both with the catalogue.

First the driver looks at sizes and times: an input that changed since it was scored, an output
that is gone. Then readers compare each output with its input, and report the checksums of both.
What they find is written to the catalogue, by file:

    ok          nothing is wrong
    output: ..  the output is gone, changed or wrong: `ssnet campaign retry` scores the file again
    input: ..   the input is gone or cannot be read, so nothing could be compared
                (of a repeated file, only the input is read; an output of it should not exist)
    (changed)   the input changed: this is a state of the file, and `retry` scores it again
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from lartpc import ReadError
from lartpc.files import provenance
from mdp import MDPError

from ...files.checksums import checksum
from ...files.entries import Names
from ...files.provenance import Record
from ...flow.progress import Progress
from ..driving.loop import Answer, Place, cancel_marker, run
from ..driving.progression import Progression, Verdict
from ..file_content import unpacked
from ..file_request import FileReport, FileRequest
from ..records.catalogue import Catalogue
from ..records.lease import Lease
from ..records.rows import File, Merged
from .merged_files import WRONG_OUTPUT
from .outputs import failed_report, repeated_in

log = logging.getLogger(__name__)

OK = "ok"
_OUTPUT, _INPUT = WRONG_OUTPUT, "input: "
_TRIES = 2  # of a file whose reader died or did not answer
_LOOKS = 16  # files that are looked at together: a network file system answers slowly
_BATCH = 500


class Wrong(NamedTuple):
    """A file with something wrong."""

    path: str
    """The input, or a merged file."""
    output: str
    reason: str


@dataclass
class CheckOutcome:
    """What a check found."""

    files: int = 0
    """Files that were looked at."""
    right: int = 0
    """Files with nothing wrong."""
    outputs: list[Wrong] = field(default_factory=list)
    """Outputs that are gone, changed or wrong."""
    inputs: list[Wrong] = field(default_factory=list)
    """Inputs that are gone or cannot be read."""
    changed: list[Wrong] = field(default_factory=list)
    """Inputs that changed since they were scored."""
    unchecked: list[Wrong] = field(default_factory=list)
    """Files that no reader could check."""
    merged: list[Wrong] = field(default_factory=list)
    """Merged files that are gone, changed, or older than one of their outputs, or whose report of
    failed events is gone or about another file."""
    repeated: list[str] = field(default_factory=list)
    """Events that two outputs have, as text; they may come twice in the inputs, too."""
    allows_repeats: bool = False
    """The campaign has `--repeat-inputs`, so these events are nothing wrong."""
    failed: int = 0
    """Files that could not be scored, so they have no output to check."""
    waiting: int = 0
    """Files that are not scored yet."""
    stopped: str = ""
    """Why the check ended before all files were checked."""

    @property
    def is_good(self) -> bool:
        """Whether all files are done or repeated, and nothing is wrong."""
        wrong = (self.outputs, self.inputs, self.changed, self.unchecked, self.merged)
        repeated = self.repeated and not self.allows_repeats
        return not any((*wrong, repeated, self.failed, self.waiting, self.stopped))


class Looked(NamedTuple):
    """What sizes, times and, if these differ, checksums say of a file."""

    file: File
    text: str
    """What is wrong; empty: nothing."""
    changed: bool = False
    """The input changed since it was scored; `bytes` and `mtime_ns` are those of now."""
    bytes: int = 0
    mtime_ns: int = 0


def look(folder: Path, file: File) -> Looked:
    """Compare the input and the output of a file with the catalogue, without reading them.

    An input of another size or time is read: it may only have been copied or touched.
    """
    try:
        status = os.stat(file.path)
        size, mtime_ns = status.st_size, status.st_mtime_ns
        was_listed = (file.bytes, file.mtime_ns) == (size, mtime_ns) and file.state != "changed"
        if not was_listed and checksum(Path(file.path)).sha256 != file.sha256:
            text = f"{_INPUT}it changed since it was scored: it has {size} bytes"
            return Looked(file, text, True, size, mtime_ns)
    except OSError as error:
        return Looked(file, f"{_INPUT}cannot read {file.path}: {error.strerror}")
    except ReadError as error:
        return Looked(file, f"{_INPUT}{error}")
    looked = Looked(file, "", False, size, mtime_ns)
    if file.is_repeat:
        if os.path.lexists(folder / file.output):
            text = f"want no {file.output}, since the file repeats another: remove it by hand"
            return looked._replace(text=f"{_OUTPUT}{text}")
        return looked
    try:
        got = os.stat(folder / file.output).st_size
    except OSError as error:
        return looked._replace(text=f"{_OUTPUT}cannot read {file.output}: {error.strerror}")
    if got != file.out_bytes:
        text = f"{_OUTPUT}it changed since it was written: it had {file.out_bytes} bytes, has {got}"
        return looked._replace(text=text)
    return looked


class Checking:
    """Has the files of a campaign checked; the `Work` of a `loop`."""

    def __init__(
        self, folder: Path, catalogue: Catalogue, lease: Lease, progress: Progress
    ) -> None:
        self._folder = folder
        self._catalogue = catalogue
        self._lease = lease
        self._progress = progress
        self._options = catalogue.settings.options.as_dict()
        self._looked: dict[int, Looked] = {}
        self._names: list[tuple[str, Names]] = []
        self._done = self._total = 0
        self.outcome = CheckOutcome()
        # a file that is wrong is no failure of the check, so no share of them stops it
        self.progression = Progression(file_tries=_TRIES, max_failed=1.0)

    def prepare(self, *, unchecked_only: bool = False) -> None:
        """Look at all files; those with nothing wrong are left to the readers."""
        files = [*self._files(unchecked_only=unchecked_only)]
        self._total = len(files)
        self._progress.begin(f"{len(files)} files of {self._folder}", total=len(files))
        with ThreadPoolExecutor(_LOOKS) as pool:
            for start in range(0, len(files), _BATCH):
                batch = files[start : start + _BATCH]
                self._take_looks([*pool.map(lambda file: look(self._folder, file), batch)])
        self._look_at_merged()

    def _files(self, *, unchecked_only: bool) -> Iterator[File]:
        for state in ("done", "changed", "repeated"):
            for file in self._catalogue.files(state):
                if not (unchecked_only and file.check == OK):
                    yield file

    def _take_looks(self, looks: Sequence[Looked]) -> None:
        self._lease.check()
        self._catalogue.mended(
            (one.file.number, one.bytes, one.mtime_ns)
            for one in looks
            if one.file.state == "changed" and not one.text.startswith(_INPUT)
        )
        reasons: dict[int, str] = {}
        for one in looks:
            number = one.file.number
            if one.text:
                reasons[number] = one.text
            else:
                self._looked[number] = one
                self.progression.add([number])
        self._record(reasons, [one for one in looks if one.changed])

    # What the loop asks.

    def request(self, number: int) -> FileRequest:
        """Return the request for a file, with the size and the time that its input has now."""
        looked = self._looked[number]
        return FileRequest(
            verb="read" if looked.file.is_repeat else "check",
            number=number,
            path=looked.file.path,
            bytes=looked.bytes,
            mtime_ns=looked.mtime_ns,
            folder=str(self._folder),
            name=looked.file.output,
            options=self._options,
        )

    def take(self, answers: list[Answer]) -> None:
        """Write what the readers found to the catalogue."""
        self._lease.check()
        reasons: dict[int, str] = {}
        changed: list[Looked] = []
        over: list[int] = []
        now = time.monotonic()
        for number, answer in answers:
            looked = self._looked[number]
            if self.progression.answered(_verdict(number, answer), now) == "later":
                continue
            if isinstance(answer, MDPError):
                row = Wrong(looked.file.path, looked.file.output, str(answer))
                self.outcome.unchecked.append(row)
                self._shown(1)
                continue
            over.append(number)
            reasons[number] = text = _text(looked.file, answer)
            if _is_changed(looked.file, answer):
                changed.append(looked._replace(text=text, changed=True))
            if not looked.file.is_repeat:
                self._names.append((looked.file.output, unpacked(answer.event_names)))
        self._record(reasons, changed)
        self.progression.published(over)

    def turn(self, now: float) -> bool:
        """There is nothing else to do, and no file to wait for."""
        return False

    def finish(self) -> CheckOutcome:
        """Return what was found, after the last answer."""
        outcome = self.outcome
        outcome.repeated = repeated_in(self._names)
        outcome.allows_repeats = self._catalogue.settings.options.repeat_inputs
        counts = self._catalogue.counts()
        outcome.failed, outcome.waiting = counts.states["failed"], counts.left
        left = self.progression.left
        if self.progression.stopped or left:
            why = self.progression.stopped or "cancelled"
            outcome.stopped = f"{why}: {left} files are not checked"
        return outcome

    # What was found.

    def _record(self, found: dict[int, str], changed: Iterable[Looked]) -> None:
        outcome = self.outcome
        rows = [(one.file.number, one.bytes, one.mtime_ns, one.text) for one in changed]
        self._catalogue.changed(rows)
        self._catalogue.checked(found)
        changed_numbers = {number for number, *_ in rows}
        for number, text in found.items():
            outcome.files += 1
            if text == OK:
                outcome.right += 1
                continue
            file = self._catalogue.file(number)
            kind, _, reason = text.partition(": ")
            row = Wrong(file.path, file.output, reason)
            if number in changed_numbers:
                outcome.changed.append(row)
            else:
                (outcome.outputs if f"{kind}: " == _OUTPUT else outcome.inputs).append(row)
            self._progress.say(f"{file.output}: {text}")
        self._shown(len(found))

    def _shown(self, more: int) -> None:
        self._done += more
        outcome = self.outcome
        wrong = len(outcome.outputs) + len(outcome.inputs) + len(outcome.changed)
        self._progress(self._done, self._total, wrong)

    def _look_at_merged(self) -> None:
        """Compare merged files with the catalogue, and with the outputs of now.

        One that is gone is named once: it may have been moved elsewhere.
        """
        for merged in self._catalogue.merged():
            path = self._folder / merged.output
            try:
                if not path.exists():
                    self._catalogue.drop_merged([merged.output])
                    reason = "it is gone; the next check does not ask for it"
                elif checksum(path)[:2] != (merged.bytes, merged.sha256):
                    reason = "it changed since it was merged"
                else:
                    texts = provenance.read(path)
                    failed_report(path, [Record.unpack(text) for text in texts])
                    reason = self._stale(merged, texts)
            except ReadError as error:
                reason = str(error)
            if reason:
                self.outcome.merged.append(Wrong(str(path), merged.output, reason))

    def _stale(self, merged: Merged, texts: Sequence[str]) -> str:
        """Return why a merged file is older than an output; empty: it is not.

        Both times are of the clock of the reader's host; the record has whole seconds. A later
        attempt may have adopted the same output, so the record of the output decides.
        """
        if len(texts) != len(merged.files):
            return f"want the records of {len(merged.files)} outputs, got {len(texts)}"
        select = "SELECT MAX(began_at) FROM tries WHERE outcome = 'done' AND file = ?"
        for number, text in zip(merged.files, texts, strict=True):
            ((began_at,),) = self._catalogue.rows(select, number)
            ended_at = datetime.fromisoformat(Record.unpack(text).ended_at).timestamp()
            if began_at is None or began_at <= ended_at + 1:
                continue
            output = self._catalogue.file(number).output
            if not self._is_record_of(text, output):
                return f"{output} was scored again since: `merge --force` makes it anew"
        return ""

    def _is_record_of(self, text: str, output: str) -> bool:
        """Whether an output has this record. One that cannot be read is found by itself."""
        try:
            return (text,) == provenance.read(self._folder / output)
        except ReadError:
            return True


def _verdict(number: int, answer: FileReport | MDPError) -> Verdict:
    """An error is one of the readers; a report says what it found, whatever that is."""
    if isinstance(answer, MDPError):
        return Verdict(number, ok=False, kind="service", reason=str(answer))
    return Verdict(number, ok=True)


def _is_changed(file: File, report: FileReport) -> bool:
    return bool(report.kind == "changed" or (not report.kind and not _has_input(file, report)))


def _has_input(file: File, report: FileReport) -> bool:
    """Whether the input has the checksum of the file that was scored."""
    return report.input_sha256 == file.sha256


def _text(file: File, report: FileReport) -> str:
    """Return what the catalogue says of a file that was compared."""
    if report.kind:
        return f"{_OUTPUT if report.kind == 'write' else _INPUT}{report.reason}"
    if not _has_input(file, report):
        return f"{_INPUT}it changed since it was scored: its checksum differs"
    if file.is_repeat:
        return OK
    if (report.out_bytes, report.out_sha256) != (file.out_bytes, file.out_sha256):
        more = f" ({report.reason})" if report.reason else ""
        return f"{_OUTPUT}it changed since it was written: its checksum differs{more}"
    return OK if report.ok else f"{_OUTPUT}{report.reason}"


def check_campaign(
    folder: Path,
    broker: str,
    *,
    hint: str = "",
    unchecked_only: bool = False,
    progress: Progress | None = None,
) -> CheckOutcome:
    """Check the outputs of a campaign with the readers of a broker.

    Raises `LeaseHeld` while a driver runs, and `LeaseLost`.
    """
    progress = progress or Progress()
    with (
        Lease(folder, on_wait=progress.step) as lease,
        Catalogue.create_or_open(folder, None, lease.epoch) as catalogue,
    ):
        heartbeats = catalogue.settings.options.heartbeats
        extra = {"command": ["ssnet", "campaign", "check", str(folder)]}
        place = Place(folder, broker, lease, heartbeats, hint=hint, extra=extra)
        cancel_marker(folder).unlink(missing_ok=True)
        checking = Checking(folder, catalogue, lease, progress)
        with lease.beating():
            checking.prepare(unchecked_only=unchecked_only)
        if not checking.progression.is_over:
            run(place, checking)
        cancel_marker(folder).unlink(missing_ok=True)
        return checking.finish()

"""A worker of `ssnet-files`: it runs the production client on the file of each request.

A file that cannot be scored gives a report, too, which says why; only a request that this reader
may not serve is refused. The reader never writes under an output's final name: it writes into its
attempt's folder, and the driver of the campaign renames the finished file.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lartpc import FileExists, LArTPCError, ReadError, WriteError
from lartpc.files import provenance
from mdp import MDPError, SettingsError, Worker
from mdp.system import batch_job
from mdp.version import VERSION
from services.planes import Description, service_name

from ...errors import AnswerError
from ...files.checksums import checksum
from ...files.failed_report import events_of, report_path
from ...files.provenance import Record
from ...flow.stopwatch import Stopwatch
from ...scoring.score import ScoringReport, score
from ..file_request import MAX_FAILURES, FileReport, FileRequest, Kind
from ..plan import ScoringOptions
from .attempt import Attempt, adopt, ledger_path
from .beat import Beat
from .checked_file import check_file, read_input
from .scratch import copy_whole, left_behind, place_of, scratch_folder
from .share import asked_share
from .verdicts import input_trouble, kind_of

log = logging.getLogger(__name__)

_MAX_REASON = 1000  # characters
_STALE = (SettingsError, FileExists, ReadError)
"""Errors of a run that adopted an earlier attempt: its files may be of other settings, or damaged.
Then the file is scored from its first event on."""


class FileReader(Worker):
    """Scores and checks files. broker: the address, or @FILE, of the plane services.

    scratch: a folder on this host in which outputs are written first, in place of the campaign's.
    """

    def __init__(self, broker: str, scratch: str = "") -> None:
        self.broker = broker
        self.scratch = scratch
        self.fingerprint = f"ssnetserver {VERSION}"
        self.threads, self.device = 1, "cpu"
        self._crops = 1.0
        """Requests of an event to one plane, in the last file."""
        self._known: dict[int, Description] = {}
        """What the planes said of themselves: in a full queue, asking again takes a while."""

    def setup(self) -> None:
        """Remove what readers that were killed have left of files that are done."""
        if self.scratch:
            with left_behind(place_of(self.scratch), None):
                pass

    def handle(self, frames: list[bytes]) -> list[bytes]:
        request = FileRequest.unpack(frames)
        began_at = time.time()
        log.info("file %d: %s %s", request.number, request.verb, request.path)
        work = {"score": self._score, "check": check_file, "read": read_input}
        values = work[request.verb](request)
        ended_at = time.time()
        job = batch_job.here()
        report = FileReport(
            number=request.number,
            host=os.uname().nodename,
            pid=os.getpid(),
            job=job.id if job else "",
            began_at=began_at,
            ended_at=ended_at,
            seconds=ended_at - began_at,
            **values,
        )
        if report.reason:
            log.warning("file %d: %s", request.number, report.reason)
        return report.pack()

    # Scoring.

    def _score(self, request: FileRequest) -> dict[str, Any]:
        try:
            attempt = Attempt.begin(request)
            kind, reason = input_trouble(request)
            if kind:
                attempt.remove()
                return _failed(kind, reason)
            try:
                return self._attempted(request, attempt, adopts=True)
            except _Stale as stale:
                log.warning("file %d: scored from its first event on: %s", request.number, stale)
            attempt.remove()
            return self._attempted(request, Attempt.begin(request), adopts=False)
        except WriteError as error:  # not even the attempt's folder could be made
            return _failed("write", str(error))

    def _attempted(self, request: FileRequest, attempt: Attempt, *, adopts: bool) -> dict[str, Any]:
        """Score a file; return the values of its report. Raises `_Stale`."""
        watch = Stopwatch()
        about = {"number": request.number, "began_at": time.time(), **_who()}
        beat = Beat(attempt.folder, about, watch)
        adopted, knew = False, bool(self._known)
        try:
            with beat, self._place(request, attempt) as output:
                adopted = adopts and self._adopt(request, attempt, output)
                report = self._run(request, output, beat, watch)
                kind, reason = input_trouble(request)
                if not kind:
                    values = _done(attempt, output, report, watch)
                    self._learn(report)
                    return values
        except (MDPError, LArTPCError, OSError) as error:
            self._known = {}
            if (adopted and isinstance(error, _STALE)) or (knew and isinstance(error, AnswerError)):
                raise _Stale(str(error)) from error
            kind, reason = kind_of(error, is_opening=beat.now == _OPENING), str(error)
            changed_kind, changed = input_trouble(request)
            if changed_kind and kind in ("input", "settings"):
                kind, reason = changed_kind, f"{changed} ({reason})"
        if kind in ("input", "changed"):
            attempt.remove()
        else:
            attempt.leave()
        return _failed(kind, reason)

    @contextmanager
    def _place(self, request: FileRequest, attempt: Attempt) -> Iterator[Path]:
        """Give the path to write to."""
        scratch = self.scratch or request.scratch
        if not scratch:
            yield attempt.output
            return
        with scratch_folder(place_of(scratch), attempt.token, request) as folder:
            yield folder / attempt.name

    def _adopt(self, request: FileRequest, attempt: Attempt, output: Path) -> bool:
        """Take over what earlier attempts have finished, on the scratch disk as well."""
        scratch = self.scratch or request.scratch
        if not scratch:
            return adopt(output, attempt.earlier())
        with left_behind(place_of(scratch), request) as others:
            return adopt(output, [*attempt.earlier(), *(other / attempt.name for other in others)])

    def _run(
        self, request: FileRequest, output: Path, beat: Beat, watch: Stopwatch
    ) -> ScoringReport:
        options = ScoringOptions.from_dict(request.options)
        beat.step("asking the broker what it can take")
        with watch.stage("share"):
            mine = asked_share(
                self.broker,
                planes=options.planes,
                window=options.window,
                crops=self._crops,
                heartbeats=options.heartbeats,
            )
        job = options.job(
            Path(request.path),
            output,
            self.broker,
            window=mine.window,
            window_bytes=mine.window_bytes,
            command=request.command,
        )
        return score(job, on_progress=beat, watch=watch, known=self._known)

    def _learn(self, report: ScoringReport) -> None:
        if report.events and report.networks:
            self._crops = report.crops / report.events / len(report.networks)


_OPENING = "opening the inputs"  # the first step of `score`


class _Stale(Exception):
    """What an attempt adopted, or what the reader knew of the planes, does not fit any more."""


def _who() -> dict[str, Any]:
    job = batch_job.here()
    return {"host": os.uname().nodename, "pid": os.getpid(), "job": job.id if job else ""}


def _failed(kind: Kind, reason: str) -> dict[str, Any]:
    return {"ok": False, "kind": kind, "reason": _line(reason)}


def _line(text: str) -> str:
    return " ".join(text.split())[:_MAX_REASON]


def _done(
    attempt: Attempt, output: Path, report: ScoringReport, watch: Stopwatch
) -> dict[str, Any]:
    """Bring the finished files into the attempt's folder; return the values of the report."""
    names = [path(attempt.output) for path in (report_path, ledger_path)]
    if output != attempt.output:
        with watch.stage("move"):
            for target in (*names, attempt.output):
                source = output.with_name(target.name)
                if source.exists():
                    copy_whole(source, target)
    failed, ledger = (attempt.in_work(path) if path.exists() else "" for path in names)
    with watch.stage("checksums"):
        record, networks = _made(attempt.output)
        have = checksum(attempt.output)
    read = record.inputs[0].checksum
    watch.finish()
    return {
        "ok": True,
        "token": attempt.token,
        "staged": attempt.in_work(attempt.output),
        "failed_report": failed,
        "ledger": ledger,
        "out_bytes": have.bytes,
        "out_sha256": have.sha256,
        "input_bytes": read.bytes,
        "input_sha256": read.sha256,
        "entries": report.events + report.earlier,
        "events": report.events,
        "failed_events": len(events_of(report.failed)),
        "failures": [asdict(failure) for failure in report.failed[:MAX_FAILURES]],
        "crops": report.crops,
        "computed_s": report.computed_s,
        "mode": report.mode,
        "tick_order": report.tick_order,
        "networks": networks,
        "stages": watch.seconds,
    }


def _made(output: Path) -> tuple[Record, dict[int, dict[str, Any]]]:
    """Return the provenance of an output, and the origin of its scores by plane."""
    (text,) = provenance.read(output)
    record = Record.unpack(text)
    numbers = {service_name(plane): plane for plane in range(10)}
    networks = {
        numbers[name]: asdict(origins[0])
        for name, origins in record.services.items()
        if name in numbers and origins
    }
    return record, networks

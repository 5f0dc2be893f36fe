"""Readers of files without planes, whose behaviour is in the names of the files."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import asdict
from pathlib import Path

from clients.campaign.file_request import SERVICE, FileReport, FileRequest
from clients.campaign.readers.attempt import Attempt
from clients.files.failed_report import Failure, report_path
from mdp import Worker

__all__ = ["SERVICE", "OddReader", "scored"]


def scored(content: bytes) -> bytes:
    """What such a reader makes of a file."""
    return b"scored " + content[::-1]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class OddReader(Worker):
    """Scores any file, and appends its path to `log` beside it.

    bad*: cannot be read. full*: no space. flaky*: cannot be read the first time. lost*: the first
    output is not there. other*: scored by another network. empty*: one event failed. slow*: after
    a second. old*: an earlier attempt scored its events. dies*: the reader dies.
    """

    def handle(self, frames: list[bytes]) -> list[bytes]:
        request = FileRequest.unpack(frames)
        path = Path(request.path)
        kind = path.stem.rstrip("0123456789")
        with (path.parent / "log").open("a") as log:
            log.write(f"{path.name}\n")
        is_first = (path.parent / "log").read_text().split().count(path.name) == 1
        attempt = Attempt.begin(request)
        if kind == "dies":
            os._exit(1)
        if kind == "slow":
            time.sleep(1.0)
        if kind == "bad" or (kind == "flaky" and is_first):
            return self._failed(request, "input", f"{path}: it is damaged")
        if kind == "full":
            return self._failed(request, "write", f"cannot write {path}.part: No space left")
        if path.stat().st_size != request.bytes:
            return self._failed(request, "changed", f"{path}: it has another size")
        content = path.read_bytes()
        output = scored(content)
        failures = []
        if not (kind == "lost" and is_first):
            attempt.output.write_bytes(output)
        if kind == "empty":
            report_path(attempt.output).write_text("1 failed\n")
            failures.append(asdict(Failure(0, "entry 0", 1, 2, 3, 0, 0, 500, "no scores")))
        return FileReport(
            number=request.number,
            ok=True,
            token=attempt.token,
            staged=attempt.in_work(attempt.output),
            failed_report=attempt.in_work(report_path(attempt.output)) if failures else "",
            out_bytes=len(output),
            out_sha256=_sha256(output),
            input_bytes=len(content),
            input_sha256=_sha256(content),
            entries=2,
            events=0 if kind == "old" else 2,
            failed_events=len(failures),
            failures=failures,
            networks={0: {"weights": "other" if kind == "other" else "usual"}},
            host="here",
            pid=os.getpid(),
        ).pack()

    def _failed(self, request: FileRequest, kind: str, reason: str) -> list[bytes]:
        return FileReport(number=request.number, ok=False, kind=kind, reason=reason).pack()  # type: ignore[arg-type]

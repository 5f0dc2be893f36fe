"""Requests for files of a campaign, as a driver sends them, and readers that answer them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from clients.campaign.file_request import SERVICE, FileReport, FileRequest
from clients.campaign.plan import ScoringOptions
from clients.campaign.readers.reader import FileReader
from clients.scoring.score import score
from lartpc import Event
from mdp import Client
from tests.support import plane_pools
from tests.support.processes import QUICK, Process, Processes, until

BROKER = "SSNET_TEST_BROKER"
ABORTS = "SSNET_TEST_ABORTS"
"""A part of the names of inputs of which an `AbortingReader` dies; `abort` if it is not set."""
OPTIONS = ScoringOptions(
    mode="croi", size=64, part_s=0.0, heartbeat_s=0.2, timeout_s=30.0, wait_s=10.0
)
"""Each event is a checkpoint."""


class AbortingReader(FileReader):
    """A reader whose process dies of some inputs, as ROOT's can, by their names."""

    def __init__(self) -> None:
        super().__init__(os.environ[BROKER])

    def handle(self, frames: list[bytes]) -> list[bytes]:
        if os.environ.get(ABORTS, "abort") in FileRequest.unpack(frames).path:
            os.abort()
        return super().handle(frames)


def campaign(folder: Path) -> Path:
    """The folder of a campaign without files."""
    (folder / ".campaign").mkdir(parents=True)
    return folder


def request(path: Path, folder: Path, number: int = 1, **more: Any) -> FileRequest:
    """A request to score a file as it is now."""
    status = path.stat()
    values: dict[str, Any] = {
        "verb": "score",
        "number": number,
        "path": str(path),
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "folder": str(folder),
        "name": f"{path.stem}_ssnet{path.suffix}",
        "options": OPTIONS.as_dict(),
    }
    return FileRequest(**{**values, **more})


def readers(processes: Processes, endpoint: str, *options: str) -> Process:
    """A host of readers, all of them ready: `-n 2`, `--scratch FOLDER`."""
    host = processes.python(
        "-m", "clients", "worker", "files", "--broker", endpoint, *QUICK, *options
    )
    count = int(options[options.index("-n") + 1]) if "-n" in options else 1
    until(lambda: host.stderr.count(": ready") == count, f"{count} readers are ready")
    return host


def answer(client: Client, asked: FileRequest) -> FileReport:
    return FileReport.unpack(client.request(SERVICE, asked.pack(), timeout_s=60.0))


def work(folder: Path) -> Path:
    return folder / ".campaign" / "work"


def alone(endpoint: str, path: Path, output: Path) -> list[Event]:
    """What `ssnet run` alone makes of a file."""
    score(OPTIONS.job(path, output, endpoint, part_s=60.0))
    return plane_pools.read(output)

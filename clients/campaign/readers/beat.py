"""Shows what a reader does now: a thread replaces `progress.json` in the attempt's folder."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ...flow.progress import Progress
from ...flow.stopwatch import Stopwatch

EVERY_S = 5.0
NAME = "progress.json"


class Beat(Progress):
    """A progress that is written to a file every 5 s while the block runs.

    The file is for people who look; a reader that cannot write it goes on.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], watch: Stopwatch) -> None:
        """about: what the file says of the reader and the attempt, besides the progress."""
        self._path = folder / NAME
        self._about = dict(about)
        self._watch = watch
        self._step = "starting"
        self._counts = (0, 0, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    @property
    def now(self) -> str:
        """The step that the work is in."""
        return self._step

    def __enter__(self) -> Beat:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        with suppress(OSError):
            self._path.unlink()

    # The progress.

    def step(self, text: str) -> None:
        self._step = text

    def begin(self, text: str, *, done: int = 0, total: int = 0, failed: int = 0) -> None:
        self._counts = (done, total, failed)

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        self._counts = (done, total, failed)

    # The file.

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self._write()

    def _write(self) -> None:
        done, total, failed = self._counts
        values = {
            **self._about,
            "done": done,
            "total": total,
            "failed": failed,
            "step": self._step,
            "waited_s": round(self._watch.seconds.get("room", 0.0), 3),
            "updated_at": time.time(),
        }
        part = self._path.with_name(f".{NAME}.part")
        with suppress(OSError):
            part.write_text(json.dumps(values))
            os.replace(part, self._path)

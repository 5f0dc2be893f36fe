"""Starts the process that writes with ROOT, gives it orders, and says what happened if it dies.

There is one writer process for each format, LArCV1 and LArCV2, because ROOT can know the classes of
only one of them. It is started when it is first needed, and serves all files of this process. A
file with copies from an input whose classes have other members than those that ROOT has seen there
has a process of its own: ROOT would take one for the other, and write wrong bytes.
ROOT is never loaded here: so a ROOT that ends its process does not end the run, and a program that
has loaded a real LArCV can write too.
"""

from __future__ import annotations

import atexit
import itertools
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ... import errors
from ...errors import LArTPCError, WriteError
from ...image import Event
from ..formats import LARCV_NAMES, Format
from ..writer import OnPart
from .copied import Copied
from .declared import declared_classes
from .exchange import Message, from_event, receive, send

_MODULE = "lartpc.files.root_writing.writer_child"
_STUCK_S = 600.0
"""A writer process that used no CPU time and moved no bytes for so long is ended."""
_LOOK_S = 30.0
_END_S = 10.0
_SHOWN_BYTES = 2000
_WAY_ON = (
    "; the products of the inputs cannot be copied: without --copy-input, and with --fresh, the run"
    " goes on without them"
)


class ROOTWriter:
    """A writer process. Its methods may be called from any thread; each order waits for its end."""

    def __init__(self, format: Format) -> None:
        """Start the process. Raises `LibraryMissing` without ROOT."""
        self.format = format
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  (`end` closes it)
        """What the process prints."""
        self.doing = "loaded ROOT"
        """What the process does, or did last."""
        self._lock = threading.Lock()
        self._classes = declared_classes(format)  # those that ROOT has seen, with their checksums
        self._copying = False
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", _MODULE, format],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            cwd="/",  # Python looks for modules there first: a user's array.py would be taken
            start_new_session=True,  # Ctrl-C is for the parent only
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("want pipes to the writer process")
        self._orders = self._process.stdin
        # unbuffered: `select` would not see an answer that a buffer has read with the one before
        self._answers = open(os.dup(self._process.stdout.fileno()), "rb", buffering=0)  # noqa: SIM115
        self._process.stdout.close()
        try:
            _result(self._answer(lambda part: None))
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def takes(self, classes: Mapping[str, int]) -> bool:
        """Whether ROOT can copy from files with these classes; it has seen them from now on."""
        with self._lock:
            if any(self._classes.get(name, its) != its for name, its in classes.items()):
                return False
            self._classes.update(classes)
            return True

    def new_number(self) -> int:
        """Return a number for a new file."""
        return next(self._numbers)

    def obey(self, order: Message, doing: str, *, on_part: OnPart = lambda part: None) -> Any:
        """Send an order, and return its result. `doing`: what it does, for errors: "wrote X".

        Raises the order's error, and `WriteError` if the process dies. It is ended if anything else
        is raised meanwhile, such as KeyboardInterrupt: a later order would get this one's answer.
        """
        with self._lock:
            self.doing, self._copying = doing, False
            fields = None
            try:
                try:
                    send(self._orders, order)
                except (OSError, ValueError):  # ValueError: its pipe is closed, it died before
                    raise self._died() from None
                fields = self._answer(on_part)
            finally:
                if fields is None:
                    self.end(at_once=True)
        return _result(fields)

    def _answer(self, on_part: Callable[[int], object]) -> dict[str, Any]:
        """Return the answer that ends an order; it may hold an error."""
        while True:
            self._wait()
            try:
                fields = receive(self._answers).fields
            except (EOFError, OSError):
                raise self._died() from None
            if "at" in fields:
                self.doing, self._copying = f"copied {fields['at']}", True
            elif "part" in fields:
                on_part(fields["part"])
            else:
                return fields

    def _wait(self) -> None:
        """Wait for an answer. Ends the process if it has stood still for too long."""
        used, still_s = self._used(), 0.0
        while not select.select([self._answers], [], [], _LOOK_S)[0]:
            now = self._used()
            still_s = 0.0 if now != used else still_s + _LOOK_S
            used = now
            if still_s >= _STUCK_S:
                self._process.kill()

    def _used(self) -> tuple[str, ...]:
        """Return the CPU time and the bytes that the process has used."""
        try:
            folder = Path("/proc", str(self._process.pid))
            times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
            return (*times, (folder / "io").read_text())
        except OSError:  # not shown on this machine: it is taken for busy
            return (str(time.monotonic()),)

    def _died(self) -> WriteError:
        last_line = self._last_line()
        self.end()
        code = self._process.returncode
        how = f"of {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        way_on = _WAY_ON if self._copying else ""
        return WriteError(
            f"ROOT's process for {LARCV_NAMES[self.format]} ended {how}{last_line} while it"
            f" {self.doing}{way_on}"
        )

    def _last_line(self) -> str:
        """Return the last line that the process printed, in brackets."""
        if self._messages.closed:
            return ""
        size = self._messages.seek(0, os.SEEK_END)
        self._messages.seek(max(0, size - _SHOWN_BYTES))
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1].strip()})" if lines else ""

    def end(self, *, at_once: bool = False) -> None:
        """End the process. Files that are not closed stay incomplete."""
        if at_once:
            self._process.kill()
        with suppress(OSError):
            self._orders.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._messages.close()


def _result(answer: dict[str, Any]) -> Any:
    """Return the result in an answer, or raise its error."""
    if "error" in answer:
        raise _error(answer["error"], answer["text"])
    return answer["result"]


def _error(name: str, text: str) -> Exception:
    """Return the error that the writer process names."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, LArTPCError):
        return kind(text)
    return OSError(text) if name == "OSError" else RuntimeError(text)


_writers: dict[tuple[int, Format], ROOTWriter] = {}
_starting = threading.Lock()


def writer_of(format: Format) -> ROOTWriter:
    """Return this process's writer for a format; starts it if it does not run.

    Raises `LibraryMissing` without ROOT.
    """
    key = (os.getpid(), format)  # a forked process has its own
    with _starting:
        writer = _writers.get(key)
        if writer is None or not writer.is_alive():
            writer = _writers[key] = ROOTWriter(format)
        return writer


def end_writers() -> None:
    """End this process's writer processes, as at its own end."""
    for (pid, _), writer in list(_writers.items()):
        if pid == os.getpid():
            writer.end()


atexit.register(end_writers)


class RemoteSink:
    """A `Sink` whose file is written by the writer process."""

    def __init__(
        self,
        format: Format,
        part: Path,
        copied: Copied | None,
        images: Sequence[str],
        rois: Sequence[str],
    ) -> None:
        shared = writer_of(format)
        classes = copied.classes if copied else {}
        self._own = None if shared.takes(classes) else ROOTWriter(format)
        self.writer = self._own or shared
        self._number = self.writer.new_number()
        self._part = part
        paths = [os.path.abspath(path) for path in copied.paths] if copied else []
        try:
            self._order(
                "opened",
                order="open",
                part=os.path.abspath(part),
                copied=[paths, *copied[1:5]] if copied else None,
                images=list(images),
                rois=list(rois),
            )
        except BaseException:
            self._end()
            raise

    def write(self, event: Event, entry: int | None) -> None:
        message = from_event(event)
        number = None if entry is None else int(entry)
        fields = {"order": "write", "sink": self._number, "entry": number, **message.fields}
        self.writer.obey(
            Message(fields, message.arrays), f"wrote event {tuple(event.rse)} to {self._part}"
        )

    def append(self, parts: Sequence[Path], entries: Sequence[int], on_part: OnPart) -> int:
        paths = [os.path.abspath(part) for part in parts]
        entries = [int(entry) for entry in entries]
        return int(
            self._order(
                f"joined {len(parts)} parts",
                on_part=on_part,
                order="append",
                parts=paths,
                entries=entries,
            )
        )

    def close(self) -> None:
        try:
            self._order("closed", order="close")
        finally:
            self._end()

    def abort(self) -> None:
        try:
            if self.writer.is_alive():
                self._order("gave up", order="abort")
        finally:
            self._end()

    def _end(self) -> None:
        if self._own is not None:
            self._own.end()

    def _order(self, doing: str, *, on_part: OnPart = lambda part: None, **fields: Any) -> Any:
        message = Message({"sink": self._number, **fields})
        return self.writer.obey(message, f"{doing} {self._part}", on_part=on_part)


def append_provenance(format: Format, path: Path, records: Sequence[str]) -> None:
    """Add entries to the tree of provenance records in a closed file of this format.

    A process of the other format would replace what the file says of its classes. Raises
    `WriteError`.
    """
    message = Message(
        {"order": "provenance", "path": os.path.abspath(path), "records": list(records)}
    )
    writer_of(format).obey(message, f"wrote the provenance of {path}")

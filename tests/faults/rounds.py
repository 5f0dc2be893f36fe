"""`ssnet run` again and again, each time until it is done, its output compared with a calm one."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from clients.check import acceptance as check
from clients.files.provenance import Record
from lartpc import open_reader
from lartpc.files import provenance
from tests.faults.comparison import Comparison, Seen, compare
from tests.faults.supervision import TRACEBACK, ended
from tests.support.processes import Process

_REST_S = 0.2
_NOT_A_NETWORKS = "range"  # what a check says of the stand-in's scores: they go beyond 1
_DROPPED = "dropped an answer"  # what a client says of an answer that nobody waits for


@dataclass(frozen=True)
class Way:
    """One way to run the client."""

    name: str
    suffix: str
    options: tuple[str, ...]
    end: int | None = None
    """None: all entries."""


WAYS = (
    Way("crops", ".root", ("--mode", "croi", "--size", "64")),
    Way("crops with the input's products", ".root", ("--size", "64", "--copy-input")),
    Way("tiles", ".h5", ("--mode", "tiles", "--size", "96", "--overlap", "16"), end=20),
)


@dataclass
class Tally:
    """Of all rounds that are over."""

    rounds: int = 0
    events: int = 0
    restarts: int = 0
    killed_when_whole: int = 0
    """Clients whose output was whole, though their process was not over yet: not started again."""
    dropped_answers: int = 0
    lost: int = 0
    duplicated: int = 0
    different: int = 0
    unequal: int = 0
    """Outputs that are not the calm one, in whatever way."""
    files_left: int = 0

    def add(self, result: Comparison, events: int) -> None:
        self.rounds += 1
        self.events += events
        self.lost += result.lost
        self.duplicated += result.duplicated
        self.different += result.different
        self.unequal += not result.equal


class Rounds:
    """One client at a time. `start` starts `ssnet run` with the options it is given.

    `keep`: where outputs go that are not as they should be.
    """

    def __init__(
        self, start: Callable[[Sequence[str]], Process], source: Path, *, keep: Path
    ) -> None:
        self.tally = Tally()
        self.complaints: list[str] = []
        self.process: Process | None = None
        self._excused = False  # something was done to the client that runs
        self._fillings = 0  # faults that fill the disk now
        self._keep = keep
        self._start = start
        self._source = source
        self._calm: list[_Output] = []
        self._number = 0
        self._folder: Path | None = None
        self._start_at = 0.0
        self._comparer = ThreadPoolExecutor(1)
        self._compared: list[Future[None]] = []

    def run_calmly(self, folder: Path) -> None:
        """Make what all others are compared with: a run of each way while nothing is wrong."""
        rses = [event.rse for event in _Output.read(self._source).events]
        for number, way in enumerate(WAYS):
            output = folder / f"calm{number}{way.suffix}"
            process = self._start(self._command(way, output))
            code = process.exit_code(within_s=120)
            assert code == 0, ended("the calm client", process, code)
            calm = _Output.read(output)
            assert [event.rse for event in calm.events] == rses[: way.end]
            assert len(calm.records) == 1
            matches = check.check_output(check.Check(inputs=(self._source,), output=output))
            wrong = [item for item in matches if item.bad and item.name != _NOT_A_NETWORKS]
            assert not wrong, wrong
            self._calm.append(calm)

    def look(self, now: float, folder: Path, *, more: bool) -> None:
        """Start the next client, or the same again. `more`: another round may begin."""
        if self.process is not None:
            code = self.process.popen.poll()
            if code is None:
                return
            self._on_end(code, now)
        if now < self._start_at or (self._folder is None and not more):
            return
        way = WAYS[self._number % len(WAYS)]
        if self._folder is None:
            self._folder = folder / f"round{self._number}"
            self._folder.mkdir()
        else:
            self.tally.restarts += 1
        self._excused = self._fillings > 0
        self.process = self._start(self._command(way, self._output(way)))

    @property
    def idle(self) -> bool:
        """No client runs, and none is to be started again."""
        return self._folder is None

    def kill(self) -> None:
        if self.process is not None:
            self._excused = True
            self.process.send(signal.SIGKILL)

    def excuse(self) -> None:
        """What runs now may fail."""
        self._excused = True

    def fill_disk(self) -> None:
        """Whatever runs now, or is started before there is room again, may fail."""
        self._fillings += 1
        self._excused = True

    def disk_has_room(self) -> None:
        """As far as one of the faults goes that filled it."""
        self._fillings -= 1

    def finish(self) -> None:
        """Wait for the comparisons."""
        self._comparer.shutdown()
        for compared in self._compared:
            compared.result()

    def _command(self, way: Way, output: Path) -> list[str]:
        end = () if way.end is None else ("--end", str(way.end))
        return [str(self._source), "-o", str(output), *way.options, *end]

    def _output(self, way: Way) -> Path:
        assert self._folder is not None
        return self._folder / f"out{way.suffix}"

    def _on_end(self, code: int, now: float) -> None:
        process, self.process = self.process, None
        assert process is not None
        assert self._folder is not None
        self.tally.dropped_answers += process.stderr.count(_DROPPED)
        if TRACEBACK in process.stderr and not _could_not_import(process.stderr):
            self.complaints.append(f"the client broke: {process.stderr[-1000:]}")
        self._start_at = now + _REST_S
        if code and not self._excused:
            self.complaints.append(ended("the client", process, code))
        was_whole = bool(code) and self._excused and self._is_whole()
        self.tally.killed_when_whole += was_whole
        if not code or was_whole:
            args = (self._folder, self._number % len(WAYS))
            self._compared.append(self._comparer.submit(self._compare, *args))
            self._number += 1
            self._folder = None
        process.stderr_path.unlink()

    def _is_whole(self) -> bool:
        """The output has its name and nothing is beside it: only the process was not over yet."""
        assert self._folder is not None
        return list(self._folder.iterdir()) == [self._output(WAYS[self._number % len(WAYS)])]

    def _compare(self, folder: Path, which: int) -> None:
        output = folder / f"out{WAYS[which].suffix}"
        left = [path.name for path in folder.iterdir() if path != output]
        if left:
            self.tally.files_left += len(left)
            self.complaints.append(f"left beside a whole output: {', '.join(left)}")
        calm, stormy = self._calm[which], _Output.read(output)
        result = compare(calm.events, stormy.events)
        self.tally.add(result, len(calm.events))
        if stormy.records != calm.records:
            self.complaints.append(f"want the record {calm.records}, got {stormy.records}")
        if result.equal:
            shutil.rmtree(folder)
        else:
            rest = shutil.move(folder, self._keep)
            self.complaints.append(f"{rest} is not the calm one: {result}")


def _could_not_import(stderr: str) -> bool:
    """A client that may open no file cannot load its modules: it ends where Python does."""
    return "<frozen importlib" in stderr and stderr.rstrip().splitlines()[-1].startswith(
        "OSError: [Errno 24]"
    )


@dataclass(frozen=True)
class _Output:
    """What a file holds."""

    events: list[Seen]
    records: list[Record]
    """Its provenance, without what differs from run to run."""

    @classmethod
    def read(cls, path: Path) -> _Output:
        with open_reader(path, tick_order="backward") as reader:
            events = [Seen.of(event) for event in reader]
        records = [Record.unpack(text) for text in provenance.read(path)]
        same = [replace(item, command=(), began_at="", ended_at="") for item in records]
        return cls(events, same)

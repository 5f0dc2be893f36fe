"""`python -m tests.faults.kill_client --kills 200`: kill -9 to `ssnet run` at random instants.

Each killed run is started again with the same command, to be killed again, until it is through;
its output must then equal an undisturbed run's to the bit, and nothing else may be left.
"""

from __future__ import annotations

import argparse
import io
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

from clients.terminal import screen
from lartpc import Event
from mdp.system.interrupts import interrupted_by_signals
from tests.support import keys, plane_pools
from tests.support.processes import QUICK, Process, Processes, free_port, until

EVENTS = 60
_SECONDS = 0.004  # for a crop
_PATIENCE_S = 300.0
_IN_WORK = 0.75  # of the kills: the others hit a client that starts, and has touched nothing


@dataclass
class Kills:
    """What was done, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    """By what was safe when the client was killed."""
    outputs: int = 0
    equal: int = 0
    left: list[str] = field(default_factory=list)
    """Files besides the output, after a run that was through."""
    refused: list[str] = field(default_factory=list)
    """What a client said that would not go on."""

    @property
    def count(self) -> int:
        return self.kills.total()


class Killer:
    """Runs the client over and over, and kills it, by a seed."""

    def __init__(self, processes: Processes, folder: Path, *, seed: int, suffix: str) -> None:
        self._processes = processes
        self._folder = folder
        self._dice = random.Random(seed)
        self._endpoint = f"tcp://127.0.0.1:{free_port()}"
        self._source = folder / "in.root"
        self._output = folder / f"out{suffix}"
        self._parts = folder / f".out{suffix}.parts"
        plane_pools.toys(self._source, EVENTS)
        processes.broker(self._endpoint, *QUICK)
        plane_pools.start(processes, self._endpoint, seconds=_SECONDS)
        self.done = Kills()
        calm = folder / f"calm{suffix}"
        earlier, started_at = self._there(), time.monotonic()
        client = self._start(calm)
        self._wait_for_work(client, earlier)
        begun_at = time.monotonic()
        assert client.exit_code(within_s=_PATIENCE_S) == 0
        self._start_s, self._work_s = begun_at - started_at, time.monotonic() - begun_at
        self._expected = plane_pools.read(calm)
        self._kept = {*folder.iterdir(), self._output}

    def kill(self, count: int) -> Kills:
        """Kill so many clients; the last output is finished in peace. Ends when one refuses."""
        while self.done.count < count and not self.done.refused:
            self._one_output(count)
        return self.done

    def _one_output(self, count: int) -> None:
        while not self._is_through(kill=self.done.count < count):
            if self.done.refused:
                return  # the next one would, too
        self.done.outputs += 1
        self.done.equal += plane_pools.same(self._read(), self._expected)
        self.done.left += sorted(path.name for path in {*self._folder.iterdir()} - self._kept)
        self._output.unlink()

    def _read(self) -> list[Event]:
        return plane_pools.read(self._output)

    def _is_through(self, *, kill: bool) -> bool:
        """One client's life: whether the output is whole."""
        earlier = self._there()
        client = self._start(self._output)
        if not kill:
            return self._ended(client, client.exit_code(within_s=_PATIENCE_S))
        in_work, share = self._dice.random() < _IN_WORK, self._dice.random()
        if in_work:
            self._wait_for_work(client, earlier)
        try:
            code = client.popen.wait(share * (self._work_s if in_work else self._start_s))
        except subprocess.TimeoutExpired:
            client.send(signal.SIGKILL)
            code = client.exit_code()
        if code != -signal.SIGKILL:
            return self._ended(client, code)
        untouched = self._there() == earlier
        self.done.kills["what was at its start" if untouched else self._stage()] += 1
        return False  # whatever it left: the same command must end with 0

    def _ended(self, client: Process, code: int) -> bool:
        if code:
            self.done.refused.append(client.stderr.strip()[-500:])
        return code == 0

    def _wait_for_work(self, client: Process, earlier: set[str]) -> None:
        def begun() -> bool:
            return client.popen.poll() is not None or self._there() != earlier

        until(begun, "the client touches a file", within_s=_PATIENCE_S)

    def _there(self) -> set[str]:
        matches = {path.name for path in self._folder.iterdir()}
        with suppress(FileNotFoundError):
            matches |= {f"parts/{path.name}" for path in self._parts.iterdir()}
        return matches

    def _stage(self) -> str:
        """What the dead client left."""
        folder = self._parts
        if not folder.exists():
            return "all: the file has its name"
        if self._output.exists():
            return "all, but its parts are still there"
        if list(folder.glob("*joined*")):
            return "all parts, while they were joined"
        parts = len(list(folder.glob("part-*")))
        half = bool(list(folder.glob(".*.part")))
        if not parts:
            return "nothing, the first part open" if half else "nothing, the folder made"
        return "some parts, the next one open" if half else "some parts, between two"

    def _start(self, output: Path) -> Process:
        files = (str(self._source), "-o", str(output), "--broker", self._endpoint)
        options = ("--size", "64", "--window", "4", "--checkpoint-seconds", "0.05")
        return self._processes.python("-m", "clients", "run", *files, *options)


def table(done: Kills) -> list[tuple[str, str]]:
    """A row a figure."""
    rows = [(f"killed when safe was: {stage}", str(n)) for stage, n in sorted(done.kills.items())]
    return [
        ("kill -9", str(done.count)),
        *rows,
        ("outputs", str(done.outputs)),
        ("of them equal to the undisturbed one", str(done.equal)),
        ("files left besides them", str(len(done.left))),
        ("clients that refused to go on", str(len(done.refused))),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill_client", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suffix", choices=(".root", ".h5"), default=".root")
    asked = parser.parse_args()
    # SIGTERM, too, leaves neither process nor folder
    with interrupted_by_signals(), tempfile.TemporaryDirectory(prefix="ssnet-kills-") as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        (folder / "files").mkdir()
        (folder / "keys").mkdir()
        keys.use(folder / "keys")
        # what hundreds of clients said is for a test that failed
        with redirect_stdout(io.StringIO()), Processes(folder / "logs") as processes:
            killer = Killer(processes, folder / "files", seed=asked.seed, suffix=asked.suffix)
            done = killer.kill(asked.kills)
    result = screen.table("the client killed", "")
    for row in table(done):
        result.add_row(*row)
    screen.show(result)
    bad = done.left or done.refused or done.equal != done.outputs
    for text in (*done.left, *done.refused):
        sys.stderr.write(f"{text}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

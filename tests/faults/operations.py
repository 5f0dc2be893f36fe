"""`python -m tests.faults.operations`: trouble at each of a client's file operations, in turn.

A client is forked for each operation that one makes in its output's folder, and just before it is
killed (SIGKILL), stopped (SIGINT), or its disk is full (no file may grow from there on). The same
command must then make what an undisturbed one makes. Operations are those that Python announces to
audit hooks: files opened to be written, renamed, removed, cut; folders made and removed.
"""

from __future__ import annotations

import argparse
import io
import mmap
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients import cli
from clients.files.failed_report import FailedReport, events_of, report_path
from lartpc import Event
from lartpc.files import provenance
from mdp.system.process import die_with
from tests.support import plane_pools

_KEPT = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "open"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_BROKEN = 70
_ERR_BYTES = 1 << 16


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    signal.raise_signal(signal.SIGINT)


def _fill() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))


TROUBLE: dict[str, tuple[Callable[[], None], int]] = {
    "kill": (_kill, -signal.SIGKILL),
    "stop": (_stop, 130),
    "full": (_fill, 1),
}
"""What is done to the client, and how it may end then, besides as if nothing had been."""


class Operations:
    """Counts a client's operations; the counter is shared with the process that forked it."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._count = mmap.mmap(-1, 8)

    @property
    def count(self) -> int:
        return int.from_bytes(self._count[:], "little")

    def watch(self, at: int, trouble: Callable[[], None]) -> None:
        """From now on; there is trouble before operation `at`."""
        self._count[:] = bytes(8)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event not in _KEPT or not self._is_ours(event, args):
                return
            self._count[:] = (self.count + 1).to_bytes(8, "little")
            if self.count == at:
                trouble()

        sys.addaudithook(hook)

    def _is_ours(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "open" and not args[2] & _WRITES:
            return False
        relative_to_folder = event in ("os.remove", "os.rmdir") and args[1] != -1  # of `rmtree`
        return relative_to_folder or str(args[0]).startswith(self._folder)


@dataclass(frozen=True)
class Made:
    """What stands in the folder."""

    names: list[str]
    events: list[Event]
    failed: frozenset[int]
    records: int

    def is_like(self, other: Made) -> bool:
        """To the bit, and with nothing beside it that the other has not."""
        mine, its = ((it.names, it.failed, it.records) for it in (self, other))
        return mine == its and plane_pools.same(self.events, other.events)


class Client:
    """The command, in a process of its own, as often as it is wanted."""

    def __init__(self, output: Path, arguments: Sequence[str]) -> None:
        self.output = output
        self._arguments = ["ssnet", "run", *arguments, "-o", str(output)]
        self.operations = Operations(output.parent)
        self.said = ""

    def run(self, *, at: int = 0, trouble: Callable[[], None] = _kill) -> int:
        """Its exit code."""
        out, into = os.pipe()  # no file: those may not grow
        parent_pid = os.getpid()
        pid = os.fork()
        if not pid:
            die_with(parent_pid)
            os.dup2(into, sys.stderr.fileno())
            self._be(at, trouble)
        os.close(into)
        with open(out, "rb") as text:
            self.said = text.read(_ERR_BYTES).decode(errors="replace")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _be(self, at: int, trouble: Callable[[], None]) -> None:
        code: object = _BROKEN
        try:
            sys.argv = self._arguments
            self.operations.watch(at, trouble)
            with redirect_stdout(io.StringIO()):
                cli.main()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            sys.stderr.write(f"Traceback: {error!r}")
        finally:
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 0)

    def made(self) -> Made:
        report = report_path(self.output)
        return Made(
            sorted(path.name for path in self.output.parent.iterdir()),
            plane_pools.read(self.output),
            events_of(FailedReport.read(report).failed) if report.exists() else frozenset(),
            len(provenance.read(self.output)),
        )


def troubled(client: Client, how: str, before: Path) -> Iterator[str]:
    """Findings; `before`: a folder of what stands at the output's place at first."""
    trouble, its_end = TROUBLE[how]
    _reset(client.output.parent, before)
    old = client.made() if client.output.exists() else None
    calm = client.run()
    count, whole, hurt = client.operations.count, client.made(), 0
    for at in range(1, count + 1):
        where = f"{how} at operation {at} of {count}"
        _reset(client.output.parent, before)
        got = client.run(at=at, trouble=trouble)
        hurt += got == its_end
        if got not in (its_end, calm) or "Traceback" in client.said:
            yield f"{where}: exit code {got}: {client.said}"
        if not client.output.exists():
            if old is not None:
                yield f"{where}: what was there is gone"
        elif not any(_is_safe(client.made(), it) for it in (old, whole) if it is not None):
            yield f"{where}: something else stands there, or nothing names what failed"
        if how != "kill" and got == its_end and _is_empty(client.output):
            yield f"{where}: a folder without a safe event is left"
        again = client.run()
        if again != calm:
            yield f"{where}: the same command ends with {again}: {client.said}"
        elif not client.made().is_like(whole):
            yield f"{where}: the same command made {client.made().names}, or other events"
    if not hurt:
        yield f"{how} at {count} operations hurt none of the clients"
    sys.stdout.write(f"{count} operations, {hurt} clients hurt\n")


def _is_safe(now: Made, like: Made) -> bool:
    """Whether it is the file, and each of its failed events is named still."""
    named = like.failed <= now.failed
    return named and now.records == like.records and plane_pools.same(now.events, like.events)


def _is_empty(output: Path) -> bool:
    folder = output.with_name(f".{output.name}.parts")
    return folder.exists() and not (folder / "state.json").exists()


def _reset(folder: Path, before: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(before, folder)


def _warm_up(folder: Path, suffix: str, arguments: Sequence[str]) -> None:
    """What is imported and compiled for a first file, each client need not do again."""
    path = folder / f"warm{suffix}"
    plane_pools.toys(path, 1, rois=suffix == ".root")
    provenance.append(path, ["warm"])
    sys.argv = ["ssnet", "run", *arguments, "-o", str(path)]
    with suppress(SystemExit), redirect_stderr(io.StringIO()):
        cli.main()  # the file is there already: it asks nobody
    path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.operations", description=__doc__)
    parser.add_argument("how", choices=TROUBLE)
    parser.add_argument("output", type=Path, help="in a folder of its own")
    parser.add_argument("before", type=Path, help="a folder of what stands there at first")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of ssnet run")
    asked = parser.parse_args()
    _warm_up(asked.before.parent, asked.output.suffix, asked.arguments)
    client = Client(asked.output, asked.arguments)
    findings = list(troubled(client, asked.how, asked.before))
    sys.stdout.writelines(f"{item}\n" for item in findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

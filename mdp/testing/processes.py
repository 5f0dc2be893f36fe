"""The processes of a site for tests, and what can be done to them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from ..client.client import Client
from ..settings import WorkerSettings
from ..sockets.link import Link, Mend
from ..system.logs import configure_logging, logging_of_children
from ..system.process import errors_reported, raise_file_limit, stop_signal
from ..worker.worker import AnyWorker
from .local_site import LocalFailed, LocalSite

_BACK_S = 60.0
Factory = Callable[[], AnyWorker]


class BrokerProcess:
    """The broker of a site: it can be killed or hung, and come back."""

    def __init__(self, site: LocalSite) -> None:
        self._site = site

    def kill(self) -> None:
        """Kill it: all requests that it holds are lost, and clients send theirs again."""
        self._site.kill("broker")

    def hang(self) -> None:
        """Stop its process (SIGSTOP): connections stay open, and no message is answered."""
        if (process := self._site.process("broker")) is not None:
            process.send(signal.SIGSTOP)

    def come_back(self) -> None:
        """Start it again, or let it go on, and wait until it answers."""
        if self._site.process("broker") is None:
            self._site.start_broker()
        else:
            self.let_go_on()
        self._site.wait_until(_answers, "an answer of the broker", within_s=_BACK_S)

    def let_go_on(self) -> None:
        """Let it go on if `hang` has stopped it, and do not wait."""
        if (process := self._site.process("broker")) is not None:
            process.send(signal.SIGCONT)

    @property
    def log(self) -> str:
        """What it has logged."""
        return _text(self._site.folder / "broker.log")


class WorkerProcess:
    """A worker of a site: it can be killed, crashed, hung and cut off, and come back.

    It consists of a host process, which sends heartbeats, and of the process in which `handle`
    runs. It reaches the broker over a link of its own.
    """

    def __init__(
        self, site: LocalSite, name: str, socket: str, factory: Factory, settings: WorkerSettings
    ) -> None:
        self.service = name.rpartition("#")[0]
        self.name = name
        """Its service and its number: `smooth#1`."""
        self.link = Link(f"ipc://{site.folder}/{socket}", site.broker)
        """Its connection to the broker, which can also be delayed, reset and refused."""
        self._site = site
        self._factory = factory
        self._settings = settings
        self._mends: list[Mend] = []
        self._hung: int | None = None  # the process id
        self._crashed: int | None = None

    def start(self) -> None:
        """Start the process; only needed by the site."""
        notes = str(self._notes)
        arguments = (self.link.endpoint, self.service, self._factory, self._settings, notes)
        self._site.start(self._file_name, _serve_worker, *arguments)

    def kill(self) -> None:
        """Kill both processes, as if the machine had failed: the broker misses the heartbeats."""
        child = self._child()
        self._site.kill(self._file_name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # Linux has done so when the host died
        self._notes.unlink(missing_ok=True)
        self._hung = self._crashed = None

    def crash(self) -> None:
        """Kill the process in which `handle` runs; the host reports it and starts another one."""
        self._crashed = self._child()
        os.kill(self._crashed, signal.SIGKILL)

    def hang(self) -> None:
        """Stop the process in which `handle` runs (SIGSTOP), while the heartbeats go on."""
        self._hung = self._child()
        os.kill(self._hung, signal.SIGSTOP)

    def cut(self) -> None:
        """Let no byte pass between the worker and the broker, as if a cable were pulled.

        Neither end is told; what was sent arrives after `come_back`, if the connection still lives.
        """
        self._mends.append(self.link.silence())

    def come_back(self) -> None:
        """End what was done to it, and wait until the broker has it as a worker."""
        self._mend()
        if self._site.process(self._file_name) is None:
            self.start()
        self._site.wait_until(self._is_back, f"{self.name} at the broker", within_s=_BACK_S)
        self._crashed = None

    def begin_to_stop(self) -> None:
        """Ask it to end, and do not wait."""
        self._mend()
        if (process := self._site.process(self._file_name)) is not None:
            process.send(signal.SIGTERM)

    def _mend(self) -> None:
        while self._mends:
            self._mends.pop()()
        if self._hung is not None and self._hung == self.pid:
            with contextlib.suppress(ProcessLookupError):  # its host has killed it
                os.kill(self._hung, signal.SIGCONT)
        self._hung = None

    @property
    def pid(self) -> int | None:
        """The process in which `handle` runs; None before it has started."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._notes.read_text())
        return None

    @property
    def log(self) -> str:
        """What it has logged: also what `handle` logs and prints."""
        return _text(self._site.folder / f"{self._file_name}.log")

    @property
    def _notes(self) -> Path:
        return self._site.folder / f"{self._file_name}.pid"

    @property
    def _file_name(self) -> str:
        return self.name.replace("/", "_")  # services may have any name

    def _child(self) -> int:
        """Return the process in which `handle` runs. Raises `LocalFailed` if there is none."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 0)
                return pid
        raise LocalFailed(f"want {self.name} alive, to do something to it: first come_back()")

    def _is_back(self, client: Client) -> bool:
        """Whether the broker has this host as a worker, with a child that has not crashed."""
        process = self._site.process(self._file_name)
        if process is None or self.pid in (None, self._crashed):
            return False
        workers = client.management("workers", timeout_s=1.0)["workers"]
        return any(row.get("facts", {}).get("pid") == process.pid for row in workers)


def _answers(client: Client) -> bool:
    client.services(timeout_s=1.0)
    return True


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""


# What the process of a worker does.


def _serve_worker(
    broker: str, service: str, factory: Factory, settings: WorkerSettings, notes: str
) -> None:
    from ..worker.worker_loop import serve_workers

    with errors_reported(), stop_signal() as stop:
        configure_logging(verbose=False)
        raise_file_limit()
        prepare = _Prepare(notes, logging_of_children(verbose=False, quiet=False))
        serve_workers(broker, [(service, factory)], stop, settings=settings, prepare=prepare)


class _Prepare:
    """Writes the process id of the child to a file, then sets up its log. It can be pickled."""

    def __init__(self, notes: str, prepare: Callable[[], None]) -> None:
        self._notes = notes
        self._prepare = prepare

    def __call__(self) -> None:
        new = Path(f"{self._notes}.new")
        new.write_text(str(os.getpid()))
        new.replace(self._notes)  # it is never half written
        self._prepare()

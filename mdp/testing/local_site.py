"""A broker, and processes of workers that ask it, on this machine.

They communicate through a socket file in a temporary folder, which only their user can enter. They
end with the block that started them; if that process is killed, the kernel kills them, too (Linux).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

from ..client.client import Client
from ..errors import MDPError, RequestTimeout, SettingsError
from ..settings import BrokerSettings
from ..sockets import clock, pause
from ..system.logs import configure_logging
from ..system.process import errors_reported, raise_file_limit, stop_signal
from ..system.subprocesses import Subprocess

_START_S = 120.0  # to load and convert large networks, on a slow disk
_LOOK_S = 0.1
_MAX_PLACE = 80  # bytes: a socket's path has at most 107


class LocalFailed(MDPError):
    """A process that was started here ended before it served."""


class LocalSite:
    """A broker and other processes, which end with the block. Use it as a context manager.

    name: the beginning of the name of its folder, in which the socket and the logs are.
    """

    def __init__(self, name: str = "mdp", settings: BrokerSettings | None = None) -> None:
        self._name = name
        self._settings = settings or BrokerSettings()
        self._stack = ExitStack()
        self._processes: dict[str, Subprocess] = {}  # by name: those that are to run

    def __enter__(self) -> LocalSite:
        """Start the broker."""
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SettingsError(
                "the processes of a local site import this script, which starts a site again:"
                ' start it below `if __name__ == "__main__":`'
            )
        with ExitStack() as starting:
            self.folder = Path(starting.enter_context(private_folder(self._name)))
            self.broker = f"ipc://{self.folder}/broker"
            """The broker's address."""
            self._stack = starting
            self.start_broker()
            self._stack = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def start_broker(self) -> Subprocess:
        """Start the broker; only needed after it was killed."""
        return self.start("broker", _serve_broker, self.broker, self._settings)

    def start(self, name: str, target: Callable[..., object], *args: object) -> Subprocess:
        """Start a process that runs `target(*args)` and logs to `NAME.log` in the folder.

        The processes end in the reverse order of their starts. The function and its arguments are
        pickled.
        """
        process = Subprocess(name, self.folder / f"{name}.log", target, *args)
        self._stack.callback(process.stop)
        process.start()
        self._processes[name] = process
        return process

    def enter(self, context: AbstractContextManager[object]) -> None:
        """Enter a context, which is left after the processes that are started later have ended."""
        self._stack.enter_context(context)

    def kill(self, name: str) -> None:
        """Kill a process, and do not miss it until one of this name is started again."""
        if (process := self._processes.pop(name, None)) is not None:
            process.kill()

    def process(self, name: str) -> Subprocess | None:
        """Return the process of this name that is to run; None after `kill`."""
        return self._processes.get(name)

    def wait_for_workers(self, count: int, *, within_s: float = _START_S) -> None:
        """Wait until the broker has so many workers, of all services.

        Raises `LocalFailed` if a process ends before, with the last line of its log.
        """
        self.wait_until(
            lambda client: (
                sum(row["workers"] for row in client.services(timeout_s=1.0).values()) >= count
            ),
            f"{count} workers",
            within_s=within_s,
        )

    def wait_until(
        self, condition: Callable[[Client], bool], what: str, *, within_s: float = _START_S
    ) -> None:
        """Wait until a condition holds, which may ask the broker.

        Raises `LocalFailed` if a process ends before, with the last line of its log.
        """
        give_up_at = clock() + within_s
        with Client(self.broker) as client:
            while True:
                with contextlib.suppress(RequestTimeout):
                    if condition(client):
                        return
                self.check()
                if clock() > give_up_at:
                    raise LocalFailed(f"want {what} within {within_s:g} s")
                pause(_LOOK_S)

    def check(self) -> None:
        """Raise `LocalFailed` if a process has ended."""
        for process in self._processes.values():
            if process.ended:
                raise LocalFailed(f"the {process.name} ended: {process.last_line()}")


def private_folder(name: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for a socket and logs; in /tmp if the usual path is too long for a socket."""
    usual = tempfile.gettempdir()
    place = usual if len(os.fsencode(usual)) <= _MAX_PLACE else "/tmp"
    return tempfile.TemporaryDirectory(prefix=f"{name}-", dir=place)


def _serve_broker(address: str, settings: BrokerSettings) -> None:
    from ..broker.broker_loop import serve_broker

    with errors_reported(), stop_signal() as stop:
        configure_logging(verbose=False)
        raise_file_limit()
        serve_broker([address], settings, stop)

"""`mdp top` in a real terminal: what it shows, its keys, and what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mdp import Client
from tests.support.commands_of_mdp import command, environment, mdp
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    ROOT,
    Processes,
    free_port,
    wait_for_workers,
)

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][AB0]|\x1b[=>]")
ALTERNATE, BACK = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """`mdp top` in a terminal of 80 columns and 24 lines."""

    def __init__(self, screen: int, process: subprocess.Popen[bytes]) -> None:
        self.screen, self.process = screen, process
        self.text = b""

    def press(self, keys: bytes) -> None:
        self.text = b""
        os.write(self.screen, keys)

    def read(self, within_s: float) -> bool:
        """Read what there is; False if nothing has come in time, or the terminal is closed."""
        if not select.select([self.screen], [], [], within_s)[0]:
            return False
        try:
            got = os.read(self.screen, 65536)
        except OSError:
            return False
        self.text += got
        return bool(got)

    def shows(self, *wanted: str, within_s: float = 20.0) -> list[str]:
        """Wait until one whole screen has these texts; return its lines."""
        give_up_at = time.monotonic() + within_s
        while time.monotonic() < give_up_at:
            self.read(0.2)
            for frame in reversed(self.text.decode(errors="replace").split("\x1b[H")[1:]):
                lines = ESCAPES.sub("", frame).replace("\r", "").split("\n")
                if all(any(text in line for line in lines) for text in wanted):
                    return lines
        raise AssertionError(f"want {wanted} on the screen, got {self.text[-3000:]!r}")

    def ends(self) -> tuple[int, bytes]:
        while self.read(5.0):
            pass
        return self.process.wait(20), self.text


@contextmanager
def top(address: str, *options: str, size: tuple[int, int] = (24, 80)) -> Iterator[Terminal]:
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    before = termios.tcgetattr(terminal)
    variables = environment(TERM="xterm-256color")
    del variables["COLUMNS"]
    process = subprocess.Popen(
        command("top", "--every", "0.2", "--broker", address, *options),
        cwd=ROOT,
        env=variables,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        yield Terminal(screen, process)
        assert termios.tcgetattr(terminal) == before, "the terminal is as it was before"
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(screen)


@pytest.fixture
def served(processes: Processes) -> str:
    address = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(address, *QUICK)
    for service, count in (("echo", 2), ("plane2", 1)):
        processes.worker(address, service, "mdp.echo:Echo", "-n", str(count), *QUICK)
    with Client(address, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 2)
        wait_for_workers(client, "plane2", 1)
    return address


def test_services_and_workers_fit_into_80_by_24_and_keys_sort_and_switch(served: str) -> None:
    with top(served) as terminal:
        lines = terminal.shows("3 workers, 0 busy", "1-3 of 3, sorted by service", "q end")
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80
        assert sum("idle" in line for line in lines) == 3
        terminal.press(b"s")
        terminal.shows("sorted by process")
        terminal.press(b"r")
        terminal.shows("sorted by process, reversed")
        terminal.press(b"w")
        terminal.shows("1-2 of 2, sorted by service, reversed", "answered")
        terminal.press(b"wff")
        lines = terminal.shows("only plane2", "1-1 of 1")
        assert not any(line.startswith("echo") for line in lines)
        terminal.press(b"q")
        code, text = terminal.ends()
        assert code == 0
        assert BACK in text
        assert b"\x1b[?25h" in text, "the cursor is shown again"


@pytest.mark.parametrize("key", [b"\x03", None], ids=["Ctrl-C", "SIGTERM"])
def test_ctrl_c_and_sigterm_leave_the_terminal_as_it_was(served: str, key: bytes | None) -> None:
    with top(served) as terminal:
        terminal.shows("3 workers")
        if key is None:
            terminal.process.send_signal(signal.SIGTERM)
        else:
            terminal.process.send_signal(signal.SIGINT)  # as the terminal does at Ctrl-C
        code, text = terminal.ends()
        assert code == 0
        assert BACK in text
        assert b"Traceback" not in text


def test_without_a_broker_it_says_so_keeps_trying_and_ends_with_q() -> None:
    with top(f"tcp://127.0.0.1:{free_port()}", "--timeout", "0.5") as terminal:
        terminal.shows("no answer, still trying")
        terminal.press(b"q")
        assert terminal.ends()[0] == 0


def test_without_a_terminal_it_is_refused_and_names_the_other_command() -> None:
    done = mdp("top", code=2)
    assert "mdp services --watch --by-worker" in done.stderr

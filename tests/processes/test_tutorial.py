"""docs/write-a-service.md, run as a reader would: its files written, its commands typed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdp import Client, MDPError
from tests.support.processes import free_port
from tests.support.tutorial_page import PAGE, blocks

DEFAULT = "tcp://127.0.0.1:5555"


class Reader:
    """Types the commands of a page in its own folder, with a broker address of its own."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.folder = folder
        self.background: list[subprocess.Popen[bytes]] = []
        bin_dir = str(Path(sys.executable).parent)
        path = f"{bin_dir}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **os.environ,
            "PATH": path,
            "MDP_BROKER": self.endpoint,
            "COLUMNS": "100",
        }

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text.replace(DEFAULT, self.endpoint))

    def type(self, command: str) -> str:
        if command.startswith("mdp broker"):
            command = command.replace("mdp broker", f"mdp broker --bind {self.endpoint}")
        if command.endswith("&"):
            self.background.append(
                subprocess.Popen(
                    ["sh", "-c", f"exec {command[:-1]}"],
                    cwd=self.folder,
                    env=self.environment,
                    stderr=subprocess.DEVNULL,
                )
            )
            return ""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def wait_for(self, workers: dict[str, int]) -> None:
        """A person would look until the workers are there."""
        give_up_at = time.monotonic() + 30
        with Client(self.endpoint) as client:
            while time.monotonic() < give_up_at:
                try:
                    served = client.services(timeout_s=1)
                except MDPError:
                    continue
                if all(served.get(s, {}).get("workers") == n for s, n in workers.items()):
                    return
        pytest.fail(f"no {workers} at the broker")

    def leave(self) -> list[int]:
        for process in reversed(self.background):
            process.send_signal(signal.SIGTERM)
        return [process.wait(30) for process in self.background]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    for process in reader.background:
        process.kill()
        process.wait()


SERVED = {"smooth": {"smooth": 2}, "above": {"above": 2, "above-each": 1}}
"""What a person waits for before `mdp services SERVICE` shows it."""


def test_the_tutorial_does_what_it_says(reader: Reader) -> None:
    shown = 0
    for kind, text in blocks(PAGE.read_text()):
        language, _, name = kind.partition(" file=")
        assert (language == "python") == bool(name), "each block is a file, or is typed"
        if name:
            reader.write(name, text)
            continue
        assert language == "console"
        for command, expected in re.findall(r"^\$ (.*)\n((?:[^$\n].*\n)*)", text, re.MULTILINE):
            if command.startswith("mdp services"):
                reader.wait_for(SERVED[command.split()[-1]])
            assert plain(reader.type(command)) == plain(expected), command
            shown += 1
    assert shown == 16
    assert reader.leave() == [0] * 4


def plain(text: str) -> list[str]:
    """The words of an output, without Python's prompts and without times."""
    return re.sub(r">>> |\.\.\. |(?<= in )\d+\.\d+s", "", text).split()


def test_the_service_has_at_most_eight_lines() -> None:
    [smooth] = [text for kind, text in blocks(PAGE.read_text()) if kind.endswith("=smooth.py")]
    assert len([line for line in smooth.splitlines() if line.strip()]) <= 8

"""What commands print when their keys do not fit: one line, soon, with what to type."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdp.sockets import clock
from mdp.system import contact
from tests.support.processes import ROOT, Processes, free_port, until

pytestmark = pytest.mark.timeout(120)

_ECHO = "mdp.echo:Echo"


class Site:
    """A broker with keys, and the files of its people."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder = folder
        self.file = folder / "broker.json"
        self.address = f"tcp://127.0.0.1:{free_port()}"
        published = str(folder / "published.json")
        keys = ("--keys", "--publish", published)
        processes.python(
            *("-m", "mdp", "broker", "--contact", str(self.file), *keys, "--bind", self.address)
        )
        until(self.file.exists, "the broker has written its contact file")

    def new(self, name: str, *options: str) -> Path:
        """A key for a person."""
        published, output = str(self.folder / "published.json"), self.folder / f"{name}.json"
        where = ("--contact", str(self.file), "--published", published, "-o", str(output))
        assert mdp("keys", "new", name, *where, *options).returncode == 0
        return output

    def revoke(self, name: str) -> None:
        assert mdp("keys", "revoke", name, "--contact", str(self.file)).returncode == 0


def mdp(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "mdp", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Processes(folder) as processes:
        yield Site(folder, processes)


@pytest.mark.parametrize(
    "command", [("services",), ("call", "echo", "x", "--timeout", "3")], ids=["services", "call"]
)
def test_a_command_without_a_key_says_soon_that_the_broker_asks_for_one(
    site: Site, command: tuple[str, ...]
) -> None:
    began_at = clock()
    done = mdp(*command, "--broker", site.address)
    assert done.returncode == 1
    assert clock() - began_at < 15.0
    line = done.stderr.splitlines()[-1]
    for word in (site.address, "asks for a key", "--broker @FILE", "MDP_KEYS"):
        assert word in line
    assert "starts one" not in line


def test_a_revoked_key_is_named(site: Site) -> None:
    file = site.new("bob", "--role", "client")
    assert mdp("services", "--broker", f"@{file}").returncode == 0
    site.revoke("bob")

    def is_refused() -> bool:
        return mdp("services", "--broker", f"@{file}").returncode != 0

    until(is_refused, "the broker has read the revocation")
    done = mdp("services", "--broker", f"@{file}")
    for word in ("does not know the key 'bob'", f"@{file}", "revoked"):
        assert word in done.stderr


def test_a_contact_file_that_others_can_read_is_refused_with_what_to_type(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "open.json"
    file.write_bytes(site.file.read_bytes())
    file.chmod(0o644)
    done = mdp("services", "--broker", f"@{file}")
    assert done.returncode != 0
    assert f"chmod 600 {file}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_worker_without_a_key_ends_with_the_reason(site: Site, tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        worker = processes.worker(site.address, "echo", _ECHO, "--broker-wait", "3")
        assert worker.exit_code() == 1
        assert "asks for a key" in worker.stderr


def test_a_worker_whose_key_may_not_serve_the_service_says_so(site: Site, tmp_path: Path) -> None:
    file = site.new("farm", "--role", "worker", "--services", "ssnet-*")
    with Processes(tmp_path) as processes:
        worker = processes.worker(f"@{file}", "echo", _ECHO, "--broker-wait", "3")
        until(lambda: "farm" in worker.stderr and "echo" in worker.stderr, "it names key, service")


def test_the_answer_of_the_right_key_comes(site: Site) -> None:
    assert contact.locate(f"@{site.file}").keys is not None
    assert mdp("services", "--broker", f"@{site.file}").returncode == 0

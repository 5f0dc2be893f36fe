"""Pools of processes on this machine: `mdp pool start --launcher local`."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mdp import Client, ClientSettings, RequestTimeout
from mdp.keys.key_folder import KeyFolder
from mdp.pool.pool_folder import PoolFolder
from mdp.system import contact
from mdp.system.broker_report import broker_report, is_alive
from tests.support.processes import ROOT, until

pytestmark = pytest.mark.slow

ECHO = ("echo", "mdp.echo:Echo", "--launcher", "local")


def mdp(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mdp", "pool", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=environment, cwd=cwd
    )


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[PoolFolder]:
    folder = PoolFolder(tmp_path / "july")
    yield folder
    print(*folder.history(), sep="\n")
    if folder.exists:
        mdp("stop", str(folder.path), "--now")
    assert left(folder) == []


def left(pool: PoolFolder) -> list[str]:
    """The command lines of what runs for a pool."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(pool.path) in text:
            lines.append(text)
    return lines


def test_a_pool_outlives_its_command_and_leaves_nothing(pool: PoolFolder) -> None:
    started = mdp("start", str(pool.path), *ECHO, "-n", "2")
    assert started.returncode == 0, started.stderr
    settings = ClientSettings(timeout_s=60.0, waits=True)
    with Client(f"@{pool.contact_file}", settings=settings) as client:
        assert client.submit("echo", [b"x"]).result() == [b"x"]
    assert "runs already" in mdp("start", str(pool.path)).stdout
    assert sum(event.get("count", 0) for event in pool.history()) == 2
    assert mdp("stop", str(pool.path)).returncode == 0
    assert left(pool) == []
    assert mdp("stop", str(pool.path)).returncode == 0


def test_jobs_have_a_walltime_and_successors(pool: PoolFolder) -> None:
    mdp("start", str(pool.path), *ECHO, "--time", "30s")
    until(lambda: [e for e in pool.history() if e["event"] == "ready"], "it is ready")
    until(
        lambda: len([e for e in pool.history() if e["event"] == "ready"]) >= 2,
        "its successor is ready",
        within_s=120.0,
    )
    first = [e for e in pool.history() if e.get("job") == "1_0"]
    assert [e for e in first if e["event"] == "ended" and e["bad"]] == []


def test_what_is_killed_is_started_again(pool: PoolFolder) -> None:
    mdp("start", str(pool.path), *ECHO)
    until(lambda: [e for e in pool.history() if e["event"] == "ready"], "it is ready")
    os.kill(pool.keeper().pid, signal.SIGKILL)
    again = mdp("start", str(pool.path))
    assert again.returncode == 0, again.stderr
    assert "keeper" in again.stdout
    assert sum(event.get("count", 0) for event in pool.history()) == 1


def keys(*words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "mdp", "keys", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def failures(broker: contact.Contact, *names: str) -> int:
    report = broker_report(broker.address, broker.keys) or {}
    return sum(int(report["counters"][name]) for name in ("handshakes_failed", *names))


def findings(pool: PoolFolder) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(mdp("doctor", str(pool.path), "--json").stdout)[
        "findings"
    ]
    return rows


def test_a_pool_has_keys_and_gives_them_to_other_people(pool: PoolFolder, tmp_path: Path) -> None:
    published = tmp_path / "july.json"
    started = mdp("start", str(pool.path), *ECHO, "--publish", str(published))
    assert started.returncode == 0, started.stderr
    assert pool.read_settings().publish == str(published)
    here = contact.read(pool.contact_file)
    secrets = [here.secret_key, KeyFolder(pool.contact_file).pair("broker")["secret"]]
    assert [text for text in left(pool) for secret in secrets if secret in text] == []
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (pool.path, pool.contact_file)}
    assert modes == {pool.path: 0o700, pool.contact_file: 0o600}
    assert here.keys is not None
    assert secrets[0] not in published.read_text()
    assert stat.S_IMODE(published.stat().st_mode) == 0o644
    quick = ClientSettings(timeout_s=2.0, tries=1)
    with Client(here.address, settings=quick) as stranger, pytest.raises(RequestTimeout):
        stranger.services(timeout_s=2.0)
    assert all(is_alive(here) for _ in range(5))  # none of its probes counts as a stranger
    failed = failures(here)
    assert all(is_alive(here) for _ in range(5))
    assert failures(here) == failed
    ended = failures(here, "hung_up")
    assert not is_alive(replace(here, broker_key="", secret_key=""))
    assert failures(here, "hung_up") > ended  # a stranger may hang up before it is refused
    bob = tmp_path / "bob.json"
    words = ("--contact", str(pool.contact_file), "--published", str(published))
    keys("new", "bob", *words, "--output", str(bob))
    settings = ClientSettings(timeout_s=60.0, waits=True)
    with Client(f"@{bob}", settings=settings) as client:
        assert client.submit("echo", [b"x"]).result() == [b"x"]
    assert [row for row in findings(pool) if row["level"] != "ok"] == []
    mdp("stop", str(pool.path))
    assert mdp("start", str(pool.path), *ECHO).returncode == 0  # without --publish
    assert is_alive(contact.read(pool.contact_file))
    assert not published.exists()


def test_the_keys_of_a_pool_are_rotated_under_load_and_nothing_is_lost(pool: PoolFolder) -> None:
    mdp("start", str(pool.path), *ECHO, "-n", "2")
    here, file = contact.read(pool.contact_file), str(pool.contact_file)
    settings = ClientSettings(timeout_s=60.0, waits=True)
    answered: list[bool] = []
    over = threading.Event()

    def load() -> None:
        with Client(f"@{file}", settings=settings) as client:
            while not over.is_set():
                body = str(len(answered)).encode()
                answered.append(client.submit("echo", [body]).result(60) == [body])

    with ThreadPoolExecutor() as threads:
        load_done = threads.submit(load)
        try:
            until(lambda: answered, "the workers answer")
            keys("rotate", "--contact", file)
            until(
                lambda: contact.read(file).public_key != here.public_key,
                "the keeper has started the next broker",
            )
            until(lambda: not is_alive(here, timeout_s=1.0), "the old broker has ended")
            count = len(answered)
            until(lambda: len(answered) > count + 20, "the new broker has the workers")
            [old] = [row for row in keys("list", "--contact", file).split() if row[:5] == "site-"]
            keys("revoke", old, "--contact", file)
            count = len(answered)
            until(lambda: len(answered) > count + 20, "the old key is not needed")
        finally:
            over.set()
        load_done.result(60)
    assert all(answered)
    now = contact.read(file)
    assert now.broker_key != here.broker_key
    assert now.instance != here.instance
    former = replace(now, secret_key=here.secret_key, public_key=here.public_key)
    until(lambda: not is_alive(former), "the old site key is not valid any more")
    assert sum(event.get("count", 0) for event in pool.history()) == 2
    assert [event for event in pool.history() if event.get("bad")] == []


def test_a_folder_that_others_can_write_is_refused(pool: PoolFolder) -> None:
    pool.path.mkdir()
    pool.path.chmod(0o775)
    done = mdp("start", str(pool.path), *ECHO)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    for word in ("others can write", "0775", f"chmod 700 {pool.path}"):
        assert word in line
    assert not pool.contact_file.exists()
    pool.path.chmod(0o755)
    assert mdp("start", str(pool.path), *ECHO).returncode == 0
    pool.path.chmod(0o775)
    [wrong] = [row for row in findings(pool) if row["level"] == "WRONG"]
    assert "others can write" in wrong["text"]
    pool.path.chmod(0o755)
    [note] = [row for row in findings(pool) if "0755" in row["text"]]
    assert note["level"] == "note"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--publish", "{pool}/july.json"), "outside of"),
        (("--publish", "{pool}.json", "--broker", "tcp://127.0.0.1:1"), "--broker"),
    ],
)
def test_a_published_file_that_would_be_of_no_use_is_refused(
    pool: PoolFolder, options: tuple[str, ...], words: str
) -> None:
    asked = [option.format(pool=pool.path) for option in options]
    done = mdp("start", str(pool.path), *ECHO, *asked)
    assert done.returncode == 2
    assert words in done.stderr
    assert not pool.path.exists()


def test_a_pool_with_a_persons_file_as_its_broker(pool: PoolFolder, tmp_path: Path) -> None:
    """A worker's key serves; a keeper needs more, and the doctor says so."""
    published, bob, file = tmp_path / "p.json", tmp_path / "bob.json", tmp_path / "broker.json"
    words = ("--contact", str(file), "--keys", "--publish", str(published))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    broker = subprocess.Popen(
        [sys.executable, "-m", "mdp", "broker", "--bind", "tcp://127.0.0.1:0", *words],
        env=environment,
    )
    try:
        until(published.exists, "the broker has published its file")
        asked = ("--contact", str(file), "--published", str(published), "--output", str(bob))
        keys("new", "bob", "--role", "worker", "--services", "echo", *asked)
        started = mdp("start", str(pool.path), *ECHO, "--broker", f"@{bob}")
        assert started.returncode == 0, started.stderr
        settings = ClientSettings(timeout_s=60.0, waits=True)
        with Client(f"@{pool.contact_file}", settings=settings) as client:
            assert client.submit("echo", [b"x"]).result() == [b"x"]
        [wrong] = [row for row in findings(pool) if "mmi.workers" in row["text"]]
        assert wrong["level"] == "WRONG"
        assert "'bob'" in wrong["text"]
        assert mdp("stop", str(pool.path)).returncode == 0
        assert mdp("start", str(pool.path), *ECHO, "--broker", f"@{file}").returncode == 0
        until(lambda: mdp("status", str(pool.path)).returncode == 0, "a worker serves")
        assert mdp("stop", str(pool.path)).returncode == 0
        mdp("start", str(pool.path), *ECHO, "--broker", f"@{published}")
        rows = [row for row in findings(pool) if "published file" in row["text"]]
        assert {row["level"] for row in rows} == {"WRONG"}
        assert any("mdp keys new" in row["todo"] for row in rows)
        mdp("stop", str(pool.path), "--now")
    finally:
        broker.terminate()
        broker.wait(60)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = mdp("start", str(tmp_path / "file" / "july"), *ECHO)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "Not a directory" in line


def test_a_retired_worker_is_no_bad_end_and_the_pool_starts_another_job(pool: PoolFolder) -> None:
    assert mdp("start", str(pool.path), *ECHO, "-n", "1").returncode == 0
    with Client(f"@{pool.contact_file}", settings=ClientSettings(waits=True)) as client:
        client.request("echo", [b"x"])
        until(lambda: events_of(pool, "ready"), "the keeper has seen the worker")
        words = ("retire", "--host", os.uname().nodename, "--pool", str(pool.path), "--yes")
        command = [sys.executable, "-m", "mdp", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, timeout=60, env=environment, cwd=ROOT)
        [ended] = until(lambda: events_of(pool, "ended"), "the job has ended", within_s=60.0)
        assert ended["code"] == "COMPLETED"
        assert not ended["bad"]
        assert client.request("echo", [b"y"]) == [b"y"], "another job serves"
    assert events_of(pool, "paused") == events_of(pool, "excluded") == []


def events_of(pool: PoolFolder, name: str) -> list[dict[str, object]]:
    return [event for event in pool.history() if event.get("event") == name]

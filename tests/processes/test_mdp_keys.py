"""Keys with real processes: defaults of `mdp broker`, `mdp keys`, revocation, rotation."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from mdp import Client, ServiceError
from mdp.broker.broker import Broker
from mdp.broker.guard import Guard
from mdp.errors import MDPError
from mdp.keys.key_folder import KeyFolder
from mdp.settings import BrokerSettings
from mdp.system import contact
from tests.support.commands_of_mdp import mdp
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Process,
    Processes,
    counters,
    strangers,
    until,
    wait_for_workers,
)
from tests.support.raw_peer import RawPeer

HANDLERS = "tests.faults.handlers:Obedient"
WAITS = replace(QUICK_CLIENT, waits=True)
ANY_PORT = "tcp://127.0.0.1:0"
EVERYWHERE = "tcp://0.0.0.0:0"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "july" / "broker.json"


def start(
    processes: Processes, file: Path, *options: str, bind: str = ANY_PORT, keys: bool = True
) -> Process:
    """A broker, with --keys; returns when the file is its own."""
    before = known(file)
    process = processes.python(
        *("-m", "mdp", "broker", "--bind", bind, "--contact", str(file), *QUICK),
        *(["--keys"] if keys else []),
        *options,
    )
    until(lambda: known(file) not in ("", before) or process.popen.poll(), "the broker serves")
    assert process.popen.poll() is None, process.stderr
    return process


def known(file: Path) -> str:
    """The instance in the file; empty without one."""
    try:
        return contact.read(file).instance
    except MDPError:
        return ""


def published(processes: Processes, file: Path) -> Process:
    return start(processes, file, "--publish", str(file.parent.parent / "all.json"))


def new(file: Path, name: str, *options: str) -> str:
    """Make a key with `mdp keys new`; returns its file as --broker takes it."""
    path = file.parent.parent / f"{name}.json"
    mdp("keys", "new", name, "--contact", file, "-o", path, *options)
    return f"@{path}"


def secrets(file: Path) -> list[str]:
    folder = KeyFolder(file)
    return [folder.pair(name)["secret"] for name in ("broker", "site")]


# Defaults of `mdp broker`.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--bind", EVERYWHERE), ["add --public"]),
        (("--bind", EVERYWHERE, "--public"), ["--contact FILE", "--insecure"]),
        (("--keys",), ["--keys needs --contact"]),
        (("--keys", "--contact", "x", "--insecure"), ["--keys", "--insecure"]),
        (("--insecure",), ["--insecure is for"]),
        (("--bind", ANY_PORT, "--contact", "x", "--publish", "y"), ["--publish", "--keys"]),
        (("--bind", ANY_PORT, "--publish", "y"), ["--publish", "--contact"]),
    ],
)
def test_a_broker_that_would_not_be_safe_is_refused(
    options: tuple[str, ...], words: list[str]
) -> None:
    [line] = mdp("broker", *options, code=2).stderr.splitlines()
    for word in words:
        assert word in line


def test_an_insecure_broker_warns_each_hour(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker(BrokerSettings(), 0.0, instance=b"INSTANCE")
    guard, safe = Guard(None, None, insecure=True), Guard(None, None, insecure=False)
    for minute in range(121):
        guard.work(broker, (), 60.0 * minute)
        safe.work(broker, (), 60.0 * minute)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert all("--insecure" in line for line in lines)


def test_a_broker_that_others_can_reach_has_keys_by_itself(
    processes: Processes, file: Path
) -> None:
    process = processes.python(
        *("-m", "mdp", "broker", "--bind", EVERYWHERE, "--public", "--contact", str(file))
    )
    until(lambda: known(file) or process.popen.poll(), "the broker serves")
    process.wait_until_it_says("with keys")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in file.parent.rglob("*")}
    for path, mode in modes.items():
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "no services yet" in mdp("services", "--broker", f"@{file}").stdout
    port = contact.read(file).address.rpartition(":")[2]
    without = mdp("services", "--broker", f"tcp://127.0.0.1:{port}", code=1)
    assert "no broker answers" in without.stderr
    with Client(f"@{file}") as client:
        until(lambda: strangers(client), "the broker counts it")
    named = mdp("services", "--broker", f"tcp://127.0.0.1:{port}", MDP_KEYS=str(file))
    assert "no services yet" in named.stdout


def test_the_next_broker_asks_for_keys_and_publishes_as_the_one_before(
    processes: Processes, file: Path
) -> None:
    """A broker without keys would be open to all whom the one before did not let in."""
    broker, public = published(processes, file), file.parent.parent / "all.json"
    bob = new(file, "bob")
    assert contact.read(bob[1:]).keys
    rotated = mdp("keys", "rotate", "--contact", file).stdout
    assert f"--keys --publish {public} --take-over\n" in rotated
    assert f"--contact {file}" in rotated
    second = start(processes, file, "--take-over", keys=False)
    assert broker.exit_code() == 0
    assert contact.read(file).broker_key == KeyFolder(file).pair("broker")["public"]
    assert "no services yet" in mdp("services", "--broker", bob).stdout
    third = start(processes, file, "--take-over", "--publish", "none", keys=False)
    assert second.exit_code() == 0
    assert contact.read(file).broker_key
    until(lambda: not public.exists(), "its published file is gone")
    fourth = start(processes, file, "--take-over", "--insecure", keys=False)
    assert third.exit_code() == 0
    assert not contact.read(file).broker_key
    fourth.wait_until_it_says("this broker has no keys (--insecure)")


def test_a_file_that_cannot_be_published_leaves_no_contact_file(tmp_path: Path, file: Path) -> None:
    where = tmp_path / "none" / "all.json"
    words = ("--bind", ANY_PORT, "--keys", "--contact", file, "--publish", where)
    [*_, line] = mdp("broker", *words, code=1).stderr.splitlines()
    assert f"--publish: cannot write the contact file {where}" in line
    assert "--publish none" in line
    assert not file.exists()


def test_a_folder_in_which_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "july").mkdir()
    (tmp_path / "july").chmod(0o777)
    file = tmp_path / "july" / "broker.json"
    done = mdp("broker", "--bind", ANY_PORT, "--keys", "--contact", file, code=1)
    assert f"chmod go-w {file.parent}" in done.stderr
    assert not list(file.parent.iterdir())


def test_a_contact_file_that_others_can_read_names_the_command(
    processes: Processes, file: Path
) -> None:
    start(processes, file)
    file.chmod(0o644)
    assert f"chmod 600 {file}" in mdp("services", "--broker", f"@{file}", code=1).stderr


def test_no_secret_is_in_a_command_line_an_environment_or_a_log(
    processes: Processes, file: Path
) -> None:
    broker = start(processes, file, "--verbose", "--supervise")
    worker = processes.worker(f"@{file}", "obedient", HANDLERS, "--verbose", *QUICK)
    call = mdp("call", "obedient", "reverse", "abc", "--wait", "60", "-b", f"@{file}", "--verbose")
    assert call.stdout == "cba\n"
    folder = KeyFolder(file)
    hidden = [*secrets(file)]
    shown = [broker.stderr, worker.stderr, call.stderr]
    pids = broker.alive() | worker.alive()
    assert len(pids) >= 4
    for pid in pids:
        for what in ("cmdline", "environ"):
            shown.append(Path(f"/proc/{pid}/{what}").read_text(errors="replace"))
    for secret in hidden:
        assert len(secret) == 40
        assert all(secret not in text for text in shown)
    assert folder.pair("site")["secret"] not in repr(contact.read(file))


# `mdp keys`.


def test_a_person_with_a_key_does_what_its_role_allows(processes: Processes, file: Path) -> None:
    broker = published(processes, file)
    bob, op = new(file, "bob"), new(file, "op", "--role", "operator")
    path = Path(bob[1:])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["see"] == f"@{file.parent.parent / 'all.json'}"
    until(lambda: "the key op (operator) is valid" in broker.stderr, "the keys are valid")
    processes.worker(f"@{file}", "obedient", HANDLERS, *QUICK)
    done = mdp("call", "obedient", "reverse", "abc", "--wait", "60", "--broker", bob)
    assert done.stdout == "cba\n"
    with Client(bob, QUICK_CLIENT) as client:
        with pytest.raises(ServiceError, match=r"mmi\.workers: .*'bob'.*operator"):
            client.management("workers")
        assert counters(client)["forbidden"] == 1
    with Client(op, QUICK_CLIENT) as client:
        assert len(client.management("workers")["workers"]) == 1
    refused = processes.worker(bob, "obedient", HANDLERS, *QUICK)
    refused.wait_until_it_says("key 'bob' (client) may serve nothing")
    all_json = f"@{file.parent.parent / 'all.json'}"
    failed = mdp("services", "--broker", all_json, code=1).stderr
    assert "published file" in failed
    assert "mdp keys new" in failed


def test_keys_are_listed_and_revoked(processes: Processes, file: Path, tmp_path: Path) -> None:
    published(processes, file)
    farm = new(file, "farm", "--role", "worker", "--services", "a*", "--services", "b")
    assert Path(farm[1:]).exists()
    rows = mdp("keys", "list", "--contact", file).stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["name", "farm", "site"]
    assert "a* b" in rows[1]
    assert "revoked farm (worker)" in mdp("keys", "revoke", "farm", "--contact", file).stdout
    assert "revoked 2" in mdp("keys", "list", "--contact", file).stdout.splitlines()[1]
    for secret in secrets(file):
        assert secret not in mdp("keys", "list", "--contact", file).stdout
    hint = mdp("keys", "revoke", "site", "--contact", file).stdout
    assert "mdp keys rotate" in hint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "bob", "--role", "king"), ["--role", "client, worker or operator", "king"]),
        (("new", "bob", "--role", "site"), ["--role"]),
        (("new", "bob", "--role", "worker"), ["--services"]),
        (("new", "bob", "--services", "x"), ["--services", "--role worker"]),
        (("new", "../bob"), ["NAME", "../bob"]),
        (("new", "site"), ["site", "already"]),
        (("new", "bob"), ["--publish", "--published"]),
        (("new", "bob", "--published", "p", "-o", "FILE"), ["exists", "--output"]),
        (("revoke", "bob"), ["no key 'bob'", "mdp keys list"]),
    ],
)
def test_misuse_of_keys_names_what_is_wanted(
    tmp_path: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    file = tmp_path / "broker.json"
    KeyFolder(file).prepare()
    contact.write(file, contact.Contact("tcp://127.0.0.1:1"))
    typed = [str(file) if word == "FILE" else word for word in arguments]
    [line] = mdp("keys", *typed, "--contact", file, code=2).stderr.splitlines()
    for word in words:
        assert word in line
    assert [key.rights.name for key in KeyFolder(file).read()] == ["site"]


@pytest.mark.parametrize("command", ["new x", "list", "revoke x", "rotate"])
def test_a_file_without_keys_is_misuse(tmp_path: Path, command: str) -> None:
    file = tmp_path / "broker.json"
    done = mdp("keys", *command.split(), "--contact", file, code=2)
    for words in (f"--contact {file}", "--keys"):
        assert words in done.stderr
    assert not list(tmp_path.iterdir())


# Revocation and rotation.


def bodies(log: Path) -> Counter[bytes]:
    """How often workers have begun each request."""
    lines = log.read_bytes().splitlines() if log.exists() else []
    return Counter(line.split(b" ", 1)[1] for line in lines)


def ask(client: Client, log: Path, count: int, seconds: float) -> list[Future[list[bytes]]]:
    rest = [str(log).encode(), b"%g" % seconds]
    return [
        client.submit("obedient", [b"note_and_sleep", b"request %d" % number, *rest])
        for number in range(count)
    ]


def check(futures: list[Future[list[bytes]]]) -> None:
    """Each has its own answer."""
    for number, future in enumerate(futures):
        assert future.result(timeout=120) == [b"request %d" % number]


def test_a_worker_whose_key_is_revoked_while_it_computes_is_replaced_by_another(
    processes: Processes, file: Path, tmp_path: Path
) -> None:
    log = tmp_path / "requests"
    broker = published(processes, file)
    farm = new(file, "farm", "--role", "worker", "--services", "obedient")
    until(lambda: "the key farm (worker) is valid" in broker.stderr, "the key is valid")
    revoked = processes.worker(farm, "obedient", HANDLERS, *QUICK)
    with Client(f"@{file}", QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        futures = ask(client, log, 1, 4.0)
        until(lambda: bodies(log), "the worker computes")
        processes.worker(f"@{file}", "obedient", HANDLERS, *QUICK)
        wait_for_workers(client, "obedient", 2)
        mdp("keys", "revoke", "farm", "--contact", file)
        until(lambda: bodies(log)[b"request 0"] == 2, "the other worker computes")
        check(futures)
        count = counters(client)
        assert (count["accepted"], count["answered"], count["requeued"]) == (1, 1, 1)
        revoked.wait_until_it_says("connecting again in")
        until(lambda: counters(client)["handshakes_failed"], "it is not let in again")
        wait_for_workers(client, "obedient", 1)
        assert counters(client)["answered"] == 1
    assert "its key farm was revoked" in broker.stderr
    assert re.search(r"key|accepts connections, but no broker answers", revoked.stderr)


def test_an_open_connection_of_a_revoked_key_gets_no_more_answers(
    processes: Processes, file: Path
) -> None:
    """Its peer may be one that does not care what the broker tells it: the broker must end it."""
    published(processes, file)
    place = contact.locate(new(file, "bob"))
    assert place.keys is not None
    context = zmq.Context[zmq.Socket[bytes]]()
    context.setsockopt(zmq.CURVE_SERVERKEY, place.keys.broker.encode())
    context.setsockopt(zmq.CURVE_PUBLICKEY, place.keys.public.encode())
    context.setsockopt(zmq.CURVE_SECRETKEY, place.keys.secret.encode())
    with RawPeer(place.address, context=context) as bob:

        def is_answered() -> bool:
            return bob.try_to_send(b"MDPC02", b"\x01", b"mmi.services") and bool(
                bob.socket.poll(500) and bob.socket.recv_multipart()
            )

        assert all(is_answered() for _ in range(3))
        mdp("keys", "revoke", "bob", "--contact", file)
        until(lambda: not is_answered(), "the connection has ended", within_s=30.0)
        assert not any(is_answered() for _ in range(4))


def test_a_rotation_with_a_take_over_loses_nothing(
    processes: Processes, file: Path, tmp_path: Path
) -> None:
    log = tmp_path / "requests"
    old = published(processes, file)
    bob = new(file, "bob")
    until(lambda: "the key bob (client) is valid" in old.stderr, "the key is valid")
    worker = processes.worker(f"@{file}", "obedient", HANDLERS, "--workers", "2", *QUICK)
    options = replace(WAITS, lanes=100)
    with Client(f"@{file}", options) as site, Client(bob, options) as other:
        wait_for_workers(site, "obedient", 2)
        mine, others = ask(site, log, 60, 0.1), ask(other, tmp_path / "others", 60, 0.1)
        until(lambda: len(bodies(log)) >= 5, "some were begun")
        before = secrets(file)
        mdp("keys", "rotate", "--contact", file)
        assert not set(before) & set(secrets(file))
        old.wait_until_it_says("is valid now")
        new_broker = start(processes, file, "--take-over", "--publish", str(tmp_path / "all.json"))
        assert old.exit_code(within_s=30) == 0
        check(mine)
        check(others)
        assert set(bodies(log).values()) == set(bodies(tmp_path / "others").values()) == {1}
        [name] = re.findall(r"^site-\d+", mdp("keys", "list", "--contact", file).stdout, re.M)
        mdp("keys", "revoke", name, "--contact", file)
        new_broker.wait_until_it_says(f"the key {name} (site) is not valid any more")
        check(ask(site, log, 5, 0.0))
        check(ask(other, log, 5, 0.0))
        assert counters(site)["handshakes_failed"] == 0
    assert worker.popen.poll() is None
    assert "ERROR" not in old.stderr + new_broker.stderr


def test_the_cost_of_keys_is_measured_in_turns() -> None:
    small = ("--sizes", 10, "--windows", 2, "--seconds", 0.1, "--rounds", 1, "--workers", 2)
    [figure] = json.loads(mdp("bench", "--with-keys", *small, "--json", "--quiet").stdout)
    assert figure["ratio"] == pytest.approx(figure["requests_per_s"] / figure["ceiling_per_s"])


@pytest.mark.parametrize("other", [("--bare-loop",), ("--broker", "tcp://127.0.0.1:9")])
def test_only_one_comparison_is_measured(other: tuple[str, ...]) -> None:
    done = mdp("bench", "--with-keys", *other, code=2)
    assert f"--with-keys cannot be combined with {other[0]}" in done.stderr

"""Keys: what each role may do, the folder of keys, and how a running broker follows it."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
import zmq

from mdp.errors import MDPError, SettingsError
from mdp.keys.key_folder import KeyFolder, Start
from mdp.keys.key_ring import KeyRing
from mdp.keys.rights import EVERYTHING, ROLES, Rights
from mdp.sockets import new_key_pair
from mdp.system import private_files
from tests.support.processes import until


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "broker.json")
    folder.prepare()
    return folder


def add(folder: KeyFolder, name: str, role: str = "client", *services: str) -> str:
    """Add a new key, and return its public part."""
    public, _ = new_key_pair()
    folder.add(name, role, public, services)
    return public


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Rights.


@pytest.mark.parametrize(
    ("role", "serves", "operates"),
    [
        ("client", False, False),
        ("worker", True, False),
        ("operator", False, True),
        ("site", True, True),
    ],
)
def test_each_role_has_its_rights(role: str, serves: bool, operates: bool) -> None:
    rights = Rights("x", role, ("ssnet-plane*", "echo"))
    assert rights.may_serve(b"ssnet-plane2") is serves
    assert rights.may_serve(b"echo") is serves
    assert rights.may_operate is operates
    assert role in ROLES


@pytest.mark.parametrize("service", [b"ssnet", b"echo2", b"ECHO", b"", b"\xff", b"mmi.broker"])
def test_a_worker_may_not_serve_what_its_key_does_not_name(service: bytes) -> None:
    assert not Rights("x", "worker", ("ssnet-plane*", "echo")).may_serve(service)
    assert not Rights("x", "worker").may_serve(service)


def test_without_keys_everybody_may_do_everything() -> None:
    assert EVERYTHING.may_serve(b"\xff")
    assert EVERYTHING.may_operate


def test_rights_are_the_keys_and_not_the_names() -> None:
    one, other = new_key_pair()[0], new_key_pair()[0]
    assert Rights("site", "site", ("*",), one) == Rights("site-1", "site", ("*",), one)
    assert Rights("bob", "client", (), one) != Rights("bob", "client", (), other)
    assert Rights("bob", "client", (), one) != Rights("bob", "operator", (), one)


# The folder.


def test_only_the_owner_can_read_the_folder_and_each_file(folder: KeyFolder) -> None:
    add(folder, "bob")
    assert folder.path.name == "broker.json.keys"
    for path in (folder.path, *folder.path.rglob("*")):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


def test_a_missing_folder_of_the_contact_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    KeyFolder(tmp_path / "july" / "broker.json").prepare()
    assert mode(tmp_path / "july") == 0o700


@pytest.mark.parametrize("wrong", [0o770, 0o757, 0o775])
def test_a_folder_in_which_others_can_write_is_refused(tmp_path: Path, wrong: int) -> None:
    july = tmp_path / "july"
    july.mkdir()
    july.chmod(wrong)
    with pytest.raises(MDPError, match=f"{wrong:04o}.*chmod go-w {july}"):
        KeyFolder(july / "broker.json").prepare()
    assert not list(july.iterdir())
    july.chmod(0o1777)  # as /tmp: others cannot replace the files
    KeyFolder(july / "broker.json").prepare()


def prepare_and_read(folder: KeyFolder) -> None:
    folder.prepare()
    folder.pair("broker")


@pytest.mark.parametrize("name", ["", "known"])
def test_a_folder_that_is_a_link_is_refused(folder: KeyFolder, name: str) -> None:
    path = folder.path / name
    path.rename(folder.path.with_name("elsewhere"))
    path.symlink_to(folder.path.with_name("elsewhere"))
    with pytest.raises(MDPError, match=f"{path} is a symbolic link"):
        folder.prepare()


@pytest.mark.parametrize("name", ["", "known", "broker.key", "site.key"])
def test_keys_that_others_can_read_are_refused(folder: KeyFolder, name: str) -> None:
    path = folder.path / name
    right = mode(path)
    path.chmod(right | 0o040)
    with pytest.raises(MDPError, match=f"chmod {right:03o} {path}"):
        prepare_and_read(folder)
    path.chmod(right)
    folder.prepare()


def test_keys_of_another_user_are_not_used(
    folder: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.path / "broker.key"
    if os.geteuid() == 0:
        os.chown(path, 4711, -1)
    else:
        monkeypatch.setattr("mdp.system.private_files.os.geteuid", lambda: 4711)
    owner = path.stat().st_uid
    with pytest.raises(MDPError, match=f"another user .uid {owner}"):
        folder.pair("broker")


def test_preparing_again_changes_nothing(folder: KeyFolder) -> None:
    files = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    KeyFolder(folder.path.with_name("broker.json")).prepare()
    assert {path: path.read_bytes() for path in files} == files


def test_brokers_that_prepare_at_once_have_the_same_keys(tmp_path: Path) -> None:
    count = 8
    start = threading.Barrier(count)
    pairs: list[tuple[str, str]] = []

    def prepare() -> None:
        mine = KeyFolder(tmp_path / "broker.json")
        start.wait()
        mine.prepare()
        pairs.append((mine.pair("broker")["secret"], mine.pair("site")["secret"]))

    threads = [threading.Thread(target=prepare) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pairs) == count
    assert len(set(pairs)) == 1
    [site] = KeyFolder(tmp_path / "broker.json").read()
    assert site.rights.public == KeyFolder(tmp_path / "broker.json").pair("site")["public"]


def test_a_pair_is_one_of_curve(folder: KeyFolder) -> None:
    for name in ("broker", "site"):
        pair = folder.pair(name)
        assert zmq.curve_public(pair["secret"].encode()).decode() == pair["public"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 60_000,
        '{"format": "mdp key 2"}',
        '{"format": "mdp key 1"}',
        '{"format": "mdp key 1", "public": 5, "secret": null}',
        '{"format": "mdp key 1", "public": "short", "secret": "short"}',
    ],
)
def test_a_file_that_has_no_pair_is_named(folder: KeyFolder, text: str) -> None:
    (folder.path / "broker.key").write_text(text)
    with pytest.raises(MDPError, match=r"broker\.key"):
        folder.pair("broker")


@pytest.mark.parametrize(
    "change",
    [
        {"role": "king"},
        {"role": ["client"]},
        {"role": None},
        {"public": "short"},
        {"public": "é" * 40},
        {"services": "echo"},
        {"services": [1]},
        {"made_at": "yesterday"},
        {"made_at": 1e300},
        {"revoked_at": True},
        {"revoked_at": -1.0},
        {"format": "mdp key 2"},
    ],
)
def test_a_file_that_is_not_a_known_keys_is_an_error(folder: KeyFolder, change: object) -> None:
    add(folder, "bob")
    path = folder.known / "bob.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))  # type: ignore[dict-item]
    with pytest.raises(MDPError, match=r"bob\.json"):
        folder.read()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", "a b", "é", "x" * 65, "a\n"])
def test_a_name_that_is_not_that_of_a_file_is_refused(folder: KeyFolder, name: str) -> None:
    with pytest.raises(SettingsError, match="want a NAME"):
        add(folder, name)


def test_a_wrong_role_and_a_wrong_key_are_refused(folder: KeyFolder) -> None:
    with pytest.raises(SettingsError, match="role"):
        add(folder, "bob", "king")
    with pytest.raises(SettingsError, match="40 characters"):
        folder.add("bob", "client", "short", ())
    assert [key.rights.name for key in folder.read()] == ["site"]


def test_a_revoked_key_stays_known_with_the_time_of_its_first_revocation(
    folder: KeyFolder,
) -> None:
    add(folder, "bob")
    first = folder.revoke("bob").revoked_at
    assert first is not None
    assert folder.revoke("bob").revoked_at == first
    [bob, _] = folder.read()
    assert bob.revoked_at == first
    with pytest.raises(SettingsError, match=r"ann.*mdp keys list"):
        folder.revoke("ann")


def test_a_new_site_key_leaves_the_old_one_valid_under_another_name(folder: KeyFolder) -> None:
    olds = []
    for _ in range(3):  # within a second
        olds.append(folder.pair("site")["public"])
        folder.renew("site")
    keys = {key.rights.public: key for key in folder.read()}
    assert set(keys) == {*olds, folder.pair("site")["public"]}
    for old in olds:
        assert keys[old].rights.name.startswith("site-")
        assert keys[old].revoked_at is None


def test_a_revoked_site_key_stays_revoked_when_it_is_replaced(folder: KeyFolder) -> None:
    old = folder.pair("site")["public"]
    folder.revoke("site")
    folder.prepare()
    assert KeyRing(folder).find(old) is None
    folder.renew("site")
    ring = KeyRing(folder)
    assert ring.find(old) is None
    assert ring.find(folder.pair("site")["public"]) is not None


def test_how_the_last_broker_was_started_is_noted(folder: KeyFolder) -> None:
    assert folder.last_start() == Start()
    for path in ("/shared/june.json", "/shared/july.json"):
        folder.note_start(Start(path, "mdp broker --keys", "/home/ann"))
    assert folder.last_start() == Start("/shared/july.json", "mdp broker --keys", "/home/ann")


# Private files.


def test_a_file_written_once_is_not_replaced_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    private_files.write_once(path, "one")
    private_files.write_once(path, "two")
    assert path.read_text() == "one"
    private_files.write_whole(path, "three", mode=0o644)
    assert (path.read_text(), mode(path)) == ("three", 0o644)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_file_is_written_once_also_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: str, path: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    private_files.write_once(tmp_path / "x", "one")
    private_files.write_once(tmp_path / "x", "two")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("x", "one")]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(MDPError, match="cannot write"):
        private_files.write_whole(tmp_path / "x", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    with pytest.raises(MDPError, match="No such file"):
        private_files.write_whole(tmp_path / "none" / "x", "text")


# The ring.


def test_a_new_key_is_valid_soon_and_a_revoked_one_is_named_once(folder: KeyFolder) -> None:
    with KeyRing(folder) as ring:
        bob = add(folder, "bob")
        until(lambda: ring.find(bob), "bob's key is valid")
        assert ring.taken() == []
        folder.revoke("bob")
        until(lambda: ring.find(bob) is None, "bob's key is revoked")
        assert [rights.name for rights in until(ring.taken, "the broker is told")] == ["bob"]
        assert ring.taken() == []


def test_a_key_whose_file_is_deleted_is_not_valid_any_more(folder: KeyFolder) -> None:
    bob = add(folder, "bob")
    ring = KeyRing(folder)
    assert ring.find(bob) == Rights("bob", "client", (), bob)
    (folder.known / "bob.json").unlink()
    ring.look()
    assert ring.find(bob) is None
    assert [rights.name for rights in ring.taken()] == ["bob"]


def test_a_key_with_another_role_has_to_connect_again(folder: KeyFolder) -> None:
    bob = add(folder, "bob", "operator")
    ring = KeyRing(folder)
    folder.add("bob", "client", bob, ())
    ring.look()
    assert [rights.role for rights in ring.taken()] == ["operator"]
    now = ring.find(bob)
    assert now is not None
    assert now.role == "client"


def test_a_site_key_that_is_replaced_keeps_its_connections(folder: KeyFolder) -> None:
    old = folder.pair("site")["public"]
    ring = KeyRing(folder)
    folder.renew("site")
    ring.look()
    assert ring.taken() == []
    renamed = ring.find(old)
    assert renamed is not None
    folder.revoke(renamed.name)
    ring.look()
    assert [rights.public for rights in ring.taken()] == [old]


@pytest.mark.parametrize("how", ["folder away", "damaged file"])
def test_keys_that_cannot_be_read_leave_the_ones_before_and_one_line(
    folder: KeyFolder, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    bob = add(folder, "bob")
    ring = KeyRing(folder)
    if how == "folder away":
        shutil.move(folder.known, folder.path / "elsewhere")
    else:
        (folder.known / "ann.json").write_text("{")
    for _ in range(10):
        ring.look()
    assert ring.find(bob) is not None
    assert ring.taken() == []
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert str(folder.known) in lines[0].getMessage()


def test_a_broker_does_not_start_with_keys_that_cannot_be_read(folder: KeyFolder) -> None:
    (folder.known / "bob.json").write_text("{")
    with pytest.raises(MDPError, match=r"bob\.json"):
        folder.prepare()


def test_a_revoked_key_is_out_under_all_its_names(folder: KeyFolder) -> None:
    folder.add("bob", "client", "b" * 40, ())
    folder.add("bob2", "client", "b" * 40, ())
    folder.revoke("bob")
    assert KeyRing(folder).find("b" * 40) is None


def test_a_damaged_file_stops_no_other_change(folder: KeyFolder) -> None:
    folder.add("bob", "client", "b" * 40, ())
    folder.add("eve", "client", "e" * 40, ())
    ring = KeyRing(folder)
    (folder.known / "bob.json").write_text("{")
    folder.revoke("eve")
    ring.look()
    assert ring.find("e" * 40) is None
    assert ring.find("b" * 40) is not None  # as before its file was damaged

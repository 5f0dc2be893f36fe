from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from mdp.errors import MDPError, SettingsError
from mdp.sockets.addresses import ClientKeys
from mdp.system import contact
from mdp.system.contact import Contact, NoContact, Place

HERE = Contact("tcp://node7:4711", "00ff" * 4, "node7", 17, "taritree", "8812_3", 1.5)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    contact.write(path, HERE)
    assert contact.read(path) == HERE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["broker.json"]
    assert json.loads(path.read_text())["format"] == "mdp contact 1"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    contact.write(path, HERE)
    with open(path) as old:
        contact.write(path, Contact("ipc:///tmp/b", "11" * 8))
        assert json.load(old)["address"] == "tcp://node7:4711"
    assert contact.read(path).address == "ipc:///tmp/b"


def test_fields_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    contact.write(path, HERE)
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": "abc"}))
    assert contact.read(path) == HERE


def test_only_the_file_of_its_own_broker_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    contact.write(path, HERE)
    contact.remove(path, "22" * 8)
    assert path.exists()
    contact.remove(path, HERE.instance)
    assert not path.exists()
    contact.remove(path, HERE.instance)  # it is gone: nothing to do


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "\udcff",
        '{"format": "mdp contact 2", "address": "tcp://a:1"}',
        '{"format": "mdp contact 1"}',
        '{"format": "mdp contact 1", "address": "tcp://a"}',
        '{"format": "mdp contact 1", "address": 5}',
        '{"format": "mdp contact 1", "address": "tcp://a:1", "pid": true}',
        '{"format": "mdp contact 1", "see": "tcp://a:1"}',
        '{"format": "mdp contact 1", "see": "@broker.json"}',
        '{"format": "mdp contact 1", "address": "tcp://a:1"}' + " " * 70000,
        "[" * 60_000,
    ],
)
def test_what_is_not_a_contact_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(NoContact, match=r"broker\.json is not a contact file.*--contact"):
        contact.locate(f"@{path}")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_link_to_what_cannot_be_a_path_is_refused(name: str, tmp_path: Path) -> None:
    contact.write_link(tmp_path / "pool.json", f"@{name}")
    with pytest.raises(NoContact, match="cannot read"):
        contact.locate(f"@{tmp_path / 'pool.json'}")


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NoContact, match="not a contact file"):
        contact.locate(f"@{tmp_path / 'pipe'}")


def test_a_missing_file_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    with pytest.raises(NoContact, match=f"no contact file {path}.*mdp broker --contact {path}"):
        contact.locate(f"@{path}")
    assert NoContact.exit_code == 1


def test_a_file_in_a_missing_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(MDPError, match=r"cannot write the contact file .*No such file"):
        contact.write(tmp_path / "none" / "broker.json", HERE)


def test_locate_takes_an_address_as_it_is() -> None:
    assert contact.locate("tcp://a:1") == Place("tcp://a:1", None)
    assert contact.locate("ipc:///tmp/b") == Place("ipc:///tmp/b", None)
    with pytest.raises(SettingsError):
        contact.locate("tcp://a")


def test_locate_reads_the_file_each_time(tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    contact.write(path, HERE)
    assert contact.locate(f"@{path}") == Place(HERE.address, HERE.instance)
    contact.write(path, Contact("tcp://node8:1", "11" * 8))
    assert contact.locate(f"@{path}") == Place("tcp://node8:1", "11" * 8)


def test_a_link_refers_to_an_address_or_to_another_contact_file(tmp_path: Path) -> None:
    link, path = tmp_path / "pool.json", tmp_path / "other" / "broker.json"
    contact.write_link(link, "tcp://a:1")
    assert contact.locate(f"@{link}") == Place("tcp://a:1", None)
    path.parent.mkdir()
    contact.write(path, HERE)
    contact.write_link(link, "@other/broker.json")  # relative to the folder of the link
    assert contact.locate(f"@{link}") == Place(HERE.address, HERE.instance)
    contact.remove(path, HERE.instance)
    with pytest.raises(NoContact, match="other/broker"):
        contact.locate(f"@{link}")


def test_the_user_and_the_host_have_names() -> None:
    assert contact.host_name()
    assert contact.user_name()


# Keys.

KEYED = replace(
    HERE, broker_key="b" * 40, public_key="p" * 40, secret_key="s" * 40, key_name="site"
)
KEYS = ClientKeys("b" * 40, "p" * 40, "s" * 40, "site")


def test_the_keys_of_a_file_are_those_to_connect_with(tmp_path: Path) -> None:
    contact.write(tmp_path / "broker.json", KEYED)
    place = contact.locate(f"@{tmp_path}/broker.json")
    assert place == Place(HERE.address, HERE.instance, KEYS)
    assert "s" * 40 not in repr(place) + repr(KEYED)


def test_a_published_file_has_no_secret_and_is_refused_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "public.json"
    contact.write(path, KEYED.published(), mode=0o644)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "s" * 40 not in path.read_text()
    with pytest.raises(NoContact, match="mdp keys new"):
        contact.locate(f"@{path}")


def test_a_persons_file_refers_to_the_published_one(tmp_path: Path) -> None:
    contact.write(tmp_path / "public.json", KEYED.published(), mode=0o644)
    path = tmp_path / "bob.json"
    old = ClientKeys("o" * 40, "q" * 40, "t" * 40, "bob")  # the broker's key was replaced since
    contact.write_own_keys(path, str(tmp_path / "public.json"), old)
    assert contact.locate(f"@{path}").keys == ClientKeys("b" * 40, "q" * 40, "t" * 40, "bob")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(NoContact, match="ask the broker's owner to revoke"):
        contact.locate(f"@{path}")


def test_a_persons_file_serves_a_tunnel_where_the_published_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bob.json"
    contact.write_own_keys(path, "/nowhere/public.json", KEYS)
    with pytest.raises(NoContact, match=r"no file /nowhere/public\.json, to which .* ask the bro"):
        contact.locate(f"@{path}")
    monkeypatch.setenv(contact.KEYS_VARIABLE, str(path))
    assert contact.locate("tcp://a:1") == Place("tcp://a:1", None, KEYS)
    path.unlink()
    with pytest.raises(NoContact, match="no contact file"):
        contact.locate("tcp://a:1")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_keys_that_others_can_read_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "broker.json"
    contact.write(path, KEYED)
    path.chmod(mode)
    with pytest.raises(NoContact, match=f"chmod 600 {path}"):
        contact.locate(f"@{path}")


def test_a_variable_gives_the_keys_for_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contact.KEYS_VARIABLE, str(tmp_path / "broker.json"))
    assert contact.locate("ipc:///tmp/b").keys is None  # it is for tcp only
    with pytest.raises(NoContact, match="no contact file"):
        contact.locate("tcp://a:1")
    contact.write(tmp_path / "broker.json", HERE)
    with pytest.raises(NoContact, match="has no keys"):
        contact.locate("tcp://a:1")
    contact.write(tmp_path / "broker.json", KEYED)
    assert contact.locate("tcp://a:1") == Place("tcp://a:1", None, KEYS)


@pytest.mark.parametrize("name", ["broker_key", "public_key", "secret_key"])
@pytest.mark.parametrize("key", ["short", "k" * 41, "\u00e9" * 40, "," * 40, "#" * 40])
def test_a_damaged_key_is_named(tmp_path: Path, name: str, key: str) -> None:
    path = tmp_path / "broker.json"
    contact.write(path, KEYED)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, name: key}))
    with pytest.raises(NoContact, match=name):
        contact.locate(f"@{path}")

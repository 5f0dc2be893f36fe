"""`mdp broker --config FILE` and `--show-config`: what flags say, in TOML."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from mdp import Client
from mdp.commands.cli import app, main
from tests.support.commands_of_mdp import mdp
from tests.support.misuse import misused
from tests.support.option_tree import Option, options_of
from tests.support.processes import QUICK_CLIENT, Processes, free_port, until

NOT_KEYS = {"--config", "--show-config"}
OPTIONS = [o for o in options_of(app) if o.command == "broker" and o.long not in NOT_KEYS]
KEYS = [option.long.lstrip("-") for option in OPTIONS]
VALUES: dict[str, Any] = {
    "bind": ["tcp://127.0.0.1:5999", "ipc:///tmp/mdp-config-test.sock"],
    "time-limit": ["echo=5.5", "training=none"],
    "contact": "new/broker.json",
    "advertise": "n7",
    "publish": "none",
    "until": "4:00:00",
    "log-level": "warning",
    "log-file": "broker-{pid}.log",
    "max-queue-bytes": 12_345,
    "max-bytes": 123_456_789,
    "drain": 0.25,
    "expiry": 17,
}
"""A value that is not the default; of other options it follows from the type."""
NEED = {
    "advertise": ["contact"],
    "take-over": ["contact"],
    "keys": ["contact"],
    "insecure": ["contact"],
}


def value_of(option: Option) -> Any:
    key = option.long.lstrip("-")
    if key in VALUES:
        return VALUES[key]
    return True if option.kind is bool else option.default + option.kind(1)


def written(folder: Path, **values: Any) -> Path:
    path = folder / "broker.toml"
    path.write_text(tomlkit.dumps({key.replace("_", "-"): value for key, value in values.items()}))
    return path


def text_file(folder: Path, text: str) -> Path:
    path = folder / "broker.toml"
    path.write_text(text)
    return path


def printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: object
) -> str:
    """What `mdp broker --show-config` prints; run in this process, since there are many."""
    monkeypatch.setattr("sys.argv", ["mdp", "broker", *map(str, options), "--show-config"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return out


def test_there_are_options_to_try() -> None:
    assert {"bind", "max-queue", "keys", "log-size", "verbose", "heartbeat"} <= set(KEYS)


@pytest.mark.parametrize("option", OPTIONS, ids=KEYS)
def test_each_option_may_stand_in_the_file_and_is_shown_again(
    option: Option,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    key = option.long.lstrip("-")
    values = {key: value_of(option), **{other: VALUES[other] for other in NEED.get(key, [])}}
    if key == "insecure":
        values |= {"bind": ["tcp://0.0.0.0:5999"], "public": True}
    path = written(tmp_path, **values)

    first = printed(monkeypatch, capsys, "--config", path)
    assert tomlkit.parse(first).unwrap().items() >= values.items()
    assert next(line for line in first.splitlines() if line.startswith(f"{key} =")).endswith(
        f"  # {path}"
    )
    again = text_file(tmp_path, first)
    second = printed(monkeypatch, capsys, "--config", again)
    assert tomlkit.parse(second).unwrap() == tomlkit.parse(first).unwrap()


def test_without_a_file_all_options_are_shown_with_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(monkeypatch, capsys, "--max-queue", 7)
    keys = [line.lstrip("# ").split(" =")[0] for line in out.splitlines() if " =" in line]
    assert sorted(keys) == sorted(KEYS)
    assert "max-queue = 7  # command line" in out
    assert "liveness = 3  # default" in out
    assert "# max-bytes =\n" in out  # TOML cannot say that a value is not set


def test_the_command_line_replaces_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(
        tmp_path, max_queue=5, drain=1.5, bind=["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"]
    )
    options = ("--bind", "tcp://127.0.0.1:3", "--max-queue", 6)
    table = tomlkit.parse(printed(monkeypatch, capsys, "--config", path, *options)).unwrap()
    assert (table["max-queue"], table["drain"]) == (6, 1.5)
    assert table["bind"] == ["tcp://127.0.0.1:3"]


def test_underscores_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = text_file(tmp_path, "max_queue = 5\n")
    assert "max-queue = 5" in printed(monkeypatch, capsys, "--config", path)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("drain = 1\nmax-queu = 5\n", 2, ["'max-queu'", "max-queue?"]),
        ("qwertyuiop = 5\n", 1, ["'qwertyuiop'", "max-queue"]),
        ("config = 'other.toml'\n", 1, ["'config'"]),
        ("[log]\nlevel = 'info'\n", 1, ["'log'", "log-"]),
        ("\nmax-queue = 'many'\n", 2, ["max-queue", "whole number", '"many"']),
        ("max-queue = 3.7\n", 1, ["max-queue", "whole number", "3.7"]),
        ("max-queue = true\n", 1, ["max-queue", "whole number", "true"]),
        ("public = 1\n", 1, ["public", "true or false", "1"]),
        ("drain = '1m'\n", 1, ["drain", "a number", '"1m"']),
        ("bind = 'tcp://127.0.0.1:1'\n", 1, ["bind", "a list"]),
        ("contact = 5\n", 1, ["contact", "in quotes"]),
        ("until = 2026-11-28T18:00:00\n", 1, ["until", "in quotes"]),
        ("heartbeat = 0\n", 1, ["heartbeat", "above 0", "got 0"]),
        ("log-size = 0\n", 1, ["log-size", "0"]),
        ("log-level = 'loud'\n", 1, ["log-level", "debug", "'loud'"]),
        ("bind = ['node7:5555']\n", 1, ["bind", "tcp://HOST:PORT", "'node7:5555'"]),
        ("\n\nmax-attempts = 0\n", 3, ["max-attempts", "above 0", "got 0"]),
        ("\ntime_limit = ['echo']\n", 2, ["time-limit", "SERVICE=SECONDS", "'echo'"]),
        ("bind = ['tcp://0.0.0.0:5999']\n", None, ["--public"]),
        ("keys = true\n", 1, ["--contact"]),
        ("max-queue = 1\nmax_queue = 2\n", 2, ["one value", "max-queue"]),
        ("max-queue = 1\nmax-queue = 2\n", None, ["want TOML", "max-queue"]),
        ("max-queue 1\n", None, ["want TOML", "line 1"]),
    ],
)
def test_a_mistake_names_the_file_the_line_and_what_was_wanted(
    text: str,
    line: int | None,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = text_file(tmp_path, text)
    for show in ([], ["--show-config"]):
        arguments = ["broker", "--config", str(path), *show]
        stderr = misused(main, *arguments, monkeypatch=monkeypatch, capsys=capsys)
        [only] = stderr.splitlines()
        wanted = [f"{path} line {line}" if line else "", *words]
        assert [word for word in wanted if word not in only] == [], only


@pytest.mark.parametrize("kind", ["missing", "folder", "bytes"])
def test_a_file_that_cannot_be_read_is_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "bytes":
        path.write_bytes(b"\xff\xfe")
    [line] = mdp("broker", "--config", path, code=2).stderr.splitlines()
    assert str(path) in line


def test_a_byte_order_mark_is_no_part_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = text_file(tmp_path, "\ufeffmax-queue = 5\n")
    assert "max-queue = 5" in printed(monkeypatch, capsys, "--config", path)


def test_a_path_that_toml_cannot_hold_is_refused() -> None:
    contact = os.fsdecode(b"a\xffb")
    [line] = mdp("broker", "--contact", contact, "--show-config", code=2).stderr.splitlines()
    assert "UTF-8" in line


def test_an_option_of_the_command_line_is_not_said_to_be_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, max_queue=5)
    [line] = mdp("broker", "--config", path, "--max-queue", 0, code=2).stderr.splitlines()
    assert str(path) not in line


def test_a_supervised_broker_has_the_values_of_the_file_also_after_a_kill(tmp_path: Path) -> None:
    """The file is read once, at the start: it may be changed, or be wrong, while a broker runs."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    path = written(tmp_path, bind=[endpoint], max_bytes=123_456_789, supervise=True, heartbeat=0.2)
    with Processes(tmp_path) as processes, Client(endpoint, QUICK_CLIENT) as client:
        supervisor = processes.python("-m", "mdp", "broker", "--config", str(path))

        def limit() -> int:
            return int(client.management("metrics", timeout_s=30)["max_bytes"])

        assert limit() == 123_456_789
        path.write_text("this is not TOML")
        [broker] = supervisor.alive() - {supervisor.pid}
        os.kill(broker, signal.SIGKILL)
        until(lambda: supervisor.alive() - {supervisor.pid, broker}, "another broker runs")
        assert limit() == 123_456_789
        supervisor.send(signal.SIGTERM)
        assert supervisor.exit_code() == 0

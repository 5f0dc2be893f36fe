"""The log of a process: levels, JSON, files that are rotated by several processes at once."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mdp.errors import SettingsError
from mdp.system import logs
from mdp.system.logs import LogFileError, LogSettings, configure_logging

LINES = 300


def set_up(**settings: Any) -> None:
    """Configure the log as in a new process: without the handlers of pytest."""
    logging.getLogger().handlers[:] = []
    configure_logging(**settings)


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, which is afterwards as it was."""
    logger = logging.getLogger()
    before, level = list(logger.handlers), logger.level
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = before
    logger.setLevel(level)
    logs.choose(LogSettings())


def told(path: Path) -> list[str]:
    return path.read_text().splitlines()


# Levels.


@pytest.mark.parametrize(
    ("settings", "flags", "level"),
    [
        ({}, {}, "INFO"),
        ({}, {"verbose": True}, "DEBUG"),
        ({}, {"quiet": True}, "WARNING"),
        ({}, {"default": "error"}, "ERROR"),
        ({"level": "debug"}, {}, "DEBUG"),
        ({"level": "debug"}, {"verbose": True}, "DEBUG"),
        ({"level": "error"}, {"quiet": True}, "ERROR"),
        ({"level": "info"}, {"default": "error"}, "INFO"),
    ],
)
def test_the_level_follows_from_log_level_or_from_the_flags(
    settings: dict[str, str], flags: dict[str, bool], level: str, root: logging.Logger
) -> None:
    set_up(**flags, log=LogSettings(**settings))  # type: ignore[arg-type]
    assert logging.getLevelName(root.level) == level


@pytest.mark.parametrize(
    ("level", "flags", "named"),
    [
        ("info", {"verbose": True}, "--verbose"),
        ("error", {"verbose": True}, "--verbose"),
        ("info", {"quiet": True}, "--quiet"),
        ("debug", {"quiet": True}, "--quiet"),
        ("", {"quiet": True, "verbose": True}, "--quiet"),
    ],
)
def test_a_level_that_contradicts_a_flag_is_refused(
    level: str, flags: dict[str, bool], named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        set_up(**flags, log=LogSettings(level=level))


def test_with_a_file_quiet_is_about_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.log"
    set_up(quiet=True, log=LogSettings(level="debug", file=str(path)))
    logging.getLogger("mdp").debug("fine")
    logging.getLogger("mdp").warning("bad")
    assert [line.split()[1] for line in told(path)] == ["DEBUG", "WARNING"]
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("wrong", [{"level": "loud"}, {"size_bytes": 0}, {"kept": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        LogSettings(**wrong)  # type: ignore[arg-type]


# JSON.


def test_each_line_of_json_says_when_with_its_zone_where_and_which_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up(log=LogSettings(json=True))
    log = logging.getLogger("mdp.x")
    log.warning("echo: requeued\nagain: request 00ff00ff00ff00ff")
    with logs.computing("1234567890abcdef"):
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("handle() failed")
    log.info("done")
    first, second, third = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["host"] == os.uname().nodename
    assert first["pid"] == os.getpid()
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert (first["level"], first["logger"]) == ("warning", "mdp.x")
    assert first["request"] == "00ff00ff00ff00ff"
    assert second["request"] == "1234567890abcdef"
    assert "ValueError: no" in second["trace"]
    assert "request" not in third


def test_text_has_the_request_that_is_computed(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    with logs.computing("1234567890abcdef"):
        logging.getLogger("x").warning("of a library")
    assert re.search(r"of a library \[request 1234567890abcdef\]$", capsys.readouterr().err.strip())


# Files.


def test_a_full_file_is_renamed_and_the_oldest_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "x.log"
    set_up(log=LogSettings(file=str(path), size_bytes=1000, kept=2))
    for number in range(100):
        logging.getLogger("x").info("line %03d", number)
    files = sorted(p.name for p in path.parent.iterdir())
    assert files == ["x.log", "x.log.1", "x.log.2", "x.log.lock"]
    assert all(p.stat().st_size <= 1000 for p in path.parent.iterdir())
    lines = [line for name in ("x.log.2", "x.log.1", "x.log") for line in told(path.parent / name)]
    numbers = [int(line[-3:]) for line in lines]
    assert numbers == list(range(numbers[0], 100)), "the last lines, in order"


def test_a_line_longer_than_the_limit_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    set_up(log=LogSettings(file=str(path), size_bytes=100, kept=0))
    logging.getLogger("x").info("y" * 500)
    logging.getLogger("x").info("short")
    assert [line[-5:] for line in told(path)] == ["short"]


def _write_lines(path: str, name: int) -> None:
    set_up(log=LogSettings(file=path, size_bytes=5000, kept=100))
    for number in range(LINES):
        logging.getLogger("x").info("from %d: %d", name, number)


def test_processes_share_a_file_and_no_line_is_lost_or_torn(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_lines, args=(str(path), name)) for name in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    lines = [line for file in tmp_path.glob("x.log*") for line in told(file)]
    found = sorted(re.findall(r"from (\d): (\d+)$", "\n".join(lines), re.MULTILINE))
    wanted = sorted((str(name), str(number)) for name in range(3) for number in range(LINES))
    assert found == wanted
    assert len(list(tmp_path.glob("x.log.*"))) > 3


def test_a_removed_file_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    set_up(log=LogSettings(file=str(path)))
    logging.getLogger("x").info("one")
    path.unlink()
    logging.getLogger("x").info("two")
    assert [line[-3:] for line in told(path)] == ["two"]


def test_a_file_that_cannot_be_written_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(LogFileError, match=r"--log-file .*folder: Is a directory"):
        set_up(log=LogSettings(file=str(tmp_path / "folder")))


def test_a_full_disk_is_said_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("needs /dev/full")
    handler = logs._SharedFile.__new__(logs._SharedFile)
    logging.Handler.__init__(handler)
    handler._settings = LogSettings(file="/dev/full")
    handler._has_failed = False
    handler._file = os.open("/dev/full", os.O_WRONLY)
    handler._lock = os.open(os.devnull, os.O_RDWR)
    for _ in range(3):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "lost", None, None))
    handler.close()
    assert capsys.readouterr().err == "cannot write the log /dev/full: No space left on device\n"

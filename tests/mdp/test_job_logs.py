"""The lives in a job's log, and why a job does not work."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdp.pool.job_logs import Follower, cause, end_of, last_life, lives, whole

START = "ssnet pool: july job 8812_3 on {host} started 2026-11-28T14:50:0{n}+0000"
END = "ssnet pool: job 8812_3 on {host} ended with code {code} at 2026-11-28T14:51:00+0000"
TWO_LIVES = "\n".join(
    [
        START.format(host="n1", n=1),
        "INFO    plane0#1: ready",
        START.format(host="n2", n=2),  # the first life's node was lost
        "INFO    plane0#1: reading",
        END.format(host="n2", code=143),
        "",
    ]
)


def test_a_requeued_job_has_two_lives() -> None:
    first, second = lives(TWO_LIVES)
    assert (first.host, first.code, first.was_ready) == ("n1", None, True)
    assert (second.host, second.code, second.was_ready) == ("n2", 143, False)
    assert second.started == "2026-11-28T14:50:02+0000"
    assert len(first.lines) == 2


def test_what_the_batch_system_writes_first_is_a_life_without_a_host() -> None:
    (life,) = lives("slurmstepd: error: cannot create /x")
    assert (life.host, life.code) == ("", None)
    assert lives("") == []


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["2026-11-28T14:50:02.1+00:00 ERROR   disk: cannot write"], "disk: cannot write"),
        (["ssnet: want a, got b", "Traceback"], "want a, got b"),
        (["/spool/script: line 3: module: command not found"], "module: command not found"),
        (["error: one", "no broker answers at tcp://a:1 for 10 s: b"], "no broker answers"),
    ],
)
def test_the_most_telling_line_is_the_cause(lines: list[str], text: str) -> None:
    why = cause(lines)
    assert why is not None
    assert why.text.startswith(text)


def test_a_log_without_errors_has_no_cause() -> None:
    assert cause(["INFO    plane0#1: ready", END.format(host="n1", code=1)]) is None


def test_the_end_of_a_log_begins_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "1_0.log"
    path.write_text("first line\nsecond line\nthird line\n")
    assert end_of(path, most_bytes=15) == "third line\n"
    assert end_of(path) == path.read_text()
    assert end_of(tmp_path / "none") == ""
    assert list(whole(path)) == ["first line", "second line", "third line"]


def test_the_last_life(tmp_path: Path) -> None:
    path = tmp_path / "8812_3.log"
    assert last_life(path).lines == []
    path.write_text(TWO_LIVES)
    assert last_life(path).code == 143


def test_following_shows_new_lines_of_old_and_new_logs(tmp_path: Path) -> None:
    def logs() -> dict[str, Path]:
        return {path.stem: path for path in sorted(tmp_path.iterdir())}

    (tmp_path / "1_0.log").write_text("old\n")
    follower = Follower(logs)
    assert follower.new_lines() == []
    with open(tmp_path / "1_0.log", "a") as file:
        file.write("new\nhal")
    (tmp_path / "1_1.log").write_text("first\n")
    assert follower.new_lines() == [("1_0", "new"), ("1_1", "first")]
    with open(tmp_path / "1_0.log", "a") as file:
        file.write("f\n")
    assert follower.new_lines() == [("1_0", "half")]

"""The pool folder: settings, history, markers; and the job script that `bash` runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mdp import SettingsError
from mdp.pool import job_script
from mdp.pool.launcher import Job, Resources
from mdp.pool.pool_folder import KeeperNote, PoolError, PoolFolder
from mdp.pool.pool_settings import Kind, PoolSettings, checked_raw, parse, with_kind
from mdp.settings import clock_text, seconds_of

SETTINGS = PoolSettings(
    kinds=(
        Kind("plane0", {"ssnet-plane0": 2}, ("ssnet", "worker", "planes", "--planes", "0")),
        Kind("plane1", {"ssnet-plane1": 2}, ("ssnet", "worker", "planes", "--planes", "1")),
    ),
    want={"ssnet-plane0": 3, "ssnet-plane1": 4},
    adapt=(0, 12),
    per_job=2,
    setup=("module load x", "true"),
    resources=Resources(4 * 3600, "gpu", gpus=1, raw=("--constraint=a100",), exclude=("n7",)),
)


@pytest.fixture
def pool(tmp_path: Path) -> PoolFolder:
    folder = PoolFolder(tmp_path / "july")
    folder.create()
    return folder


def test_settings_are_read_as_they_were_written(pool: PoolFolder) -> None:
    readers = Kind("readers", {"files": 1}, ("ssnet", "worker", "files"), calls_others=True)
    for settings in (SETTINGS, with_kind(SETTINGS, readers)):
        pool.write_settings(settings)
        assert pool.read_settings() == settings
    assert settings.callers == {"files"}


def test_what_a_user_added_to_the_file_stays(pool: PoolFolder) -> None:
    pool.write_settings(SETTINGS)
    text = pool.settings_file.read_text().replace('partition = "gpu"', 'partition = "gpu"  # big')
    pool.settings_file.write_text(text)
    pool.write_settings(replace(SETTINGS, want={"ssnet-plane0": 9, "ssnet-plane1": 4}))
    assert 'partition = "gpu"  # big' in pool.settings_file.read_text()
    assert pool.read_settings().want["ssnet-plane0"] == 9


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (('format = "mdp pool 1"', 'format = "x"'), "format"),
        (('time = "4:00:00"', 'time = "soon"'), "time"),
        (('adapt = "0:12"', 'adapt = "12:0"'), "adapt"),
        (("gpus = 1", "gpus = ["), "pool.toml"),
        (("gpus = 1", "gpus = [1]"), "gpus"),
        (("gpus = 1", "gpus = -1"), "gpus"),
        (("gpus = 1", "gpus = true"), "gpus"),
        (("ssnet-plane0 = 2", "ssnet-plane0 = 0"), "kinds.plane0.workers"),
        (("ssnet-plane0 = 3", "ssnet-plane0 = -3"), "want.ssnet-plane0"),
        (("ssnet-plane0 = 3", "ssnet-plane0 = nan"), "want.ssnet-plane0"),
        (("ssnet-plane0 = 3", "other = 3"), "want"),
        (("[kinds.plane0]", "[kinds.'a.b']"), "kinds"),
        (("[kinds.plane0]", "[kinds.broker]"), "kinds"),
        (('command = ["ssnet", ', 'command = ["rm", '), "kinds.plane0.command"),
        (('sbatch = ["--constraint=a100"]', "sbatch = 5"), "sbatch"),
        (('adapt = "0:12"', 'launcher = "pbs"'), "launcher"),
        (('adapt = "0:12"', 'broker = "nonsense"'), "broker"),
        (('adapt = "0:12"', "adapt = 12"), "adapt"),
        (("--constraint=a100", "--array=0-5"), "sbatch"),
        (("--constraint=a100", "--constraint=a100 -Jx"), "sbatch"),
        (("--constraint=a100", "--chd=/tmp"), "sbatch"),
        (("--constraint=a100", "--x\\nrm -r y"), "sbatch"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(
    pool: PoolFolder, change: tuple[str, str], word: str
) -> None:
    pool.write_settings(SETTINGS)
    text = pool.settings_file.read_text()
    assert change[0] in text
    with pytest.raises(SettingsError, match=word) as caught:
        parse(text.replace(*change), "july/pool.toml")
    assert "july/pool.toml" in str(caught.value)


def test_other_options_of_sbatch_pass() -> None:
    raw = ("--constraint=a100", "--wait-all-nodes=1 -C big", "--exclusive", "--nice")
    assert checked_raw(raw) == raw


@pytest.mark.parametrize("name", ["a\nb/july", 'a"b/july', "a\\b/july", "a\udcff/july", "a b"])
def test_a_folder_that_slurm_cannot_show_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError):
        PoolFolder(tmp_path / name)
    PoolFolder(tmp_path / "ü b'c$(d)" / "july")


def test_an_event_after_a_line_that_was_cut_off_is_kept(pool: PoolFolder) -> None:
    pool.note("first")
    with open(pool.history_file, "a") as file:
        file.write('{"time": 1, "ev')
    pool.note("second")
    assert [event["event"] for event in pool.history()] == ["first", "second"]


def test_jobs_are_as_many_as_the_workers_need() -> None:
    assert SETTINGS.jobs_wanted() == {"plane0": 2, "plane1": 2}
    assert SETTINGS.jobs_wanted({"ssnet-plane0": 5}) == {"plane0": 3, "plane1": 0}


def test_history_is_read_without_the_line_that_a_kill_cut(pool: PoolFolder) -> None:
    assert pool.history() == []
    pool.note("submitted", kind="plane0", array="8812", count=4)
    with open(pool.history_file, "ab") as file:
        file.write(b'{"time": 1, "event": "sta')
    assert [event["event"] for event in pool.history()] == ["submitted"]
    assert pool.history()[0]["array"] == "8812"


def test_markers_and_the_keepers_note(pool: PoolFolder) -> None:
    assert not pool.stopped_file.exists()
    pool.mark_stopped()
    assert (pool.stopped_at or 0) > 1e9
    pool.unmark_stopped()
    assert not pool.stopped_file.exists()
    assert pool.keeper() == KeeperNote()
    note = KeeperNote(pid=7, host="login2", beat=5.0, paused={"plane0": "3 bad ends"})
    pool.write_keeper(note)
    assert pool.keeper() == note


def test_what_is_no_pool_is_said(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"pool\.toml"):
        PoolFolder(tmp_path / "x").read_settings()
    with pytest.raises(SettingsError, match="name"):
        PoolFolder(tmp_path / "a b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PoolError, match="Permission denied"):
        PoolFolder(tmp_path / "july").create()


def test_a_folder_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PoolError, match="Not a directory"):
        PoolFolder(tmp_path / "file" / "july").create()


def test_logs_are_listed_in_the_order_of_their_jobs(pool: PoolFolder) -> None:
    for name in ("10_0", "9_11", "9_2", "broker", "keeper"):
        (pool.logs / f"{name}.log").write_text("")
    assert list(pool.job_logs()) == ["9_2", "9_11", "10_0"]


def test_a_jobs_kind_and_array() -> None:
    job = Job("8812_3", "my.pool.plane0", "running", "RUNNING")
    assert (job.kind, job.array) == ("plane0", "8812")


@pytest.mark.parametrize("duration_s", [90, 7200, 14400, 86400, 90061])
def test_durations_are_read_as_they_were_written(duration_s: float) -> None:
    assert seconds_of(clock_text(duration_s)) == duration_s


# The job script.


def run_script(pool: PoolFolder, command: list[str], **more: object) -> subprocess.Popen[str]:
    text = job_script.script(
        command,
        **{"program": "mdp", "name": "july", "folder": str(pool.path), **more},  # type: ignore[arg-type]
    )
    environment = {**os.environ, "SLURM_JOB_ID": "14"}
    environment |= {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    return subprocess.Popen(
        ["bash", "-c", text], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_the_script_ends_with_the_code_of_its_worker(pool: PoolFolder) -> None:
    pool.contact_file.write_text("{}")
    output, _ = (process := run_script(pool, ["sh", "-c", "echo $MDP_LOG; exit 7"])).communicate()
    lines = output.splitlines()
    assert process.returncode == 7
    assert "july job 12_3 on" in lines[0]
    assert lines[1] == str(pool.log_of("12_3"))
    assert "ended with code 7" in lines[-1]


def test_a_job_without_a_contact_file_or_after_stop_ends_at_once(pool: PoolFolder) -> None:
    output, _ = (process := run_script(pool, ["echo", "worked"])).communicate()
    assert process.returncode == 0
    assert "broker.json" in output
    assert "worked" not in output
    pool.contact_file.write_text("{}")
    pool.mark_stopped()
    output, _ = (process := run_script(pool, ["echo", "worked"])).communicate()
    assert process.returncode == 0
    assert "stopped" in output
    assert "worked" not in output


@pytest.mark.parametrize("setup", ["exit 5", "false"])
def test_a_setup_that_fails_is_named(pool: PoolFolder, setup: str) -> None:
    pool.contact_file.write_text("{}")
    process = run_script(pool, ["echo", "worked"], setup=("x=1", setup))
    output, _ = process.communicate()
    assert process.returncode == (5 if setup == "exit 5" else 1)
    assert f"ended with code {process.returncode}" in output
    assert "worked" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_worker_ends_in_order(
    pool: PoolFolder, number: signal.Signals
) -> None:
    pool.contact_file.write_text("{}")
    begun = pool.path / "begun"
    worker = (
        f"trap 'sleep 0.3; echo drained; exit 4' TERM; : > {begun}; while :; do sleep 0.05; done"
    )
    process = run_script(pool, ["bash", "-c", worker])
    while not begun.exists():
        time.sleep(0.02)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 4
    assert "drained" in output

"""The lease: one driver at a time, also where locks lie, hosts differ, or a driver is stopped."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.campaign.plan import CampaignSettings
from clients.campaign.records.catalogue import Catalogue
from clients.campaign.records.lease import (
    BEAT_S,
    STALE_S,
    Lease,
    LeaseHeld,
    LeaseLost,
    Place,
    driver_of,
)
from clients.campaign.records.reading import reading
from clients.campaign.records.rows import CatalogueFailed, New
from tests.support.processes import ROOT, until

ELSEWHERE = Place("n7", 812, 7, "another machine")
"""A driver there cannot be seen from here: only its beat tells whether it is alive."""
QUICK_S = 0.4


def claims(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".campaign" / "drivers").iterdir())


def elsewhere(folder: Path, **values: Any) -> Lease:
    return Lease(folder, stale_s=QUICK_S, place=ELSEWHERE, **values)


@contextmanager
def beating(lease: Lease) -> Iterator[None]:
    """Renew a lease all the time, as the loop of a driver does."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.02):
            lease.renew()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_driver_that_ended_makes_room_at_once(tmp_path: Path) -> None:
    with elsewhere(tmp_path) as first:
        assert first.holds()
        assert first.stage.is_dir()
    began_at = time.monotonic()
    with Lease(tmp_path) as second:
        assert second.epoch == first.epoch + 1
        assert time.monotonic() - began_at < 5 < STALE_S
    assert claims(tmp_path) == ["1.json", "2.json"]


def test_a_second_driver_is_refused_with_who_drives(tmp_path: Path) -> None:
    with elsewhere(tmp_path) as lease, beating(lease):
        with pytest.raises(LeaseHeld) as error:
            Lease(tmp_path).__enter__()
        for word in ("process 812 on n7", "user ", str(tmp_path), "ssnet campaign status"):
            assert word in str(error.value)
        assert "\n" not in str(error.value)
        assert lease.holds()


def test_a_driver_that_died_on_this_machine_makes_room_at_once(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = replace(Place.here(), pid=child.pid)
    Lease(tmp_path, place=gone).__enter__()
    driver = driver_of(tmp_path)
    assert driver is not None
    assert not driver.alive
    began_at = time.monotonic()
    with Lease(tmp_path):
        assert time.monotonic() - began_at < 5 < STALE_S


def test_a_process_number_that_was_given_again_is_not_the_driver(tmp_path: Path) -> None:
    here = Place.here()
    assert not here.is_gone(here)
    assert replace(here, start_ticks=here.start_ticks - 1).is_gone(here)
    assert not replace(here, start_ticks=1, machine="").is_gone(replace(here, machine=""))
    assert not ELSEWHERE.is_gone(here)


def test_a_silent_driver_of_another_host_is_waited_for_and_then_replaced(tmp_path: Path) -> None:
    first = elsewhere(tmp_path).__enter__()
    first.renew({"in_flight": 3})
    lines: list[str] = []
    began_at = time.monotonic()
    with Lease(tmp_path, stale_s=QUICK_S, on_wait=lines.append) as second:
        assert time.monotonic() - began_at >= QUICK_S
        assert not first.holds()
        with pytest.raises(LeaseLost, match=f"process {os.getpid()} on"):
            first.renew()
        assert second.holds()
    (line,) = lines
    assert "process 812 on n7" in line
    assert f"{QUICK_S:g} s" in line


def test_what_a_driver_tells_is_read(tmp_path: Path) -> None:
    assert driver_of(tmp_path) is None
    with elsewhere(tmp_path) as lease:
        lease.renew({"in_flight": 3, "name": os.fsdecode(b"\xff")})
        lease.renew()
        driver = driver_of(tmp_path)
        assert driver is not None
        assert (driver.host, driver.pid, driver.epoch, driver.beat) == ("n7", 812, 1, 2)
        assert driver.extra == {"in_flight": 3, "name": os.fsdecode(b"\xff")}
        assert driver.alive
        assert driver.age_s < 30
    driver = driver_of(tmp_path)
    assert driver is not None
    assert driver.released
    assert not driver.alive


def test_a_lease_is_renewed_while_its_driver_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.campaign.records.lease.BEAT_S", 0.01)
    with elsewhere(tmp_path) as lease:
        lease.renew({"in_flight": 3})
        with lease.beating(), beating(lease):  # by two threads
            with pytest.raises(LeaseHeld):
                Lease(tmp_path).__enter__()
            until(lambda: driver_of(tmp_path).beat > 5, "it beats")  # type: ignore[union-attr]
        driver = driver_of(tmp_path)
        assert driver is not None
        assert driver.extra == {"in_flight": 3}
        with Lease(tmp_path, stale_s=QUICK_S), lease.beating():
            time.sleep(0.05)  # its thread ends without an error
            with pytest.raises(LeaseLost):
                lease.check()


def race(folder: Path, count: int) -> list[Lease]:
    """Let drivers of many hosts start at one instant; return those that hold the lease."""
    barrier = threading.Barrier(count)
    winners: list[Lease] = []

    def start(number: int) -> None:
        place = Place(f"n{number}", number, 1, f"machine {number}")
        barrier.wait()
        with suppress(LeaseHeld):
            lease = Lease(folder, stale_s=0.5, place=place).__enter__()
            winners.append(lease)
            for _ in range(30):
                lease.renew()
                time.sleep(0.02)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return winners


def test_of_many_that_start_at_once_one_drives_although_every_lock_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flock", "lockf"):
        monkeypatch.setattr(fcntl, name, lambda *_: None)
    (first,) = race(tmp_path, 8)
    (second,) = race(tmp_path, 8)  # after the death of the first one
    assert second.epoch == first.epoch + 1
    assert [lease.holds() for lease in (first, second)] == [False, True]


def test_an_old_listing_of_the_folder_gives_no_second_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An NFS client may list a folder as it was a minute ago."""
    for _ in range(3):
        elsewhere(tmp_path).__enter__().__exit__(None, None, None)
    with elsewhere(tmp_path) as holder, beating(holder):
        listdir, old = os.listdir, [["2.json"], ["2.json"], ["2.json", "3.json"]]
        mine = threading.get_ident()

        def list_old(path: Any) -> list[str]:
            if threading.get_ident() == mine and Path(path).name == "drivers" and old:
                return old.pop(0)
            return listdir(path)

        monkeypatch.setattr(os, "listdir", list_old)
        with pytest.raises(LeaseHeld):
            Lease(tmp_path).__enter__()
        assert not old
        assert holder.holds()


def test_a_file_that_cannot_be_read_for_a_moment_is_no_sign_of_life(tmp_path: Path) -> None:
    elsewhere(tmp_path).__enter__()
    claim = tmp_path / ".campaign" / "drivers" / "1.json"
    content = claim.read_bytes()
    claim.write_bytes(content[:20])
    timer = threading.Timer(QUICK_S / 4, lambda: claim.write_bytes(content))
    timer.start()
    with Lease(tmp_path, stale_s=QUICK_S) as lease:
        assert lease.epoch == 2
    timer.join()


@pytest.mark.parametrize("claim", [b"", b"[]", b"{}", b'{"machine": 7, "pid": "x"}', b"\xff\0"])
def test_a_claim_with_odd_content_is_only_stale(tmp_path: Path, claim: bytes) -> None:
    drivers = tmp_path / ".campaign" / "drivers"
    drivers.mkdir(parents=True)
    (drivers / "5.json").write_bytes(claim)
    (drivers / "x.json").write_bytes(claim)
    assert driver_of(tmp_path) is not None
    with Lease(tmp_path, stale_s=QUICK_S) as lease:
        assert lease.epoch == 6


def test_old_claims_are_removed_but_not_the_last_ones(tmp_path: Path) -> None:
    for _ in range(25):
        with Lease(tmp_path):
            pass
    assert len(claims(tmp_path)) == 21
    assert driver_of(tmp_path).epoch == 25  # type: ignore[union-attr]


def test_a_folder_that_is_removed_or_not_writable_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "campaign"
    with Lease(folder) as lease:
        (folder / ".campaign").rename(tmp_path / "elsewhere")
        assert not lease.holds()
        with pytest.raises(LeaseLost, match="is gone"):
            lease.check()
    (tmp_path / "file").touch()
    with pytest.raises(CatalogueFailed, match="Not a directory"):
        Lease(tmp_path / "file").__enter__()


# A late driver.


def test_what_a_late_driver_publishes_gets_no_name(tmp_path: Path) -> None:
    late = elsewhere(tmp_path).__enter__()
    for name in ("1", "2"):
        (late.stage / name).write_text(f"late {name}")
    os.rename(late.stage / "1", tmp_path / "out1")  # before it is taken for dead
    with Lease(tmp_path, stale_s=QUICK_S) as successor:
        assert not late.stage.exists()
        with pytest.raises(FileNotFoundError):
            os.rename(late.stage / "2", tmp_path / "out2")
        attempt = tmp_path / "attempt"
        attempt.touch()
        with pytest.raises(FileNotFoundError):
            os.rename(attempt, late.stage / "3")
        assert [path.name for path in successor.stage.iterdir()] == ["2"]
        assert (successor.stage / "2").read_text() == "late 2"
    assert (tmp_path / "out1").read_text() == "late 1"
    assert not (tmp_path / "out2").exists()


def test_a_late_driver_with_the_old_folder_in_its_cache_publishes_nothing(tmp_path: Path) -> None:
    """Its NFS client needs no name for the folder: it holds a handle. So does a descriptor."""
    late = elsewhere(tmp_path).__enter__()
    (late.stage / "1").touch()
    handle = os.open(late.stage, os.O_RDONLY)
    target = os.open(tmp_path, os.O_RDONLY)
    with Lease(tmp_path, stale_s=QUICK_S):
        for name in ("1", "2"):
            with pytest.raises(FileNotFoundError):
                os.rename(name, "out", src_dir_fd=handle, dst_dir_fd=target)
        (tmp_path / "attempt").touch()
        with pytest.raises(FileNotFoundError):
            os.rename("attempt", "1", src_dir_fd=target, dst_dir_fd=handle)
    os.close(handle)
    os.close(target)


def test_a_driver_that_is_late_while_it_takes_over_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with elsewhere(tmp_path) as first:
        (first.stage / "1").touch()
    rename = os.rename

    def stop_here(*names: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        with Lease(tmp_path, stale_s=QUICK_S) as successor:
            assert (successor.stage / "1").exists()
        rename(*names)

    monkeypatch.setattr(os, "rename", stop_here)
    with pytest.raises(LeaseLost):
        elsewhere(tmp_path).__enter__()
    stages = list((tmp_path / ".campaign").glob("stage-*"))
    assert [path.name for path in stages] == ["stage-3"]


def test_outputs_wait_in_the_stage_of_whichever_driver_comes_next(tmp_path: Path) -> None:
    with Lease(tmp_path) as first:
        (first.stage / "1").write_text("one")
    with Lease(tmp_path) as second:
        (second.stage / "2").write_text("two")
    with Lease(tmp_path) as third:
        assert sorted(path.name for path in third.stage.iterdir()) == ["1", "2"]
        for path in third.stage.iterdir():
            path.unlink()
    assert not list((tmp_path / ".campaign").glob("stage-*"))


DRIVE = """
import os, sys, time
from contextlib import suppress
from pathlib import Path
from clients.campaign.plan import CampaignSettings
from clients.campaign.records.catalogue import Catalogue
from clients.campaign.records.lease import Lease, LeaseLost
from clients.campaign.records.rows import New

folder = Path(sys.argv[1])
with Lease(folder) as lease:
    with Catalogue.create_or_open(folder, CampaignSettings(), lease.epoch) as catalogue:
        catalogue.add([New("/1.root", 1, 1, "1.root")])
        (lease.stage / "1").write_text("late")
        print("drives", flush=True)
        beat = time.monotonic()
        while lease.holds():
            if time.monotonic() - beat > 0.05:
                with suppress(LeaseLost):
                    lease.renew({})
                beat = time.monotonic()
        errors = []
        for action in (
            lease.renew,
            lambda: catalogue.add([New("/late.root", 1, 1, "late.root")]),
            lambda: os.rename(lease.stage / "1", folder / "1.root"),
        ):
            try:
                action()
                errors.append("nothing")
            except Exception as error:
                errors.append(type(error).__name__)
        print(*errors, flush=True)
"""


def test_a_driver_that_was_stopped_wakes_up_and_can_write_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVE, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "drives\n"
            with pytest.raises(LeaseHeld, match=f"process {process.pid} on"):
                Lease(tmp_path, stale_s=QUICK_S).__enter__()
            process.send_signal(signal.SIGSTOP)
            with (
                Lease(tmp_path, stale_s=QUICK_S) as lease,
                Catalogue.create_or_open(tmp_path, None, lease.epoch) as catalogue,
            ):
                process.send_signal(signal.SIGCONT)
                found = process.stdout.readline().split()
                assert found == ["LeaseLost", "CatalogueFailed", "FileNotFoundError"]
                assert process.wait() == 0
                catalogue.add([New("/2.root", 1, 1, "2.root")])
                os.rename(lease.stage / "1", tmp_path / "1.root")
        finally:
            process.kill()
    with reading(tmp_path) as read:
        assert [file.path for file in read.files()] == ["/1.root", "/2.root"]


def test_the_beat_is_far_shorter_than_the_time_after_which_a_driver_is_dead() -> None:
    assert STALE_S >= 20 * BEAT_S


def test_a_claim_is_plain_json(tmp_path: Path) -> None:
    with Lease(tmp_path):
        values = json.loads((tmp_path / ".campaign" / "drivers" / "1.json").read_text())
    assert {"host", "pid", "user", "started_at", "beat", "machine"} <= set(values)


def test_campaign_settings_and_a_lease_make_a_campaign(tmp_path: Path) -> None:
    with (
        Lease(tmp_path) as lease,
        Catalogue.create_or_open(tmp_path, CampaignSettings(), lease.epoch) as catalogue,
    ):
        until(lambda: catalogue.path.exists(), "the catalogue is there")
        assert catalogue.path.name == f"catalogue-{lease.epoch}.sqlite"

"""Readers of a campaign's files: real brokers, workers, files, and real deaths."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.campaign.file_request import SERVICE, FileReport
from clients.campaign.readers.reader import FileReader
from mdp import Client, ClientSettings, Heartbeats, Refused, WorkersDied
from tests.support import campaign_files, plane_pools
from tests.support.campaign_files import alone, answer, readers, request, work
from tests.support.processes import QUICK, Processes, children, free_port, until

EVENTS = 8


class Site:
    """A broker with slow planes, one reader, a campaign's folder and an input."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes = processes
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(self.endpoint, *QUICK)
        plane_pools.start(processes, self.endpoint, seconds=0.02)
        self.host = readers(processes, self.endpoint)
        self.source = folder / "in.root"
        plane_pools.toys(self.source, EVENTS)
        self.alone = alone(self.endpoint, self.source, folder / "alone.root")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Processes(folder) as processes:
        yield Site(processes, folder)


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    settings = ClientSettings(heartbeats=Heartbeats(0.2, 3), timeout_s=60.0, waits=True)
    with Client(site.endpoint, settings) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return campaign_files.campaign(tmp_path / "out")


def staged(folder: Path, report: FileReport) -> Path:
    return work(folder) / report.staged


def test_a_file_is_scored_into_the_folder_of_its_attempt(
    site: Site, client: Client, folder: Path
) -> None:
    report = answer(client, request(site.source, folder, 17, name="july/in_ssnet.root"))
    assert report.ok, report.reason
    assert report.staged == f"17/{report.token}/in_ssnet.root"
    assert plane_pools.same(plane_pools.read(staged(folder, report)), site.alone)
    assert (report.entries, report.events, report.failed_events) == (EVENTS, EVENTS, 0)
    assert sorted(report.networks) == [0, 1, 2]
    assert not (folder / "july").exists()
    assert os.listdir(work(folder) / "17" / report.token) == ["in_ssnet.root"]


def parts_of(folder: Path, number: int = 1) -> dict[str, int]:
    """How many finished parts each attempt has."""
    attempts = (work(folder) / str(number)).glob("*/.*.parts")
    return {parts.parent.name: len(list(parts.glob("part-*"))) for parts in attempts}


def test_the_parts_of_a_reader_that_was_killed_are_used_by_the_next(
    site: Site, client: Client, folder: Path
) -> None:
    asked = request(site.source, folder)
    future = client.submit(SERVICE, asked.pack())
    until(lambda: sum(parts_of(folder).values()) >= 3, "three events are saved")
    (child,) = children(site.host)
    os.kill(child, signal.SIGKILL)
    report = FileReport.unpack(future.result())
    assert report.ok, report.reason
    assert report.entries == EVENTS
    assert report.events <= EVENTS - 2
    assert plane_pools.same(plane_pools.read(staged(folder, report)), site.alone)
    assert len(os.listdir(work(folder) / "1")) == 2  # an attempt never removes another


def test_a_reader_that_comes_back_late_cannot_change_its_successors_files(
    site: Site, client: Client, folder: Path
) -> None:
    asked = request(site.source, folder)
    future = client.submit(SERVICE, asked.pack())
    until(lambda: sum(parts_of(folder).values()) >= 2, "two events are saved")
    (late,) = parts_of(folder)
    stopped = [site.host.pid, *children(site.host)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    other = readers(site.processes, site.endpoint)
    try:
        report = FileReport.unpack(future.result())
        assert report.ok, report.reason
        assert report.token != late
        assert report.events <= EVENTS - 1
        content = staged(folder, report).read_bytes()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    late_output = work(folder) / "1" / late / asked.name

    def is_over() -> bool:  # it finishes its file, or is killed after a grace of 10 s
        return late_output.exists() or children(site.host) != stopped[1:]

    until(is_over, "the late reader has ended its attempt")
    assert staged(folder, report).read_bytes() == content
    assert plane_pools.same(plane_pools.read(staged(folder, report)), site.alone)
    other.send(signal.SIGTERM)
    assert other.exit_code() == 0


def test_a_file_that_an_earlier_attempt_completed_is_not_scored_again(
    site: Site, client: Client, folder: Path
) -> None:
    first, second = (answer(client, request(site.source, folder)) for _ in range(2))
    assert (first.events, second.events) == (EVENTS, 0)
    assert (second.entries, second.ok) == (EVENTS, True)
    assert second.token != first.token
    assert second.out_sha256 == first.out_sha256
    assert second.networks == first.networks
    assert staged(folder, second).samefile(staged(folder, first))


def test_what_was_scored_with_other_settings_is_not_adopted(
    site: Site, client: Client, folder: Path
) -> None:
    options = {**campaign_files.OPTIONS.as_dict(), "low_adc": 20.0}
    first = answer(client, request(site.source, folder, options=options))
    second = answer(client, request(site.source, folder))
    assert (first.events, second.events) == (EVENTS, EVENTS)
    assert plane_pools.same(plane_pools.read(staged(folder, second)), site.alone)


def test_bad_inputs_are_reported_and_leave_nothing(
    site: Site, client: Client, folder: Path, tmp_path: Path
) -> None:
    before = children(site.host)
    good = site.source.read_bytes()
    contents = {
        "text": b"not a file of images " * 100,
        "empty": b"",
        "truncated": good[: len(good) // 2],
        "zeroed": good[:300] + bytes(len(good) - 300),
    }
    for number, (name, content) in enumerate(contents.items()):
        path = tmp_path / f"{name}.root"
        path.write_bytes(content)
        report = answer(client, request(path, folder, number))
        assert (report.ok, report.kind) == (False, "input"), (name, report)
        assert path.name in report.reason
        assert "\n" not in report.reason
    gone = request(path, folder, 10)
    path.unlink()
    report = answer(client, gone)
    assert report.kind == "input"
    assert "No such file" in report.reason
    place = tmp_path / "folder.root"
    place.mkdir()
    report = answer(client, request(place, folder, 11))
    assert report.kind == "input"
    assert "folder" in report.reason
    assert os.listdir(work(folder)) == []
    assert children(site.host) == before


def test_an_input_that_changed_is_not_scored(
    site: Site, client: Client, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "in.root"
    path.write_bytes(site.source.read_bytes())
    asked = request(path, folder)
    future = client.submit(SERVICE, asked.pack())
    until(lambda: sum(parts_of(folder).values()) >= 2, "two events are saved")
    os.utime(path, ns=(0, 12345))  # in the middle
    report = FileReport.unpack(future.result())
    assert (report.ok, report.kind, report.staged) == (False, "changed", "")
    report = answer(client, asked)  # before the first event
    assert (report.kind, report.token) == ("changed", "")
    assert os.listdir(work(folder)) == []


def test_a_full_disk_is_reported_and_the_next_attempt_goes_on(
    site: Site, client: Client, folder: Path
) -> None:
    asked = request(site.source, folder)
    future = client.submit(SERVICE, asked.pack())
    until(lambda: sum(parts_of(folder).values()) >= 2, "two events are saved")
    (child,) = children(site.host)
    soft, hard = resource.prlimit(child, resource.RLIMIT_FSIZE)
    resource.prlimit(child, resource.RLIMIT_FSIZE, (1000, hard))  # EFBIG in place of ENOSPC
    try:
        report = FileReport.unpack(future.result())
        assert (report.ok, report.kind) == (False, "write"), report
        assert "write" in report.reason
    finally:
        resource.prlimit(child, resource.RLIMIT_FSIZE, (soft, hard))
    report = answer(client, asked)
    assert report.ok, report.reason
    assert report.events <= EVENTS - 1
    assert plane_pools.same(plane_pools.read(staged(folder, report)), site.alone)


def test_a_request_for_the_folder_of_somebody_else_is_refused(
    site: Site, client: Client, tmp_path: Path
) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Refused, match="want a campaign"):
            answer(client, request(site.source, place))
    assert os.listdir(tmp_path) == []


def test_options_of_another_version_are_an_error_of_settings(
    site: Site, client: Client, folder: Path
) -> None:
    report = answer(client, request(site.source, folder, options={"speed": 9}))
    assert (report.ok, report.kind) == (False, "settings")


def test_a_file_is_checked_against_its_output(
    site: Site, client: Client, folder: Path, tmp_path: Path
) -> None:
    report = answer(client, request(site.source, folder))
    output = folder / "in_ssnet.root"
    os.rename(staged(folder, report), output)
    checked = answer(client, request(site.source, folder, verb="check"))
    names = {row["name"]: row["verdict"] for row in checked.findings}
    assert names["provenance"] == names["inputs"] == names["readable"] == "ok"
    assert (checked.out_bytes, checked.out_sha256) == (report.out_bytes, report.out_sha256)
    other = tmp_path / "other.root"
    plane_pools.toys(other, EVENTS, seed=4)
    wrong = answer(client, request(other, folder, verb="check", name="in_ssnet.root"))
    assert not wrong.ok
    assert "inputs" in wrong.reason
    output.write_bytes(b"damaged")
    damaged = answer(client, request(site.source, folder, verb="check"))
    assert (damaged.ok, damaged.kind) == (False, "write")


def test_planes_without_workers_are_named_after_the_wait(
    processes: Processes, endpoint: str, site: Site, folder: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    options = {**campaign_files.OPTIONS.as_dict(), "wait_s": 0.5}
    asked = request(site.source, folder, options=options)
    report = FileReport.unpack(FileReader(endpoint).handle(asked.pack()))
    assert (report.ok, report.kind) == (False, "service")
    assert "ssnet-plane0" in report.reason
    assert os.listdir(work(folder)) == []


def test_a_file_of_which_readers_die_is_given_up(
    site: Site, client: Client, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(campaign_files.BROKER, site.endpoint)
    service, target = "files-that-abort", "tests.support.campaign_files:AbortingReader"
    site.processes.worker(site.endpoint, service, target, *QUICK)
    bad = tmp_path / "abort.root"
    bad.write_bytes(b"")
    lost = client.submit(service, request(bad, folder, 1).pack())
    good = client.submit(service, request(site.source, folder, 2).pack())
    with pytest.raises(WorkersDied):
        lost.result()
    assert FileReport.unpack(good.result()).ok


def test_an_output_is_written_on_a_scratch_disk_and_moved_whole(
    site: Site, client: Client, folder: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    future = client.submit(SERVICE, request(site.source, folder, scratch=str(scratch)).pack())

    def parts() -> int:
        return len(list(scratch.glob("ssnet-*/.*.parts/part-*")))

    until(lambda: parts() >= 3, "three events are saved")
    assert parts_of(folder) == {}
    (child,) = children(site.host)
    os.kill(child, signal.SIGKILL)
    report = FileReport.unpack(future.result())
    assert report.ok, report.reason
    assert report.events <= EVENTS - 2
    assert "move" in report.stages
    assert plane_pools.same(plane_pools.read(staged(folder, report)), site.alone)
    assert os.listdir(scratch) == []
    assert os.listdir(staged(folder, report).parent) == ["in_ssnet.root"]
    asked = request(site.source, folder, 2, scratch="$NO_SUCH_VARIABLE")
    report = answer(client, asked)
    assert (report.ok, report.kind) == (False, "write")
    assert "NO_SUCH_VARIABLE" in report.reason

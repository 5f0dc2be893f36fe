"""The driver of a campaign with a real broker and readers that need no planes."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from clients.campaign.driving.driver import drive
from clients.campaign.driving.loop import cancel_marker
from clients.campaign.driving.services import Services, remember, remembered
from clients.campaign.driving.task import CampaignStopped, Outcome, Task
from clients.campaign.inputs import Given, expand
from clients.campaign.plan import CampaignSettings, ScoringOptions
from clients.campaign.records.catalogue import Catalogue
from clients.campaign.records.lease import Lease, LeaseHeld, LeaseLost
from clients.campaign.records.reading import reading
from clients.flow.progress import Progress, rate_text
from lartpc import WriteError
from mdp import SettingsError
from tests.support.odd_readers import SERVICE, scored
from tests.support.processes import Processes, free_port, until

READERS = 2
OPTIONS = ScoringOptions(heartbeat_s=0.2)
KEYWORDS: dict[str, object] = Lease.__init__.__kwdefaults__ or {}
SETTINGS = CampaignSettings(options=OPTIONS, name="{stem}{suffix}")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with two readers."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("broker")) as started:
        started.broker(endpoint, "--heartbeat", "0.2")
        target = "tests.support.odd_readers:OddReader"
        options = ("--heartbeat", "0.2", "-n", str(READERS))
        started.worker(endpoint, SERVICE, target, *options)
        yield endpoint


class Shown(Progress):
    """What a driver says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.noted = ""
        self.counts: tuple[int, int, int] = (0, 0, 0)

    def begin(self, text: str, *, done: int = 0, total: int = 0, failed: int = 0) -> None:
        self.lines.append(text)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.noted = text

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        self.counts = done, total, failed

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Files:
    """Inputs with one name each, and the folder of their campaign."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.inputs, self.folder = folder / "in", folder / "out"
        self.inputs.mkdir()
        self.folder.mkdir()
        self.broker = broker
        self.shown = Shown()

    def make(self, *names: str) -> list[Given]:
        for name in names:
            (self.inputs / name).write_bytes(f"events of {name}".encode())
        return self.given(*names)

    def given(self, *names: str) -> list[Given]:
        return expand([str(self.inputs / name) for name in names], folder=self.folder)

    def drive(
        self,
        inputs: Sequence[Given] = (),
        settings: CampaignSettings | None = SETTINGS,
        **more: bool,
    ) -> Outcome:
        self.shown = Shown()
        task = Task(self.folder, settings, inputs, **more)  # type: ignore[arg-type]
        return drive(task, self.broker, progress=self.shown)

    def has(self, name: str) -> bool:
        """Whether an output is right."""
        output = self.folder / name
        return output.exists() and output.read_bytes() == scored((self.inputs / name).read_bytes())

    def asked(self, name: str) -> int:
        log = self.inputs / "log"
        return log.read_text().split().count(name) if log.exists() else 0

    def states(self) -> dict[str, str]:
        with reading(self.folder) as catalogue:
            return {Path(file.path).name: file.state for file in catalogue.files()}

    def work(self) -> list[str]:
        work = self.folder / ".campaign" / "work"
        return sorted(path.name for path in work.iterdir()) if work.exists() else []


@pytest.fixture
def files(tmp_path: Path, broker: str) -> Files:
    return Files(tmp_path, broker)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.campaign.driving.progression.RETRY_S", 0.1)
    monkeypatch.setattr("clients.campaign.driving.watching._LEAST_S", 0.1)


def test_every_file_is_scored_once_and_has_its_final_name(files: Files) -> None:
    names = [f"a{number}.root" for number in range(40)]
    outcome = files.drive(files.make(*names))
    assert (outcome.files, outcome.done, outcome.scored) == (40, 40, 40)
    assert (outcome.events, outcome.left, outcome.has_failures) == (80, 0, False)
    assert all(files.has(name) and files.asked(name) == 1 for name in names)
    assert files.work() == []
    assert files.shown.counts == (40, 40, 0)
    again = files.drive()
    assert (again.scored, again.done) == (0, 40)
    assert files.drive(files.make("old1.root")).scored == 1
    assert files.shown.noted == "82 events, 0 events a minute"  # only those of this run count


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0"), (0.004, "0.004"), (2.5, "2.5"), (99.96, "100"), (2126.4, "2126"), (1e7, "10000000")],
)
def test_rates_have_no_powers_of_ten(rate: float, text: str) -> None:
    assert rate_text(rate) == text


def test_a_file_that_fails_is_named_tried_again_and_left_to_retry(files: Files) -> None:
    outcome = files.drive(files.make("bad1.root", "flaky1.root", "a1.root"))
    assert (outcome.done, outcome.failed, outcome.has_failures) == (2, 1, True)
    assert files.asked("bad1.root") == files.asked("flaky1.root") == 2
    assert f"end: {files.inputs / 'bad1.root'}: it is damaged" in files.shown.text
    assert files.states()["bad1.root"] == "failed"
    assert files.drive().scored == 0
    (files.inputs / "bad1.root").write_bytes(b"larger than before")
    again = files.drive(retry=True)
    assert (again.failed, files.asked("bad1.root")) == (1, 4)
    with reading(files.folder) as catalogue:
        assert {file.bytes for file in catalogue.files("failed")} == {18}


def test_only_some_failures_are_named(files: Files) -> None:
    lenient = replace(SETTINGS, options=replace(OPTIONS, max_failed=1.0), file_tries=1)
    outcome = files.drive(files.make(*(f"bad{n}.root" for n in range(30))), lenient)
    assert outcome.failed == 30
    assert files.shown.text.count("it is damaged") == 20
    assert files.shown.text.count("list") == 1


def test_a_file_that_changed_after_it_was_listed_is_scored_as_it_is(files: Files) -> None:
    given = files.make("a1.root")
    (files.inputs / "a1.root").write_bytes(b"another size, really")
    assert files.drive(given).done == 1
    assert files.has("a1.root")
    assert files.asked("a1.root") == 2


def test_a_retry_leaves_no_output_of_the_earlier_content(files: Files) -> None:
    assert files.drive(files.make("d1.root", "e1.root")).done == 2
    (files.inputs / "e1.root").write_bytes((files.inputs / "d1.root").read_bytes())
    with (
        Lease(files.folder) as lease,
        Catalogue.create_or_open(files.folder, None, lease.epoch) as catalogue,
    ):
        [number] = [one.number for one in catalogue.files() if one.path.endswith("e1.root")]
        catalogue.changed([(number, 1, 1, "it changed")])
    files.drive(retry=True)
    assert files.states() == {"d1.root": "done", "e1.root": "repeated"}
    assert files.has("d1.root")
    assert not (files.folder / "e1.root").exists()


def test_failed_events_have_a_report_beside_the_output(files: Files) -> None:
    outcome = files.drive(files.make("empty1.root"))
    assert (outcome.failed_events, outcome.has_failures) == (1, True)
    assert (files.folder / "empty1.root.failed.json").read_text() == "1 failed\n"
    with reading(files.folder) as catalogue:
        assert catalogue.rows("SELECT reason FROM events") == [("no scores",)]


def test_the_same_content_under_another_name_is_scored_once(files: Files) -> None:
    files.make("a1.root", "a2.root")
    (files.inputs / "a2.root").write_bytes((files.inputs / "a1.root").read_bytes())
    outcome = files.drive(files.given("a1.root", "a2.root"))
    assert (outcome.done, outcome.repeated, outcome.left) == (1, 1, 0)
    assert sorted(files.states().values()) == ["done", "repeated"]
    assert "has the content of" in files.shown.text
    assert files.work() == []
    more = [files.inputs / "a3.root"]
    more[0].write_bytes((files.inputs / "a1.root").read_bytes())
    assert files.drive(files.given("a3.root")).repeated == 2


def test_with_repeat_inputs_it_is_scored_each_time(files: Files) -> None:
    files.make("a1.root", "a2.root")
    (files.inputs / "a2.root").write_bytes((files.inputs / "a1.root").read_bytes())
    settings = replace(SETTINGS, options=replace(OPTIONS, repeat_inputs=True))
    assert files.drive(files.given("a1.root", "a2.root"), settings).done == 2


def test_an_output_of_another_network_is_not_published(files: Files) -> None:
    files.drive(files.make("a1.root"))
    with pytest.raises(CampaignStopped, match="usual before, other now"):
        files.drive(files.make("other1.root"))
    assert not (files.folder / "other1.root").exists()
    assert files.states() == {"a1.root": "done", "other1.root": "waiting"}


def test_a_full_disk_of_the_readers_stops_the_campaign_and_loses_nothing(files: Files) -> None:
    names = [f"full{number}.root" for number in range(30)]
    with pytest.raises(CampaignStopped, match="No space left"):
        files.drive(files.make(*names))
    assert set(files.states().values()) == {"waiting"}


def test_an_output_that_is_not_where_its_reader_put_it_is_scored_again(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.campaign.driving.publish._PATIENCE_S", 0.1)
    assert files.drive(files.make("lost1.root")).done == 1
    assert files.has("lost1.root")
    assert files.asked("lost1.root") == 2


def test_files_that_are_there_already_are_not_replaced(files: Files) -> None:
    given = files.make("a1.root", "a2.root")
    (files.folder / "a1.root").write_text("of somebody")
    with pytest.raises(SettingsError, match=r"a1\.root"):
        files.drive(given)
    assert files.drive(given, force=True).done == 2
    assert files.has("a1.root")


def test_force_replaces_no_input_through_a_link(files: Files) -> None:
    given = files.make("a1.root")
    (files.folder / "sub").symlink_to("../in")
    below = replace(SETTINGS, name="sub/{stem}{suffix}")
    for force in (True, False):
        with pytest.raises(SettingsError, match=r"link out of .*/in"):
            files.drive(given, below, force=force)
    (files.folder / "sub").unlink()
    (files.folder / "sub").mkdir()
    os.link(given[0].path, files.folder / "sub" / "a1.root")
    with pytest.raises(SettingsError, match="is an input"):
        files.drive(given, below, force=True)
    assert given[0].path.read_text() == "events of a1.root"


def test_outputs_that_cannot_have_their_names_are_refused(files: Files) -> None:
    under = replace(SETTINGS, name="{folder}/{stem}{suffix}")
    (files.folder / "a1.root").mkdir()
    with pytest.raises(SettingsError, match=r"a1\.root is a folder"):
        files.drive(files.make("a1.root"), under, force=True)
    (files.folder / "a1.root").rmdir()
    (files.inputs / "d" / "b1.root").mkdir(parents=True)
    (files.inputs / "d" / "b1.root" / "c1.root").write_text("events")
    below = expand([str(files.inputs / "d")], folder=files.folder)
    with pytest.raises(SettingsError, match=r"is a folder of other outputs|is to be a folder"):
        files.drive([*files.make("b1.root"), *below], under)
    assert files.drive(below, under).done == 1
    with pytest.raises(SettingsError, match="folder"):
        files.drive(files.given("b1.root"), under)


def test_a_start_that_is_refused_fixes_no_options(files: Files) -> None:
    given = files.make("a1.root")
    (files.folder / "a1.root").write_text("of somebody")
    for name in ("same.root", "{stem}{suffix}"):
        with pytest.raises(SettingsError):
            files.drive(given, replace(SETTINGS, name=name))
        assert not (files.folder / ".campaign").exists()
    watched = replace(SETTINGS, watch=str(files.inputs), settle_s=99.0)
    thread = threading.Thread(target=lambda: files.drive((), watched))
    thread.start()
    until(lambda: files.shown.lines, "it has begun")
    cancel_marker(files.folder).touch()
    thread.join(20.0)
    assert files.states() == {}
    assert files.drive(given, replace(SETTINGS, name="b_{stem}{suffix}")).done == 1


WAYS: dict[str, Callable[[Path, Path], object]] = {
    "folder": lambda name, other: name.mkdir(parents=True),
    "file": lambda name, other: name.parent.write_text("of somebody"),
    "link": lambda name, other: name.parent.symlink_to(other),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", ["accept", "recover"])
def test_an_output_that_cannot_get_its_name_fails_and_the_others_do_not(
    files: Files, monkeypatch: pytest.MonkeyPatch, way: str, step: str
) -> None:
    (files.inputs / "d").mkdir()
    (files.inputs / "d" / "a1.root").write_text("events")
    given = expand([str(files.inputs / "d")], folder=files.folder)
    settings = replace(SETTINGS, name="x/{stem}{suffix}")

    def after(done: str) -> None:
        if done == "accept":
            WAYS[way](files.folder / "x" / "a1.root", files.inputs / "d")
            if step == "recover":
                raise KeyboardInterrupt

    task = Task(files.folder, settings, given)
    if step == "recover":
        with pytest.raises(KeyboardInterrupt):
            drive(task, files.broker, after=after)
        outcome = files.drive((), None)
    else:
        outcome = drive(task, files.broker, after=after)
    assert (outcome.failed, outcome.left) == (1, 0)
    with reading(files.folder) as catalogue:
        [file] = catalogue.files("failed")
    assert file.kind == "write"
    assert "ssnet campaign retry" in file.reason
    assert (files.inputs / "d" / "a1.root").read_text() == "events"
    wrong = files.folder / "x"
    if wrong.is_dir() and not wrong.is_symlink():
        shutil.rmtree(wrong)
    else:
        wrong.unlink()
    assert files.drive((), None, retry=True).done == 1


def test_cancel_finishes_what_is_in_flight_and_begins_nothing(files: Files) -> None:
    names = [f"slow{number}.root" for number in range(9)]
    given = files.make(*names)
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(files.drive(given)))
    thread.start()
    until(lambda: files.asked("slow1.root"), "the second file is being scored")
    cancel_marker(files.folder).touch()
    thread.join(20.0)
    (outcome,) = outcomes
    assert outcome.cancelled
    assert 0 < outcome.done <= 2 * READERS
    assert outcome.left == 9 - outcome.done
    assert not cancel_marker(files.folder).exists()
    assert sum(files.has(name) for name in names) == outcome.done


def test_a_second_driver_is_refused(files: Files) -> None:
    given, ended = files.make("a1.root"), threading.Event()
    with Lease(files.folder) as lease:

        def beat() -> None:
            while not ended.wait(0.1):
                lease.renew()

        thread = threading.Thread(target=beat)
        thread.start()
        with pytest.raises(LeaseHeld):
            files.drive(given)
        ended.set()
        thread.join()


def test_a_driver_that_lost_its_lease_publishes_and_commits_nothing(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = files.make("a1.root")
    taken = threading.Event()

    def holds(lease: Lease) -> bool:
        return not taken.is_set()

    monkeypatch.setattr(Lease, "holds", holds)
    take = Catalogue.publishing

    def publishing(catalogue: Catalogue, *arguments: object) -> None:
        taken.set()
        take(catalogue, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalogue, "publishing", publishing)
    with pytest.raises(LeaseLost):
        files.drive(given)
    taken.clear()
    assert files.states() == {"a1.root": "publishing"}
    monkeypatch.undo()
    monkeypatch.setattr(Lease.__init__, "__kwdefaults__", {**KEYWORDS, "stale_s": 0.2})
    assert files.drive().done == 1
    assert files.has("a1.root")


def test_new_files_of_a_watched_folder_are_taken(files: Files) -> None:
    settings = replace(SETTINGS, watch=str(files.inputs), settle_s=0.1)
    files.make("a1.root")
    thread = threading.Thread(target=lambda: files.drive((), settings))
    thread.start()
    until(lambda: files.has("a1.root"), "the first file is scored")
    files.make("a2.root")
    until(lambda: files.has("a2.root"), "the new file is scored")
    cancel_marker(files.folder).touch()
    thread.join(20.0)
    assert set(files.states().values()) == {"done"}


def test_what_cannot_be_taken_from_a_watched_folder_is_named_once_and_left_out(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    long, other = "x" * 240, files.inputs / "sub"
    other.mkdir()
    files.make(f"{long}.root", "a1.root", "taken1.root")
    (other / "a1.root").write_text("another of this name")
    (files.inputs / "nowhere.root").symlink_to("nothing")
    os.mkfifo(files.inputs / "pipe.root")
    (files.folder / "taken1.root").write_text("of somebody")
    settings = replace(SETTINGS, watch=str(files.inputs), settle_s=0.1)
    thread = threading.Thread(target=lambda: files.drive((), settings))
    thread.start()
    until(lambda: files.has("a1.root") and "pipe.root" in caplog.text, "the first is scored")
    files.make("b1.root")
    until(lambda: files.has("b1.root"), "the new file is scored")
    (files.folder / "taken1.root").unlink()
    until(lambda: files.has("taken1.root"), "the way is free")
    cancel_marker(files.folder).touch()
    thread.join(20.0)
    assert not thread.is_alive()
    for name in (long, "sub/a1.root", "nowhere.root", "pipe.root", "in/taken1.root"):
        lines = [one.getMessage() for one in caplog.records if name in one.getMessage()]
        assert len(lines) == 1, lines
        assert "left out" in lines[0]


def test_a_folder_that_cannot_be_looked_at_now_is_looked_at_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from clients.campaign.driving.watching import Watch

    folder = tmp_path / "out"
    with Lease(folder) as lease, Catalogue.create_or_open(folder, SETTINGS, lease.epoch) as opened:
        settings = replace(SETTINGS, watch=str(tmp_path / "in"), settle_s=0.0)
        watch = Watch(folder, settings)
        until(lambda: [*watch.turn(time.monotonic(), opened), caplog.text][-1], "it is named")
        assert caplog.text.count(str(tmp_path / "in")) == 1
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a1.root").write_text("events")
        found = until(lambda: watch.turn(time.monotonic(), opened), "the file is found")
        assert [one.path.name for one in found] == ["a1.root"]


def test_without_readers_the_log_says_what_to_type(
    tmp_path: Path,
    endpoint: str,
    processes: Processes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mdp.client.patience.FIRST_S", 1.0)
    processes.broker(endpoint, "--heartbeat", "0.2")
    files = Files(tmp_path, endpoint)
    given = files.make("a1.root", "a2.root", "a3.root")
    task = Task(files.folder, SETTINGS, given, hint="`type this`")
    thread = threading.Thread(target=lambda: drive(task, endpoint))
    with caplog.at_level(logging.WARNING):
        thread.start()
        until(lambda: "type this" in caplog.text, "the log says what to type")
    target = "tests.support.odd_readers:OddReader"
    processes.worker(endpoint, SERVICE, target, "--heartbeat", "0.2")
    thread.join(20.0)
    assert set(files.states().values()) == {"done"}


def test_a_restart_of_the_broker_loses_no_file(
    tmp_path: Path, endpoint: str, processes: Processes
) -> None:
    broker = processes.broker(endpoint, "--heartbeat", "0.2")
    target = "tests.support.odd_readers:OddReader"
    processes.worker(endpoint, SERVICE, target, "--heartbeat", "0.2", "-n", "2")
    files = Files(tmp_path, endpoint)
    given = files.make(*(f"slow{number}.root" for number in range(4)))
    thread = threading.Thread(target=lambda: files.drive(given))
    thread.start()
    until(lambda: files.asked("slow2.root") + files.asked("slow3.root"), "some are scored")
    broker.kill()
    processes.broker(endpoint, "--heartbeat", "0.2")
    thread.join(30.0)
    assert set(files.states().values()) == {"done"}
    assert all(files.has(one.path.name) for one in given)


@pytest.mark.parametrize("step", ["stage", "name"])
def test_a_full_disk_of_the_driver_is_one_line_and_the_next_driver_goes_on(
    files: Files, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    replace = os.replace
    parents = {"stage": "stage-", "name": files.folder.name}

    def full(source: Path, target: Path) -> None:
        if Path(target).parent.name.startswith(parents[step]):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(WriteError, match="No space left on device"):
        files.drive(files.make("a1.root"))
    monkeypatch.undo()
    assert files.drive().done == 1
    assert files.has("a1.root")
    assert files.asked("a1.root") == 1


STEPS = ("accept", "stage", "name", "sync", "commit", "sweep")


@pytest.mark.parametrize("step", STEPS)
def test_a_driver_that_was_killed_goes_on_after_any_step(
    files: Files, processes: Processes, step: str
) -> None:
    names = ["a1.root", "empty1.root", "a2.root", "a3.root"]
    given = files.make(*names)
    with (
        Lease(files.folder) as lease,
        Catalogue.create_or_open(files.folder, SETTINGS, lease.epoch) as catalogue,
    ):
        from clients.campaign.records.rows import New

        catalogue.add([New(str(one.path), one.bytes, one.mtime_ns, one.path.name) for one in given])
    times = "2" if step in ("stage", "name") else "1"  # of two parts, the second
    arguments = (str(files.folder), files.broker, step, times)
    killed = processes.python("-m", "tests.support.driver_killed", *arguments)
    assert killed.exit_code() == -9
    outcome = files.drive()
    assert (outcome.done, outcome.left) == (4, 0)
    assert all(files.has(name) for name in names)
    assert (files.folder / "empty1.root.failed.json").exists()
    assert files.work() == []
    stages = list((files.folder / ".campaign").glob("stage-*/*"))
    assert stages == []


def test_the_services_of_a_campaign_are_remembered(tmp_path: Path) -> None:
    (tmp_path / ".campaign").mkdir()
    assert remembered(tmp_path) is None
    for services in (
        Services("tcp://n:5"),
        Services(local=True, workers=3, readers=4, engine="caffe"),
    ):
        remember(tmp_path, services)
        assert remembered(tmp_path) == services
    (tmp_path / ".campaign" / "services.json").write_text('{"broker": 5}')
    with pytest.raises(SettingsError):
        remembered(tmp_path)

"""`ssnet campaign check` and `merge`: a real campaign, and what somebody else does to its files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clients.campaign.driving.driver import drive
from clients.campaign.driving.task import Task
from clients.campaign.file_content import content_of
from clients.campaign.file_request import SERVICE
from clients.campaign.finishing.checking import CheckOutcome, check_campaign
from clients.campaign.finishing.merged_files import Merging, merge_campaign
from clients.campaign.finishing.outputs import repeated_in
from clients.campaign.inputs import expand
from clients.campaign.plan import CampaignSettings, ScoringOptions
from clients.campaign.records.catalogue import Catalogue
from clients.campaign.records.lease import Lease, LeaseHeld
from clients.campaign.records.reading import reading
from clients.campaign.records.rows import State
from clients.check.acceptance import Check, check_output
from clients.cli import app
from clients.files.checksums import checksum
from clients.files.entries import names
from clients.files.failed_report import FailedReport, report_path
from lartpc import RSE, Event, FileExists, Image, LArTPCError, ReadError, open_writer
from lartpc.files import provenance
from mdp import SettingsError
from tests.support import plane_pools
from tests.support.campaign_files import ABORTS, BROKER, readers
from tests.support.commands_of_ssnet import ssnet
from tests.support.processes import QUICK, Processes, free_port
from tests.support.scored_files import write_input

OPTIONS = ScoringOptions(
    mode="tiles", rois=None, size=64, overlap=16, max_failed=1.0, heartbeat_s=0.2
)
SETTINGS = CampaignSettings(options=OPTIONS, name="{stem}_ssnet{suffix}", file_tries=1)
GOOD = ("a.root", "b.h5", "c.root", "e.root")


class Site:
    """A campaign of a.root, b.h5, c.root (one bad entry), d.root (as a) and e.root."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(self.endpoint, *QUICK)
        target = "tests.support.honest_planes:Plausible"
        plane_pools.start(processes, self.endpoint, target=target)
        readers(processes, self.endpoint)
        self.inputs, self.folder = folder / "in", folder / "out"
        self.inputs.mkdir()
        write_input(self.inputs / "a.root", 0, 2)
        write_input(self.inputs / "b.h5", 10, 2)
        write_input(self.inputs / "c.root", 20, 2, bad=1)
        shutil.copy(self.inputs / "a.root", self.inputs / "d.root")
        write_input(self.inputs / "e.root", 30, 2)
        given = expand([str(self.inputs)], folder=self.folder)
        self.outcome = drive(Task(self.folder, SETTINGS, given), self.endpoint)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Processes(folder) as processes:
        yield Site(processes, folder)


@pytest.fixture
def campaign(site: Site, tmp_path: Path) -> Path:
    """A copy of the campaign's folder; the inputs are those of all copies."""
    assert (site.outcome.done, site.outcome.repeated, site.outcome.failed) == (4, 1, 0)
    shutil.copytree(site.folder, tmp_path / "out")
    return tmp_path / "out"


def check(site: Site, campaign: Path) -> CheckOutcome:
    return check_campaign(campaign, site.endpoint)


def states(campaign: Path) -> dict[str, tuple[str, str]]:
    with reading(campaign) as catalogue:
        return {Path(one.path).name: (one.state, one.check) for one in catalogue.files()}


def set_state(campaign: Path, number: int, state: State) -> None:
    with (
        Lease(campaign) as lease,
        Catalogue.create_or_open(campaign, None, lease.epoch) as catalogue,
    ):
        catalogue.set_state([number], state)


def score_again(site: Site, campaign: Path, number: int) -> None:
    set_state(campaign, number, "failed")
    drive(Task(campaign, SETTINGS, (), retry=True), site.endpoint)


def changed(output: Path, change: Callable[[list[Event]], object]) -> None:
    """Write an output again with other events and with its provenance."""
    events, texts = plane_pools.read(output), provenance.read(output)
    change(events)
    with open_writer(output, force=True) as writer:
        for event in events:
            writer.write(event)
        writer.provenance = texts


def damage(path: Path) -> None:
    """Change one byte near the middle of a file that leaves its events and records readable."""
    content, have = path.read_bytes(), content_of(path)
    for at in range(len(content) // 2, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with suppress(LArTPCError):
            got = content_of(path)
            if got.texts == have.texts and np.array_equal(got.events, have.events):
                return
    raise AssertionError("each byte is one of an event or a record")


# Checking.


def test_nothing_is_wrong_with_a_campaign_that_nobody_touched(site: Site, campaign: Path) -> None:
    outcome = check(site, campaign)
    assert outcome.is_good
    assert (outcome.files, outcome.right, outcome.repeated) == (5, 5, [])
    assert {text for _, text in states(campaign).values()} == {"ok"}
    again = check_campaign(campaign, site.endpoint, unchecked_only=True)
    assert (again.is_good, again.files) == (True, 0)


def test_outputs_that_were_swapped_cut_or_removed_are_named(site: Site, campaign: Path) -> None:
    a, c, e = (campaign / f"{name}_ssnet.root" for name in "ace")
    swapped = a.with_name("swapped")
    a.rename(swapped)
    e.rename(a)
    swapped.rename(e)
    c.write_bytes(c.read_bytes()[:-100])
    (campaign / "b_ssnet.h5").unlink()
    outcome = check(site, campaign)
    names = {"a_ssnet.root", "b_ssnet.h5", "c_ssnet.root", "e_ssnet.root"}
    assert {row.output for row in outcome.outputs} == names
    assert not outcome.changed
    assert {text.partition(":")[0] for state, text in states(campaign).values()} == {"output", "ok"}
    assert {state for state, _ in states(campaign).values()} == {"done", "repeated"}


def test_a_changed_score_and_a_doubled_event_are_found(site: Site, campaign: Path) -> None:
    def other_score(events: list[Event]) -> None:
        name, images = next(iter(events[0].images.items()))
        pixels = images[0].pixels.copy()
        pixels[np.unravel_index(pixels.argmax(), pixels.shape)] *= 0.5
        new = (Image(images[0].meta, pixels), *images[1:])
        events[0] = replace(events[0], images={**events[0].images, name: new})

    changed(campaign / "a_ssnet.root", other_score)
    changed(campaign / "e_ssnet.root", lambda events: events.append(events[0]))
    outcome = check(site, campaign)
    reasons = {row.output: row.reason for row in outcome.outputs}
    assert set(reasons) == {"a_ssnet.root", "e_ssnet.root"}
    assert all("changed since" in reason for reason in reasons.values())


def test_a_wrong_output_is_found_even_if_the_catalogue_has_its_checksum(
    site: Site, campaign: Path
) -> None:
    """As if the wrong file had been scored: the comparison with the input finds it."""
    output = campaign / "e_ssnet.root"
    changed(output, lambda events: events.append(events[0]))
    have = checksum(output)
    with (
        Lease(campaign) as lease,
        Catalogue.create_or_open(campaign, None, lease.epoch) as catalogue,
        catalogue._transaction() as database,
    ):
        database.execute(
            "UPDATE files SET out_bytes = ?, out_sha256 = ? WHERE output = ?",
            (have.bytes, have.sha256, output.name),
        )
    outcome = check(site, campaign)
    (row,) = outcome.outputs
    assert row.output == output.name
    assert "entries" in row.reason
    (line,) = outcome.repeated
    assert "twice" in line
    target = campaign.parent / "all.root"
    with pytest.raises(SettingsError, match="e_ssnet"):
        merge_campaign(Merging(campaign, target))
    (merged,) = merge_campaign(Merging(campaign, target, partial=True))
    assert merged.files == 3


def test_an_input_that_changed_is_found_whatever_its_time_says(site: Site, campaign: Path) -> None:
    edited, touched, gone = (site.inputs / name for name in ("a.root", "e.root", "c.root"))
    content, times = edited.read_bytes(), edited.stat()
    hidden = gone.with_name("hidden")
    gone.rename(hidden)
    try:
        middle = len(content) // 2
        edited.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        os.utime(edited, ns=(times.st_atime_ns, times.st_mtime_ns))
        os.utime(touched)
        outcome = check(site, campaign)
        assert [Path(row.path).name for row in outcome.changed] == ["a.root"]
        assert [Path(row.path).name for row in outcome.inputs] == ["c.root"]
        assert outcome.outputs == []
        assert states(campaign)["a.root"][0] == "changed"
        assert states(campaign)["c.root"][0] == "done"
        with pytest.raises(SettingsError, match="1 changed"):
            merge_campaign(Merging(campaign, campaign.parent / "m.root"))
    finally:
        edited.write_bytes(content)
        hidden.rename(gone)
    outcome = check(site, campaign)
    assert outcome.is_good
    assert states(campaign)["a.root"] == ("done", "ok")


def test_an_output_of_a_repeated_file_is_found(site: Site, campaign: Path) -> None:
    shutil.copy(campaign / "a_ssnet.root", campaign / "d_ssnet.root")
    (row,) = check(site, campaign).outputs
    assert row.output == "d_ssnet.root"
    assert "remove it" in row.reason
    (campaign / "d_ssnet.root").unlink()
    assert check(site, campaign).is_good


def test_a_repeated_input_that_changed_is_found_and_repeated_again_once_it_is_mended(
    site: Site, campaign: Path
) -> None:
    edited = site.inputs / "d.root"
    content, times = edited.read_bytes(), edited.stat()
    middle = len(content) // 2
    try:
        for other in (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], b""):
            edited.write_bytes(other)
            os.utime(edited, ns=(times.st_atime_ns, times.st_mtime_ns))
            outcome = check(site, campaign)
            assert [Path(row.path).name for row in outcome.changed] == ["d.root"]
            assert outcome.outputs == []
            assert states(campaign)["d.root"][0] == "changed"
            edited.write_bytes(content)
            assert check(site, campaign).is_good
            assert states(campaign)["d.root"] == ("repeated", "ok")
            with reading(campaign) as catalogue:
                file = catalogue.file(4)
            assert file.reason == f"the same content as {site.inputs / 'a.root'}"
            assert file.bytes == len(content)
            assert file.mtime_ns == edited.stat().st_mtime_ns
    finally:
        edited.write_bytes(content)
        os.utime(edited, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("allowed", [False, True])
def test_an_event_of_two_outputs_is_wrong_unless_inputs_may_repeat(
    site: Site, tmp_path: Path, allowed: bool
) -> None:
    write_input(tmp_path / "x.root", 0, 2)
    write_input(tmp_path / "y.root", 0, 3)
    settings = replace(SETTINGS, options=replace(OPTIONS, repeat_inputs=allowed))
    folder = tmp_path / "out"
    given = expand([str(tmp_path / "x.root"), str(tmp_path / "y.root")], folder=folder)
    drive(Task(folder, settings, given), site.endpoint)
    outcome = check(site, folder)
    assert len(outcome.repeated) == 2
    assert outcome.outputs == []
    assert outcome.is_good == allowed


def test_an_event_of_two_outputs_is_named() -> None:
    one, other = names([RSE(1, 2, 3)]), names([RSE(1, 2, 4), RSE(1, 2, 3)])
    (line,) = repeated_in([("one", one), ("other", other)])
    assert all(word in line for word in ("one", "other", "(1, 2, 3)"))


# Merging.


def good(target: Path, site: Site, *names: str) -> bool:
    inputs = tuple(site.inputs / name for name in names)
    asked = Check(inputs=inputs, output=target, allow_failed=True)
    return not [item for item in check_output(asked) if item.bad]


def test_a_campaign_becomes_one_file_which_its_check_knows(site: Site, campaign: Path) -> None:
    target = campaign.parent / "all.root"
    (row,) = merge_campaign(Merging(campaign, target))
    assert (row.files, row.events, row.failed_events) == (4, 8, 1)
    assert good(target, site, *GOOD)
    assert [one.entry for one in FailedReport.read(report_path(target)).failed] == [5]
    with reading(campaign) as catalogue:
        (merged,) = catalogue.merged()
    assert (merged.output, merged.files) == (str(target), (1, 2, 3, 5))
    assert check(site, campaign).is_good
    target.write_bytes(target.read_bytes()[:-10])
    assert [Path(row.path) for row in check(site, campaign).merged] == [target]
    target.unlink()
    assert [Path(row.path) for row in check(site, campaign).merged] == [target]
    assert check(site, campaign).is_good


def test_files_of_a_size_are_made_in_order_and_the_same_command_goes_on(
    site: Site, campaign: Path
) -> None:
    sizes = {name: (campaign / name).stat().st_size for name in ("a_ssnet.root", "b_ssnet.h5")}
    asked = Merging(campaign, campaign / "merged" / "part_{number}.root", sum(sizes.values()))
    rows = merge_campaign(asked)
    names = [row.path.name for row in rows]
    assert names == [f"part_{number:03d}.root" for number in range(1, len(rows) + 1)]
    assert len(rows) >= 2
    assert rows[0].files == 2
    assert good(rows[0].path, site, *GOOD[:2])
    times = [row.path.stat().st_mtime_ns for row in rows[:-1]]
    rows[-1].path.unlink()  # as if it had been stopped before the last one
    assert merge_campaign(asked) == rows
    assert [row.path.stat().st_mtime_ns for row in rows[:-1]] == times
    assert check(site, campaign).is_good


def test_an_output_that_a_later_reader_adopted_is_no_newer_than_the_merged_file(
    site: Site, campaign: Path
) -> None:
    """As after a driver that was killed when a reader had finished its file."""
    time.sleep(2.1)  # a record has whole seconds
    attempt = campaign / ".campaign" / "work" / "5" / "finished"
    attempt.mkdir(parents=True)
    (campaign / "e_ssnet.root").rename(attempt / "e_ssnet.root")
    score_again(site, campaign, 5)
    with reading(campaign) as catalogue:
        adopted = catalogue.file(5)
        counts = catalogue.counts()
        assert catalogue.rows("SELECT events FROM tries WHERE file = 5") == [(2,), (0,)]
    assert (adopted.state, adopted.entries, adopted.events) == ("done", 2, 2)
    assert counts.events == 8
    merge_campaign(Merging(campaign, campaign.parent / "all.root"))
    assert check(site, campaign).merged == []


def test_an_output_that_was_scored_again_makes_its_merged_file_old(
    site: Site, campaign: Path
) -> None:
    target = campaign.parent / "all.root"
    merge_campaign(Merging(campaign, target))
    time.sleep(2.1)
    (campaign / "e_ssnet.root").unlink()
    score_again(site, campaign, 5)
    (row,) = check(site, campaign).merged
    assert "e_ssnet.root was scored again" in row.reason
    merge_campaign(Merging(campaign, target, force=True))
    assert check(site, campaign).merged == []


@pytest.mark.parametrize("force", [False, True])
def test_a_merged_file_that_was_damaged_later_is_made_anew(
    site: Site, campaign: Path, force: bool
) -> None:
    asked = Merging(campaign, campaign.parent / "all.root", force=force)
    merge_campaign(asked)
    first = asked.target.stat()
    merge_campaign(asked)
    assert asked.target.stat().st_ino == first.st_ino  # a right one stays
    damage(asked.target)
    assert [row.path for row in check(site, campaign).merged] == [str(asked.target)]
    merge_campaign(asked)
    assert asked.target.stat().st_ino != first.st_ino
    assert good(asked.target, site, *GOOD)
    assert check(site, campaign).is_good


def test_a_merged_file_without_its_report_of_failed_events_is_named(
    site: Site, campaign: Path
) -> None:
    asked = Merging(campaign, campaign.parent / "all.root")
    merge_campaign(asked)
    report = report_path(asked.target)
    foreign = report_path(campaign / "c_ssnet.root").read_bytes()
    for change in (report.unlink, lambda: report.write_bytes(foreign)):
        change()
        (row,) = check(site, campaign).merged
        assert report.name in row.reason
        merge_campaign(asked)
        assert check(site, campaign).is_good


def test_a_merge_at_the_end_replaces_the_files_of_the_one_before(campaign: Path) -> None:
    def at_end(merge_to: int) -> list[str]:
        merge_campaign(Merging.at_end(campaign, replace(SETTINGS, merge_to=merge_to)))
        return sorted(path.name for path in (campaign / "merged").iterdir())

    assert len(at_end(1)) == 5  # one of them is a report
    assert at_end(10**9) == ["merged_001.root", "merged_001.root.failed.json"]
    with reading(campaign) as catalogue:
        assert [row.output for row in catalogue.merged()] == ["merged/merged_001.root"]
    (campaign / "merged" / "merged_001.root").write_bytes(b"not ours")
    with pytest.raises(FileExists):
        at_end(10**9)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".campaign/all.root", "outside"),
        (".campaign/merged/all.root", "outside"),
        ("folder.root", "the folder"),
        ("july_ssnet.root", "further input"),
    ],
)
def test_a_merged_file_takes_no_place_of_other_files(campaign: Path, name: str, says: str) -> None:
    (campaign / "folder.root").mkdir()
    before = sorted(campaign.rglob("*.root"))
    with pytest.raises(SettingsError, match=says):
        merge_campaign(Merging(campaign, campaign / name, force=True))
    assert sorted(campaign.rglob("*.root")) == before
    assert not (campaign / ".campaign" / "merged").exists()
    (row,) = merge_campaign(Merging(campaign, campaign / "merged" / "july_ssnet.root"))
    assert row.files == 4


def test_a_damaged_output_is_named_and_nothing_is_written(site: Site, campaign: Path) -> None:
    with pytest.raises(SettingsError, match="a_ssnet"):
        merge_campaign(Merging(campaign, campaign / "a_ssnet.root", force=True))
    shutil.copy(campaign / "e_ssnet.root", campaign / "a_ssnet.root")
    target = campaign.parent / "all.root"
    with pytest.raises(ReadError, match="a_ssnet"):
        merge_campaign(Merging(campaign, target))
    assert not target.exists()
    with pytest.raises(SettingsError):
        Merging(campaign, target, 1000)


def test_files_that_are_not_done_are_left_out_only_if_asked(site: Site, campaign: Path) -> None:
    with (
        Lease(campaign) as lease,
        Catalogue.create_or_open(campaign, None, lease.epoch) as catalogue,
    ):
        catalogue.set_state([2], "failed", "no such file")
    target = campaign.parent / "all.root"
    with pytest.raises(SettingsError, match="1 failed"):
        merge_campaign(Merging(campaign, target))
    (row,) = merge_campaign(Merging(campaign, target, partial=True))
    assert row.files == 3
    assert good(target, site, *(name for name in GOOD if name != "b.h5"))


def test_a_merged_file_replaces_no_input_whatever_it_is_called(
    site: Site, campaign: Path, tmp_path: Path
) -> None:
    source = site.inputs / "a.root"
    content = source.read_bytes()
    (tmp_path / "link.root").symlink_to(source)
    os.link(source, tmp_path / "hard.root")
    for target in (source, tmp_path / "link.root", tmp_path / "hard.root"):
        with pytest.raises(SettingsError, match=r"a\.root"):
            merge_campaign(Merging(campaign, target, force=True))
        assert source.read_bytes() == content


def test_a_driver_that_runs_is_not_disturbed(campaign: Path) -> None:
    target = campaign.parent / "all.root"
    with Lease(campaign) as lease, lease.beating(), pytest.raises(LeaseHeld):
        merge_campaign(Merging(campaign, target))
    assert not target.exists()


def test_the_commands_print_what_they_found(site: Site, campaign: Path) -> None:
    target = campaign.parent / "all.root"
    merged = CliRunner().invoke(app, ["campaign", "merge", str(campaign), "-o", str(target)])
    assert merged.exit_code == 0, merged.output
    assert "all.root" in merged.output
    (campaign / "b_ssnet.h5").unlink()
    checked = ssnet("campaign", "check", campaign, "--local", "--readers", 1, code=1)
    assert "b_ssnet.h5" in checked.stdout


def test_files_that_failed_or_wait_are_shown_and_give_exit_code_1(
    site: Site, campaign: Path
) -> None:
    def run() -> str:
        arguments = ["campaign", "check", str(campaign), "--broker", site.endpoint]
        checked = CliRunner().invoke(app, arguments)
        assert checked.exit_code == 1, checked.output
        return checked.output

    set_state(campaign, 5, "waiting")
    assert "not scored yet" in run()
    set_state(campaign, 5, "failed")
    shown = run()
    assert "failed" in shown
    assert "not scored yet" not in shown


def test_a_file_whose_reader_dies_is_not_called_right(
    campaign: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other files are checked; the one that nobody could check is named."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(endpoint, *QUICK)
    monkeypatch.setenv(BROKER, endpoint)
    monkeypatch.setenv(ABORTS, "e.root")
    target = "tests.support.campaign_files:AbortingReader"
    processes.worker(endpoint, SERVICE, target, "-n", "2", *QUICK)
    outcome = check_campaign(campaign, endpoint)
    assert [Path(row.path).name for row in outcome.unchecked] == ["e.root"]
    assert not outcome.is_good
    assert outcome.right == 4
    assert states(campaign)["e.root"] == ("done", "")

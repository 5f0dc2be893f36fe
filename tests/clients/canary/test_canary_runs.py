"""Runs with a canary: real brokers and workers, with tiny networks and with odd stand-ins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benches.stand_ins import VARIABLE
from clients.files.provenance import Record
from clients.scoring.canary import shadow
from clients.scoring.canary.agreement import Agreement
from clients.scoring.canary.canary_report import (
    CanaryReport,
    ReportError,
    files_of,
    merged,
    read,
    read_kept,
)
from clients.scoring.canary.canary_state import (
    CanaryState,
    canary_folder,
    running_canary,
    write_state,
)
from clients.scoring.canary.crop_share import Canary, is_chosen
from clients.scoring.job import ScoringJob
from clients.scoring.score import ScoringReport, score
from lartpc import Reader, open_reader
from lartpc.crops import chain
from lartpc.files import provenance
from mdp import Client
from services.engines.onnx_engine import OnnxEngine
from services.planes import service_name
from tests.support import plane_pools, tiny_networks
from tests.support.processes import QUICK, Processes, free_port, wait_for_workers

EVENTS = 6
PLANE = 2


class Site:
    """A broker with stand-ins at plane 2, and what tests add to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = Processes(folder)
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.contact = folder / "broker.json"
        self.processes.broker(self.endpoint, "--contact", str(self.contact), *QUICK)
        self.stand_in(service_name(PLANE), "benches.stand_ins:StandInWorker")
        plane_pools.toys(folder / "in.root", EVENTS)

    def stand_in(self, service: str, target: str, seconds: float = 0.0) -> None:
        os.environ[VARIABLE] = f"{PLANE} {seconds}"
        self.processes.worker(self.endpoint, service, target, *QUICK)
        self.wait(service)

    def wait(self, service: str) -> None:
        with Client(self.endpoint) as client:
            wait_for_workers(client, service, 1)

    def planes(self, *options: str) -> None:
        """`ssnet worker planes`."""
        command = ("-m", "clients", "worker", "planes", "--broker", self.endpoint)
        self.processes.python(*command, "--planes", str(PLANE), "--threads", "1", *options)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    with made.processes:
        yield made


@pytest.fixture
def job(site: Site, tmp_path: Path) -> ScoringJob:
    return ScoringJob(
        inputs=(site.folder / "in.root",),
        output=tmp_path / "out.root",
        broker=site.endpoint,
        mode=chain.Croi(size=64),
        planes=(PLANE,),
        timeout_s=60,
    )


def with_canary(
    job: ScoringJob, label: str, *, share: float = 1.0
) -> tuple[ScoringReport, CanaryReport]:
    """Score without a canary and with one; the outputs must be equal."""
    plain = replace(job, output=job.output.with_name("plain.root"))
    score(plain)
    folder = job.output.with_name("canary")
    done = score(replace(job, shadow=Canary(label, share, folder)))
    assert plane_pools.same(plane_pools.read(plain.output), plane_pools.read(job.output))
    assert _record(plain.output) == _record(job.output)
    assert not done.failed
    return done, merged(files_of([folder]))


def _read(path: Path) -> Reader:
    return open_reader([path], tick_order="backward", images=("wire",), rois=("croi",))


def _record(path: Path) -> tuple[object, ...]:
    """What the provenance says, except for times."""
    (text,) = provenance.read(path)
    record = Record.unpack(text)
    return record.settings, record.services, record.events, record.tick_order


def agreement(report: CanaryReport) -> Agreement:
    [found] = report.agreements.values()
    return found


def test_the_same_scores_agree_to_the_bit_in_all_crops(site: Site, job: ScoringJob) -> None:
    site.stand_in(service_name(PLANE, "same"), "benches.stand_ins:StandInWorker")
    done, report = with_canary(job, "same")
    found = agreement(report)
    assert done.crops == report.counts["chosen"] > 3
    assert done.crops == found.crops + report.counts["skipped"] == found.equal_crops
    assert found.changed_all == 0
    assert not report.failed


def test_the_share_is_that_which_the_hash_foretells(site: Site, job: ScoringJob) -> None:
    site.stand_in(service_name(PLANE, "part"), "benches.stand_ins:StandInWorker")
    share, expected = 0.5, 0
    with _read(site.folder / "in.root") as reader:
        for event in reader:
            plan = chain.plan(event, job.mode, images="wire", low=10, planes=(PLANE,))
            for plane in plan.planes:
                expected += sum(
                    is_chosen(share, event.rse, PLANE, crop) for crop in range(len(plane.crops))
                )
    done, report = with_canary(job, "part", share=share)
    assert 0 < report.counts["chosen"] == expected < done.crops
    assert agreement(report).crops == expected


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("NotFinite", "wrong answer"),
        ("WrongShape", "wrong answer"),
        ("WrongMeta", "wrong answer"),
        ("NoFrames", "wrong answer"),
        ("Huge", "wrong answer"),
        ("Refusing", "400 Refused"),
    ],
)
def test_a_canary_that_answers_wrongly_is_counted(
    site: Site, job: ScoringJob, target: str, reason: str
) -> None:
    site.stand_in(service_name(PLANE, target), f"tests.support.odd_planes:{target}")
    done, report = with_canary(job, target)
    assert dict(report.failed) == {reason: done.crops}
    assert not report.agreements


def test_a_canary_without_workers_is_counted(job: ScoringJob) -> None:
    done, report = with_canary(job, "missing")
    assert sum(report.failed.values()) + report.counts["unfinished"] == done.crops
    assert not report.agreements


def test_a_canary_that_hangs_gets_no_more_than_the_bound(
    site: Site, job: ScoringJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "MOST_CROPS", 2)
    site.stand_in(service_name(PLANE, "slow"), "benches.stand_ins:StandInWorker", 1000)
    done, report = with_canary(job, "slow")
    assert (report.counts["sent"], report.counts["unfinished"]) == (2, 2)
    assert report.counts["skipped"] == done.crops - 2 > 0
    assert not report.agreements


def test_a_canary_whose_workers_die_of_each_crop_is_counted(
    site: Site, job: ScoringJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = tmp_path / "poison"
    poison.write_text(" ".join([*map(str, range(EVENTS)), "abort"]))
    monkeypatch.setenv("SSNET_TEST_POISON", str(poison))
    site.stand_in(service_name(PLANE, "dying"), "tests.support.odd_planes:Poisoned")
    done, report = with_canary(job, "dying")
    assert not report.agreements
    assert sum(report.failed.values()) + report.counts["unfinished"] == done.crops


def test_a_folder_that_cannot_be_written_ends_no_run(
    site: Site, job: ScoringJob, tmp_path: Path
) -> None:
    (tmp_path / "canary").write_text("a file is in the way")
    done, report = with_canary(job, "same")
    assert done.events == EVENTS
    assert not report.clients


def test_the_canary_of_the_contact_file_is_found_and_left(site: Site, job: ScoringJob) -> None:
    broker = f"@{site.contact}"
    folder = canary_folder(broker)
    assert folder is not None
    state = CanaryState("one", "running", "missing", 1.0, "new", (PLANE,), 0.0, "me")
    job = replace(job, broker=broker)
    for number, (name, clients) in enumerate([("starting", 0), ("running", 1), ("dropped", 1)]):
        write_state(folder, replace(state, state=name))  # type: ignore[arg-type]
        score(replace(job, output=job.output.with_name(f"{number}.root")))
        assert merged(files_of([folder / "reports" / "one"])).clients == clients
    (folder / "canary.json").write_text("no JSON")
    assert score(job).events == EVENTS


def test_no_error_on_the_side_of_the_canary_ends_a_run(
    job: ScoringJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(shadow, "running_canary", fail)
    assert score(job).events == EVENTS
    assert "the run goes on without it: of the test" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        '"planes": [Infinity]',
        '"planes": 7',
        '"share": 1%s' % ("0" * 400),
        '"id": ".."',
        '"id": ""',
        '"state": ["running"]',
    ],
)
def test_a_damaged_file_of_a_canary_counts_as_none(damage: str, tmp_path: Path) -> None:
    broker = f"@{tmp_path / 'broker.json'}"
    folder = canary_folder(broker)
    assert folder is not None
    state = CanaryState("one", "running", "new", 1.0, "new", (PLANE,), 0.0, "me")
    write_state(folder, state)
    assert running_canary(broker) is not None
    path = folder / "canary.json"
    key = damage.partition(":")[0]
    rest = [line for line in path.read_text().splitlines() if key not in line]
    path.write_text("\n".join([rest[0], f" {damage},", *rest[1:]]))
    assert running_canary(broker) is None


def test_damaged_reports_of_a_canary_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"clients": Infinity}')
    with pytest.raises(ReportError):
        read(path)
    arrays: Any = {"0.name": np.zeros(4000)}
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    whole = bytearray(path.with_suffix(".npz").read_bytes())
    whole[50:70] = b"\xff" * 20
    path.with_suffix(".npz").write_bytes(whole)
    assert read_kept(path) == {}


def noisy_weights() -> dict[str, list[tiny_networks.Array]]:
    weights = tiny_networks.gentle_weights()
    kernel = weights["conv"][0]
    noise = tiny_networks.numbers(*kernel.shape, seed=5) * np.float32(0.3 * kernel.std())
    return {**weights, "conv": [kernel + noise, weights["conv"][1]]}


def test_noise_on_one_layer_is_found_with_the_figure_of_the_networks_themselves(
    tmp_path: Path,
) -> None:
    files = {}
    for name, weights in (("old", tiny_networks.gentle_weights()), ("new", noisy_weights())):
        (tmp_path / name).mkdir()
        files[name] = tiny_networks.write(tmp_path / name, weights=weights)
    site_folder = tmp_path / "site"
    site_folder.mkdir()
    with Processes(site_folder) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint, *QUICK)
        plane_pools.toys(tmp_path / "in.root", EVENTS)
        for name, more in (("old", ()), ("new", ("--canary", "next"))):
            prototxt, weights_file = map(str, files[name])
            command = ("-m", "clients", "worker", "planes", "--broker", endpoint, *more)
            network = ("--prototxt", prototxt, "--weights", weights_file)
            processes.python(*command, "--planes", str(PLANE), "--threads", "1", *network)
        with Client(endpoint) as client:
            for label in ("", "next"):
                wait_for_workers(client, service_name(PLANE, label), 1)
        job = ScoringJob(
            inputs=(tmp_path / "in.root",),
            output=tmp_path / "out.root",
            broker=endpoint,
            mode=chain.Croi(size=64),
            planes=(PLANE,),
            timeout_s=60,
        )
        done, report = with_canary(job, "next")
    found = agreement(report)
    assert found.crops == done.crops
    expected, largest = _expected(tmp_path / "in.root", files, job)
    assert found.confusion == expected
    assert max(found.max_difference) == largest
    assert found.changed == sum(map(sum, expected)) - sum(expected[n][n] for n in range(3)) > 0
    assert found.equal_crops < found.crops
    kept = read_kept(next(files_of([tmp_path / "canary"])))
    assert {name for _, name in kept} == {crop.name for crop in found.worst}


def _expected(
    path: Path, files: dict[str, tuple[Path, Path]], job: ScoringJob
) -> tuple[list[list[int]], float]:
    """Both networks on all crops, without services: classes of pixels from 10 ADC on."""
    engines = [OnnxEngine(*files[name], threads=1) for name in ("old", "new")]
    confusion, largest = [[0] * 3 for _ in range(3)], 0.0
    with _read(path) as reader:
        events = list(reader)
    for event in events:
        plan = chain.plan(event, job.mode, images="wire", low=10, planes=(PLANE,))
        image = next((i for i in event.images["wire"] if i.meta.plane == PLANE), None)
        for crop in (crop for plane in plan.planes for crop in plane.crops):
            assert image is not None
            adc = chain.cut(image, crop, low=10, high=500).pixels
            rows, cols = np.nonzero(adc >= 10)
            scores = [e.forward(adc[None, None])[0, 1:].astype(np.float16) for e in engines]
            for row, col in zip(rows, cols, strict=True):
                labels = []
                for shower, track in (s[:, row, col].astype(np.float32) for s in scores):
                    values = [np.float32(1) - shower - track, shower, track]
                    labels.append(values.index(max(values)))
                confusion[labels[0]][labels[1]] += 1
                pair = [s[:, row, col].astype(float) for s in scores]
                largest = max(largest, float(np.abs(pair[0] - pair[1]).max()))
    return confusion, largest

"""The production client, with real brokers, workers and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.errors import AnswerError
from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc import Event, ImageError, ProductMissing, open_reader, open_writer
from lartpc import ParameterError as SizeError
from lartpc.crops import chain
from mdp import Client, MDPError, NotServed, SettingsError
from services.planes import PLANES, answer_name
from tests.support import plane_pools
from tests.support.images import cut_all
from tests.support.processes import QUICK, Processes, free_port
from tests.support.shared import data

NAMES = [answer_name(plane) for plane in PLANES]
CROI = chain.Croi(size=64)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with two stand-ins for each plane."""
    with Processes(tmp_path_factory.mktemp("pools")) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint, *QUICK)
        plane_pools.start(processes, endpoint, workers=2)
        yield endpoint


@pytest.fixture
def job(endpoint: str, tmp_path: Path) -> ScoringJob:
    return ScoringJob(
        inputs=(tmp_path / "in.root",),
        output=tmp_path / "out.root",
        broker=endpoint,
        mode=CROI,
        timeout_s=30,
    )


def expected(event: Event, mode: chain.Mode) -> Event:
    """What the stand-ins' scores come to, by the chain alone."""
    images = event.images["wire"]
    asked = chain.plan(event, mode, images="wire")
    factors = np.array([500, 1000], np.float32).reshape(2, 1, 1)
    scores = [[crop.pixels / factors for crop in crops] for crops in cut_all(images, asked)]
    stitched = chain.stitch(asked, scores) or ((),) * len(PLANES)
    return Event(event.rse, dict(zip(NAMES, stitched, strict=True)))


@pytest.mark.parametrize("mode", [CROI, chain.Tiles(64, 16, 32), chain.Whole(32)])
def test_every_event_is_scored_in_order_and_empty_ones_keep_their_entry(
    job: ScoringJob, mode: chain.Mode
) -> None:
    events = plane_pools.toys(job.inputs[0], 12)
    progress: list[tuple[int, int]] = []
    report = score(replace(job, mode=mode), on_progress=lambda *done: progress.append(done))
    got = plane_pools.read(job.output)
    assert plane_pools.same(got, [expected(event, mode) for event in events])
    assert progress == [(done, 12) for done in range(1, 13)]
    assert (report.events, report.empty, report.workers) == (12, 2, 6)
    assert report.crops >= 30
    assert report.bytes_out > 0
    assert report.bytes_in > 0


def test_larcv1s_own_chain_comes_back_through_real_workers(endpoint: str, tmp_path: Path) -> None:
    source = data("larcv1_pipeline_in.root")
    golden = np.load(data("larcv1_pipeline_golden.npz"))
    output = tmp_path / "out.root"
    score(ScoringJob(inputs=(source,), output=output, broker=endpoint, producer="modimg"))
    got = plane_pools.read(output)
    assert [tuple(event.rse) for event in got] == [(6000, 1, 10), (6000, 1, 11), (6000, 2, 3)]
    for entry, event in enumerate(got):
        for plane, name in enumerate(NAMES):
            key = f"_e{entry}_p{plane}"
            assert_painted(event, name, golden["crops" + key], golden["cropmeta" + key])


def assert_painted(event: Event, name: str, crops: np.ndarray, metas: np.ndarray) -> None:
    """The score images are LArCV1's crops, placed by their metas, the later one on top."""
    assert len(event.images[name]) == (2 if len(crops) else 0)
    for image, divisor in zip(event.images[name], (500, 1000), strict=False):
        canvas = np.zeros_like(image.pixels)
        for crop, meta in zip(crops, metas, strict=True):
            row = round((image.meta.origin_y - meta[5]) / image.meta.pixel_height)
            col = round((meta[4] - image.meta.origin_x) / image.meta.pixel_width)
            canvas[row : row + 512, col : col + 512] = crop / np.float32(divisor)
        assert np.array_equal(image.pixels, canvas)


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_forward_files_are_scored_as_backward_ones_and_come_back_forward(
    job: ScoringJob, order: str, tmp_path: Path
) -> None:
    backward = plane_pools.toys(job.inputs[0], 3)
    turned = tmp_path / "forward.root"
    with open_writer(turned) as writer:
        for event in backward:
            images = {"wire": tuple(i.in_order("forward") for i in event.images["wire"])}
            writer.write(Event(event.rse, images))
    score(replace(job, mode=chain.Tiles(64, 16, 32)))
    forward = replace(job, inputs=(turned,), output=tmp_path / "f.root", tick_order="forward")
    score(replace(forward, mode=chain.Tiles(64, 16, 32)))
    with open_reader(forward.output, tick_order="forward") as reader:
        got = [
            Event(e.rse, {n: tuple(i.in_order("backward") for i in s) for n, s in e.images.items()})
            for e in reader
        ]
    assert plane_pools.same(got, plane_pools.read(job.output))


def test_the_inputs_other_products_come_along_and_a_range_is_a_range(job: ScoringJob) -> None:
    events = plane_pools.toys(job.inputs[0], 8)
    score(replace(job, copy_input=True, start=2, end=6))
    with open_reader(job.output, tick_order="backward", rois=["croi"]) as reader:
        got = list(reader)
    assert [event.rse for event in got] == [event.rse for event in events[2:6]]
    for event, source in zip(got, events[2:6], strict=True):
        assert set(event.images) == {*NAMES, "wire", "segment"}
        assert event.rois == source.rois
        for name in ("wire", "segment"):
            assert plane_pools.pixels(event.images[name]) == plane_pools.pixels(source.images[name])


@pytest.mark.parametrize("window", [1, 50])
def test_the_window_changes_nothing_but_the_time(job: ScoringJob, window: int) -> None:
    events = plane_pools.toys(job.inputs[0], 6)
    score(replace(job, window=window, window_bytes=1))
    assert plane_pools.same(plane_pools.read(job.output), [expected(e, CROI) for e in events])


def assert_nothing_is_left(job: ScoringJob) -> None:
    assert [path.name for path in job.output.parent.iterdir() if "out" in path.name] == []


def test_a_plane_without_workers_is_named_with_the_command_that_starts_one(
    job: ScoringJob, processes: Processes
) -> None:
    plane_pools.toys(job.inputs[0], 2)
    lonely = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(lonely, *QUICK)
    plane_pools.start(processes, lonely, planes=[0, 2])
    with pytest.raises(NotServed, match=f"ssnet-plane1.* planes --planes 1 --broker {lonely}"):
        score(replace(job, broker=lonely, wait_s=0.5))
    assert_nothing_is_left(job)


def test_no_broker_is_said_at_once(job: ScoringJob) -> None:
    plane_pools.toys(job.inputs[0], 2)
    nobody = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(MDPError, match=f"no broker answers at {nobody}"):
        score(replace(job, broker=nobody, wait_s=0.5))


def test_a_file_without_rois_says_what_croi_mode_wants(job: ScoringJob) -> None:
    events = plane_pools.toys(job.inputs[0], 2)
    with open_writer(job.inputs[0], force=True) as writer:
        for event in events:
            writer.write(replace(event, rois={}))
    with pytest.raises(ProductMissing, match=r"in\.root: want partroi_croi, got only partroi"):
        score(job)
    assert_nothing_is_left(job)


@pytest.mark.parametrize("planes", [(0, 1), (0, 1, 1), (0, 1, 2, 2)])
def test_an_entry_of_other_planes_is_named(job: ScoringJob, planes: tuple[int, ...]) -> None:
    good, odd = plane_pools.toys(job.inputs[0], 2)
    by_plane = odd.images["wire"]
    images = {"wire": tuple(by_plane[plane] for plane in planes), "segment": ()}
    with open_writer(job.inputs[0], force=True) as writer:
        writer.write(good)
        writer.write(Event(odd.rse, images, odd.rois))
    with pytest.raises(ImageError, match=r"in\.root entry 1 image2d_wire: want one image of each"):
        score(job)
    assert not job.output.exists()


def test_images_smaller_than_a_crop_are_named(job: ScoringJob) -> None:
    plane_pools.toys(job.inputs[0], 2)
    with pytest.raises(ImageError, match=r"entry 0 .*plane 0: want at least 512 x 512 pixels"):
        score(replace(job, mode=chain.Croi()))


@pytest.mark.parametrize(
    "mode", [chain.Croi(size=60), chain.Tiles(60, 8, 1)], ids=["croi", "tiles"]
)
def test_a_size_that_the_networks_cannot_take_says_their_divisor(
    job: ScoringJob, processes: Processes, mode: chain.Mode
) -> None:
    plane_pools.toys(job.inputs[0], 2)
    other = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(other, *QUICK)
    plane_pools.start(processes, other, target="tests.support.odd_planes:Of32")
    with pytest.raises((SettingsError, SizeError), match="32"):
        score(replace(job, broker=other, mode=mode))
    assert_nothing_is_left(job)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ("WrongName", "want one answer named uburn_plane0, got"),
        ("WrongMeta", "want an answer to Plane 0"),
        ("WrongShape", r"want scores \(1, 2, 64, 64\), got float32 \(1, 3, 64, 64\)"),
        ("NotFinite", "want finite scores, got NaN"),
        ("TwoAnswers", "want one answer named"),
        ("NoFrames", "want scores, got other frames"),
        ("TwoNetworks", "want all answers of ssnet-plane0 from one network"),
    ],
)
def test_answers_to_anything_else_end_the_run_and_leave_nothing(
    job: ScoringJob, processes: Processes, lie: str, says: str
) -> None:
    plane_pools.toys(job.inputs[0], 3)
    liars = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(liars, *QUICK)
    plane_pools.start(processes, liars, planes=[1, 2])
    plane_pools.start(processes, liars, planes=[0], target=f"tests.support.odd_planes:{lie}")
    with pytest.raises(AnswerError, match=rf"in\.root entry \d.*{says}"):
        score(replace(job, broker=liars))
    assert_nothing_is_left(job)


def test_the_broker_is_asked_about_nothing_after_an_error(job: ScoringJob, endpoint: str) -> None:
    events = plane_pools.toys(job.inputs[0], 6)
    with open_writer(job.inputs[0], force=True) as writer:
        for event in events[:3]:
            writer.write(event)
        images = {"wire": events[3].images["wire"][:1], "segment": ()}
        writer.write(Event(events[3].rse, images, events[3].rois))
    with pytest.raises(ImageError):
        score(job)
    with Client(endpoint) as client:
        assert sum(row["queued"] for row in client.services().values()) == 0


def test_planes_in_another_order_get_their_own_regions_of_interest(job: ScoringJob) -> None:
    events = plane_pools.toys(job.inputs[0], 3)
    score(job)
    in_order = plane_pools.read(job.output)
    with open_writer(job.inputs[0], force=True) as writer:
        for event in events:
            u, v, y = event.images["wire"]
            writer.write(replace(event, images={**event.images, "wire": (y, u, v)}))
    score(replace(job, force=True))
    assert plane_pools.same(plane_pools.read(job.output), in_order)


def test_workers_with_a_higher_threshold_are_refused_with_the_option_that_mends_it(
    job: ScoringJob, processes: Processes
) -> None:
    plane_pools.toys(job.inputs[0], 2)
    other = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(other, *QUICK)
    plane_pools.start(processes, other, planes=[0, 2])
    plane_pools.start(processes, other, planes=[1], target="tests.support.odd_planes:Choosy")
    with pytest.raises(SettingsError, match=r"ssnet-plane1 .*from 10 ADC on, got 20"):
        score(replace(job, broker=other))
    assert_nothing_is_left(job)


@pytest.mark.parametrize(
    "wrong",
    [
        {"low_adc": np.nan},
        {"low_adc": -1.0},
        {"high_adc": 5.0},
        {"wait_s": -1.0},
        {"wait_s": np.nan},
        {"window": 0},
        {"start": -1},
    ],
)
def test_settings_out_of_range_are_refused(job: ScoringJob, wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="want"):
        replace(job, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -64])
def test_crops_of_no_size_are_refused(size: int) -> None:
    with pytest.raises(SizeError, match="crops of at least 1 x 1"):
        chain.Croi(size=size)

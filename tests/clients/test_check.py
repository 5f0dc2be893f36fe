"""`ssnet check` finds what is wrong with an output, and nothing wrong with a good one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from clients.check.acceptance import Check, check_output
from clients.check.findings import Finding
from clients.check.provenance_checks import ScoreSettings
from clients.check.score_checks import ScoreFindings, charge
from clients.cli import app
from clients.files.failed_report import FailedReport, Failure, report_path
from clients.files.provenance import Record, mode_settings
from clients.scoring import score
from clients.scoring.job import ScoringJob
from clients.simple import simple_client
from lartpc import RSE, Event, Image, ImageMeta, TickOrder, open_reader, open_writer
from lartpc.crops import chain
from lartpc.files import provenance
from mdp import SettingsError
from services.planes import PLANES, answer_name
from tests.support import plane_pools, tiny_networks
from tests.support.processes import QUICK, Processes, free_port
from tests.support.root_tools import hadd

NAMES = [answer_name(plane) for plane in PLANES]
MODES: dict[str, chain.Mode] = {
    "croi": chain.Croi(size=64),
    "tiles": chain.Tiles(64, 16, 1),
    "whole": chain.Whole(1),
}
each_mode = pytest.mark.parametrize("mode", MODES)
EVENTS = 7  # the fifth one is empty

Change = Callable[[list[Event]], object]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with a worker for each plane."""
    with Processes(tmp_path_factory.mktemp("pools")) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint, *QUICK)
        plane_pools.start(processes, endpoint, target="tests.support.honest_planes:Plausible")
        yield endpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Path:
    """in.root, and what each mode makes of it: croi.root, tiles.root, whole.root."""
    folder = tmp_path_factory.mktemp("made")
    plane_pools.toys(folder / "in.root", EVENTS)
    for name in MODES:
        score.score(job(folder, endpoint, name))
    return folder


def job(folder: Path, endpoint: str, mode: str) -> ScoringJob:
    return ScoringJob(
        inputs=(folder / "in.root",),
        output=folder / f"{mode}.root",
        broker=endpoint,
        mode=MODES[mode],
        timeout_s=60,
    )


def check(output: Path, *inputs: Path, allow_failed: bool = False) -> dict[str, Finding]:
    findings = check_output(Check(inputs=inputs, output=output, allow_failed=allow_failed))
    return {item.name: item for item in findings}


def bad(findings: dict[str, Finding]) -> set[str]:
    return {name for name, item in findings.items() if item.bad}


def changed(good: Path, target: Path, change: Change) -> Path:
    """A good output with other events, under the same provenance."""
    events = plane_pools.read(good)
    change(events)
    with open_writer(target) as writer:
        for event in events:
            writer.write(event)
        writer.provenance = provenance.read(good)
    return target


def pixels_changed(
    event: Event, change: Callable[[np.ndarray], object], *, plane: int = 2, which: int = 0
) -> Event:
    """The event with one score image changed."""
    images = list(event.images[NAMES[plane]])
    pixels = images[which].pixels.copy()
    result = change(pixels)
    new = result if isinstance(result, np.ndarray) else pixels
    images[which] = Image(images[which].meta, np.ascontiguousarray(new))
    return replace(event, images={**event.images, NAMES[plane]: tuple(images)})


# Good ones.


@each_mode
def test_nothing_is_wrong_with_what_a_run_made(folder: Path, mode: str) -> None:
    findings = check(folder / f"{mode}.root", folder / "in.root")
    assert bad(findings) == set()
    assert not any(item.skipped for item in findings.values())
    assert findings["entries"].checked == EVENTS
    assert findings["images"].checked == 3 * EVENTS
    assert findings["charge"].checked > 1000
    assert findings["shower"].checked > 20


@each_mode
def test_nor_with_a_range_of_several_forward_files_in_the_other_format(
    folder: Path, endpoint: str, tmp_path: Path, mode: str
) -> None:
    events = plane_pools.read(folder / "in.root")
    with open_reader(folder / "in.root", tick_order="backward", rois=["croi"]) as reader:
        rois = [event.rois for event in reader]
    inputs = (tmp_path / "a.root", tmp_path / "b.root")
    for number, path in enumerate(inputs):
        with open_writer(path) as writer:
            for event, boxes in list(zip(events, rois, strict=True))[number::2]:
                turned = tuple(i.in_order("forward") for i in event.images["wire"])
                writer.write(Event(event.rse, {"wire": turned}, boxes))
    built = replace(
        job(folder, endpoint, mode),
        inputs=inputs,
        output=tmp_path / "out.h5",
        tick_order="forward",
        start=1,
        end=6,
        low_adc=12.0,
    )
    score.score(built)
    findings = check(built.output, *inputs)
    assert bad(findings) == set()
    assert findings["entries"].checked == 5
    assert findings["charge"].checked > 500


def test_nor_with_the_sum_of_two_outputs(folder: Path, endpoint: str, tmp_path: Path) -> None:
    parts = []
    for start, end in ((0, 3), (3, EVENTS)):
        part = replace(job(folder, endpoint, "croi"), output=tmp_path / f"{start}.root")
        score.score(replace(part, start=start, end=end, copy_input=True))
        parts.append(part.output)
    hadd(tmp_path / "all.root", *parts)
    assert bad(check(tmp_path / "all.root", folder / "in.root")) == set()
    hadd(tmp_path / "other.root", *reversed(parts))
    assert bad(check(tmp_path / "other.root", folder / "in.root")) == {"order"}
    hadd(tmp_path / "twice.root", parts[0], *parts)
    assert bad(check(tmp_path / "twice.root", folder / "in.root")) >= {"entries", "events"}
    part = replace(job(folder, endpoint, "croi"), output=tmp_path / "end.root")
    score.score(replace(part, start=5, copy_input=True))
    hadd(tmp_path / "hole.root", parts[0], part.output)
    assert bad(check(tmp_path / "hole.root", folder / "in.root")) == {"entries", "events"}


@pytest.mark.parametrize("suffix", ["root", "h5"])
def test_nor_with_the_output_of_a_file_of_no_entries(
    folder: Path, endpoint: str, tmp_path: Path, suffix: str
) -> None:
    with open_writer(tmp_path / f"in.{suffix}", images=["wire"]):
        pass
    built = replace(job(folder, endpoint, "tiles"), inputs=(tmp_path / f"in.{suffix}",))
    built = replace(built, output=tmp_path / "out.root")
    score.score(built)
    findings = check(built.output, *built.inputs)
    assert bad(findings) == set()
    assert findings["images"].skipped == "there are no events"
    hadd(tmp_path / "all.root", built.output, folder / "tiles.root")
    assert bad(check(tmp_path / "all.root", *built.inputs, folder / "in.root")) == set()


def test_nor_with_the_output_of_two_equal_files(
    folder: Path, endpoint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy.root"
    copy.write_bytes((folder / "in.root").read_bytes())
    built = replace(job(folder, endpoint, "tiles"), output=tmp_path / "out.root")
    with pytest.raises(SettingsError, match=r"copy\.root and .*in\.root, .*--repeat-inputs"):
        score.score(replace(built, inputs=(folder / "in.root", copy)))
    twice = (folder / "in.root",) * 2
    with pytest.raises(SettingsError, match=r"in\.root twice: --repeat-inputs"):
        simple_client.process_files(
            simple_client.SimpleJob(inputs=twice, output=built.output, service="x", broker=endpoint)
        )
    score.score(replace(built, inputs=(folder / "in.root", copy), repeat_inputs=True))
    assert f"{EVENTS} events come again in the inputs, the first is (" in caplog.text
    findings = check(built.output, folder / "in.root", copy)
    assert bad(findings) == set()
    assert (findings["repeats"].verdict, findings["repeats"].warned) == ("warning", EVENTS)
    assert "each once" not in findings["events"].wanted
    assert findings["entries"].checked == 2 * EVENTS


def test_events_that_the_input_repeats_have_a_line_and_come_as_often(
    folder: Path, endpoint: str, tmp_path: Path
) -> None:
    source = tmp_path / "in.root"
    events = plane_pools.toys(tmp_path / "toys.root", 3)
    events = [events[0], replace(events[1], rse=events[0].rse), events[2]]
    with open_writer(source) as writer:
        for event in events:
            writer.write(event)
    built = replace(job(folder, endpoint, "tiles"), inputs=(source,), output=tmp_path / "out.root")
    score.score(built)
    findings = check(built.output, source)
    assert bad(findings) == set()
    assert findings["repeats"].warned == 1
    assert "2 times" in findings["repeats"].first
    done = command(source, built.output, "--json")
    [line] = (item for item in json.loads(done.stdout)["checks"] if item["name"] == "repeats")
    assert (done.exit_code, line["verdict"], line["warned"]) == (0, "warning", 1)

    def other(events: list[Event]) -> None:  # as many entries, as many doubled: others
        events[1] = events[2]

    findings = check(changed(built.output, tmp_path / "o.root", other), source)
    assert {"events"} <= bad(findings)
    assert "comes too often" in findings["events"].first


# A network that is so sure that float16 rounds scores to 0.

FACTOR, BACKGROUND = 3.0, 36.0  # of the weights of the last layer; added to its bias


def real(folder: Path, endpoint: str, tmp_path: Path, *, dtype: str) -> Path:
    """What real workers of the dtype make of the toys, the last layer's weights scaled."""
    weights = tiny_networks.gentle_weights()
    matrix, bias = (item * np.float32(FACTOR) for item in weights["scores"])
    weights["scores"] = [matrix, bias + np.array([BACKGROUND, 0, 0], "f4")]
    network = tmp_path / "network"
    network.mkdir()
    tiny_networks.write(network, weights=weights)
    output = tmp_path / "out.root"
    with Processes(tmp_path) as processes:
        processes.broker(endpoint, *QUICK)
        serve = ("-m", "clients", "worker", "planes", "--broker", endpoint, *QUICK)
        processes.python(*serve, "--network", str(network), "--dtype", dtype, "--threads", "1")
        built = replace(job(folder, endpoint, "croi"), output=output, wait_s=60)
        score.score(built)
    return output


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_nothing_is_wrong_with_what_a_network_made_that_is_sure(
    folder: Path, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    output = real(folder, endpoint, tmp_path, dtype=dtype)
    findings = check(output, folder / "in.root")
    assert bad(findings) == set()
    assert record_of(output).services["ssnet-plane0"][0].dtype == dtype
    images = [e.images[NAMES[p]] for e in plane_pools.read(output) for p in PLANES]
    scored = sum(int(np.count_nonzero(s.pixels + t.pixels)) for s, t in filter(None, images))
    if dtype == "float16":  # or else this tests nothing: more than the 5 % of other networks
        assert scored < 0.9 * findings["charge"].checked

    def blank(events: list[Event]) -> None:
        for which in (0, 1):
            events[0] = pixels_changed(events[0], np.zeros_like, which=which)

    blanked = check(changed(output, tmp_path / "blank.root", blank), folder / "in.root")
    assert bad(blanked) == {"charge"}
    assert "`ssnet run --force`" in blanked["charge"].first


def as_float16(record: Record) -> str:
    services = {
        name: tuple(replace(origin, dtype="float16") for origin in origins)
        for name, origins in record.services.items()
    }
    return replace(record, services=services).pack()


@pytest.mark.parametrize("part", [0.25, 0.4])
def test_a_blank_part_of_a_network_that_is_not_sure_is_found_in_float16_too(
    folder: Path, tmp_path: Path, part: float
) -> None:
    events = plane_pools.read(folder / "tiles.root")
    rows, _ = np.nonzero(events[0].images[NAMES[2]][0].pixels)
    last = int(np.quantile(rows, part))  # the first rows, with this share of the scores
    for which in (0, 1):

        def blank(pixels: np.ndarray) -> None:
            pixels[:last] = 0

        events[0] = pixels_changed(events[0], blank, which=which)
    with open_writer(tmp_path / "o.root") as writer:
        for event in events:
            writer.write(event)
        writer.provenance = (as_float16(record_of(folder / "tiles.root")),)
    assert bad(check(tmp_path / "o.root", folder / "in.root")) == {"charge"}


# Events.


@each_mode
@pytest.mark.parametrize("number", [0, 4, EVENTS - 1])
def test_a_missing_entry_is_found(folder: Path, tmp_path: Path, mode: str, number: int) -> None:
    output = changed(folder / f"{mode}.root", tmp_path / "o.root", lambda all_: all_.pop(number))
    findings = check(output, folder / "in.root")
    assert bad(findings) == {"provenance", "entries", "events"}
    assert findings["images"].checked == 3 * (EVENTS - 1)  # the others are looked at all the same
    rse = plane_pools.read(folder / f"{mode}.root")[number].rse
    assert findings["events"].first == f"{tuple(rse)} is missing"
    assert findings["entries"].first == f"want {EVENTS} entries, got {EVENTS - 1}"


def test_a_swapped_pair_is_found(folder: Path, tmp_path: Path) -> None:
    def swap(events: list[Event]) -> None:
        events[1], events[5] = events[5], events[1]

    findings = check(changed(folder / "tiles.root", tmp_path / "o.root", swap), folder / "in.root")
    assert bad(findings) == {"order"}
    assert findings["order"].bad == 2


def test_an_event_that_comes_twice_in_another_s_place_is_found(
    folder: Path, tmp_path: Path
) -> None:
    def repeat(events: list[Event]) -> None:
        events[1] = events[2]

    findings = check(
        changed(folder / "tiles.root", tmp_path / "o.root", repeat), folder / "in.root"
    )
    assert "events" in bad(findings)
    assert "is missing" in findings["events"].first


def test_another_file_than_the_one_it_was_made_of_is_found(folder: Path, tmp_path: Path) -> None:
    plane_pools.toys(tmp_path / "in.root", EVENTS + 1)
    findings = check(folder / "tiles.root", tmp_path / "in.root")
    assert {"inputs", "entries", "events"} <= bad(findings)
    assert "is not one of the files given" in findings["inputs"].first


def test_a_file_too_many_is_found(folder: Path, tmp_path: Path) -> None:
    plane_pools.toys(tmp_path / "more.root", 1)
    findings = check(folder / "tiles.root", folder / "in.root", tmp_path / "more.root")
    assert "inputs" in bad(findings)
    assert "was not made from" in findings["inputs"].first


# Pixels.


def test_another_events_pixels_are_found(folder: Path, tmp_path: Path) -> None:
    def take(events: list[Event]) -> None:
        events[3] = replace(events[3], images=events[2].images)

    for mode in ("tiles", "whole"):  # in which all canvases are the same
        output = changed(folder / f"{mode}.root", tmp_path / f"{mode}.root", take)
        findings = check(output, folder / "in.root")
        assert bad(findings) >= {"no charge", "charge"}
        assert "entry 3, event " in findings["no charge"].first


@each_mode
@pytest.mark.parametrize(("axis", "by"), [(0, 1), (0, -1), (1, 1), (1, -2)])
def test_a_shifted_crop_is_found(
    folder: Path, tmp_path: Path, mode: str, axis: int, by: int
) -> None:
    def shift(events: list[Event]) -> None:
        for which in (0, 1):
            events[1] = pixels_changed(
                events[1], lambda pixels: np.roll(pixels, by, axis), which=which
            )

    findings = check(
        changed(folder / f"{mode}.root", tmp_path / "o.root", shift), folder / "in.root"
    )
    assert bad(findings) >= {"no charge"}
    assert "entry 1, event " in findings["no charge"].first
    assert "plane 2" in findings["no charge"].first


def test_a_crop_at_another_place_on_its_canvas_is_found(folder: Path, tmp_path: Path) -> None:
    def move(events: list[Event]) -> None:
        def half(pixels: np.ndarray) -> None:
            pixels[:, : pixels.shape[1] // 2] = np.roll(pixels[:, : pixels.shape[1] // 2], 3, 0)

        for which in (0, 1):
            events[2] = pixels_changed(events[2], half, which=which, plane=0)

    findings = check(changed(folder / "croi.root", tmp_path / "o.root", move), folder / "in.root")
    assert "no charge" in bad(findings)


@each_mode
def test_scores_that_are_not_there_are_found(folder: Path, tmp_path: Path, mode: str) -> None:
    def blank(events: list[Event]) -> None:
        for which in (0, 1):
            events[0] = pixels_changed(events[0], np.zeros_like, which=which)

    findings = check(
        changed(folder / f"{mode}.root", tmp_path / "o.root", blank), folder / "in.root"
    )
    assert bad(findings) == {"charge"}
    assert "entry 0" in findings["charge"].first


@pytest.mark.parametrize("order", ["backward", "forward"])
def test_one_crop_of_many_without_scores_is_found(order: TickOrder) -> None:
    """A hundredth of the event's charge: less than what float16 may round to 0 elsewhere."""
    meta = ImageMeta(960.0, 960.0, 960, 960, 0.0, 2400.0, plane=0, tick_order="backward")
    image = Image(meta, np.full((960, 960), 20, "f4")).in_order(order)
    event = Event(RSE(1, 1, 1), {"wire": (image,)}, {})
    [of_plane] = chain.plan(event, chain.Tiles(128, 32, 1), images="wire").planes
    want = charge(image, of_plane, low=10.0, service_low=10.0)
    scores = np.full((960, 960), 0.3, "f4")
    for blank in (False, True):
        if blank:
            rows, cols = of_plane.crops[0].onto
            scores[rows if order == "backward" else slice(-rows.stop, None), cols] = 0
        findings = ScoreFindings()
        built = Image(image.meta, scores)
        findings.look(want, (built, built), "here")
        assert (findings.above.bad > 0) == blank
    lost = np.count_nonzero(scores == 0)
    row = 0 if order == "backward" else 960 - of_plane.crops[0].onto[0].stop
    words = f"{lost} of {lost} charged pixels of a crop have no score, the first at row {row}"
    assert words in findings.above.first


@each_mode
@pytest.mark.parametrize("which", [0, 1])
def test_an_image_of_one_class_that_was_never_filled_is_found(
    folder: Path, tmp_path: Path, mode: str, which: int
) -> None:
    def blank(events: list[Event]) -> None:
        events[1] = pixels_changed(events[1], np.zeros_like, which=which)

    findings = check(
        changed(folder / f"{mode}.root", tmp_path / "o.root", blank), folder / "in.root"
    )
    assert bad(findings) == {"charge"}
    name = chain.CLASSES[which]
    assert f"charged pixels has a {name} score" in findings["charge"].first


@each_mode
@pytest.mark.parametrize("which", [0, 1])
def test_float_noise_below_the_threshold_is_found(
    folder: Path, tmp_path: Path, mode: str, which: int
) -> None:
    def add(events: list[Event]) -> None:
        def noise(pixels: np.ndarray) -> None:
            row, col = np.argwhere(pixels == 0)[17]
            pixels[row, col] = 1e-7

        events[1] = pixels_changed(events[1], noise, which=which)

    findings = check(changed(folder / f"{mode}.root", tmp_path / "o.root", add), folder / "in.root")
    assert bad(findings) == {"no charge"}
    assert findings["no charge"].bad == 1


@pytest.mark.parametrize("value", [1.0000001, 1.001, -1e-9, 7.0])
def test_a_score_out_of_range_is_found(folder: Path, tmp_path: Path, value: float) -> None:
    def put(events: list[Event]) -> None:
        def one(pixels: np.ndarray) -> None:
            pixels.reshape(-1)[np.argmax(pixels)] = value

        events[1] = pixels_changed(events[1], one)

    findings = check(changed(folder / "tiles.root", tmp_path / "o.root", put), folder / "in.root")
    assert bad(findings) == {"range"}
    assert f"{np.float32(value):.9g}" in findings["range"].first


def test_shower_and_track_that_sum_up_to_more_than_1_are_found(
    folder: Path, tmp_path: Path
) -> None:
    def double(events: list[Event]) -> None:
        for which in (0, 1):
            events[1] = pixels_changed(
                events[1], lambda pixels: np.where(pixels > 0, 0.7, 0).astype("f4"), which=which
            )

    findings = check(
        changed(folder / "tiles.root", tmp_path / "o.root", double), folder / "in.root"
    )
    assert bad(findings) == {"range"}


def test_shower_pixels_off_charge_are_found(folder: Path, tmp_path: Path) -> None:
    def fill(events: list[Event]) -> None:
        events[1] = pixels_changed(events[1], lambda p: np.where(p == 0, 0.9, p).astype("f4"))

    findings = check(changed(folder / "tiles.root", tmp_path / "o.root", fill), folder / "in.root")
    assert bad(findings) == {"no charge", "shower"}


def test_a_nan_is_found_and_the_other_entries_are_looked_at(folder: Path, tmp_path: Path) -> None:
    events = plane_pools.read(folder / "tiles.root")
    pixels = events[1].images[NAMES[0]][1].pixels.copy()
    image = Image(events[1].images[NAMES[0]][1].meta, pixels)
    shower = events[1].images[NAMES[0]][0]
    events[1] = replace(events[1], images={**events[1].images, NAMES[0]: (shower, image)})
    pixels[5, 6] = np.nan  # after it was looked at
    output = changed(
        folder / "tiles.root", tmp_path / "o.root", lambda all_: replace_all(all_, events)
    )
    findings = check(output, folder / "in.root")
    assert bad(findings) == {"readable"}
    assert "entry 1 image2d_uburn_plane0: want finite pixels" in findings["readable"].first
    assert findings["images"].checked == 3 * (EVENTS - 1)


def replace_all(events: list[Event], by: Sequence[Event]) -> None:
    events[:] = by


def test_pixels_of_another_type_are_found(folder: Path, tmp_path: Path) -> None:
    output = changed(folder / "tiles.root", tmp_path / "o.h5", lambda _: None)
    assert bad(check(output, folder / "in.root")) == set()
    with h5py.File(output, "r+") as file:
        group = file[f"Data/image2d_{NAMES[1]}_group"]
        doubles = group["images"][:].astype("f8")
        del group["images"]
        group["images"] = doubles
    findings = check(output, folder / "in.root")
    assert bad(findings) == {"readable"}
    assert "want float32 pixels, as larcv3 writes, got float64" in findings["readable"].first


@each_mode
def test_another_meta_is_found(folder: Path, tmp_path: Path, mode: str) -> None:
    def move(events: list[Event]) -> None:
        for name in NAMES[:1]:
            one, other = events[1].images[name]
            meta = replace(other.meta, origin_x=other.meta.origin_x + other.meta.pixel_width)
            moved = (one, replace(other, meta=meta))
            events[1] = replace(events[1], images={**events[1].images, name: moved})

    findings = check(
        changed(folder / f"{mode}.root", tmp_path / "o.root", move), folder / "in.root"
    )
    assert bad(findings) == {"images"}
    assert "want the meta" in findings["images"].first


def test_swapped_planes_are_found(folder: Path, tmp_path: Path) -> None:
    def swap(events: list[Event]) -> None:
        one, two, three = (events[1].images[name] for name in NAMES)
        events[1] = replace(events[1], images=dict(zip(NAMES, (two, one, three), strict=True)))

    findings = check(changed(folder / "tiles.root", tmp_path / "o.root", swap), folder / "in.root")
    assert "images" in bad(findings)


# Provenance.


def with_records(good: Path, target: Path, *records: str) -> Path:
    with open_writer(target) as writer:
        for event in plane_pools.read(good):
            writer.write(event)
        writer.provenance = records
    return target


def record_of(path: Path) -> Record:
    return Record.unpack(provenance.read(path)[0])


def test_mixed_weights_are_found_after_hadd(folder: Path, endpoint: str, tmp_path: Path) -> None:
    first, second = tmp_path / "1.root", tmp_path / "2.root"
    built = job(folder, endpoint, "tiles")
    score.score(replace(built, output=first, end=3))
    score.score(replace(built, output=second, start=3))
    record = record_of(second)
    (origin,) = record.services["ssnet-plane1"]
    other = {**record.services, "ssnet-plane1": (replace(origin, weights="b" * 64),)}
    mixed = with_records(second, tmp_path / "m.root", replace(record, services=other).pack())
    hadd(tmp_path / "all.root", first, mixed)
    findings = check(tmp_path / "all.root", folder / "in.root")
    assert bad(findings) == {"provenance"}
    want = "record 2 of 2: want ssnet-plane1 from one network throughout, weights '', got 'bbb"
    assert want in findings["provenance"].first
    assert findings["images"].checked == 3 * EVENTS
    assert not findings["images"].skipped


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("threshold_adc", 11.0, "want threshold_adc 10.0 throughout, got 11.0"),
        ("threshold_adc", "another", "the record lacks settings of the scores"),
        ("mode", mode_settings(chain.Tiles(32, 16, 1)), "want mode {"),
        ("mode", "another", "the record lacks settings of the scores"),
        ("producer", "another", "want producer wire throughout, got another"),
    ],
)
def test_mixed_settings_are_found(
    folder: Path, tmp_path: Path, setting: str, value: object, words: str
) -> None:
    record = record_of(folder / "tiles.root")
    half = replace(record, events=3)
    other = replace(record, events=4, settings={**record.settings, setting: value})
    output = with_records(folder / "tiles.root", tmp_path / "o.root", half.pack(), other.pack())
    findings = check(output, folder / "in.root")
    assert f"record 2 of 2: {words}" in findings["provenance"].first
    assert findings["images"].skipped


def test_a_record_that_says_nothing_of_a_plane_is_found(folder: Path, tmp_path: Path) -> None:
    record = record_of(folder / "tiles.root")
    others = {name: origins for name, origins in record.services.items() if name != "ssnet-plane1"}
    half, other = replace(record, events=3), replace(record, events=4, services=others)
    output = with_records(folder / "tiles.root", tmp_path / "o.root", half.pack(), other.pack())
    findings = check(output, folder / "in.root")
    want = "record 2 of 2: want one network of ssnet-plane1, got 0"
    assert findings["provenance"].first == want


@pytest.mark.parametrize(
    "change",
    [
        {"start": "0"},
        {"events": "7"},
        {"settings": [1]},
        {"host": None},
        {"inputs": [{"path": "in.root", "entries": "7", "bytes": 1, "sha256": "", "hashed": ""}]},
        {"services": {"a": [{"engine": "", "network": "", "weights": "", "threshold_adc": "ten"}]}},
    ],
)
def test_a_record_of_other_types_is_none(
    folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    text = json.dumps({**record_of(folder / "tiles.root").as_dict(), **change})
    output = with_records(folder / "tiles.root", tmp_path / "o.root", text)
    assert "want a record" in check(output, folder / "in.root")["provenance"].first


@pytest.mark.parametrize("text", [None, "somebody else's", "{}"])
def test_an_output_without_a_record_is_no_good(
    folder: Path, tmp_path: Path, text: str | None
) -> None:
    records = [] if text is None else [text]
    output = with_records(folder / "tiles.root", tmp_path / "o.root", *records)
    findings = command(folder / "in.root", output, "--mode", "tiles", "--json")
    assert findings.exit_code == 1
    verdicts = {item["name"]: item["verdict"] for item in json.loads(findings.stdout)["checks"]}
    assert {name for name, verdict in verdicts.items() if verdict == "FAILED"} == {"provenance"}
    assert {name for name, verdict in verdicts.items() if verdict == "skipped"} == {"inputs"}


def test_the_scores_of_an_output_without_a_record_are_held_against_what_is_said(
    folder: Path, endpoint: str, tmp_path: Path
) -> None:
    built = replace(job(folder, endpoint, "croi"), output=tmp_path / "20.root", low_adc=20.0)
    score.score(built)
    output = with_records(built.output, tmp_path / "o.root")
    for threshold, wrong in ((20.0, set()), (10.0, {"charge"}), (30.0, {"no charge"})):
        settings = ScoreSettings(
            mode=MODES["croi"], low_adc=threshold, service_low_adc=(threshold,) * 3
        )
        findings = check_output(
            Check(inputs=(folder / "in.root",), output=output, settings=settings)
        )
        assert {item.name for item in findings if item.bad} == {"provenance", *wrong}


def test_an_output_that_says_how_it_was_made_is_not_told(folder: Path) -> None:
    done = command(folder / "in.root", folder / "croi.root", "--threshold", "20")
    assert "want no settings" in str(done.exception)


def test_an_output_of_simple_is_no_scores(folder: Path, tmp_path: Path) -> None:
    record = replace(record_of(folder / "tiles.root"), made_by="ssnet simple").pack()
    output = with_records(folder / "tiles.root", tmp_path / "o.root", record)
    assert "want ssnet run" in check(output, folder / "in.root")["provenance"].first


# Events that a run gave up, and the command.


@pytest.fixture
def given_up(folder: Path, tmp_path: Path) -> Path:
    """An output with an empty entry, which the report beside it names."""
    rse = plane_pools.read(folder / "croi.root")[2].rse

    def empty(events: list[Event]) -> None:
        events[2] = Event(rse, dict.fromkeys(NAMES, ()))

    output = changed(folder / "croi.root", tmp_path / "o.root", empty)
    failure = Failure(2, "in.root entry 2", *rse, 1, 0, 502, "its workers died")
    FailedReport({}, {}, {}, (failure,)).write(report_path(output))
    return output


def test_an_event_that_a_run_gave_up_is_a_failure_unless_it_is_allowed(
    folder: Path, given_up: Path
) -> None:
    findings = check(given_up, folder / "in.root")
    assert bad(findings) == {"failed"}
    assert "its workers died" in findings["failed"].first
    assert bad(check(given_up, folder / "in.root", allow_failed=True)) == set()
    report_path(given_up).unlink()
    assert bad(check(given_up, folder / "in.root", allow_failed=True)) == {"images"}


def test_failed_events_that_no_report_names_are_found(folder: Path, tmp_path: Path) -> None:
    record = record_of(folder / "croi.root")
    counting = replace(record, settings={**record.settings, "failed_events": 2})
    output = with_records(folder / "croi.root", tmp_path / "o.root", counting.pack())
    findings = check(output, folder / "in.root", allow_failed=True)
    assert bad(findings) == {"failed"}
    assert "counts 2 failed events, " in findings["failed"].first


def test_a_damaged_report_of_failed_events_is_found(folder: Path, given_up: Path) -> None:
    report_path(given_up).write_text("{")
    findings = check(given_up, folder / "in.root")
    assert bad(findings) == {"failed", "images"}
    assert "want a report of failed events" in findings["failed"].first


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_the_command_says_ok_and_0_or_failed_and_1(folder: Path, given_up: Path) -> None:
    good = command(folder / "in.root", folder / "croi.root")
    assert good.exit_code == 0
    assert "FAILED" not in good.stdout
    assert good.stdout.count(" ok ") == 14
    wrong = command(folder / "in.root", given_up)
    assert wrong.exit_code == 1
    assert wrong.stdout.count("FAILED") == 1
    assert command(folder / "in.root", given_up, "--allow-failed").exit_code == 0


def test_the_command_gives_json_to_programs(folder: Path, given_up: Path) -> None:
    done = command(folder / "in.root", given_up, "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["ok"]) == (1, False)
    (failed,) = (item for item in report["checks"] if item["verdict"] == "FAILED")
    assert (failed["name"], failed["bad"]) == ("failed", 1)


def test_one_file_is_a_misuse(folder: Path) -> None:
    done = command(folder / "in.root")
    assert "want at least one input and the output" in str(done.exception)

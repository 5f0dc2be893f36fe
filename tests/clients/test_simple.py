"""The simple client through a real broker and real workers: files in, files out."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from clients.errors import AnswerError
from clients.simple.simple_client import SimpleJob, SimpleReport, process_files
from lartpc import (
    RSE,
    Event,
    FileExists,
    Image,
    ImageError,
    ProductMissing,
    ReadError,
    WriteError,
)
from mdp import Client, MDPError, RequestTimeout, SettingsError
from tests.support import simple_files as files
from tests.support.processes import QUICK, Process, Processes, free_port, until, wait_for_workers

SUFFIXES = [".root", ".h5"]


class Farm(NamedTuple):
    """A broker with two dummies, two liars and an echo."""

    endpoint: str
    processes: Processes


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("farm")) as processes:
        processes.broker(endpoint)
        processes.python("-m", "clients", "worker", "dummy", "-n", "2", "--broker", endpoint)
        processes.worker(endpoint, "liar", "tests.support.liar:Liar", "-n", "2")
        processes.worker(endpoint, "echo", "mdp.echo:Echo")
        with Client(endpoint) as client:
            wait_for_workers(client, "dummy", 2)
            wait_for_workers(client, "liar", 2)
            wait_for_workers(client, "echo", 1)
        yield Farm(endpoint, processes)


@pytest.fixture
def plan(farm: Farm, tmp_path: Path) -> SimpleJob:
    return SimpleJob(
        inputs=(tmp_path / "in.h5",),
        output=tmp_path / "out.h5",
        service="dummy",
        broker=farm.endpoint,
        timeout_s=30,
    )


def by_rse(events: list[Event]) -> dict[RSE, Event]:
    return {event.rse: event for event in events}


def assert_same(got: tuple[Image, ...], want: tuple[Image, ...]) -> None:
    assert [image.meta for image in got] == [image.meta for image in want]
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def zeros(images: tuple[Image, ...]) -> tuple[Image, ...]:
    return tuple(replace(image, pixels=np.zeros_like(image.pixels)) for image in images)


# What comes back.


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("batch", [1, 4])
def test_dummy_answers_come_back_in_order_with_exact_metas(
    plan: SimpleJob, tmp_path: Path, suffix: str, batch: int
) -> None:
    result = files.events(10, ["wire"])
    source = files.write(tmp_path / f"in{suffix}", result)
    target = tmp_path / f"out{suffix}"
    report = process_files(replace(plan, inputs=(source,), output=target, batch=batch))
    got = files.read(target)
    assert [event.rse for event in got] == [event.rse for event in result]
    for event, want in zip(got, result, strict=True):
        assert list(event.images) == ["dummy"]
        assert_same(event.images["dummy"], zeros(want.images["wire"]))
    assert (report.events, report.requests) == (10, -(-10 // batch))
    assert report.bytes_out > report.bytes_in > 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_echo_is_the_input_to_the_last_bit(plan: SimpleJob, tmp_path: Path, suffix: str) -> None:
    """Both producers lie at the same place, so their meta texts are the same."""
    result = files.events(7, ["wire", "label"])
    source = files.write(tmp_path / f"in{suffix}", result)
    target = tmp_path / f"out{suffix}"
    process_files(replace(plan, inputs=(source,), output=target, service="echo", batch=3))
    for event, want in zip(files.read(target), result, strict=True):
        assert event.rse == want.rse
        for name in ("wire", "label"):
            assert_same(event.images[name], want.images[name])


def test_answers_go_to_the_right_events_in_a_random_order(plan: SimpleJob) -> None:
    result = by_rse(files.events(20, ["honest"]))
    files.write(plan.inputs[0], list(result.values()))
    process_files(replace(plan, service="liar", seed=5))
    got = files.read(plan.output)
    assert [event.rse for event in got] != sorted(event.rse for event in got)
    assert by_rse(got).keys() == result.keys()
    for rse, event in by_rse(got).items():
        asked = result[rse].images["honest"]
        scores = event.images["scores"]
        assert [image.meta for image in scores] == [i.meta for i in asked for _ in range(2)]
        for k, score in enumerate(scores):
            np.testing.assert_array_equal(score.pixels, asked[k // 2].pixels + 0.5 * (k % 2))


def test_a_seed_gives_the_same_order_each_time(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(20, ["wire"]))
    orders = []
    for seed in (5, 5, 6):
        process_files(replace(plan, seed=seed, force=True))
        orders.append([event.rse for event in files.read(plan.output)])
    assert orders[0] == orders[1] != orders[2]


def test_answers_that_overtake_others_are_written_in_order(plan: SimpleJob) -> None:
    result = files.events(12, ["late"])
    files.write(plan.inputs[0], result)
    process_files(replace(plan, service="liar"))
    assert [event.rse for event in files.read(plan.output)] == [event.rse for event in result]


def test_several_files_are_one_and_a_range_counts_over_them(
    plan: SimpleJob, tmp_path: Path
) -> None:
    result = files.events(12, ["wire"])
    a = files.write(tmp_path / "a.h5", result[:5])
    b = files.write(tmp_path / "b.h5", result[5:])
    process_files(replace(plan, inputs=(a, b), start=3, end=8))
    got = files.read(plan.output)
    assert [event.rse for event in got] == [event.rse for event in result[3:8]]


def test_only_the_producers_asked_for_are_sent(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(2, ["wire", "label"]))
    process_files(replace(plan, producers=("label",), service="echo"))
    assert [list(event.images) for event in files.read(plan.output)] == [["label"]] * 2


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("seed", [None, 3])
def test_copy_input_brings_the_other_products_along(
    plan: SimpleJob, tmp_path: Path, suffix: str, seed: int | None
) -> None:
    result = by_rse(files.events(6, ["wire", "label"]))
    source = files.write(tmp_path / f"in{suffix}", list(result.values()))
    target = tmp_path / f"out{suffix}"
    process_files(
        replace(
            plan,
            inputs=(source,),
            output=target,
            producers=("wire",),
            copy_input=True,
            seed=seed,
        )
    )
    got = files.read(target)
    assert {event.rse for event in got} == set(result)
    for event in got:
        want = result[event.rse].images
        assert sorted(event.images) == ["dummy", "label", "wire"]
        assert_same(event.images["wire"], want["wire"])
        assert_same(event.images["label"], want["label"])
        assert_same(event.images["dummy"], zeros(want["wire"]))


def test_an_answer_named_like_an_input_product_is_said_once(
    plan: SimpleJob, caplog: pytest.LogCaptureFixture
) -> None:
    files.write(plan.inputs[0], files.events(3, ["wire", "label"]))
    process_files(replace(plan, service="echo", producers=("wire",), copy_input=True))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    (warning,) = warnings
    assert "answers named wire replace the input's" in warning


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_events_have_any_number_of_images_and_empty_ones_keep_their_entry(
    plan: SimpleJob, tmp_path: Path, suffix: str, batch: int
) -> None:
    result = files.events(9, ["wire"], counts={0: 0, 1: 0, 3: 5, 4: 5, 5: 1, 8: 0})
    source = files.write(tmp_path / f"in{suffix}", result)
    target = tmp_path / f"out{suffix}"
    report = process_files(replace(plan, inputs=(source,), output=target, batch=batch))
    got = files.read(target)
    assert [event.rse for event in got] == [event.rse for event in result]
    for event, want in zip(got, result, strict=True):
        assert_same(event.images["dummy"], zeros(want.images["wire"]))
    assert report.empty == 3


def test_a_product_that_an_event_lacks_is_empty_there(plan: SimpleJob) -> None:
    first, second = files.events(2, ["wire", "label"])
    second = replace(second, images={**second.images, "label": ()})
    files.write(plan.inputs[0], [first, second])
    process_files(replace(plan, service="echo", batch=2))
    assert [len(event.images["label"]) for event in files.read(plan.output)] == [3, 0]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("answers", [(), ("scores",)])
def test_a_file_without_any_image_gives_one_without_any(
    plan: SimpleJob,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    suffix: str,
    count: int,
    answers: tuple[str, ...],
) -> None:
    result = files.events(3, ["wire"], counts={0: 0, 1: 0, 2: 0})[:count]
    source = tmp_path / f"in{suffix}"
    if count:
        files.write(source, result)
    else:
        from lartpc import open_writer

        open_writer(source, images=["wire"]).close()
    target = tmp_path / f"out{suffix}"
    report = process_files(replace(plan, inputs=(source,), output=target, answers=answers))
    assert [event.rse for event in files.read(target)] == [event.rse for event in result]
    assert report.requests == 0
    if count and not answers:
        assert "no event has images" in caplog.text


def test_a_tick_forward_file_is_sent_and_written_as_it_is(plan: SimpleJob) -> None:
    result = files.events(2, ["honest"])
    files.write(plan.inputs[0], result)
    process_files(replace(plan, service="liar", tick_order="forward"))
    for event, want in zip(files.read(plan.output), result, strict=True):
        for score, image in zip(event.images["scores"][::2], want.images["honest"], strict=True):
            np.testing.assert_array_equal(score.pixels, image.pixels)
            assert score.meta.max_y == pytest.approx(image.meta.max_y)


def test_progress_is_told_up_to_the_end(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(5, ["wire"]))
    progress: list[tuple[int, int]] = []
    process_files(plan, on_progress=lambda done, total: progress.append((done, total)))
    assert progress == [(n, 5) for n in range(1, 6)]


# What goes wrong.


def refused(plan: SimpleJob, *words: str, error: type[Exception]) -> None:
    """The run fails, says so, and leaves neither file nor thread."""
    threads = threading.active_count()
    with pytest.raises(error) as caught:
        process_files(plan)
    for text in words:
        assert text in str(caught.value)
    assert not plan.output.exists()
    assert not list(plan.output.parent.glob(".*.part"))
    assert threading.active_count() == threads


LIES = {
    "too_few_frames": "triples of frames, got 2",
    "no_frames": "got 0 frames",
    "unknown_dtype": "complex64",
    "wrong_byte_count": "bytes, above 0, got 7",
    "bomb": "zstd data that state",
    "huge": "bytes of arrays, got",
    "other_event": "want an answer about event (7, 0, 0), got one about (7, 0, 1)",
    "other_meta": "Plane 9",
    "no_event": "want a meta text that ends in :(run,subrun,event), got 'an image'",
    "wrong_size": "want an array (1, a multiple of 3, 8, 12), got (1, 6, 7, 12)",
    "wrong_number": "got (1, 2, 8, 12)",
    "not_a_number": "NaN",
    "twice": "got two",
    "bad_name": "'../scores': want a name",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_wrong_answer_ends_the_run_and_names_file_and_entry(plan: SimpleJob, lie: str) -> None:
    files.write(plan.inputs[0], files.events(3, [lie]))
    where = f"{plan.inputs[0]} entry 0"
    refused(replace(plan, service="liar"), where, LIES[lie], error=AnswerError)


def test_another_name_than_the_first_replys_is_refused(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(3, ["other_name"]))
    words = ("entry 1", "want answers named ['scores0'], got ['scores1']")
    refused(replace(plan, service="liar"), *words, error=AnswerError)


def test_another_name_than_was_said_beforehand_is_refused(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(3, ["wire"]))
    refused(replace(plan, answers=("scores",)), "['scores']", "['dummy']", error=AnswerError)


def test_an_error_of_the_service_names_the_entry(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(3, ["unknown_lie"]))
    refused(replace(plan, service="liar"), f"{plan.inputs[0]} entry 0", error=MDPError)


def test_no_broker_is_said_aloud_and_ends_after_the_tries(
    plan: SimpleJob, caplog: pytest.LogCaptureFixture
) -> None:
    files.write(plan.inputs[0], files.events(3, ["wire"]))
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    lone = replace(plan, broker=nowhere, timeout_s=0.2, tries=2)
    refused(lone, "entry 0", error=RequestTimeout)
    assert f"no broker answers at {nowhere}" in caplog.text


def test_a_service_without_workers_is_said_aloud(
    plan: SimpleJob, caplog: pytest.LogCaptureFixture
) -> None:
    files.write(plan.inputs[0], files.events(3, ["wire"]))
    lone = replace(plan, service="nobody", timeout_s=0.2, tries=1)
    refused(lone, "entry 0", error=RequestTimeout)
    assert "no worker serves nobody" in caplog.text


def test_an_output_that_is_there_stays_unless_forced(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(1, ["wire"]))
    plan.output.write_text("mine")
    with pytest.raises(FileExists):
        process_files(plan)
    assert plan.output.read_text() == "mine"
    process_files(replace(plan, force=True))
    assert len(files.read(plan.output)) == 1


def test_an_output_that_is_an_input_is_refused_even_by_force(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(1, ["wire"]))
    with pytest.raises(FileExists):
        process_files(replace(plan, output=plan.inputs[0], force=True))
    assert len(files.read(plan.inputs[0])) == 1


def test_a_missing_producer_is_refused_and_those_there_are_named(plan: SimpleJob) -> None:
    files.write(plan.inputs[0], files.events(1, ["wire", "label"]))
    lost = replace(plan, producers=("wires",))
    refused(lost, "wires", "wire", "label", error=ProductMissing)


def test_images_of_different_sizes_in_one_batch_are_refused(plan: SimpleJob) -> None:
    rng = np.random.default_rng(1)
    event = replace(
        files.events(1, ["wire"])[0],
        images={"wire": (files.image(rng, 0), files.image(rng, 1, rows=9))},
    )
    files.write(plan.inputs[0], [event])
    refused(plan, f"{plan.inputs[0]} entry 0", "image2d_wire", "(9, 12)", error=ImageError)


def test_a_file_that_is_damaged_later_on_leaves_no_output(plan: SimpleJob, tmp_path: Path) -> None:
    whole = files.write(tmp_path / "whole.h5", files.events(3, ["wire"]))
    torn = tmp_path / "torn.h5"
    torn.write_bytes(whole.read_bytes()[:2000])
    refused(replace(plan, inputs=(whole, torn)), "torn.h5", error=ReadError)


def test_a_directory_that_is_not_there_is_refused(plan: SimpleJob, tmp_path: Path) -> None:
    files.write(plan.inputs[0], files.events(1, ["wire"]))
    refused(replace(plan, output=tmp_path / "none" / "out.h5"), "none", error=WriteError)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"window": 0},
        {"tries": 0},
        {"start": -1},
        {"start": 2, "end": 2},
        {"start": 3},
        {"timeout_s": 0},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused(plan: SimpleJob, wrong: dict[str, int]) -> None:
    files.write(plan.inputs[0], files.events(3, ["wire"]))
    with pytest.raises(SettingsError):
        process_files(replace(plan, **wrong))  # type: ignore[arg-type]
    assert not plan.output.exists()


def test_a_range_beyond_the_end_is_cut_and_said(
    plan: SimpleJob, caplog: pytest.LogCaptureFixture
) -> None:
    files.write(plan.inputs[0], files.events(3, ["wire"]))
    assert process_files(replace(plan, start=1, end=100)).events == 2
    assert "only 3 entries" in caplog.text


def test_more_pixels_than_a_service_takes_are_refused_before_they_are_sent(plan: SimpleJob) -> None:
    rng = np.random.default_rng(1)
    large = files.image(rng, 0, rows=4096, cols=4096)
    event = replace(files.events(1, ["wire"])[0], images={"wire": (large,) * 9})
    files.write(plan.inputs[0], [event])
    refused(plan, "want at most 512 MiB", "entry 0", "--batch-size", error=SettingsError)


# Who dies meanwhile.


def test_a_worker_that_dies_of_an_event_costs_nothing(
    plan: SimpleJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAR_NOTE", str(tmp_path / "note"))
    result = files.events(8, ["crash_once"])
    files.write(plan.inputs[0], result)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path) as processes:
        processes.broker(endpoint)
        processes.worker(endpoint, "mortal", "tests.support.liar:Liar")
        process_files(replace(plan, broker=endpoint, service="mortal"))
    assert (tmp_path / "note").exists()
    assert [event.rse for event in files.read(plan.output)] == [event.rse for event in result]


def test_a_broker_that_is_killed_and_started_again_costs_nothing(
    plan: SimpleJob, tmp_path: Path
) -> None:
    result = files.events(30, ["slow"])
    files.write(plan.inputs[0], result)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path) as processes:
        broker = processes.broker(endpoint, *QUICK)
        processes.worker(endpoint, "liar", "tests.support.liar:Liar", "-n", "2", *QUICK)
        with Client(endpoint) as client:
            wait_for_workers(client, "liar", 2)
        begun = threading.Event()
        reports: list[SimpleReport] = []
        lying = replace(plan, broker=endpoint, service="liar")
        thread = threading.Thread(
            target=lambda: reports.append(process_files(lying, on_progress=lambda *_: begun.set()))
        )
        thread.start()
        assert begun.wait(30)
        broker.kill()
        processes.broker(endpoint, *QUICK)
        thread.join(60)
    assert [event.rse for event in files.read(plan.output)] == [event.rse for event in result]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_signal_leaves_no_output_and_no_process(
    plan: SimpleJob, farm: Farm, tmp_path: Path, number: signal.Signals, suffix: str
) -> None:
    source = files.write(tmp_path / "in.h5", files.events(100, ["slow"]))
    target = tmp_path / f"out{suffix}"
    process = start(farm, "simple", str(source), "-o", str(target), "-s", "liar")
    until(lambda: parts(tmp_path), "the output is begun")
    until(lambda: busy(farm), "workers are busy")
    process.send(number)
    assert process.exit_code() == 130
    process.wait_until_nothing_is_left()
    assert not target.exists()
    assert not parts(tmp_path)
    assert "Traceback" not in process.stderr


def start(farm: Farm, *arguments: str) -> Process:
    return farm.processes.python("-m", "clients", *arguments, "--broker", farm.endpoint)


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def busy(farm: Farm) -> int:
    with Client(farm.endpoint) as client:
        return client.services()["liar"]["busy"]


# How much it holds.


def test_memory_does_not_grow_with_the_number_of_events(plan: SimpleJob, tmp_path: Path) -> None:
    """2,000 events of 2 x 36 kB: held together they would take 140 MB."""
    rng = np.random.default_rng(1)
    pair = (files.image(rng, 0, rows=96, cols=96), files.image(rng, 1, rows=96, cols=96))
    result = [replace(event, images={"wire": pair}) for event in files.events(2000, ["wire"])]
    source = files.write(tmp_path / "in.root", result)
    del result
    seen: list[int] = []
    large = replace(plan, inputs=(source,), output=tmp_path / "out.root")
    process_files(
        large, on_progress=lambda done, _: seen.append(resident_bytes()) if done > 400 else None
    )
    assert max(seen) - seen[0] < 20e6


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

"""Files as training batches, and the service that makes them: the same batch, each bad input."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest

from lartpc import Event, Image, ProductMissing, ReadError, unpack
from lartpc.training.batches import BatchName
from mdp import Refused
from services.batch_train import DESCRIBE, BatchTrain
from services.training_files import TrainingFiles, TrainingSettings
from tests.support import feed_files
from tests.support.feed_files import RECIPE, name_of, opened


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return feed_files.toys(tmp_path_factory.mktemp("feed") / "toys.h5", 10)


def worker(*paths: Path) -> BatchTrain:
    result = BatchTrain(TrainingSettings(paths))
    result.setup()
    return result


def same(one: TrainingFiles, other: TrainingFiles, name: BatchName) -> bool:
    pairs = zip(one.batch(name), other.batch(name), strict=True)
    return all(a.meta == b.meta and a.array.tobytes() == b.array.tobytes() for a, b in pairs)


def test_the_same_name_is_the_same_batch_whatever_was_made_before(path: Path) -> None:
    one, other = opened(path), opened(path, cache_bytes=0)
    for index in (2, 0, 1, 0):
        one.batch(name_of(one, index, epoch=1))
    assert all(same(one, other, name_of(one, index)) for index in range(3))


def test_an_events_crop_does_not_depend_on_the_batch_that_it_is_in(path: Path) -> None:
    files = opened(path)
    [image, *_] = files.batch(name_of(files, 0))
    [large, *_] = files.batch(name_of(files, 0, recipe=replace(RECIPE, batch_size=10)))
    np.testing.assert_array_equal(image.array, large.array[:4])
    assert large.meta.startswith(image.meta)


def test_seed_and_epoch_change_crops(path: Path) -> None:
    files = opened(path)
    everything = replace(RECIPE, batch_size=10)
    names = [
        name_of(files, 0, recipe=everything),
        name_of(files, 0, epoch=1, recipe=everything),
        name_of(files, 0, recipe=replace(everything, seed=6)),
    ]
    assert len({files.batch(name)[0].array.tobytes() for name in names}) == 3


def test_a_file_has_a_fingerprint_of_its_own_among_others_and_elsewhere(
    path: Path, tmp_path: Path
) -> None:
    other = feed_files.toys(tmp_path / "other.h5", 3, seed=4)
    copy = tmp_path / "copy.h5"
    copy.write_bytes(path.read_bytes())
    first, second = opened(path, other).parts.values()
    assert first != second
    assert list(opened(other, copy).parts.values()) == [second, first]


def test_the_answer_has_images_labels_weights_and_who_they_are_of(path: Path) -> None:
    service = worker(path)
    report = msgpack.unpackb(service.handle([DESCRIBE])[0])
    assert report["parts"] == list(opened(path).parts.values())
    assert {**report, "fingerprint": "", "parts": [], "worker": ""} == {
        "host": socket.gethostname(),
        "events": 10,
        "planes": [0, 1, 2],
        "rows": 96,
        "cols": 128,
        "worker": "",
        "image": "wire",
        "label": "segment",
        "fingerprint": "",
        "parts": [],
    }
    name = BatchName(report["fingerprint"], replace(RECIPE, planes=(2, 0)), 0, 2)
    images, labels, weights = unpack(service.handle([name.pack()]))
    assert [batch.name for batch in (images, labels, weights)] == ["wire", "segment", "weights"]
    assert images.info["batch"] == name.plain()
    assert images.array.shape == labels.array.shape == weights.array.shape == (2, 2, 64, 48)
    assert [batch.array.dtype.name for batch in (images, labels, weights)] == [
        *("float32", "uint8", "float32")
    ]
    lines = images.meta.split("\n")
    assert [line[:24] for line in lines] == [
        "Plane 2 (rows,cols) = (6",
        "Plane 0 (rows,cols) = (6",
    ] * 2
    assert images.rses()[0] == images.rses()[1] != images.rses()[2]


def test_a_files_place_does_not_matter_and_its_content_does(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.h5"
    shutil.copy(path, copy)
    other = feed_files.toys(tmp_path / "other.h5", 10, seed=4)
    assert opened(copy).fingerprint == opened(path).fingerprint
    several = [opened(path), opened(other), opened(path, other), opened(other, path)]
    assert len({files.fingerprint for files in several}) == 4


def test_another_files_batch_is_refused_and_both_fingerprints_are_said(path: Path) -> None:
    files = opened(path)
    with pytest.raises(Refused, match=f"files, {files.fingerprint}.*of abc"):
        worker(path).handle([BatchName("abc", RECIPE, 0, 0).pack()])


def test_what_the_files_do_not_have_is_refused(path: Path) -> None:
    service, files = worker(path), opened(path)
    refused = {
        "at most 96 x 128 pixels": name_of(files, 0, recipe=replace(RECIPE, rows=97)),
        "got 64 x 129": name_of(files, 0, recipe=replace(RECIPE, cols=129)),
        "want an index below 3": name_of(files, 3),
        r"want planes of \(0, 1, 2\)": name_of(files, 0, recipe=replace(RECIPE, planes=(3,))),
    }
    for report, name in refused.items():
        with pytest.raises(Refused, match=report):
            service.handle([name.pack()])


@pytest.mark.parametrize("frames", [[], [b"x"], [b"describe", b""], [b"\x80"]])
def test_a_malformed_request_is_refused(path: Path, frames: list[bytes]) -> None:
    with pytest.raises(Refused, match="want"):
        worker(path).handle(frames)


def test_rows_are_tick_backward_as_in_production_whatever_the_files_order(path: Path) -> None:
    backward = opened(path)
    forward = TrainingFiles(TrainingSettings((path,), tick_order="forward"))
    pairs = zip(
        backward.batch(name_of(backward, 0)), forward.batch(name_of(forward, 0)), strict=True
    )
    for one, other in pairs:
        np.testing.assert_array_equal(one.array, other.array)


def test_several_files_are_one_sequence(path: Path, tmp_path: Path) -> None:
    other = feed_files.toys(tmp_path / "other.h5", 5, seed=4)
    files = opened(path, other)
    assert len(files) == 15
    batches = [files.batch(name_of(files, index)) for index in range(4)]
    rses = [rse for images, *_ in batches for rse in images.rses()[::3]]
    want = {(3, 0, n) for n in range(10)} | {(4, 0, n) for n in range(5)}
    assert {tuple(rse) for rse in rses} == want
    assert len(rses) == 15


def test_entries_without_images_are_no_events(tmp_path: Path) -> None:
    events = feed_files.events(5)
    events[2] = Event(events[2].rse, {"wire": (), "segment": ()})
    files = opened(feed_files.write(tmp_path / "some.h5", events))
    [images, *_] = files.batch(name_of(files, 0))
    assert len(files) == 4
    assert (3, 0, 2) not in {tuple(rse) for rse in images.rses()}


# Files that are no good, at the start and in one line.


def test_a_missing_label_product_is_an_error_at_the_start(path: Path) -> None:
    with pytest.raises(ProductMissing, match="want image2d_truth, got only image2d of"):
        TrainingFiles(TrainingSettings((path,), label="truth"))


def test_labels_of_another_size_are_an_error_at_the_start(tmp_path: Path) -> None:
    def halved(image: Image) -> Image:
        where = image.meta.part(0, 0, rows=48, cols=128)
        return Image(where, image.pixels[:48])

    events = feed_files.events(3)
    events[1] = feed_files.relabelled(events[1], halved)
    path = feed_files.write(tmp_path / "halved.h5", events)
    with pytest.raises(ReadError, match=r"entry 1, plane 0: 96 x 128.*got plane 0: 48 x 128"):
        opened(path)


def test_files_without_events_are_an_error_at_the_start(tmp_path: Path) -> None:
    rse = feed_files.events(1)[0].rse
    path = feed_files.write(tmp_path / "none.h5", [Event(rse, {"wire": (), "segment": ()})])
    with pytest.raises(ReadError, match=r"want events with images, got none in .*none\.h5"):
        opened(path)


def test_an_event_that_lacks_a_plane_is_an_error_at_the_start(tmp_path: Path) -> None:
    events = feed_files.events(3)
    two = {name: images[:2] for name, images in events[1].images.items()}
    events[1] = Event(events[1].rse, two)
    path = feed_files.write(tmp_path / "two.h5", events)
    with pytest.raises(ReadError, match=r"want planes \[0, 1, 2\] in .* entry 1, got \[0, 1\]"):
        opened(path)


def test_labels_that_are_no_classes_name_file_and_entry(tmp_path: Path) -> None:
    def odd(image: Image) -> Image:
        return Image(image.meta, image.pixels + 1)

    events = [feed_files.relabelled(event, odd) for event in feed_files.events(1)]
    files = opened(feed_files.write(tmp_path / "odd.h5", events))
    with pytest.raises(ReadError, match=r"odd\.h5 entry 0 segment: want labels 0, 1 and 2"):
        files.batch(name_of(files, 0))

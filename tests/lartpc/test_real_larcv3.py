"""Entries and products without images in LArCV3 files, and the real LArCV3's files and ours.

The first half makes its files with h5py as larcv3 3.5.1 makes them, so it needs no larcv3.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lartpc import Event, ReadError, listing, open_reader, open_writer, producers
from lartpc.files.parts import PartFiles
from tests.lartpc.real.dumps import Dump, check_equal
from tests.lartpc.real.events import dump_of, random_events
from tests.support.commands_of_ssnet import ssnet
from tests.support.images import event, same
from tests.support.real_larcv import RealLArCV
from tests.support.shared import case

GROUP = "Data/image2d_wire_group"
NO_PLANE = 2**64 - 1


def write(path: Path, events: list[Event]) -> Path:
    with open_writer(path) as writer:
        for one in events:
            writer.write(one)
    return path


def read(path: Path) -> list[Event]:
    with open_reader(path, tick_order="forward") as reader:
        return list(reader)


def without_any_image(path: Path) -> Path:
    """larcv3 writes no dataset `images` for a producer without an image."""
    write(path, [event(0, images=0), event(1, images=0)])
    with h5py.File(path, "r+") as file:
        del file[f"{GROUP}/images"]
        for name in ("image_extents", "image_meta"):
            file[f"{GROUP}/{name}"].resize(0, axis=0)
        file[f"{GROUP}/extents"][:] = 0
    return path


def first_entry_empty(path: Path) -> Path:
    """larcv3 writes metas and no pixels if the first entry of a producer has no images."""
    write(path, [event(0), event(1)])
    with h5py.File(path, "r+") as file:
        file[f"{GROUP}/images"].resize(0, axis=0)
    return path


def entry_empty(path: Path) -> Path:
    """larcv3 writes an extent without images for an entry without images."""
    write(path, [event(0), event(1, images=0), event(2)])
    with h5py.File(path, "r+") as file:
        extents, rows = file[f"{GROUP}/extents"], file[f"{GROUP}/extents"][:]
        rows["first"] -= np.array([0, 0, 1], np.uint64)
        rows["N"][1] = 0
        extents[:] = rows
        for name in ("image_extents", "image_meta"):
            kept = np.delete(file[f"{GROUP}/{name}"][:], 3)
            file[f"{GROUP}/{name}"].resize(len(kept), axis=0)
            file[f"{GROUP}/{name}"][:] = kept
    return path


@pytest.mark.parametrize("made", [True, False], ids=["made", "real"])
def test_a_producer_without_any_image_is_read_and_listed(made: bool, tmp_path: Path) -> None:
    path = without_any_image(tmp_path / "in.h5") if made else case("empty_all.h5", "larcv3")
    assert producers(path) == ("wire",)
    assert [product[:3] for product in listing(path)] == [("image2d", "wire", 2)]  # type: ignore[index]
    assert [one.images for one in read(path)] == [{"wire": ()}, {"wire": ()}]
    with open_reader(path, tick_order="backward") as reader:
        assert reader.metas_at(1) == {"wire": ()}


@pytest.mark.slow
def test_ssnet_files_shows_a_producer_without_any_image_and_refuses_lost_pixels(
    tmp_path: Path,
) -> None:
    done = ssnet("files", without_any_image(tmp_path / "all.h5"), code=0)
    assert re.search(r"image2d_wire .* none +2 ", done.stdout)
    done = ssnet("files", first_entry_empty(tmp_path / "first.h5"), code=1)
    assert "larcv3 loses all pixels" in done.stderr


@pytest.mark.parametrize("made", [True, False], ids=["made", "real"])
def test_pixels_that_larcv3_lost_are_refused_when_the_file_is_opened(
    made: bool, tmp_path: Path
) -> None:
    path = first_entry_empty(tmp_path / "in.h5") if made else case("empty_first.h5", "larcv3")
    with pytest.raises(ReadError, match=rf"{path.name} image2d_wire: .* larcv3 loses all pixels"):
        open_reader(path, tick_order="forward")


@pytest.mark.parametrize("made", [True, False], ids=["made", "real"])
def test_an_entry_without_images_of_larcv3_or_of_an_older_version_is_read(
    made: bool, tmp_path: Path
) -> None:
    path = entry_empty(tmp_path / "in.h5") if made else case("empty_middle.h5", "larcv3")
    assert [len(one.images["wire"]) for one in read(path)] == [3, 0, 3]


def test_an_entry_without_images_of_an_older_version_of_ours_is_read() -> None:
    events = read(case("ours_empty_middle.h5", "larcv3"))
    assert [len(one.images["uburn_plane2"]) for one in events] == [2, 0, 2]


def test_an_entry_without_images_is_written_as_one_image_without_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "out.h5", [event(0, images=0), event(1, images=2), event(2, images=0)])
    assert [len(one.images["wire"]) for one in read(path)] == [0, 2, 0]
    with h5py.File(path) as file:
        assert [int(number) for number in file[f"{GROUP}/extents"]["N"]] == [1, 2, 1]
        meta = file[f"{GROUP}/image_meta"][[0, 3]]
        assert meta["projection_id"].tolist() == [NO_PLANE] * 2
        assert meta["valid"].tolist() == [1, 1]  # larcv3 raises an exception for others
        assert not meta["number_of_voxels"].any()


PRODUCERS = ("uburn_plane2", "wire")


def ours() -> list[Event]:
    """Events of which the first and others have no images in one product or in both."""
    events = random_events(3, 25, order="forward", producers=PRODUCERS)
    events[0] = Event(events[0].rse, {"wire": (), "uburn_plane2": ()})
    assert sum(not one.images["wire"] for one in events) > 2
    return events


def theirs(seed: int) -> list[Event]:
    """Events whose first one has images: larcv3 would lose all pixels."""
    events = random_events(seed, 15, order="forward", producers=PRODUCERS)
    full = next(one for one in events if all(one.images.values()))
    return [full, *events]


CHOSEN = [7, 0, 3, 3, 11, 4]


def copied(path: Path) -> list[Event]:
    """Join three parts with an image for each chosen event; copy the input's other images."""
    source = write(path.with_suffix(".in.h5"), ours())
    with open_reader(source, tick_order="forward") as reader:
        files = PartFiles(
            path, format="larcv3", force=False, inputs=(), images=["score"], copy_input=reader
        )
        parts = [path.with_suffix(f".{number}.h5") for number in range(3)]
        events = [
            Event(ours()[entry].rse, {"score": ours()[entry].images["wire"][:1]})
            for entry in CHOSEN
        ]
        for number, part in enumerate(parts):
            with files.open(part) as writer:
                for at in (2 * number, 2 * number + 1):
                    writer.write(events[at], entry=CHOSEN[at])
        with files.join(path, parts, CHOSEN) as writer:
            writer.close()
    return [
        Event(one.rse, {**one.images, **ours()[entry].images})
        for one, entry in zip(events, CHOSEN, strict=True)
    ]


THEIRS = range(20, 24)


def as_written(events: list[Event]) -> Dump:
    """What larcv3 reads of events that we wrote."""
    dump = dump_of(events, "larcv3")
    none = ((0, 0, 0.0, 0.0, 0.0, 0.0, NO_PLANE), np.empty((0, 0), np.float32))
    for entries in dump.images.values():
        entries[:] = [several or [none] for several in entries]
    return dump


@pytest.fixture(scope="module")
def done(larcv3: RealLArCV, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which one process of LArCV3 has done all its jobs."""
    folder = tmp_path_factory.mktemp("larcv3")
    write(folder / "ours.h5", ours())
    images = list(copied(folder / "copied.h5")[0].images)
    out = str(folder / "copied.npz")
    jobs: list[dict[str, Any]] = [
        {"read": str(folder / "copied.h5"), "images": images, "others": [], "dump": out}
    ]
    for seed in THEIRS:
        dump_of(theirs(seed), "larcv3").save(folder / f"{seed}.npz")
        jobs.append({"write": str(folder / f"{seed}.h5"), "dump": str(folder / f"{seed}.npz")})
        objects = {"dump": str(folder / f"{seed}.npz"), "errors": str(folder / f"{seed}.objects")}
        jobs.append({"objects": "forward", **objects})
    for name in ("ours", str(THEIRS[0])):
        for clear in (False, True):
            dump = folder / f"{name}_{clear}.npz"
            others = ["clear"] if clear else []
            read_it = {"read": str(folder / f"{name}.h5"), "images": PRODUCERS, "others": others}
            jobs.append({**read_it, "dump": str(dump)})
    larcv3.run(*jobs)
    return folder


@pytest.mark.parametrize("clear", [False, True], ids=["without_clear", "with_clear"])
def test_larcv3_reads_our_files_and_shows_no_other_events_images(clear: bool, done: Path) -> None:
    check_equal(Dump.load(done / f"ours_{clear}.npz"), as_written(ours()))


def test_larcv3_reads_joined_parts_with_copies_of_chosen_entries(
    done: Path, tmp_path: Path
) -> None:
    check_equal(Dump.load(done / "copied.npz"), as_written(copied(tmp_path / "again.h5")))


@pytest.mark.parametrize("clear", [False, True], ids=["without_clear", "with_clear"])
def test_larcv3_shows_images_of_the_entry_before_in_its_own_files(clear: bool, done: Path) -> None:
    """docs/files.md says so. It does not do it after `clear_entry()`."""
    want = dump_of(theirs(THEIRS[0]), "larcv3")
    for entries in want.images.values():
        assert any(not several for several in entries)
        for entry in range(len(entries) if not clear else 0):
            entries[entry] = entries[entry] or entries[entry - 1]
    check_equal(Dump.load(done / f"{THEIRS[0]}_{clear}.npz"), want)


@pytest.mark.parametrize("seed", THEIRS)
def test_we_read_the_files_of_larcv3(seed: int, done: Path) -> None:
    events, wanted = read(done / f"{seed}.h5"), theirs(seed)
    assert len(events) == len(wanted)
    assert all(map(same, events, wanted))


@pytest.mark.parametrize("seed", THEIRS)
def test_images_of_larcv3_in_memory_become_ours_and_back(seed: int, done: Path) -> None:
    assert (done / f"{seed}.objects").read_text() == ""

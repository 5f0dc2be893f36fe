"""Files that were made in parts and joined: what one writer would have written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lartpc import (
    Event,
    Image,
    ReadError,
    WriteError,
    format_to_write,
    open_reader,
    open_writer,
    products,
)
from lartpc.files.parts import PartFiles
from tests.support.images import event, same
from tests.support.optional import optional
from tests.support.root_tools import root_says

pytestmark = pytest.mark.slow

SIZES = (2, 1, 3)


def read(path: Path) -> list[Event]:
    with open_reader(path, tick_order="backward", images=["scores"]) as reader:
        return list(reader)


def scores(number: int) -> Event:
    result = event(number, images=number % 3)  # every third is empty
    return Event(result.rse, {"scores": result.images["wire"]})


def join(tmp_path: Path, files: PartFiles, *, entries: range | None = None) -> Path:
    parts: list[Path] = []
    number = 0
    for size in SIZES:
        parts.append(tmp_path / f"part{len(parts)}{files.path.suffix}")
        with files.open(parts[-1]) as writer:
            for _ in range(size):
                writer.write(scores(number), entry=None if entries is None else entries[number])
                number += 1
    with files.join(files.path, parts, entries or range(number)) as writer:
        writer.close()
    return files.path


@pytest.fixture(params=[".root", ".h5"])
def suffix(request: pytest.FixtureRequest) -> str:
    if request.param == ".root":
        optional("ROOT")
    return str(request.param)


def part_files(path: Path, **more: Any) -> PartFiles:
    format = format_to_write(path)
    return PartFiles(
        path,
        **{
            "format": format,
            "force": False,
            "inputs": (),
            "images": ["scores"],
            "copy_input": None,
            **more,
        },
    )


def test_joined_parts_hold_what_one_writer_would_have_written(tmp_path: Path, suffix: str) -> None:
    joined = join(tmp_path, part_files(tmp_path / f"out{suffix}"))
    with open_writer(tmp_path / f"one{suffix}", images=["scores"]) as writer:
        for number in range(sum(SIZES)):
            writer.write(scores(number))
    one = read(writer.path)
    assert len(one) == sum(SIZES)
    assert all(same(a, b) for a, b in zip(read(joined), one, strict=True))
    assert [p.name for p in products(joined)] == [p.name for p in products(writer.path)]


def test_root_finds_the_same_in_joined_parts(tmp_path: Path) -> None:
    """A second implementation reads them by class names and checksums."""
    optional("ROOT")
    joined = join(tmp_path, part_files(tmp_path / "out.root"))
    with open_writer(tmp_path / "one.root", images=["scores"]) as writer:
        for number in range(sum(SIZES)):
            writer.write(scores(number))
    ours, one = root_says(joined), root_says(writer.path)
    assert ours["trees"] == one["trees"]
    assert [len(tree["entries"]) for tree in ours["trees"].values()] == [sum(SIZES)]
    assert larcv(ours["checksums"]) == larcv(one["checksums"]) != {}


def larcv(checksums: dict[str, int]) -> dict[str, int]:
    return {name: item for name, item in checksums.items() if name.startswith("larcv::")}


def test_chunks_of_large_images_are_copied_as_they_are(tmp_path: Path) -> None:
    """Each part begins at a chunk of the joined file, which holds the compressed bytes of both."""
    events = [large(number) for number in range(3)]
    parts = []
    for number in range(len(events)):
        with open_writer(tmp_path / f"part{number}.h5", images=["scores"]) as writer:
            writer.write(events[number])
        parts.append(writer.path)
    files = part_files(tmp_path / "out.h5")
    files.join(files.path, parts, range(len(events))).close()
    assert all(same(a, b) for a, b in zip(read(files.path), events, strict=True))
    where = "Data/image2d_scores_group"
    with h5py.File(files.path) as joined:
        pixels, extents = joined[f"{where}/images"], joined[f"{where}/image_extents"]
        (chunk,) = pixels.chunks
        for part, first in zip(parts, extents["first"].tolist(), strict=True):
            assert first % chunk == 0
            with h5py.File(part) as source:
                packed = source[f"{where}/images"].id.read_direct_chunk((0,))
                assert pixels.id.read_direct_chunk((first,)) == packed


def large(number: int) -> Event:
    """An event with an image of more pixels than a chunk holds."""
    small = event(number, images=1)
    (image,) = small.images["wire"]
    pixels = np.random.default_rng(number).random((300, 400), np.float32)
    meta = dataclasses.replace(image.meta, rows=300, cols=400)
    return Event(small.rse, {"scores": (Image(meta, pixels),)})


@pytest.mark.parametrize("of_input", [range(6), range(1, 7)])
def test_the_inputs_other_products_come_along_with_their_entries(
    tmp_path: Path, suffix: str, of_input: range
) -> None:
    source = tmp_path / f"in{suffix}"
    with open_writer(source) as writer:
        for number in range(of_input.stop):
            writer.write(event(number - of_input.start if number in of_input else 99))
    with open_reader(source, tick_order="backward") as reader:
        files = part_files(tmp_path / f"out{suffix}", copy_input=reader, inputs=[source])
        joined = join(tmp_path, files, entries=of_input)
        with open_reader(joined, tick_order="backward", images=["wire", "scores"]) as got:
            assert len(got) == len(of_input)
            for entry, one in zip(of_input, got, strict=True):
                want = Event(one.rse, {"wire": reader[entry].images["wire"]})
                assert same(Event(one.rse, {"wire": one.images["wire"]}), want)


def test_one_part_is_whole_unless_copies_are_still_to_come(tmp_path: Path) -> None:
    optional("ROOT")
    part = tmp_path / "part.root"
    assert part_files(tmp_path / "out.root").are_whole([part])
    assert not part_files(tmp_path / "out.root").are_whole([part, part])
    with open_writer(tmp_path / "in.root") as writer:
        writer.write(event())
    with open_reader(writer.path, tick_order="backward") as reader:
        assert not part_files(tmp_path / "out.root", copy_input=reader).are_whole([part])


def test_parts_of_another_number_of_entries_are_refused(tmp_path: Path, suffix: str) -> None:
    files = part_files(tmp_path / f"out{suffix}")
    with files.open(tmp_path / f"part{suffix}") as writer:
        writer.write(scores(1))
    with pytest.raises(WriteError, match="want 2 entries in 1 parts, got 1"):
        files.join(files.path, [writer.path], range(2))
    assert not files.path.exists()


@pytest.mark.parametrize("lost", ["Events/event_id", "Data/image2d_scores_group/image_extents"])
def test_a_damaged_part_is_a_read_error_that_names_it(tmp_path: Path, lost: str) -> None:
    files = part_files(tmp_path / "out.h5")
    with files.open(tmp_path / "part.h5") as writer:
        writer.write(scores(1))
    with h5py.File(writer.path, "r+") as file:
        del file[lost]
    with pytest.raises(ReadError, match=rf"part\.h5, got no \['{lost}'\]"):
        files.join(files.path, [writer.path], range(1))
    assert not files.path.exists()


def test_products_that_cannot_be_copied_are_said_before_the_first_part(tmp_path: Path) -> None:
    optional("ROOT")
    with open_writer(tmp_path / "in.root") as writer:
        writer.write(event(rois=1))
    with (
        open_reader(writer.path, tick_order="backward") as reader,
        pytest.raises(WriteError, match="want only images to copy into LArCV3"),
    ):
        part_files(tmp_path / "out.h5", copy_input=reader)

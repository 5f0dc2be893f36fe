"""A file is whole or absent, and never in the place of another. (HDF5: these need no ROOT.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lartpc import (
    Event,
    FileExists,
    ImageError,
    WriteError,
    open_reader,
    open_writer,
)
from tests.lartpc.making import event, same


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_when_it_is_closed(tmp_path: Path) -> None:
    with open_writer(tmp_path / "out.h5") as writer:
        writer.write(event())
        (part,) = names(tmp_path)
        assert part.startswith(".out.h5.")
        assert part.endswith(".part")
        assert writer.entries == 1
    assert names(tmp_path) == ["out.h5"]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_writer(tmp_path / "out.h5") as writer:
            writer.write(event())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_a_closed_writer_takes_no_more_and_closes_again(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "out.h5")
    writer.write(event())
    writer.close()
    writer.close()
    writer.discard()
    with pytest.raises(WriteError, match=r"out.h5, which is closed"):
        writer.write(event())
    assert names(tmp_path) == ["out.h5"]


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    path.write_bytes(b"precious")
    with pytest.raises(FileExists, match=r"out.h5 is there already"):
        open_writer(path)
    assert path.read_bytes() == b"precious"
    with open_writer(path, force=True) as writer:
        writer.write(event())
        assert path.read_bytes() == b"precious"
    with open_reader(path, tick_order="backward") as reader:
        assert same(reader[0], event())
    assert names(tmp_path) == ["out.h5"]


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    writer = open_writer(path)
    writer.write(event())
    path.write_bytes(b"somebody else's")
    with pytest.raises(FileExists):
        writer.close()
    assert path.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["out.h5"]


def test_an_input_is_not_replaced_even_by_force(tmp_path: Path) -> None:
    path, link = tmp_path / "in.h5", tmp_path / "link.h5"
    with open_writer(path) as writer:
        writer.write(event())
    link.symlink_to(path)
    with open_reader(path, tick_order="backward") as reader:
        for output in (path, link, tmp_path / "x" / ".." / "in.h5"):
            (tmp_path / "x").mkdir(exist_ok=True)
            with pytest.raises(FileExists, match="apart from the inputs"):
                open_writer(output, force=True, copy_input=reader)
            with pytest.raises(FileExists, match="apart from the inputs"):
                open_writer(output, force=True, inputs=[path])


def test_what_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"cannot write .*nowhere/out.h5: No such file"):
        open_writer(tmp_path / "nowhere" / "out.h5")
    (tmp_path / "dir.h5").mkdir()
    with pytest.raises(WriteError, match="directory"):
        open_writer(tmp_path / "dir.h5", force=True)
    with pytest.raises(WriteError, match=r"want a suffix of .*'\.h5'.*'\.root'.* got .*out.txt"):
        open_writer(tmp_path / "out.txt")
    if os.geteuid():  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(WriteError, match="Permission"):
            open_writer(tmp_path / "out.h5")


def test_all_events_have_the_first_ones_producers(tmp_path: Path) -> None:
    one = event()
    with open_writer(tmp_path / "out.h5") as writer:
        writer.write(one)
        with pytest.raises(ImageError, match=r"out.h5 entry 1: want the first event's producers"):
            writer.write(Event(one.rse, {**one.images, "score": ()}))


def test_one_file_has_one_tick_order(tmp_path: Path) -> None:
    one = event()
    turned = Event(one.rse, {"wire": tuple(i.in_order("forward") for i in one.images["wire"])})
    with open_writer(tmp_path / "out.h5") as writer:
        writer.write(one)
        with pytest.raises(ImageError, match=r"want backward rows, .* got forward in wire"):
            writer.write(turned)


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    with open_writer(tmp_path / "out.h5") as writer:
        writer.write(event())
    (tmp_path / "plain").touch()
    assert (tmp_path / "out.h5").stat().st_mode == (tmp_path / "plain").stat().st_mode

"""A file is whole or absent, and never in the place of another. (HDF5: these need no ROOT.)"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lartpc import (
    RSE,
    Event,
    FileExists,
    ImageError,
    WriteError,
    open_reader,
    open_writer,
)
from lartpc.files.larcv3.quiet_file import QuietFile
from lartpc.files.whole_file import WholeFile
from tests.support.images import event, same
from tests.support.optional import optional
from tests.support.shared import ROOT

pytestmark = pytest.mark.slow


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
            with pytest.raises(FileExists, match="not an input"):
                open_writer(output, force=True, copy_input=reader)
            with pytest.raises(FileExists, match="not an input"):
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


FULL_DISK = """
import resource, sys
import numpy as np
from lartpc import RSE, Event, Image, WriteError, open_writer
from tests.support.images import meta
noise = np.random.default_rng(1).normal(size=(300, 400)).astype(np.float32)
event = Event(RSE(1, 1, 1), {"wire": (Image(meta(rows=300, cols=400), noise),)})
path, limit, count = sys.argv[1], *map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with open_writer(path) as writer:
        for _ in range(count):
            writer.write(event)
except WriteError as error:
    import os
    assert not os.listdir(os.path.dirname(path)), os.listdir(os.path.dirname(path))
    os.write(1, str(error).encode())
"""


@pytest.mark.parametrize("suffix", [".h5", ".root"])
@pytest.mark.parametrize(("limit", "count"), [(0, 1), (100, 1), (9000, 2), (200_000, 40)])
def test_a_full_disk_is_one_error_and_leaves_nothing(
    suffix: str, limit: int, count: int, tmp_path: Path
) -> None:
    """At once, while it is closed, or in between: HDF5 used to crash at the process's end."""
    if suffix == ".root":
        optional("ROOT")
    (tmp_path / "full").mkdir()
    path = tmp_path / "full" / f"out{suffix}"
    command = [sys.executable, "-c", FULL_DISK, str(path), str(limit), str(count)]
    # through pipes, for the limit holds of files
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"out{suffix}" in done.stdout
    assert names(tmp_path / "full") == []


def test_giving_up_leaves_nothing_even_if_the_library_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("can't close file")

    writer = open_writer(tmp_path / "out.h5")
    monkeypatch.setattr("lartpc.files.larcv3.hdf5_writer.HDF5Sink.abort", fails)
    writer.discard()
    assert names(tmp_path) == []
    with pytest.raises(WriteError, match=r"out.h5 at its end: .*can't close file"):
        open_writer(tmp_path / "out.h5").close()
    assert names(tmp_path) == []


def write_with(error: Exception, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write two events; `HDF5Sink.write` raises `error` for the second one."""

    def fails(*_: object) -> None:
        raise error

    with open_writer(path) as writer:
        writer.write(event())
        monkeypatch.setattr("lartpc.files.larcv3.hdf5_writer.HDF5Sink.write", fails)
        writer.write(event())


@pytest.mark.parametrize(
    "mistake",
    [
        TypeError("unexpected argument"),
        AttributeError("no such attribute"),
        NameError("not defined"),
        AssertionError("never"),
        KeyError("key"),
        IndexError("index"),
        ValueError("shapes do not match"),
        ZeroDivisionError("division by zero"),
        NotImplementedError("not written yet"),
        RecursionError("too deep"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_programming_error_is_raised_as_it_is(
    mistake: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(mistake)) as caught:
        write_with(mistake, tmp_path / "out.h5", monkeypatch)
    assert caught.value is mistake
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "trouble",
    [
        OSError(28, "No space left on device"),
        RuntimeError("can't flush"),
        MemoryError("too large"),
        ReferenceError("null pointer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_a_file_or_a_library_is_a_write_error(
    trouble: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WriteError, match=r"out.h5 entry 1: cannot write") as caught:
        write_with(trouble, tmp_path / "out.h5", monkeypatch)
    assert str(trouble) in str(caught.value)
    assert names(tmp_path) == []


def test_the_first_error_of_a_file_replaces_what_hdf5_raises_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.touch()
    file = QuietFile(path)

    def reads(missing: str) -> None:
        with file.first_error():
            raise KeyError(missing)

    with pytest.raises(KeyError):
        reads("our own mistake: the file has no error")
    monkeypatch.setattr(os, "pwrite", full)
    file.write(memoryview(b"bytes"))
    with pytest.raises(OSError, match="No space left"):
        reads("Unable to open object")
    file.close()


def test_an_empty_file_gets_no_name(tmp_path: Path) -> None:
    whole = WholeFile(tmp_path / "out.h5", force=False, inputs=())
    with pytest.raises(WriteError, match=r"out.h5, got an empty file"):
        whole.publish()
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", "/", "a/b", "a\nb", "a\0b", "..", "ü", "a b", "w" * 201])
def test_a_name_that_no_product_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with (
        open_writer(tmp_path / "out.h5") as writer,
        pytest.raises(ImageError, match=r"entry 0: want a name of letters"),
    ):
        writer.write(Event(RSE(1, 2, 3), {name: ()}))
    (tmp_path / "out.h5").unlink()
    with pytest.raises(ImageError, match="want a name of letters"):
        open_writer(tmp_path / "out.h5", images=[name])
    assert names(tmp_path) == []


def test_a_finished_file_has_no_name_until_it_is_closed(tmp_path: Path) -> None:
    for given_up, left in ((True, []), (False, ["out.h5"])):
        writer = open_writer(tmp_path / "out.h5")
        writer.write(event())
        writer.finish()
        assert names(tmp_path)[0].startswith(".out.h5.")
        with pytest.raises(WriteError, match="closed"):
            writer.write(event())
        if given_up:
            writer.discard()
        writer.close()
        assert names(tmp_path) == left

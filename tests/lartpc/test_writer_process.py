"""The process that writes with ROOT may die or stand still: the caller gets an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from lartpc import ROI, RSE, Event, ImageError, WriteError, open_reader, open_writer
from lartpc.files.root_writing import writer_process
from lartpc.files.root_writing.exchange import Message, from_event, to_event
from lartpc.image import Corners, ImageMeta
from tests.support import larcv2_files
from tests.support.images import event, image, same
from tests.support.optional import optional
from tests.support.processes import until
from tests.support.shared import ROOT

pytestmark = pytest.mark.slow

MANY = 2000


@pytest.fixture
def writer() -> writer_process.ROOTWriter:
    optional("ROOT")
    return writer_process.writer_of("larcv1")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_a_writer_process_that_dies_is_one_error_and_the_next_file_is_written(
    number: signal.Signals, writer: writer_process.ROOTWriter, tmp_path: Path
) -> None:
    with open_writer(tmp_path / "out.root") as opened:
        opened.write(event(0))
        os.kill(writer.pid, number)
        with pytest.raises(WriteError, match=rf"out.root entry 1: .* ended of {number.name}"):
            opened.write(event(1))
        opened.discard()
    assert names(tmp_path) == []
    with open_writer(tmp_path / "next.root") as opened:
        opened.write(event(2))
    with open_reader(tmp_path / "next.root", tick_order="backward", images=["wire"]) as reader:
        assert same(reader[0], event(2))


def test_a_process_that_dies_while_it_copies_names_the_product_and_the_way_on(
    writer: writer_process.ROOTWriter, tmp_path: Path
) -> None:
    source = tmp_path / "in.root"
    with open_writer(source) as opened:
        for number in range(MANY):
            opened.write(event(number, images=1, rois=1))

    def kill() -> None:
        until(lambda: "partroi_croi" in own.doing, "it copies", within_s=60)
        os.kill(own.pid, signal.SIGABRT)

    killer = threading.Thread(target=kill)
    with open_reader(source, tick_order="backward", images=["wire"]) as reader:
        opened = open_writer(tmp_path / "out.root", copy_input=reader)
        assert isinstance(opened._sink, writer_process.RemoteSink)
        own = opened._sink.writer
        for entry in reversed(range(MANY)):
            one = reader[entry]
            opened.write(Event(one.rse, {"scores": one.images["wire"]}), entry=entry)
        killer.start()
        want = (
            rf"SIGABRT while it copied partroi_croi of {source} entry \d+; .*--copy-input.*--fresh"
        )
        with pytest.raises(WriteError, match=want):
            opened.close()
        killer.join()
    assert names(tmp_path) == ["in.root"]


def test_a_process_that_stands_still_is_ended(
    writer: writer_process.ROOTWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_process, "_LOOK_S", 0.1)
    monkeypatch.setattr(writer_process, "_STUCK_S", 1.0)
    opened = open_writer(tmp_path / "out.root")
    os.kill(writer.pid, signal.SIGSTOP)
    with pytest.raises(WriteError, match="ended of SIGKILL"):
        opened.write(event(0))
    opened.discard()
    assert names(tmp_path) == []


ENDS = """
import os, signal, sys
from lartpc import open_writer
from lartpc.files.root_writing.writer_process import writer_of
from tests.support.images import event
writer = open_writer(sys.argv[1])
writer.write(event())
print(writer_of("larcv1").pid, flush=True)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_the_process_ends_with_its_parent(how: str, tmp_path: Path) -> None:
    optional("ROOT")
    command = [sys.executable, "-c", ENDS, str(tmp_path / "out.root"), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the writer process ends", within_s=30)


def test_messages_keep_every_bit() -> None:
    corners = Corners(1 / 3, -1e-300, 1e6 / 7, 2.5)
    odd = ImageMeta(0.1, 0.2, 5, 4, 1 / 3, -1e-300, 9, "forward", corners, 2)
    empty = ImageMeta(0.0, 0.0, 0, 3, 0.0, 0.0, 1)
    images = (image(1), image(2, rows=1, cols=9))
    one = Event(
        RSE(np.int64(1), (1 << 64) - 1, 3),  # type: ignore[arg-type]
        {
            "wire": images,
            "none": (),
            "empty": (type(images[0])(empty, np.zeros((0, 3), np.float32)),),
        },
        {"croi": (ROI((odd, empty), 3, 4), ROI(()))},
    )
    assert same(to_event(from_event(one)), one)


def test_answers_that_arrive_together_are_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent waited for ever for an answer that its buffer had read already."""
    monkeypatch.setattr(writer_process, "_MODULE", "tests.support.quick_answers")
    monkeypatch.setattr(writer_process, "_LOOK_S", 1.0)
    monkeypatch.setattr(writer_process, "_STUCK_S", 3.0)
    writer = writer_process.ROOTWriter("larcv1")
    try:
        for _ in range(2):  # the second order fails if the process was taken for stuck, and ended
            parts: list[int] = []
            result = writer.obey(Message({"order": "append"}), "joined", on_part=parts.append)
            assert (result, parts) == (7, [0, 1])
    finally:
        writer.end()


def test_an_interrupted_order_ends_the_process_so_that_no_answer_is_taken_for_another(
    tmp_path: Path,
) -> None:
    optional("ROOT")
    parts = [tmp_path / f"part{number}.root" for number in range(3)]
    for number, part in enumerate(parts):
        with open_writer(part) as opened:
            opened.write(event(number))

    def stop(part: int) -> None:
        if part == 1:
            raise KeyboardInterrupt

    opened = open_writer(tmp_path / "joined.root")
    with pytest.raises(KeyboardInterrupt), opened:
        opened.append(parts, [0, 1, 2], stop)
    with open_writer(tmp_path / "next.root") as opened:
        with pytest.raises(ImageError, match=r"from 0 to 65535, got 65536"):
            opened.write(Event(RSE(1, 1, 1), {"wire": (image(1, plane=65536),)}))
        opened.write(event(5), entry=None)
    assert names(tmp_path) == ["next.root", *(part.name for part in parts)]


def test_a_module_of_the_users_in_the_working_directory_is_not_taken(tmp_path: Path) -> None:
    optional("ROOT")
    (tmp_path / "array.py").write_text("raise SystemExit('not this one')")
    program = "from lartpc import open_writer\nopen_writer('a.root', images=['wire']).close()"
    path = {"PYTHONPATH": str(ROOT)}
    # without "": else this process would take the user's module, too
    command = [sys.executable, "-c", f"import sys; sys.path.remove('')\n{program}"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["a.root", "array.py"]


def test_a_file_whose_classes_have_other_members_is_copied_by_a_process_of_its_own(
    tmp_path: Path,
) -> None:
    optional("ROOT")
    today = tmp_path / "today.root"
    with open_writer(today, format="larcv2") as opened:
        opened.write(event(rois=1))
    old = larcv2_files.write(tmp_path / "old.root", "old", (0, 1, 2))
    pids = {}
    for path in (today, old):
        with (
            open_reader(path, tick_order="auto", images=["wire"]) as reader,
            open_writer(tmp_path / "out.root", copy_input=reader) as opened,
        ):
            assert isinstance(opened._sink, writer_process.RemoteSink)
            pids[path] = opened._sink.writer.pid
            for entry, one in enumerate(reader):
                opened.write(Event(one.rse, {"scores": one.images["wire"]}), entry=entry)
        (tmp_path / "out.root").unlink()
    shared = writer_process.writer_of("larcv2").pid
    assert pids[today] == shared
    assert pids[old] != shared
    assert not Path(f"/proc/{pids[old]}").exists()

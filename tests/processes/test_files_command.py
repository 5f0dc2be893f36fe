"""`ssnet files` and the other commands on files that each have one odd property."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import h5py
import numpy as np
import pytest

from clients.files.checksums import checksum
from clients.files.provenance import Input, Record
from lartpc import RSE, Event, open_reader, open_writer
from services.planes import Origin
from tests.support import simple_files as files
from tests.support.commands_of_ssnet import one_line, ssnet
from tests.support.optional import optional
from tests.support.processes import ROOT, free_port
from tests.support.shared import case

REFUSED = {
    "unclosed_autosave.root": "was not closed by its writer",
    "only_histogram.root": "want LArCV products",
    "subdir.root": "larcv/image2d_wire_tree",
    "h_extent_shared.h5": "entries 0 and 1 that share some",
}
"""By file: what is wrong with the whole of it."""


def run_without_a_broker(*arguments: object, code: int) -> str:
    """The error of a run that must end before it asks a broker, which is not there."""
    done = ssnet("run", *arguments, "-b", f"tcp://127.0.0.1:{free_port()}", code=code)
    return one_line(done)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_refused_is_refused_by_every_command(name: str, tmp_path: Path) -> None:
    path, output = case(name), tmp_path / "out.root"
    says = REFUSED[name]
    assert says in one_line(ssnet("files", path, code=1))
    mode = () if path.suffix == ".root" else ("--mode", "tiles")
    message = run_without_a_broker(path, "-o", output, *mode, code=1)
    assert says in message
    assert str(path) in message
    assert list(tmp_path.iterdir()) == []
    optional("matplotlib")
    assert says in one_line(ssnet("display", path, "-p", "wire", "-o", tmp_path / "x.png", code=1))
    names = [f"uburn_plane{plane}" for plane in range(3)]
    scores = files.write(tmp_path / "scores.h5", files.events(1, names))
    assert says in one_line(ssnet("check", path, scores, code=1))


def test_a_negative_run_is_refused_with_file_and_entry_before_anything_is_asked(
    tmp_path: Path,
) -> None:
    path = files.write(tmp_path / "in.h5", files.events(3, ["wire"]))
    with h5py.File(path, "r+") as file:
        file["Events/event_id"][1] = (-5, 0, 1)
    names = list(tmp_path.iterdir())
    message = run_without_a_broker(path, "-o", tmp_path / "out.h5", "--mode", "whole", code=1)
    assert re.search(r"in.h5 entry 1: .*got \(-5, 0, 1\)", message)
    assert list(tmp_path.iterdir()) == names
    assert "-5,0,1 to" in ssnet("files", path).stdout


@pytest.mark.parametrize("suffix", ["h5", "root"])
def test_the_negative_run_of_the_cases_is_refused(suffix: str, tmp_path: Path) -> None:
    path = case("h_evneg.h5")
    output = tmp_path / f"out.{suffix}"
    message = run_without_a_broker(path, "-o", output, "--mode", "tiles", code=1)
    assert "h_evneg.h5 entry 1" in message
    assert list(tmp_path.iterdir()) == []


def test_a_hollow_product_is_an_error_of_its_own() -> None:
    done = ssnet("files", case("h_hollow_group.h5"), code=1)
    assert "image2d_wire" in done.stdout
    assert [
        ("image2d_hollow" in line, "sparse2d_x" in line) for line in done.stderr.splitlines()
    ] == [
        (True, False),
        (False, True),
    ]


def test_an_image_that_is_not_valid_is_an_error_of_its_entry(tmp_path: Path) -> None:
    path = case("h_valid0.h5")
    assert "entry 0 image2d_wire" in one_line(ssnet("files", path, code=1))
    optional("matplotlib")
    done = ssnet("display", path, "-p", "wire", "-o", tmp_path / "x.png", code=1)
    assert "valid" in one_line(done)


def test_a_fifo_and_a_url_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.root")
    for path, says in ((tmp_path / "in.root", "regular file"), ("root://h//x.root", "xrdcp")):
        assert says in one_line(ssnet("files", path, code=1))
        assert says in run_without_a_broker(path, "-o", tmp_path / "out.root", code=1)


def test_all_bad_inputs_are_named_before_anything_is_asked(tmp_path: Path) -> None:
    good = files.write(tmp_path / "good.h5", files.events(2, ["wire"]))
    bad = [tmp_path / "bad.root", tmp_path / "cut.h5"]
    bad[0].write_bytes(b"no file")
    bad[1].write_bytes(good.read_bytes()[:3000])
    broker = f"tcp://127.0.0.1:{free_port()}"
    commands = (
        ("run", good, *bad, "-o", tmp_path / "out.h5", "--mode", "whole", "-b", broker),
        ("simple", good, *bad, "-o", tmp_path / "out.h5", "-s", "dummy", "-b", broker),
        ("simple", *bad, good, "-o", tmp_path / "out.h5", "-s", "dummy", "-b", broker),
    )
    for command in commands:
        done = ssnet(*command, code=1)
        assert "2 of 3 files" in done.stderr
        assert all(str(path) in done.stderr for path in bad)
    assert not (tmp_path / "out.h5").exists()


def test_an_output_that_is_a_folder_is_refused_before_the_inputs_are_opened(
    tmp_path: Path,
) -> None:
    for output in (tmp_path, f"{tmp_path}/", tmp_path / "nowhere" / "out.root"):
        message = run_without_a_broker(tmp_path / "absent.root", "-o", output, code=1)
        assert str(output).rstrip("/") in message
        assert "absent" not in message


# Tables.


def in_a_terminal(*arguments: object, columns: int = 80) -> str:
    """What `ssnet` prints into a terminal of this width."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-m", "clients", *map(str, arguments)],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**environment, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
    ) as process:
        os.close(its)
        read = b""
        try:
            while part := os.read(ours, 1 << 16):
                read += part
        except OSError:  # Linux's end of file of a terminal
            pass
    os.close(ours)
    assert process.returncode == 0, read
    return re.sub(r"\x1b\[[0-9;]*m", "", read.decode()).replace("\r\n", "\n")


def record(path: Path) -> Record:
    origin = Origin(engine="torch 2.4.1", network="a1" * 32, weights="b2" * 32, threshold_adc=10.0)
    return Record(
        made_by="ssnet run",
        software="ssnetserver 1.0",
        command=("ssnet", "run", str(path), "-o", "out.root", *("--an-option", "4321") * 12),
        host="wn0123.cluster.example.org",
        broker="tcp://broker.cluster.example.org:5555",
        began_at="2026-11-28T01:00:00+00:00",
        ended_at="2026-11-28T02:00:00+00:00",
        inputs=(Input(str(path), 3, checksum(path)),),
        tick_order="backward",
        start=0,
        end=3,
        events=3,
        settings={"mode": {"name": "croi", "rois": "croi", "size": 512}, "threshold_adc": 10.0},
        services={f"ssnet-plane{plane}": (origin,) for plane in range(3)},
    )


@pytest.fixture
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose table is wider than 80 columns: long names, large numbers, provenance."""
    monkeypatch.chdir(tmp_path)
    path = Path("prod_mcc9_v08_00_00_extbnb_run3_larcv_wholeview_20261128.h5")
    with open_writer(path) as writer:
        for number in range(3):
            images = files.events(1, ["sparseuresnet_prediction_of_all_planes", "wire"])[0].images
            writer.write(Event(RSE(123456, 7890, 1234567 + number), images))
        writer.provenance = (record(Path(__file__)).pack(),)
    return path


@pytest.mark.parametrize("columns", [80, 60, 132])
def test_the_table_is_whole_in_a_narrow_terminal(wide: Path, columns: int) -> None:
    shown = in_a_terminal("files", wide, columns=columns)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    for text in (
        str(wide),
        "image2d_sparseuresnet_prediction_of_all_planes",
        "image2d_wire",
        "123456,7890,1234567 to 123456,7890,1234569",
        "3 of 8 x 12",
        "wn0123.cluster.example.org",
        "2026-11-28T02:00:00+00:00",
        "b2b2b2b2 b2b2b2b2 b2b2b2b2",
    ):
        assert any(text in line for line in lines), text


def test_provenance_is_whole_in_a_narrow_terminal(wide: Path) -> None:
    shown = in_a_terminal("files", wide, "--provenance")
    lines = [line.rstrip() for line in shown.splitlines()]
    for text in ("a1" * 32, "b2" * 32, checksum(Path(__file__)).sha256, str(wide)):
        assert any(text in line for line in lines)
    words = shown.split()
    assert words.count("--an-option") == words.count("4321") == 12
    assert max(len(line) for line in lines if str(Path(__file__)) not in line) <= 80


def test_piped_output_has_a_line_for_each_product(wide: Path) -> None:
    lines = ssnet("files", wide, COLUMNS="80").stdout.splitlines()
    of_products = [line for line in lines if "image2d_" in line]
    products = of_products[:2]
    assert all("stored in the file" in line for line in of_products[2:])
    assert len(of_products) == 4
    assert all("123456,7890,1234569" in line and str(wide) in line for line in products)
    provenance = ssnet("files", wide, "--provenance", COLUMNS="80").stdout.splitlines()
    [command] = [line for line in provenance if line.startswith("command")]
    assert command.count("--an-option 4321") == 12


def test_a_narrow_file_is_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.write(Path("a.h5"), files.events(3, ["wire"]))
    header, row, *_ = in_a_terminal("files", "a.h5").splitlines()
    assert header.split() == ["file", "product", "format", "events", "images", "entries", "size"]
    assert "7,0,0 to 7,0,2" in row


def test_an_archive_by_name_is_copied(tmp_path: Path) -> None:
    optional("ROOT")
    source = case("archive_name.zip")
    with (
        open_reader(source, tick_order="backward", rois=["croi"]) as reader,
        open_writer(tmp_path / "out.root", copy_input=reader) as writer,
    ):
        for entry, event in enumerate(reader):
            writer.write(Event(event.rse, {"score": event.images["wire"]}), entry=entry)
    with open_reader(tmp_path / "out.root", tick_order="backward", rois=["croi"]) as copied:
        assert set(copied.images) == {"score", "wire"}
        for one in copied:
            for image, other in zip(one.images["score"], one.images["wire"], strict=True):
                np.testing.assert_array_equal(image.pixels, other.pixels)


@pytest.mark.parametrize("name", ["h_hollow_group.h5", "archive_name.zip"])
def test_an_odd_file_whose_images_are_right_is_scored_checked_and_drawn(
    tmp_path: Path, name: str
) -> None:
    optional("ROOT")
    source, output = case(name), tmp_path / f"out{'.h5' if name.endswith('.h5') else '.root'}"
    more = () if name.endswith(".h5") else ("--copy-input", "--size", 128)
    ssnet("run", source, "-o", output, "--local", *more)
    assert "FAILED" not in ssnet("check", source, output).stdout
    ssnet("display", source, output, "-o", tmp_path / "event.png")
    assert (tmp_path / "event.png").exists()


def test_images_that_larcv3_calls_not_valid_end_a_run_and_a_display(tmp_path: Path) -> None:
    source = case("h_valid0.h5")
    done = ssnet("run", source, "-o", tmp_path / "out.h5", "--local", code=1)
    assert "h_valid0.h5 entry 0 image2d_wire: want image_meta.valid = 1" in done.stderr
    done = ssnet("display", source, "-o", tmp_path / "event.png", code=1)
    assert "h_valid0.h5 entry 0 image2d_wire: want image_meta.valid = 1" in done.stderr
    assert not (tmp_path / "event.png").exists()

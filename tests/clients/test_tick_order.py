"""A tick order that the files contradict ends every command; without one the files decide.

The real event has its rows forward, and nothing in it says so but where its ticks lie.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clients.files.provenance import Record
from lartpc import RSE, Event, Image, ImageMeta, open_reader, open_writer
from lartpc.files import provenance
from tests.support.optional import optional
from tests.support.processes import ROOT
from tests.support.shared import data

pytestmark = pytest.mark.slow

ROWS = COLS = 64


def ssnet(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "clients", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def forward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two events whose images begin at tick 100: read as backward they lie below tick 0."""
    optional("ROOT")
    path = tmp_path_factory.mktemp("forward") / "in.root"
    rng = np.random.default_rng(1)
    with open_writer(path) as writer:
        for event in range(2):
            images = []
            for plane in range(3):
                meta = ImageMeta(COLS, 6 * ROWS, ROWS, COLS, 0, 100, plane, "forward")
                pixels = np.zeros((ROWS, COLS), np.float32)
                pixels[4 : 20 + plane, 10:14] = rng.uniform(30, 90, (16 + plane, 4))
                images.append(Image(meta, pixels))
            writer.write(Event(RSE(5, 0, event), {"wire": tuple(images)}))
    return path


@pytest.fixture(scope="module")
def scored(forward: Path) -> Path:
    """Scored without an order: `ssnet run IN -o OUT --local`."""
    output = forward.with_name("out.root")
    done = ssnet("run", forward, "-o", output, "--local")
    assert "tick order forward" in done.stderr
    assert f"{100 - 6 * ROWS} to 100 if backward, 100 to {100 + 6 * ROWS} if forward" in done.stderr
    assert "tiles" in done.stderr  # there are no regions of interest
    return output


def test_the_run_records_what_was_decided_and_why(scored: Path) -> None:
    (text,) = provenance.read(scored)
    record = Record.unpack(text)
    assert (record.tick_order, record.tick_order_basis) == ("forward", "ticks")
    assert "if backward" in record.tick_order_reason
    assert "forward (" in ssnet("files", scored, "--provenance").stdout


def test_files_shows_the_ticks_in_both_readings(forward: Path, scored: Path) -> None:
    low, high = 100 - 6 * ROWS, 100 + 6 * ROWS
    shown = ssnet("files", forward).stdout
    assert f"{low} to 100" in shown
    assert f"100 to {high}" in shown
    assert "forward, by its ticks" in shown
    assert "forward, by its provenance" in ssnet("files", scored).stdout
    (file,) = json.loads(ssnet("files", forward, "--json").stdout)["files"]
    geometry = file["products"][0]["geometry"]
    assert geometry["wires"] == [0, COLS]
    assert (geometry["backward"], geometry["forward"]) == ([low, 100], [100, high])


def test_the_scores_are_those_of_the_image_the_right_side_up(forward: Path, scored: Path) -> None:
    turned = forward.with_name("turned.root")  # the same pixels at the same ticks, stored backward
    with open_reader(forward, tick_order="forward") as reader, open_writer(turned) as writer:
        for event in reader:
            images = tuple(image.in_order("backward") for image in event.images["wire"])
            writer.write(Event(event.rse, {"wire": images}))
    output = turned.with_name("turned_out.root")
    ssnet("run", turned, "-o", output, "--local", "--tick-order", "backward")
    with (
        open_reader(scored, tick_order="auto") as ours,
        open_reader(output, tick_order="auto") as others,
    ):
        assert (ours.tick_order, others.tick_order) == ("forward", "backward")
        for one, other in zip(ours, others, strict=True):
            for name, images in one.images.items():
                assert images
                for image, same in zip(images, other.images[name], strict=True):
                    upright = image.in_order("backward")
                    assert upright.meta == same.meta
                    np.testing.assert_array_equal(upright.pixels, same.pixels)


def refusals(forward: Path, folder: Path) -> list[Sequence[object]]:
    """Each command that reads files, told the wrong order."""
    wrong = ("--tick-order", "backward")
    return [
        ("run", forward, "-o", folder / "x.root", "--local", *wrong),
        ("simple", forward, "-o", folder / "x.root", "-s", "dummy", *wrong),
        ("display", forward, "-p", "wire", "-o", folder / "x.png", *wrong),
        ("demo", forward, "-o", folder / "demo", *wrong),
    ]


@pytest.mark.parametrize("number", range(4))
def test_every_command_refuses_the_wrong_order(forward: Path, tmp_path: Path, number: int) -> None:
    arguments = refusals(forward, tmp_path)[number]
    done = ssnet(*arguments, code=2)
    last = done.stderr.splitlines()[-1]
    assert "want --tick-order forward, got backward" in last
    assert str(forward) in last
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_training_refuses_the_wrong_order(tmp_path: Path, forward: Path) -> None:
    labelled = tmp_path / "labelled.root"
    with open_reader(forward, tick_order="forward") as reader, open_writer(labelled) as writer:
        for event in reader:
            wire = event.images["wire"]
            labels = tuple(Image(i.meta, (i.pixels > 10).astype(np.float32)) for i in wire)
            writer.write(Event(event.rse, {"wire": wire, "segment": labels}))
    commands: list[Sequence[object]] = [("batches", labelled), ("worker", "batch-train", labelled)]
    for command in commands:
        done = ssnet(*command, "--tick-order", "backward", code=2)
        assert "want --tick-order forward, got backward" in done.stderr


def test_a_wrong_order_that_is_trusted_is_taken_and_recorded(forward: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.root"
    wrong = ("--tick-order", "backward", "--trust-tick-order")
    ssnet("run", forward, "-o", output, "--local", *wrong)
    (text,) = provenance.read(output)
    record = Record.unpack(text)
    assert (record.tick_order, record.tick_order_basis) == ("backward", "trusted")
    done = ssnet("run", forward, "-o", output, "--local", "--trust-tick-order", code=2)
    assert "want --tick-order" in done.stderr


def test_our_own_output_is_read_as_its_provenance_says(scored: Path, tmp_path: Path) -> None:
    names = [f"uburn_plane{plane}" for plane in range(3)]
    scores = [argument for name in names for argument in ("--scores", name)]
    done = ssnet("display", scored, *scores, "-o", tmp_path / "x.png")
    assert "assumed" not in done.stderr
    done = ssnet(
        "display", scored, *scores, "-o", tmp_path / "y.png", "--tick-order", "backward", code=2
    )
    assert "the provenance of" in done.stderr
    assert not (tmp_path / "y.png").exists()


def test_check_has_a_row_for_the_tick_order(forward: Path, scored: Path, tmp_path: Path) -> None:
    def row(output: Path, code: int) -> dict[str, object]:
        done = ssnet("check", forward, output, "--json", code=code)
        (result,) = (item for item in json.loads(done.stdout)["checks"] if item["name"] == "ticks")
        assert isinstance(result, dict)
        return result

    assert row(scored, 0)["verdict"] == "ok"
    upside_down = tmp_path / "upside_down.root"  # as an older ssnet made it, which took backward
    wrong = ("--tick-order", "backward", "--trust-tick-order")
    ssnet("run", forward, "-o", upside_down, "--local", *wrong)
    (text,) = provenance.read(upside_down)
    older = {**json.loads(text), "tick_order_basis": "", "tick_order_reason": ""}
    with open_reader(upside_down, tick_order="auto") as reader:
        events = list(reader)
    with open_writer(upside_down, force=True) as writer:
        for event in events:
            writer.write(event)
        writer.provenance = (json.dumps(older),)
    result = row(upside_down, 1)
    assert result["verdict"] == "FAILED"
    assert "--tick-order forward" in str(result["first"])


def test_the_real_event_is_taken_for_forward_and_the_log_says_why(tmp_path: Path) -> None:
    optional("ROOT")
    event = data("microboone_run6324_larcv.root")
    output = tmp_path / "out.root"
    done = ssnet("run", event, "-o", output, "--local")
    assert "tick order forward" in done.stderr
    assert "-3648 to 2400 if backward, 2400 to 8448 if forward" in done.stderr
    with open_reader(output, tick_order="auto") as reader:
        assert (reader.tick_order, reader.tick_choice.basis) == ("forward", "provenance")
    assert "FAILED" not in ssnet("check", event, output).stdout
    done = ssnet("run", event, "-o", tmp_path / "o.root", "--tick-order", "backward", code=2)
    assert "-3648 to 2400 if backward, 2400 to 8448 if forward" in done.stderr
    assert "--tick-order forward" in done.stderr

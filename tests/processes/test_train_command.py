"""`ssnet train` as a user runs it: from files to networks in service, and its errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lartpc import open_reader
from services.planes import PLANES, answer_name
from tests.support import feed_files, tiny_networks
from tests.support.commands_of_ssnet import one_line, ssnet
from tests.support.optional import optional


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return feed_files.toys(tmp_path_factory.mktemp("toys") / "toys.h5", 6)


@pytest.mark.torch
def test_from_files_to_a_network_in_service(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in ("matplotlib", "onnxruntime"):
        optional(needed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    unseen = feed_files.toys(tmp_path / "unseen.h5", 2, seed=9)
    prototxt, _ = tiny_networks.write(tmp_path)
    sizes = ("--steps", 6, "--rows", 64, "--cols", 64, "--threads", 1, "--report-every", 2)
    network = ("--prototxt", prototxt, "--validate", unseen)
    done = ssnet("train", toys, *sizes, *network, "-n", 2, "-o", tmp_path / "networks")
    first, *_, last = done.stderr.splitlines()
    assert re.search(r" ssnet train: trains .*net.prototxt for planes 0, 1, 2: 6 steps of 4", first)
    assert re.search(r" ssnet train: done after .*: 6 of 6 steps \(100 %\)$", last)
    for text in ("steps", "waiting for batches", "plane 2, unseen", "net_plane2.caffemodel"):
        assert text in done.stdout
    line = r"step 4 of 6, epoch 2\.0: loss \d+\.\d{4}, .*% correct \(shower .*, track .*\), .*"
    assert re.search(line + r"batches/s, .*% waiting, .* to go", done.stderr)
    assert "step 6, validation: plane 0 " in done.stderr

    again = ("--fresh", "--force", "--json", "--quiet")
    done = ssnet("train", toys, *sizes, *network, "-o", tmp_path / "networks", *again)
    assert done.stderr == ""
    values = json.loads(done.stdout)
    assert values["steps"] == 6
    assert sorted(values["validation"]) == ["0", "1", "2"]
    assert values["seconds"]["training"] > 0

    served = ("--local", "--network", tmp_path / "networks", "--mode", "tiles")
    ssnet("run", unseen, "-o", tmp_path / "out.h5", *served)
    with open_reader(tmp_path / "out.h5", tick_order="backward") as reader:
        scores = [reader[0].images[answer_name(plane)] for plane in PLANES]
    assert [len(pair) for pair in scores] == [2, 2, 2]
    assert all(0 < image.pixels.max() <= 1 for pair in scores for image in pair)


def test_options_that_would_do_nothing_are_misuse(toys: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "networks")
    asked = {
        "--steps cannot be combined with --epochs": ("--steps", 5, "--epochs", 1),
        "--broker cannot be combined with files": (toys, "--broker", "tcp://127.0.0.1:1"),
        "--workers needs files": ("--workers", 2),
        "--cache needs files": ("--cache", 2),
        "--labels needs files": ("--labels", "truth"),
    }
    for text, options in asked.items():
        assert text in one_line(ssnet("train", *options, *out, code=2))
    assert not (tmp_path / "networks").exists()


@pytest.mark.torch
def test_what_cannot_be_trained_is_one_line(toys: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "networks", "--rows", 64, "--cols", 64)
    (tmp_path / "file").write_text("no folder")
    damaged = tmp_path / "damaged.prototxt"
    damaged.write_text("layer {")
    for text, options, code in (
        ("want files to validate that are not used for training", (toys, "--validate", toys), 2),
        ("want a network's text in", (toys, "--prototxt", damaged), 1),
        ("cannot read", (tmp_path / "absent.h5",), 1),
        ("want planes as in 0,1,2", (toys, "--planes", "u"), 2),
        ("want average from 0 to below 1", (toys, "--average", 1), 2),
    ):
        assert text in one_line(ssnet("train", *out, *options, code=code))
    folder = ("train", toys, *out, "-o", tmp_path / "file" / "networks")
    assert "cannot make the folder" in one_line(ssnet(*folder, code=1))


def test_without_torch_one_line_says_what_to_install(toys: Path, tmp_path: Path) -> None:
    done = ssnet("train", toys, "-o", tmp_path / "networks", code=1, without="torch")
    line = one_line(done)
    assert "torch (extra [train]): pip install" in line
    assert "'torch>=2.4'" in line
    assert not (tmp_path / "networks").exists()

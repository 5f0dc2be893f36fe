"""A pool of three planes in real Caffe, as a user starts it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lartpc import Event
from lartpc.files import provenance
from tests.support import plane_pools, real_caffe
from tests.support.commands_of_ssnet import ssnet
from tests.support.processes import ROOT

SAME = 1e-4
EVENTS = 3


@pytest.fixture(autouse=True)
def caffe(monkeypatch: pytest.MonkeyPatch) -> None:
    real_caffe.require(monkeypatch)


def run(source: Path, output: Path, *options: str) -> list[Event]:
    """What a run on this machine writes."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ssnet("run", source, "-o", output, "--local", "--size", 64, *options, PYTHONPATH=path)
    return plane_pools.read(output)


def test_a_run_on_this_machine_gives_the_scores_of_the_other_engine(tmp_path: Path) -> None:
    """With the networks that ssnet ships, one for each plane."""
    source = tmp_path / "in.root"
    plane_pools.toys(source, EVENTS)
    theirs = run(source, tmp_path / "caffe.root", "--engine", "caffe")
    ours = run(source, tmp_path / "onnx.root", "--engine", "onnx")
    assert [event.rse for event in theirs] == [event.rse for event in ours]
    worst, above = 0.0, 0
    for got, want in zip(theirs, ours, strict=True):
        assert got.images.keys() == want.images.keys()
        for name, images in want.images.items():
            for image, other in zip(images, got.images[name], strict=True):
                assert image.meta == other.meta
                worst = max(worst, float(np.abs(image.pixels - other.pixels).max()))
                above += int((image.pixels > 0.5).sum())
    assert worst < SAME + 2**-11  # scores are sent as float16, and may be rounded apart
    assert above > 100
    (record,) = provenance.read(tmp_path / "caffe.root")
    assert '"engine": "caffe"' in record

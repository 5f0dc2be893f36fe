"""A pool of three planes in real Caffe, as a user starts it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lartpc import Batch, Event, pack
from lartpc.files import provenance
from mdp import Client, Refused
from services.planes import service_name
from tests.support import plane_pools, real_caffe, tiny_networks
from tests.support.commands_of_ssnet import ssnet
from tests.support.processes import QUICK, ROOT, Processes, wait_for_workers

SAME = 1e-4
EVENTS = 3
SCORED = ("--mode", "tiles", "--size", "64", "--overlap", "0")


@pytest.fixture(autouse=True)
def caffe(monkeypatch: pytest.MonkeyPatch) -> None:
    real_caffe.require(monkeypatch)


def run(source: Path, output: Path, *options: str) -> list[Event]:
    """What a run on this machine writes."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ssnet("run", source, "-o", output, "--local", *SCORED, *options, PYTHONPATH=path)
    return plane_pools.read(output)


def test_a_run_on_this_machine_gives_the_scores_of_the_other_engine(tmp_path: Path) -> None:
    source, network = tmp_path / "in.h5", tmp_path / "network"
    network.mkdir()
    tiny_networks.write(network, weights=tiny_networks.gentle_weights())
    plane_pools.toys(source, EVENTS, rois=False)
    options = ("--network", str(network), "--engine")
    theirs = run(source, tmp_path / "caffe.h5", *options, "caffe")
    ours = run(source, tmp_path / "onnx.h5", *options, "onnx")
    assert [event.rse for event in theirs] == [event.rse for event in ours]
    worst, undecided = 0.0, 0
    for got, want in zip(theirs, ours, strict=True):
        assert got.images.keys() == want.images.keys()
        for name, images in want.images.items():
            for image, other in zip(images, got.images[name], strict=True):
                assert image.meta == other.meta
                worst = max(worst, float(np.abs(image.pixels - other.pixels).max()))
                undecided += int(((image.pixels > 0.02) & (image.pixels < 0.98)).sum())
    assert worst < SAME + 2**-11  # scores are sent as float16, and may be rounded apart
    assert undecided > 20
    (record,) = provenance.read(tmp_path / "caffe.h5")
    assert '"engine": "caffe"' in record


def test_a_client_is_refused_what_would_end_a_worker(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    prototxt, weights = tiny_networks.write_wide(tmp_path)
    processes.broker(endpoint, *QUICK)
    files = ("--prototxt", str(prototxt), "--weights", str(weights))
    serve = ("worker", "planes", "--planes", "2", "--engine", "caffe", *files)
    host = processes.python("-m", "clients", *serve, "--broker", endpoint, *QUICK)
    with Client(endpoint) as client:
        wait_for_workers(client, service_name(2), 1)
        for side in (2048, 64):
            image = np.full((1, 1, side, side), 20, np.float32)
            frames = pack([Batch("wire", "Plane 2 (rows,cols)", image)])
            if side == 64:
                assert len(client.request(service_name(2), frames)) == 3
                continue
            with pytest.raises(Refused, match=r"im2col buffer of layer 'b'") as caught:
                client.request(service_name(2), frames)
            assert caught.value.code == 400
    assert "it is started again in" not in host.stderr

"""Caffe's networks in torch: the numbers of real Caffe, and a few steps of training."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.optional import optional

torch = optional("torch")

from lartpc.simulation.chamber import Chamber  # noqa: E402
from services import caffe_net, networks  # noqa: E402
from services.caffe_weights import write_caffemodel  # noqa: E402
from services.networks import cli, toys  # noqa: E402
from services.networks import train as training  # noqa: E402
from services.networks.architecture import prototxt  # noqa: E402
from services.networks.train import Progress, Stage, fit, scorer, train  # noqa: E402
from services.torch_net import TorchNet, fresh  # noqa: E402
from tests.shared import data  # noqa: E402

TOLERANCE = 1e-4  # against Caffe, whose sums run in another order
SHORT = Stage(
    "short",
    steps=8,
    batch=4,
    side=64,
    shower_share=0.4,
    rate=3e-3,
    learn_statistics=True,
    warm_up=2,
)


@pytest.fixture
def network(tmp_path: Path) -> caffe_net.Network:
    path = tmp_path / "net.prototxt"
    path.write_text(prototxt(), encoding="utf-8")
    return caffe_net.read(path)


@pytest.fixture(scope="module")
def events() -> list[tuple[toys.Picture, ...]]:
    return list(toys.events(3, seed=5, chamber=Chamber(128, 128)))


@pytest.mark.parametrize("images", ["b1_64", "b1_96x128", "b2_64"])
@pytest.mark.parametrize(
    ("name", "statistics"), [("tiny", "batchstats"), ("tiny_global", "global")]
)
def test_torch_gives_the_numbers_of_caffe(name: str, statistics: str, images: str) -> None:
    net = TorchNet(caffe_net.read(data(f"{name}.prototxt"), data("tiny.caffemodel")))
    golden = np.load(data(f"{name}_golden.npz"))
    with torch.no_grad():
        blobs = net.run(torch.tensor(golden[f"x_{images}"]))
    found = blobs[net.network.output_name].numpy()
    assert np.abs(found - golden[f"{statistics}_y_{images}"]).max() < TOLERANCE


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_torch_and_the_engine_agree_on_the_shipped_networks(
    plane: int, events: list[tuple[toys.Picture, ...]]
) -> None:
    optional("onnxruntime")
    from services.onnx_engine import OnnxEngine

    files = networks.PROTOTXT, networks.weights(plane)
    score = scorer(TorchNet(caffe_net.read(*files)))
    image = toys.thresholded(events[0][plane].whole()[0])
    served = OnnxEngine(*files, threads=1).forward(image[None, None])[0]
    assert np.abs(score(image) - served).max() < TOLERANCE


def test_a_few_steps_lower_the_loss_and_move_the_averages(
    network: caffe_net.Network, events: list[tuple[toys.Picture, ...]]
) -> None:
    net = TorchNet(network, fresh(network, seed=0))
    before = net.weights()
    batch = toys.Crops([planes[2] for planes in events], side=64, shower_share=0.5, seed=1).draw(4)
    said: list[Progress] = []
    for stage in (replace(SHORT, steps=1, rate=0.0), SHORT, SHORT):
        fit(net, lambda _: batch, stage, said.append)
    assert said[-1].loss < 0.9 * said[0].loss
    after = net.weights()
    assert not np.array_equal(after["bn_conv0"][0], before["bn_conv0"][0])
    assert after["bn_conv0"][2].tolist() == [1]


def test_kept_averages_stay_as_they_are(
    network: caffe_net.Network, events: list[tuple[toys.Picture, ...]]
) -> None:
    net = TorchNet(network, fresh(network, seed=0))
    crops = toys.Crops([planes[2] for planes in events], side=64, shower_share=0.5, seed=1)
    stage = replace(SHORT, steps=2, learn_statistics=False)
    fit(net, crops.draw, stage, lambda progress: None)
    assert net.weights()["bn_conv0"][0].tolist() == [0] * 8
    assert not np.array_equal(net.weights()["conv0"][0], fresh(network, seed=0)["conv0"][0])


def test_trained_weights_go_through_a_caffemodel_unchanged(
    network: caffe_net.Network, events: list[tuple[toys.Picture, ...]], tmp_path: Path
) -> None:
    one = replace(SHORT, steps=1)
    trained = [
        train(network, events, seed=0, on_progress=lambda _: None, together=one, alone=one)
        for _ in range(2)
    ]
    assert [set(arrays) for arrays in trained[0]] == [set(fresh(network, seed=0))] * 3
    for first, again in zip(*trained, strict=True):
        assert all(
            np.array_equal(a, b) for n in first for a, b in zip(first[n], again[n], strict=True)
        )
    path = tmp_path / "net.caffemodel"
    write_caffemodel(path, network.name, trained[0][1])
    read = caffe_net.read(Path(network.file), path).weights
    assert all(
        np.array_equal(a, b) for n in read for a, b in zip(read[n], trained[0][1][n], strict=True)
    )


def test_the_command_writes_the_files_that_are_served(
    events: list[tuple[toys.Picture, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(SHORT, steps=1)
    short = functools.partial(training.train, together=one, alone=one)
    monkeypatch.setattr(training.Toys, "make", lambda _: events)
    monkeypatch.setattr(training, "train", short)
    monkeypatch.setattr(sys, "argv", ["networks", "train", "-o", str(tmp_path), "--threads", "1"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    names = [networks.PROTOTXT.name, *(networks.weights(plane).name for plane in range(3))]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for name in names[1:]:
        assert caffe_net.read(tmp_path / names[0], tmp_path / name).output_channels == 3

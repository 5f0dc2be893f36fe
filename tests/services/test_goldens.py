"""The engines against what real Caffe computed, inner blobs included, within 1e-4."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.caffe import caffe_net
from services.engines.engine import Engine
from services.engines.open_engine import open_engine
from services.errors import SizeRefused
from tests.support.shared import data

CAFFE = 1e-4
NETWORKS = (("tiny", "batchstats"), ("tiny_global", "global"))
SIZES = ("b1_64", "b1_96x128", "b2_64")
BLOBS = ("conv0", "pool0", "res3a", "deconv0_deconv", "conv11")


def golden_of(name: str) -> dict[str, Any]:
    with np.load(data(name)) as file:
        return dict(file)


def opened(engine: str, cache: Path, prototxt: Path, weights: Path, *blobs: str) -> Engine:
    if engine == "caffe" and importlib.util.find_spec("caffe") is None:
        pytest.skip("no pycaffe: it is no package of pip's; tested with a recorded interface")
    return open_engine(engine, prototxt, weights, threads=2, blobs=blobs, cache=cache)


@pytest.mark.parametrize("engine", ["onnx", "caffe"])
@pytest.mark.parametrize(("name", "statistics"), NETWORKS)
def test_the_tiny_networks_equal_caffe(
    engine: str, name: str, statistics: str, tmp_path: Path
) -> None:
    golden = golden_of(f"{name}_golden.npz")
    files = data(f"{name}.prototxt"), data("tiny.caffemodel")
    network = opened(engine, tmp_path, *files, *BLOBS)
    for size in SIZES:
        scores = network.forward(golden[f"x_{size}"])
        assert np.abs(scores - golden[f"{statistics}_y_{size}"]).max() < CAFFE
        if size == "b1_64":
            for blob, got in network.blobs.items():
                assert np.abs(got - golden[f"{statistics}_blob_{blob}"]).max() < CAFFE
    assert set(network.blobs) == set(BLOBS)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "caffe"])
def test_ssnet_of_2018_equals_caffe(
    engine: str, tmp_path: Path, ssnet2018: tuple[Path, Path]
) -> None:
    golden = golden_of("ssnet2018_golden.npz")
    network = opened(engine, tmp_path, *ssnet2018)
    scores = network.forward(golden["x"])
    assert np.abs(scores - golden["y"]).max() < CAFFE
    assert np.array_equal(network.forward(golden["x"]), scores)  # to the bit


@pytest.mark.parametrize(("name", "statistics"), NETWORKS)
def test_what_the_tiny_networks_say_of_themselves(name: str, statistics: str) -> None:
    network = caffe_net.read(data(f"{name}.prototxt"), data("tiny.caffemodel"))
    assert network.size_divisor == 8
    assert network.batchable == (statistics == "global")
    assert (network.input_channels, network.output_channels) == (1, 3)
    caffe_net.require_classes(network)


def test_a_batch_changes_answers_exactly_where_the_network_says_it_may(tmp_path: Path) -> None:
    for name, _ in NETWORKS:
        golden = golden_of(f"{name}_golden.npz")
        files = data(f"{name}.prototxt"), data("tiny.caffemodel")
        engine = opened("onnx", tmp_path, *files)
        both = engine.forward(golden["x_b2_64"])
        alone = engine.forward(golden["x_b2_64"][:1])
        same = np.abs(both[:1] - alone).max() < 1e-6
        assert same == engine.network.batchable


def test_ssnet_of_2018_takes_multiples_of_32_one_image_at_a_time() -> None:
    network = caffe_net.read(data("dllee_ssnet2018.prototxt"))
    assert (network.size_divisor, network.batchable) == (32, False)
    assert len(network.layers) == 231
    assert network.shapes(1, 544, 96)["softmax"] == (1, 3, 544, 96)
    with pytest.raises(SizeRefused, match=r"multiples of 32, got 500 x 512.*Concat"):
        network.shapes(1, 500, 512)

"""The engines against what real Caffe computed, inner blobs included, within 1e-4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.caffe import caffe_net
from services.engines.open_engine import open_engine
from services.errors import SizeRefused
from tests.support import real_caffe
from tests.support.real_caffe import Answer, Question, answer
from tests.support.shared import data

CAFFE = 1e-4
NETWORKS = (("tiny", "batchstats"), ("tiny_global", "global"))
SIZES = ("b1_64", "b1_96x128", "b2_64")
BLOBS = ("conv0", "pool0", "res3a", "deconv0_deconv", "conv11")


@pytest.fixture
def caffe(monkeypatch: pytest.MonkeyPatch) -> None:
    real_caffe.require(monkeypatch)


def golden_of(name: str) -> dict[str, Any]:
    with np.load(data(name)) as file:
        return dict(file)


def check_tiny(name: str, statistics: str, got: Answer) -> None:
    golden = golden_of(f"{name}_golden.npz")
    for size, scores, blobs in zip(SIZES, got.scores, got.blobs, strict=True):
        assert np.abs(scores - golden[f"{statistics}_y_{size}"]).max() < CAFFE
        assert set(blobs) == set(BLOBS)
        if size == "b1_64":
            for blob, values in blobs.items():
                assert np.abs(values - golden[f"{statistics}_blob_{blob}"]).max() < CAFFE


def tiny(name: str, engine: str, cache: Path) -> Question:
    golden = golden_of(f"{name}_golden.npz")
    files = data(f"{name}.prototxt"), data("tiny.caffemodel")
    images = tuple(golden[f"x_{size}"] for size in SIZES)
    return Question(*files, images, BLOBS, engine, cache)


@pytest.mark.parametrize(("name", "statistics"), NETWORKS)
def test_the_tiny_networks_equal_caffe(name: str, statistics: str, tmp_path: Path) -> None:
    check_tiny(name, statistics, answer(tiny(name, "onnx", tmp_path)))


@pytest.mark.slow
def test_the_tiny_networks_in_real_caffe_equal_caffe(caffe: None, tmp_path: Path) -> None:
    asked = [tiny(name, "caffe", tmp_path) for name, _ in NETWORKS]
    for (name, statistics), got in zip(NETWORKS, real_caffe.answers(asked), strict=True):
        check_tiny(name, statistics, got)


@pytest.mark.slow
def test_ssnet_of_2018_equals_caffe(tmp_path: Path, ssnet2018: tuple[Path, Path]) -> None:
    golden = golden_of("ssnet2018_golden.npz")
    images = golden["x"], golden["x"]
    first, second = answer(Question(*ssnet2018, images, (), "onnx", tmp_path)).scores
    assert np.abs(first - golden["y"]).max() < CAFFE
    assert np.array_equal(first, second)  # to the bit


@pytest.mark.slow
def test_ssnet_of_2018_in_real_caffe_equals_caffe(
    caffe: None, ssnet2018: tuple[Path, Path]
) -> None:
    """It takes 5.4 GB of memory, and is the slowest of all engines."""
    golden = golden_of("ssnet2018_golden.npz")
    [got] = real_caffe.answers([Question(*ssnet2018, (golden["x"],))])
    assert np.abs(got.scores[0] - golden["y"]).max() < CAFFE


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
        engine = open_engine("onnx", *files, threads=2, cache=tmp_path)
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

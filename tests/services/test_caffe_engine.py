"""The engine in pycaffe, against a recorded interface: what it calls, and in which order."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from services.engines.open_engine import open_engine
from services.errors import EngineError, NetworkError, SizeRefused
from tests.support.tiny_networks import UNET, Array, numbers, write

LOG_LEVEL = "GLOG_minloglevel"


class FakeBlob:
    def __init__(self, calls: list[Any], name: str) -> None:
        self.calls, self.name = calls, name
        self.data: Array = np.zeros((1, 3, 8, 8), np.float32)

    def reshape(self, *shape: int) -> None:
        self.calls.append(("reshape", self.name, shape))
        self.data = np.full(shape, np.nan, np.float32)


class FakeCaffe(ModuleType):
    """pycaffe as far as the engine may know it; its network's scores are sums of its input."""

    TEST = 1

    def __init__(self) -> None:
        super().__init__("caffe")
        self.calls: list[Any] = []

    def set_mode_cpu(self) -> None:
        self.calls.append("set_mode_cpu")

    def set_mode_gpu(self) -> None:
        self.calls.append("set_mode_gpu")

    def set_device(self, number: int) -> None:
        self.calls.append(("set_device", number))

    def Net(self, prototxt: str, weights: str, phase: int) -> FakeCaffe:  # noqa: N802
        self.calls.append(("Net", Path(prototxt).name, Path(weights).name, phase))
        assert os.environ[LOG_LEVEL] == "2"
        self.blobs = {name: FakeBlob(self.calls, name) for name in ("data", "pool", "softmax")}
        return self

    def forward(self) -> None:
        self.calls.append("forward")
        images = self.blobs["data"].data
        for name in ("pool", "softmax"):
            out = self.blobs[name]
            if out.data.shape[0] != len(images):
                out.data = np.zeros((len(images), 3, 8, 8), np.float32)
            out.data[...] = images.sum()  # the same memory as in the pass before


@pytest.fixture
def caffe(monkeypatch: pytest.MonkeyPatch) -> FakeCaffe:
    fake = FakeCaffe()
    monkeypatch.setitem(sys.modules, "caffe", fake)
    monkeypatch.delenv(LOG_LEVEL, raising=False)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "64")
    return fake


def test_a_forward_pass_reshapes_assigns_and_runs(caffe: FakeCaffe, tmp_path: Path) -> None:
    engine = open_engine("caffe", *write(tmp_path), threads=3)
    images = numbers(2, 1, 8, 8)
    scores = engine.forward(images)
    assert caffe.calls == [
        "set_mode_cpu",
        ("Net", "net.prototxt", "net.caffemodel", 1),
        "set_mode_cpu",
        ("reshape", "data", (2, 1, 8, 8)),
        "forward",
    ]
    assert np.array_equal(caffe.blobs["data"].data, images)
    assert scores.shape == (2, 3, 8, 8)
    assert os.environ["OPENBLAS_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"] == "3"


def test_answers_are_copies_which_the_next_pass_leaves_alone(
    caffe: FakeCaffe, tmp_path: Path
) -> None:
    engine = open_engine("caffe", *write(tmp_path), blobs=["pool"])
    scores = engine.forward(np.ones((1, 1, 8, 8), np.float32))
    pool = engine.blobs["pool"]
    engine.forward(np.zeros((1, 1, 8, 8), np.float32))
    assert (scores == 64).all()
    assert (pool == 64).all()
    assert (engine.blobs["pool"] == 0).all()


def test_a_gpu_is_chosen_before_the_network_and_again_where_it_runs(
    caffe: FakeCaffe, tmp_path: Path
) -> None:
    engine = open_engine("caffe", *write(tmp_path), device="cuda:1")
    assert caffe.calls[:3] == [
        "set_mode_gpu",
        ("set_device", 1),
        ("Net", "net.prototxt", "net.caffemodel", 1),
    ]
    engine.forward(numbers(1, 1, 8, 8))
    assert caffe.calls[3:5] == ["set_mode_gpu", ("set_device", 1)]


def test_what_caffe_would_abort_on_never_reaches_it(caffe: FakeCaffe, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="another network's"):
        open_engine("caffe", *write(tmp_path, weights={"other": [numbers(1)]}))
    with pytest.raises(NetworkError, match="unknown layer type"):
        open_engine("caffe", *write(tmp_path, UNET.replace('"ReLU"', '"Swish"')))
    assert caffe.calls == []
    engine = open_engine("caffe", *write(tmp_path))
    result = len(caffe.calls)
    with pytest.raises(SizeRefused, match="multiples of 2"):
        engine.forward(numbers(1, 1, 7, 8))
    assert len(caffe.calls) == result


def test_without_pycaffe_it_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "caffe", None)
    with pytest.raises(EngineError, match=r"want pycaffe.*engine onnx") as caught:
        open_engine("caffe", *write(tmp_path))
    assert "\n" not in str(caught.value)

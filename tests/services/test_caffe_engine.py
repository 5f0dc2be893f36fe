"""The engine in pycaffe, with a recorded Caffe: a GPU, and errors, that real Caffe has not here.

What real Caffe computes is in test_real_caffe.py and test_goldens.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from services.engines.open_engine import open_engine
from services.errors import EngineError, NetworkError, SizeRefused
from tests.support.tiny_networks import UNET, numbers, unet_weights, write

FAKE = """
import os, sys
import numpy as np
TEST = 1
calls = []
class Blob:
    def __init__(self, *shape):
        self.data = np.zeros(shape, np.float32)
    def reshape(self, *shape):
        calls.append(("reshape", shape))
        self.data = np.full(shape, np.nan, np.float32)
def die(text):
    sys.stderr.write(f"F1129 10:41:42.287724  7144 common.cpp:70] {text} \\n*** Check failure")
    sys.stderr.flush()
    os.abort()
def set_mode_cpu():
    calls.append("set_mode_cpu")
def set_mode_gpu():
    calls.append("set_mode_gpu")
def set_device(number):
    calls.append(("set_device", number))
    if number == 9:
        die("invalid device ordinal")
class Net:
    def __init__(self, prototxt, phase):
        with open(prototxt) as file:
            text = file.read()
        if "dilation" in text:
            die("no field named dilation")
        calls.append(("Net", phase))
        assert os.environ["GLOG_minloglevel"] == "2"
        self.params = {name: [Blob(*shape) for shape in shapes] for name, shapes in SHAPES.items()}
        self.blobs = {name: Blob(1, 3, 8, 8) for name in ("data", "pool", "softmax")}
    def forward(self):
        calls.append("forward")
        images = self.blobs["data"].data
        for name in ("pool", "softmax"):
            self.blobs[name].data[...] = images.sum()  # the same memory as in the pass before
"""


@pytest.fixture
def caffe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Put a module `caffe` where this process, and the child that tries it, find it."""
    shapes = {name: [array.shape for array in arrays] for name, arrays in unet_weights().items()}
    folder = tmp_path / "recorded"
    folder.mkdir()
    (folder / "caffe.py").write_text(f"SHAPES = {shapes}\n{FAKE}")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GLOG_logtostderr"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("GLOG_minloglevel", "2")
    monkeypatch.delitem(sys.modules, "caffe", raising=False)
    yield
    sys.modules.pop("caffe", None)


def recorded() -> ModuleType:
    return sys.modules["caffe"]


def test_a_gpu_is_chosen_before_the_network_and_again_where_it_runs(
    caffe: None, tmp_path: Path
) -> None:
    engine = open_engine("caffe", *write(tmp_path), device="cuda:1")
    calls = recorded().calls
    assert calls == ["set_mode_gpu", ("set_device", 1), ("Net", 1)]
    engine.forward(numbers(1, 1, 8, 8))
    assert calls[3:] == ["set_mode_gpu", ("set_device", 1), ("reshape", (1, 1, 8, 8)), "forward"]


def test_images_that_may_be_computed_one_by_one_are(caffe: None, tmp_path: Path) -> None:
    engine = open_engine("caffe", *write(tmp_path), blobs=["pool"])
    images = np.stack([np.full((1, 8, 8), value, np.float32) for value in (0, 1, 2)])
    scores = engine.forward(images)
    assert recorded().calls.count(("reshape", (1, 1, 8, 8))) == 3
    # each of them is a copy, which the next pass leaves alone
    assert [scores[number].max() for number in range(3)] == [0, 64, 128]
    assert [engine.blobs["pool"][number].max() for number in range(3)] == [0, 64, 128]
    together = UNET.replace('"BatchNorm"', '"BatchNorm" batch_norm_param { use_global_stats: 0 }')
    (tmp_path / "together").mkdir()
    open_engine("caffe", *write(tmp_path / "together", together)).forward(images[:1])
    assert recorded().calls[-2] == ("reshape", (1, 1, 8, 8))


def test_what_caffe_would_abort_on_never_reaches_it(caffe: None, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="another network's"):
        open_engine("caffe", *write(tmp_path, weights={"other": [numbers(1)]}))
    with pytest.raises(NetworkError, match="unknown layer type"):
        open_engine("caffe", *write(tmp_path, UNET.replace('"ReLU"', '"Swish"')))
    assert "caffe" not in sys.modules
    engine = open_engine("caffe", *write(tmp_path))
    result = len(recorded().calls)
    for shape, said in (
        ((1, 1, 7, 8), "multiples of 2"),
        ((0, 1, 8, 8), "at least one pixel"),
        ((1, 2, 8, 8), r"want \(batch, 1, rows, cols\)"),
    ):
        with pytest.raises(SizeRefused, match=said):
            engine.forward(np.zeros(shape, np.float32))
    assert len(recorded().calls) == result


def test_a_caffe_that_ends_the_process_ends_only_a_child(caffe: None, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"device cuda:9.*\(invalid device ordinal\)") as caught:
        open_engine("caffe", *write(tmp_path), device="cuda:9")
    assert "\n" not in str(caught.value)
    newer = UNET.replace("kernel_size: 4", "kernel_size: 4 dilation: 1")
    with pytest.raises(EngineError, match=r"cannot open .*net\.prototxt.*no field named dilation"):
        open_engine("caffe", *write(tmp_path, newer))
    assert "caffe" not in sys.modules


def test_no_room_for_the_text_is_one_line(
    caffe: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(EngineError, match=r"cannot open .*net\.prototxt in Caffe.*nowhere"):
        open_engine("caffe", *write(tmp_path))


def test_weights_that_caffe_would_store_in_another_shape_are_refused(
    caffe: None, tmp_path: Path
) -> None:
    weights = {**unet_weights(), "scores": [numbers(5, 8, 1, 1), numbers(5)]}
    other = UNET.replace("num_output: 3", "num_output: 5")
    with pytest.raises(EngineError, match="layer 'scores'"):
        open_engine("caffe", *write(tmp_path, other, weights))


def test_without_pycaffe_it_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "caffe.py").write_text("raise ImportError('no libboost_python')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(EngineError, match=r"want pycaffe.*no libboost.*engine onnx") as caught:
        open_engine("caffe", *write(tmp_path))
    assert "\n" not in str(caught.value)

"""The engine in real Caffe, against onnxruntime and against what Caffe aborts on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lartpc import Batch, pack
from mdp import Refused
from mdp.system import subprocesses
from services.caffe.caffe_weights import write_caffemodel
from services.engines.caffe_engine import CaffeEngine
from services.engines.open_engine import open_engine
from services.errors import EngineError, NetworkError, SizeRefused
from services.ssnet import PlaneSettings, SSNet
from tests.support import real_caffe
from tests.support.random_networks import CHANNELS, RandomNetwork
from tests.support.real_caffe import Question
from tests.support.tiny_networks import UNET, Array, numbers, write, write_wide

pytestmark = pytest.mark.slow

SAME = 1e-4
NETWORKS = 50
SIZES = ((1, 64, 64), (2, 32, 96), (1, 17, 23), (1, 5, 9), (1, 64, 65))
V1 = """
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1
  convolution_param { num_output: 3 kernel_size: 3 pad: 1 engine: CUDNN } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "conv" include { phase: TRAIN } }
layers { name: "softmax" type: SOFTMAX bottom: "conv" top: "softmax" }
"""
OF_A_FORK = """
layer { name: "train" type: "ROOTData" top: "data_train" top: "label" include { phase: TRAIN }
  root_data_param { batch_size: 4 filler_config: "x" } }
"""
FILLED = UNET.replace("num_output: 4", 'num_output: 4 engine: CUDNN weight_filler { type: "fork" }')
LARGE = 'input: "data" input_dim: 64 input_dim: 1 input_dim: 4096 input_dim: 4096\n'


@pytest.fixture(scope="module", autouse=True)
def caffe() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        real_caffe.require(patch)
        yield


def compared(folder: Path, *networks: tuple[Path, Path]) -> list[float]:
    """The largest difference of the two engines, for each of the networks."""
    images = (numbers(1, 1, 8, 6), numbers(3, 1, 16, 8, seed=1))
    asked = [Question(*files, images, cache=folder / "cache") for files in networks]
    ours = [
        real_caffe.answer(Question(*files, images, engine="onnx", cache=folder / "cache"))
        for files in networks
    ]
    return [
        max(float(np.abs(a - b).max()) for a, b in zip(got.scores, want.scores, strict=True))
        for got, want in zip(real_caffe.answers(asked), ours, strict=True)
    ]


def folder_of(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


def test_what_onnx_serves_caffe_serves(tmp_path: Path) -> None:
    """Networks on which Caffe aborts if it gets the file as it is."""
    one = {"conv": [numbers(3, 1, 3, 3), numbers(3)]}
    networks = [
        write(folder_of(tmp_path, "fork"), UNET + OF_A_FORK),
        write(folder_of(tmp_path, "cudnn"), FILLED),
        write(folder_of(tmp_path, "v1"), V1, one),
        write(folder_of(tmp_path, "large"), header=LARGE),
    ]
    assert max(compared(tmp_path, *networks)) < SAME


def _save(files: tuple[Path, Path]) -> None:
    import caffe

    prototxt, weights = files
    net = caffe.Net(str(prototxt), caffe.TEST, weights=str(weights))
    net.save(str(weights.with_name("saved.caffemodel")))


def test_a_caffemodel_that_caffe_saved_gives_the_same_scores(tmp_path: Path) -> None:
    files = prototxt, weights = write(tmp_path)
    subprocesses.call(_save, files)
    saved = weights.with_name("saved.caffemodel")
    assert saved.read_bytes() != weights.read_bytes()
    images = numbers(1, 1, 32, 16)
    once, again = (
        open_engine("onnx", prototxt, path, threads=1, cache=tmp_path).forward(images)
        for path in (weights, saved)
    )
    assert np.array_equal(once, again)
    assert compared(tmp_path, (prototxt, saved))[0] < SAME


# Random networks.


def _compare_random(seeds: range) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        return [_compare_one(RandomNetwork(seed), Path(name)) for seed in seeds]


def _compare_one(network: RandomNetwork, folder: Path) -> str:
    prototxt, weights = folder / "n.prototxt", folder / "n.caffemodel"
    prototxt.write_text(network.text)
    write_caffemodel(weights, "n", network.weights)
    try:
        ours = open_engine("onnx", prototxt, weights, threads=1, cache=folder / "cache")
    except NetworkError:
        return "refused"
    real = CaffeEngine(prototxt, weights, threads=1, try_first=False)
    rng, ran = np.random.default_rng(network.seed), 0
    for batch, rows, cols in SIZES:
        images = rng.normal(0, 1, (batch, CHANNELS, rows, cols)).astype(np.float32)
        try:
            got = ours.forward(images)
        except SizeRefused:
            continue
        ran += 1
        np.testing.assert_allclose(real.forward(images), got, rtol=0, atol=SAME, err_msg=repr(ran))
    return "equal" if ran else "too small"


def test_random_networks_give_the_same_scores_in_both_engines() -> None:
    results = Counter(subprocesses.call(_compare_random, range(NETWORKS)))
    assert results["equal"] >= NETWORKS * 2 // 3, results


# What Caffe aborts on.


def _serve_wide(settings: PlaneSettings) -> list[str]:
    worker = SSNet(settings)
    worker.setup()
    said = []
    for side in (2048, 512):
        image: Array = np.zeros((1, 1, side, side), np.float32)
        try:
            worker.handle(pack([Batch("wire", "Plane 2 (rows,cols)", image)]))
            said.append("")
        except Refused as error:
            said.append(f"{error.code} {error}")
    return said


def test_a_worker_refuses_what_would_abort_caffe(tmp_path: Path) -> None:
    """It is not warmed up with such an image, either."""
    settings = PlaneSettings(2, *write_wide(tmp_path), engine="caffe", threads=1, warm_up=2048)
    large, small = subprocesses.call(_serve_wide, settings)
    assert large.startswith("400 ")
    assert "im2col buffer of layer 'b' (Convolution)" in large
    assert small == ""


def test_a_device_that_is_not_there_is_one_line_and_the_process_goes_on(tmp_path: Path) -> None:
    prototxt, weights = write(tmp_path)
    with pytest.raises(EngineError, match=r"want the device cuda:0.*GPU") as caught:
        open_engine("caffe", prototxt, weights, device="cuda:0")
    assert "\n" not in str(caught.value)
    words = ("worker", "planes", "--planes", "2", "--engine", "caffe", "--device", "cuda:0")
    files = ("--prototxt", str(prototxt), "--weights", str(weights))
    command = [sys.executable, "-W", "error", "-m", "clients", *words, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "want the device cuda:0" in done.stderr.splitlines()[-1]
    assert "died" not in done.stderr

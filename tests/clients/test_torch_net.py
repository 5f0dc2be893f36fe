"""Caffe's networks in torch: the numbers of real Caffe. How they are trained: test_trainer."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.optional import optional

pytestmark = pytest.mark.torch
torch = optional("torch")

from benches.networks import toys  # noqa: E402
from clients.training.torch_net import TorchNet  # noqa: E402
from lartpc.simulation.chamber import Chamber  # noqa: E402
from services import networks  # noqa: E402
from services.caffe import caffe_net  # noqa: E402
from tests.support.shared import data  # noqa: E402

TOLERANCE = 1e-4  # against Caffe, whose sums run in another order


@pytest.fixture(scope="module")
def events() -> list[tuple[toys.ToyPlane, ...]]:
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
    result = blobs[net.network.output_name].numpy()
    assert np.abs(result - golden[f"{statistics}_y_{images}"]).max() < TOLERANCE


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_torch_and_the_engine_agree_on_the_shipped_networks(
    plane: int, events: list[tuple[toys.ToyPlane, ...]]
) -> None:
    optional("onnxruntime")
    from services.engines.onnx_engine import OnnxEngine

    files = networks.PROTOTXT, networks.weights(plane)
    image = toys.thresholded(events[0][plane].whole()[0])[None, None]
    ours = TorchNet(caffe_net.read(*files)).forward(image)
    served = OnnxEngine(*files, threads=1).forward(image)
    assert np.abs(ours - served).max() < TOLERANCE

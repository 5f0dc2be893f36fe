"""Sizes beyond what Caffe can count, and the text that Caffe gets of a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.caffe import caffe_net
from services.caffe.caffe_deploy import deploy_text, smallest_side
from services.caffe.caffe_net import Network
from services.engines.caffe_limits import MOST_NUMBERS, check_limits
from services.engines.onnx_engine import OnnxEngine
from services.errors import NetworkError, SizeRefused
from tests.support.random_networks import RandomNetwork
from tests.support.shared import data
from tests.support.tiny_networks import UNET, numbers, write

KINDS = """
layer {{ name: "first" type: "{kind}" bottom: "data" top: "first"
  convolution_param {{ num_output: 8 group: 2 kernel_h: 3 kernel_w: 1 {words} }} }}
layer {{ name: "scores" type: "Convolution" bottom: "first" top: "scores"
  convolution_param {{ num_output: 1 kernel_size: 1 }} }}
"""


def network_of(folder: Path, layers: str, channels: int) -> Network:
    prototxt, _ = write(folder, layers, sides=(channels, 16, 16))
    return caffe_net.read(prototxt)


@pytest.mark.parametrize(
    ("kind", "channels", "numbers_of_a_pixel", "side"),
    [
        # of all groups: channels in, kernel rows and cols, rows and cols out
        ("Convolution", 4, 4 * 3, 13377),
        # channels out, kernel rows and cols, rows and cols in; 8 * 3 is more than the 8 of the blob
        ("Deconvolution", 4, 8 * 3, 9459),
        ("Convolution", 1 << 5, (1 << 5) * 3, 4729),
    ],
)
def test_an_im2col_buffer_has_at_most_int_max_numbers(
    tmp_path: Path, kind: str, channels: int, numbers_of_a_pixel: int, side: int
) -> None:
    network = network_of(tmp_path, KINDS.format(kind=kind, words="pad_h: 1"), channels)
    assert numbers_of_a_pixel * side * side <= MOST_NUMBERS < numbers_of_a_pixel * (side + 1) ** 2
    check_limits(network, 1, side, side)
    with pytest.raises(SizeRefused, match=f"buffer of layer 'first' \\({kind}\\)") as caught:
        check_limits(network, 1, side + 1, side + 1)
    assert caught.value.code == 400


def test_a_blob_has_at_most_int_max_numbers_of_all_images(tmp_path: Path) -> None:
    network = network_of(tmp_path, UNET, 1)
    check_limits(network, 1, 4096, 4096)
    check_limits(network, 4, 4096, 4096)  # 8 channels: 2 ** 29 numbers each
    with pytest.raises(SizeRefused, match="output of layer 'both' \\(Concat\\)"):
        check_limits(network, 16, 4096, 4096)
    with pytest.raises(SizeRefused, match="blob 'data'"):
        check_limits(network, 1, 65536, 65536)


def test_ssnet_of_2018_takes_1152_pixels_and_not_1184() -> None:
    network = caffe_net.read(data("dllee_ssnet2018.prototxt"))
    check_limits(network, 1, 1152, 1152)
    with pytest.raises(SizeRefused, match=r"im2col.*32 x 7 x 7 x 1184 x 1184 = 2198110208"):
        check_limits(network, 1, 1184, 1184)


def test_onnxruntime_has_no_such_limit(tmp_path: Path) -> None:
    layers = KINDS.format(kind="Convolution", words="pad_h: 1")
    weights = [(8, 2, 3, 1), (8,)], [(1, 8, 1, 1), (1,)]
    first, scores = ([numbers(*shape) for shape in shapes] for shapes in weights)
    files = write(tmp_path, layers, {"first": first, "scores": scores}, sides=(4, 16, 16))
    OnnxEngine(*files, threads=1).check(1, 16384, 16384)


# The text for Caffe.


def test_the_text_has_the_same_layers_as_the_file(tmp_path: Path) -> None:
    texts = [(UNET, 1), *((RandomNetwork(seed).layers, 2) for seed in range(20))]
    for layers, channels in texts:
        prototxt, _ = write(tmp_path, layers, sides=(channels, 64, 64))
        try:
            network = caffe_net.read(prototxt)
        except NetworkError:
            continue
        again = tmp_path / "deployed.prototxt"
        text, side = deploy_text(network, prototxt), smallest_side(network)
        small = f"dim: {channels}\n  dim: {side}\n  dim: {side}\n"
        assert text.count(small) == 1
        again.write_text(text.replace(small, f"dim: {channels} dim: 64 dim: 64\n"))
        read = caffe_net.read(again)
        assert read.layers == network.layers
        assert read.input_shape == network.input_shape


def test_the_text_leaves_out_what_is_of_training_or_of_another_caffe(tmp_path: Path) -> None:
    layers = UNET.replace(
        "kernel_size: 3 pad: 1",
        'kernel_size: 3 pad: 1 engine: CUDNN weight_filler { type: "fork" }',
    ).replace('name: "relu"', 'name: "relu" phase: TRAIN loss_weight: 1 param { lr_mult: 3 }')
    layers += (
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "labels"'
        " include { phase: TRAIN } }"
    )
    header = """layer { name: "in" type: "Input" top: "data"
      input_param { shape { dim: [9, 1, 8, 8] } } }"""
    prototxt, _ = write(tmp_path, layers, header=header)
    text = deploy_text(caffe_net.read(prototxt), prototxt)
    assert "CUDNN" not in text
    for word in ("filler", "TRAIN", "loss", "lr_mult", "input_param", "dim: 9"):
        assert word not in text, word
    assert "kernel_size: 3" in text


def test_a_file_that_changed_since_it_was_read_is_refused(tmp_path: Path) -> None:
    prototxt, _ = write(tmp_path)
    network = caffe_net.read(prototxt)
    prototxt.write_text(prototxt.read_text() + "\n")
    with pytest.raises(NetworkError, match="changed while it was read"):
        deploy_text(network, prototxt)

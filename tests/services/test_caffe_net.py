"""Prototxts as they come: headers, versions, phases; what is wrong is said with layer and file."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.caffe import caffe_net
from services.caffe.caffe_layers import Convolution, Kernel, Pooling, ReLU
from services.errors import NetworkError, SizeRefused
from tests.support.tiny_networks import UNET, write

SHAPE = "dim: 1 dim: 1 dim: 8 dim: 8"
HEADERS = (
    'input: "data" input_dim: 1 input_dim: 1 input_dim: 8 input_dim: 8\n',
    f'input: "data" input_shape {{ {SHAPE} }}\n',
    f'layer {{ name: "in" type: "Input" top: "data" input_param {{ shape {{ {SHAPE} }} }} }}\n',
)


def read(directory: Path, layers: str = UNET, header: str = HEADERS[0]) -> caffe_net.Network:
    return caffe_net.read(write(directory, layers, header=header)[0])


@pytest.mark.parametrize("header", HEADERS)
def test_every_header_gives_the_same_network(tmp_path: Path, header: str) -> None:
    network = read(tmp_path, header=header)
    assert (network.input_name, network.input_shape) == ("data", (1, 1, 8, 8))
    assert network.output_name == "softmax"
    assert len(network.layers) == 9
    assert network.size_divisor == 2
    assert network.batchable


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", r"want one input with one shape, got \[\]"),
        ('input: "data"', "want one input with one shape"),
        ('input: "data" input_dim: 1 input_dim: 1', "batch, channels, rows, cols"),
        (HEADERS[0] + HEADERS[2].replace('"data"', '"label"'), "'data', 'label'"),
        (HEADERS[0].replace("8", "0"), r"of data, got \[1, 1, 0, 0\]"),
        (HEADERS[2].replace(SHAPE, "dim: 8"), r"of data, got \[8\]"),
    ],
)
def test_a_network_without_one_input_of_four_sides_is_refused(
    tmp_path: Path, header: str, said: str
) -> None:
    with pytest.raises(NetworkError, match=said + r".*net\.prototxt"):
        read(tmp_path, header=header)


def test_layers_of_v1_are_read(tmp_path: Path) -> None:
    layers = """
        layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1
          convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }
        layers { name: "relu" type: RELU bottom: "conv" top: "conv" }"""
    conv, relu = read(tmp_path, layers).layers
    assert conv.does == Convolution(Kernel((3, 3), pad=(1, 1)), 3)
    assert (relu.kind, relu.does) == ("ReLU", ReLU())
    with pytest.raises(NetworkError, match=r"layer 'fc' \(INNER_PRODUCT\).*unknown layer type"):
        read(tmp_path, 'layers { name: "fc" type: INNER_PRODUCT bottom: "data" top: "fc" }')


@pytest.mark.parametrize(
    ("rule", "served"),
    [
        ("include { phase: TEST }", True),
        ("include { phase: TRAIN }", False),
        ("include { phase: TRAIN } include { phase: TEST }", True),
        ("exclude { phase: TEST }", False),
        ("exclude { phase: TRAIN }", True),
        ('include { stage: "deploy" }', False),
        ('include { not_stage: "deploy" }', True),
        ("include { min_level: 1 }", False),
        ("exclude { max_level: 1 }", False),
    ],
)
def test_layers_take_part_by_phase_level_and_stage(tmp_path: Path, rule: str, served: bool) -> None:
    extra = f'layer {{ name: "s" type: "Sigmoid" bottom: "softmax" top: "softmax" {rule} }}'
    assert (read(tmp_path, UNET + extra).layers[-1].name == "s") == served


def test_a_data_layer_of_training_is_ignored_and_its_parameters_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layer = """layer { name: "events" type: "ThreadFill" top: "data" include { phase: TRAIN }
        thread_fill_param { files: "train.root" batch: 5 } }"""
    assert len(read(tmp_path, layer + UNET).layers) == 9
    assert "thread_fill_param" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"ReLU"', '"Swish"', r"layer 'relu' \(Swish\) of .*: unknown layer type"),
        ('"ReLU"', '"InnerProduct"', r"layer 'relu' \(InnerProduct\)"),
        ("kernel_size: 3 pad: 1", "kernal_size: 3", 'no field named "kernal_size"'),
        ("kernel_size: 3 pad: 1", "pad: 1", r"layer 'conv'.*want kernel_size"),
        ("kernel_size: 3 pad: 1", "kernel_size: 3 kernel_h: 3", r"layer 'conv'.*got both"),
        ("stride: 2 } }", "stride: 2 }", r"net\.prototxt, got .*at \d+:\d+"),
        ("stride: 2 } }", "stride: 0 } }", r"layer 'pool' .*stride of 1"),
        ("stride: 2 } }", "stride: 2 pad: 3 } }", r"layer 'pool' .*pad below the kernel"),
        ("stride: 2 } }", "stride: 2 pool: STOCHASTIC } }", r"layer 'pool' .*MAX or AVE"),
        ('bottom: "pool" top: "up"', 'bottom: "pol" top: "up"', r"layer 'up' .*got 'pol'"),
        ('bottom: "pool" top: "up"', 'bottom: "pool" top: "conv"', r"layer 'up' .*'conv' again"),
        ('bottom: "pool" top: "up"', 'bottom: "pool" top: "pool"', r"layer 'up' .*own bottom"),
        ("stride: 2 pad: 1 group: 4", "stride: 2 group: 4", r"layer 'both' \(Concat\).*axis 1"),
        ("group: 4", "group: 3", r"layer 'up' .*by 3 groups"),
        ('"scores" top: "softmax"', '"up" top: "softmax"', "want one output, got .*scores"),
        ('name: "scores"', 'name: "conv"', "one layer 'conv' with weights"),
        ('"Concat" ', '"Concat" concat_param { axis: 0 } ', r"layer 'both' .*axis from 1 to 3"),
        ('bottom: "conv" bottom: "up"', "", r"layer 'both' .*1 or more bottom"),
        ('name: "conv"', 'name: "\xff\xfe"', "of .*net.prototxt"),
        ('type: "ReLU"', r'type: "\377"', "net.prototxt"),
        ('bottom: "up"', r'bottom: "\377"', "net.prototxt"),
    ],
)
def test_what_is_wrong_in_a_prototxt_is_said_with_its_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in UNET
    prototxt, caffemodel = write(tmp_path, UNET.replace(old, new, 1))
    with pytest.raises(NetworkError, match=said):
        caffe_net.read(prototxt, caffemodel)


def test_an_unknown_parameter_is_refused_where_no_layer_is_for_training(tmp_path: Path) -> None:
    typo = UNET.replace('name: "relu"', 'name: "relu" rellu_param { negative_slope: 0.1 }')
    with pytest.raises(NetworkError, match=r'at 7:.*no field named "rellu_param"'):
        read(tmp_path, typo)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    prototxt, caffemodel = write(tmp_path)
    with pytest.raises(NetworkError, match=r"absent\.caffemodel"):
        caffe_net.read(prototxt, tmp_path / "absent.caffemodel")
    with pytest.raises(NetworkError, match=r"absent\.prototxt"):
        caffe_net.read(tmp_path / "absent.prototxt", caffemodel)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("num_output: 3", "num_output: 2", "want 3 scores for each of 8 x 8 pixels, got 2 for 8"),
        ("kernel_size: 1", "kernel_size: 1 stride: 2", "got 3 for 4 x 4 in blob 'softmax'"),
    ],
)
def test_an_output_that_is_not_three_scores_a_pixel_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    caffe_net.require_classes(read(tmp_path))
    with pytest.raises(NetworkError, match=said):
        caffe_net.require_classes(read(tmp_path, UNET.replace(old, new)))


def test_a_size_that_does_not_fit_is_refused_with_the_divisor(tmp_path: Path) -> None:
    network = read(tmp_path)
    assert network.shapes(3, 10, 6)["softmax"] == (3, 3, 10, 6)
    with pytest.raises(SizeRefused, match=r"multiples of 2, got 9 x 8: layer 'both' \(Concat\)"):
        network.shapes(1, 9, 8)
    with pytest.raises(SizeRefused, match="at least one pixel"):
        network.shapes(1, 0, 8)


def flat(stride: int, up: bool) -> str:
    """A stride down, and up again, without anything beside that would have to fit."""
    layers = f"""layer {{ name: "down" type: "Convolution" bottom: "data" top: "down"
        convolution_param {{ num_output: 3 kernel_size: {stride} stride: {stride} }} }}"""
    if up:
        layers += f"""layer {{ name: "up" type: "Deconvolution" bottom: "down" top: "up"
        convolution_param {{ num_output: 3 kernel_size: {stride} stride: {stride} }} }}"""
    return layers


@pytest.mark.parametrize(
    ("layers", "divisor"),
    [(flat(4, True), 4), (flat(4, False), 1), (flat(1, True), 1)],
    ids=["comes back smaller unless 4 divides", "any size, smaller", "any size"],
)
def test_the_divisor_keeps_the_output_as_large_as_the_input(
    tmp_path: Path, layers: str, divisor: int
) -> None:
    assert read(tmp_path, layers).size_divisor == divisor


def test_a_size_that_would_come_out_as_another_is_refused(tmp_path: Path) -> None:
    network = read(tmp_path, flat(4, True))
    with pytest.raises(SizeRefused, match=r"multiples of 4, got 9 x 8: .* would be 8 x 8"):
        network.shapes(1, 9, 8)


def test_a_total_stride_beyond_any_network_is_refused(tmp_path: Path) -> None:
    layers = flat(2000, False).replace("kernel_size: 2000", "kernel_size: 1")
    with pytest.raises(NetworkError, match=r"layer 'down'.*total stride of at most 1024"):
        read(tmp_path, layers)


def test_a_batch_norm_is_batchable_unless_told_to_use_the_batch(tmp_path: Path) -> None:
    def batchable(flag: str) -> bool:
        norm = f'"BatchNorm" batch_norm_param {{ {flag} }}'
        return read(tmp_path, UNET.replace('"BatchNorm"', norm)).batchable

    assert batchable("")
    assert batchable("use_global_stats: true")
    assert not batchable("use_global_stats: false")


def test_pooling_rounds_up_as_caffe_does() -> None:
    pooling = Pooling("MAX", Kernel((3, 3), (2, 2)))
    assert pooling.shape((1, 1, 512, 511)) == (1, 1, 256, 255)
    assert Pooling("MAX", Kernel((3, 3), (2, 2)), ceil=False).shape((1, 1, 512, 511))[2:] == (
        255,
        255,
    )


@pytest.mark.parametrize("escape", [r"\l", r"\z", r"\8"])
def test_an_unknown_escape_in_a_string_is_refused_as_caffe_does(
    escape: str, tmp_path: Path
) -> None:
    layers = UNET.replace('name: "', f'name: "{escape}', 1)
    with pytest.raises(NetworkError, match="want a network's text"):
        caffe_net.read(*write(tmp_path, layers))

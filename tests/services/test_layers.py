"""Each layer type in onnxruntime against plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.errors import NetworkError
from tests.support import reference
from tests.support.tiny_networks import Array, numbers, run


def check(got: Array, want: Any) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def layer(kind: str, parameter: str = "", bottoms: str = 'bottom: "data"') -> str:
    return f'layer {{ name: "made" type: "{kind}" {bottoms} top: "out" {parameter} }}'


@pytest.mark.parametrize(
    ("text", "group", "windows"),
    [
        ("kernel_size: 3", 1, {}),
        ("kernel_size: 3 pad: 2 stride: 2", 1, {"pad": (2, 2), "stride": (2, 2)}),
        ("kernel_size: 3 dilation: 2 pad: 1", 1, {"dilation": (2, 2), "pad": (1, 1)}),
        ("kernel_size: 3 group: 2", 2, {}),
        (
            "kernel_h: 3 kernel_w: 3 stride_h: 1 stride_w: 2 pad_w: 1 dilation: 1 dilation: 2",
            1,
            {"stride": (1, 2), "pad": (0, 1), "dilation": (1, 2)},
        ),
    ],
)
def test_a_convolution(tmp_path: Path, text: str, group: int, windows: dict[str, Any]) -> None:
    x, kernels, bias = numbers(2, 4, 9, 8), numbers(6, 4 // group, 3, 3), numbers(6)
    result = layer("Convolution", f"convolution_param {{ num_output: 6 {text} }}")
    got = run(tmp_path, result, x, {"made": [kernels, bias]})
    check(got, reference.convolution(x, kernels, bias, group=group, **windows))


@pytest.mark.parametrize(
    ("text", "group", "windows"),
    [
        ("kernel_size: 4 stride: 2 pad: 1", 1, {"stride": 2, "pad": 1}),
        ("kernel_size: 4 stride: 2 pad: 1 group: 2", 2, {"stride": 2, "pad": 1}),
        ("kernel_size: 4 dilation: 2", 1, {"dilation": 2}),
    ],
)
def test_a_deconvolution(tmp_path: Path, text: str, group: int, windows: dict[str, int]) -> None:
    x, kernels, bias = numbers(2, 4, 5, 6), numbers(4, 2 // group, 4, 4), numbers(2)
    result = layer("Deconvolution", f"convolution_param {{ num_output: 2 {text} }}")
    got = run(tmp_path, result, x, {"made": [kernels, bias]})
    check(got, reference.deconvolution(x, kernels, bias, group=group, **windows))


def test_a_deconvolution_of_twice_as_many_channels_as_groups_as_in_ssnet(tmp_path: Path) -> None:
    x, kernels = numbers(1, 4, 5, 6), numbers(4, 1, 4, 4)
    text = "num_output: 2 group: 2 kernel_size: 4 stride: 2 pad: 1 bias_term: false"
    result = layer("Deconvolution", f"convolution_param {{ {text} }}")
    got = run(tmp_path, result, x, {"made": [kernels]})
    check(got, reference.deconvolution(x, kernels, np.zeros(2), stride=2, pad=1, group=2))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("rows", range(6, 12))
@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "ceil"),
    [
        *((3, 2, 0, True), (3, 2, 1, True), (2, 2, 1, True), (3, 3, 1, True), (4, 3, 2, True)),
        *((3, 2, 0, False), (4, 3, 2, False), (5, 1, 2, True)),
    ],
)
def test_pooling(  # every rest of rows and cols: where windows hang over, and where one is dropped
    tmp_path: Path, method: str, rows: int, kernel: int, stride: int, pad: int, ceil: bool
) -> None:
    x = numbers(2, 2, rows, rows + 5) - 3  # all negative: padding must not win
    text = f"pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad}"
    text += "" if ceil else " round_mode: FLOOR"
    got = run(tmp_path, layer("Pooling", f"pooling_param {{ {text} }}"), x)
    window = {"kernel": (kernel, kernel), "stride": (stride, stride), "pad": (pad, pad)}
    check(got, reference.pooling(x, method, ceil=ceil, **window))


def test_pooling_with_windows_outside_of_the_image_is_refused(tmp_path: Path) -> None:
    result = layer("Pooling", "pooling_param { kernel_size: 1 stride: 3 }")
    with pytest.raises(NetworkError, match="multiples of a size"):
        run(tmp_path, result, numbers(1, 1, 7, 7))
    with pytest.raises(NetworkError, match="window outside"):
        run(tmp_path, result, numbers(1, 1, 5, 5))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global_pooling(tmp_path: Path, method: str) -> None:
    x = numbers(2, 3, 5, 6)
    result = layer("Pooling", f"pooling_param {{ pool: {method} global_pooling: true }}")
    want = x.max((2, 3), keepdims=True) if method == "MAX" else x.mean((2, 3), keepdims=True)
    check(run(tmp_path, result, x), want)


@pytest.mark.parametrize("flag", ["", "batch_norm_param { use_global_stats: true }"])
@pytest.mark.parametrize("factor", [20.0, 0.0])
def test_batch_norm_with_stored_statistics(tmp_path: Path, flag: str, factor: float) -> None:
    x, mean, variance = numbers(2, 3, 5, 6), numbers(3), abs(numbers(3)) + 1
    stored = [mean * factor, variance * factor, np.full(1, factor, np.float32)]
    got = run(tmp_path, layer("BatchNorm", flag), x, {"made": stored})
    known = factor != 0  # nothing was ever stored: zeros
    check(got, reference.batch_norm(x, mean * known, variance * known, 1e-5))


def test_batch_norm_obeys_use_global_stats_false_at_test_too(tmp_path: Path) -> None:
    x = numbers(2, 3, 5, 6) * 3 + 100
    result = layer("BatchNorm", "batch_norm_param { use_global_stats: false eps: 1e-3 }")
    got = run(tmp_path, result, x, {"made": [numbers(3), numbers(3), numbers(1)]})
    check(got, reference.batch_norm(x, x.mean((0, 2, 3)), x.var((0, 2, 3)), 1e-3))


def test_scale(tmp_path: Path) -> None:
    x, factor, bias = numbers(2, 3, 5, 6), numbers(3), numbers(3, seed=1)
    shaped = factor.reshape(-1, 1, 1)
    check(run(tmp_path, layer("Scale"), x, {"made": [factor]}), x * shaped)
    result = layer("Scale", "scale_param { bias_term: true }")
    check(run(tmp_path, result, x, {"made": [factor, bias]}), x * shaped + bias.reshape(-1, 1, 1))


def test_relu_and_its_slope(tmp_path: Path) -> None:
    x = numbers(2, 3, 5, 6)
    check(run(tmp_path, layer("ReLU"), x), np.maximum(x, 0))
    result = layer("ReLU", "relu_param { negative_slope: 0.1 }")
    check(run(tmp_path, result, x), np.where(x > 0, x, 0.1 * x))


@pytest.mark.parametrize(
    ("parameter", "want"),
    [
        ("", lambda x, y: x + y),
        ("operation: SUM coeff: 1 coeff: -0.5", lambda x, y: x - 0.5 * y),
        ("operation: PROD", lambda x, y: x * y),
        ("operation: MAX", np.maximum),
    ],
)
def test_eltwise(tmp_path: Path, parameter: str, want: Any) -> None:
    x = numbers(2, 3, 5, 6)
    result = 'layer { name: "half" type: "Sigmoid" bottom: "data" top: "half" }'
    result += layer("Eltwise", f"eltwise_param {{ {parameter} }}", 'bottom: "data" bottom: "half"')
    check(run(tmp_path, result, x), want(x, 1 / (1 + np.exp(-x))))


@pytest.mark.parametrize(("text", "axis"), [("", 1), ("axis: -1", 3), ("concat_dim: 2", 2)])
def test_concat(tmp_path: Path, text: str, axis: int) -> None:
    x = numbers(2, 3, 5, 6)
    result = layer("Concat", f"concat_param {{ {text} }}", 'bottom: "data" bottom: "data"')
    check(run(tmp_path, result, x), np.concatenate([x, x], axis))


@pytest.mark.parametrize(
    ("text", "rows", "cols"),
    [
        ("", slice(0, 3), slice(0, 4)),
        ("axis: 2 offset: 2", slice(2, 5), slice(2, 6)),
        ("offset: 1 offset: 0", slice(1, 4), slice(0, 4)),
        ("axis: -2 offset: 0 offset: 1", slice(0, 3), slice(1, 5)),
    ],
)
def test_crop(tmp_path: Path, text: str, rows: slice, cols: slice) -> None:
    x = numbers(2, 3, 5, 6)
    result = """layer { name: "small" type: "Pooling" bottom: "data" top: "small"
        pooling_param { kernel_size: 3 } }"""
    result += layer("Crop", f"crop_param {{ {text} }}", 'bottom: "data" bottom: "small"')
    check(run(tmp_path, result, x), x[:, :, rows, cols])


def test_crop_of_channels(tmp_path: Path) -> None:
    x = numbers(2, 3, 5, 6)
    result = 'layer { name: "two" type: "Concat" bottom: "data" bottom: "data" top: "two" }'
    result += layer("Crop", "crop_param { axis: 1 offset: 2 offset: 0 offset: 0 }")
    result = result.replace(
        'type: "Crop" bottom: "data"', 'type: "Crop" bottom: "two" bottom: "data"'
    )
    check(run(tmp_path, result, x), np.concatenate([x, x], 1)[:, 2:5])


def test_softmax_sigmoid_and_dropout(tmp_path: Path) -> None:
    x = numbers(2, 3, 5, 6)
    check(run(tmp_path, layer("Softmax"), x), reference.softmax(x))
    result = layer("Softmax", "softmax_param { axis: 2 }")
    check(run(tmp_path, result, x), reference.softmax(x, 2))
    check(run(tmp_path, layer("Sigmoid"), x), 1 / (1 + np.exp(-x)))
    check(run(tmp_path, layer("Dropout", "dropout_param { dropout_ratio: 0.9 }"), x), x)


def test_in_place_the_last_writer_wins_and_earlier_readers_keep_what_they_read(
    tmp_path: Path,
) -> None:
    x = numbers(2, 3, 5, 6)
    result = """
        layer { name: "a" type: "Scale" bottom: "data" top: "a" }
        layer { name: "early" type: "Sigmoid" bottom: "a" top: "early" }
        layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }"""
    result += layer("Eltwise", "", 'bottom: "a" bottom: "early"')
    got = run(tmp_path, result, x, {"a": [np.full(3, 2, np.float32)]})
    check(got, np.maximum(2 * x, 0) + 1 / (1 + np.exp(-2 * x)))

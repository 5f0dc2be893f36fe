"""Caffemodels out and in again, and the forms that Caffe's versions gave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.caffe import caffe_net, caffe_proto
from services.caffe.caffe_weights import read_weights, write_caffemodel
from services.errors import NetworkError
from tests.support.protobuf_wire import field, varint
from tests.support.tiny_networks import Array, numbers, unet_weights, write

SHAPES = {"conv": ((2, 1, 3, 3), (2,))}
ARRAYS = [numbers(2, 1, 3, 3), numbers(2)]


def read(data: bytes) -> tuple[Array, ...]:
    return read_weights(data, want=SHAPES, file="w.caffemodel", network="n.prototxt")["conv"]


def check(data: bytes) -> None:
    for got, want in zip(read(data), ARRAYS, strict=True):
        assert got.dtype == np.float32
        assert np.array_equal(got, want)


def unpacked(array: Array, legacy: bool) -> bytes:
    """A blob with one key a float, and its shape as one of 2013 or of 2015."""
    sides = [1] * (4 - array.ndim) + list(array.shape) if legacy else list(array.shape)
    floats = b"".join(varint(5 << 3 | 5) + value.tobytes() for value in array.ravel())
    if legacy:
        return b"".join(varint(i + 1 << 3) + varint(n) for i, n in enumerate(sides)) + floats
    return field(7, b"".join(varint(1 << 3) + varint(n) for n in sides)) + floats


def test_what_is_written_comes_back_to_the_bit(tmp_path: Path) -> None:
    prototxt, caffemodel = write(tmp_path)
    network = caffe_net.read(prototxt, caffemodel)
    for name, arrays in unet_weights().items():
        for got, want in zip(network.weights[name], arrays, strict=True):
            assert np.array_equal(got, want)
    assert list(tmp_path.glob("*.part")) == []


def test_a_written_file_has_caffes_own_bytes(tmp_path: Path) -> None:
    write_caffemodel(tmp_path / "w", "net", {"conv": ARRAYS})
    blobs = b"".join(
        field(7, field(5, a.tobytes()) + field(7, field(1, b"".join(map(varint, a.shape)))))
        for a in ARRAYS
    )
    layer = field(100, field(1, b"conv") + blobs)
    assert (tmp_path / "w").read_bytes() == field(1, b"net") + layer


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("layers", [2, 100])
def test_legacy_shapes_unpacked_floats_and_v1_layers_are_read(legacy: bool, layers: int) -> None:
    name, blobs = (4, 6) if layers == 2 else (1, 7)
    body = b"".join(field(blobs, unpacked(array, legacy)) for array in ARRAYS)
    check(field(layers, field(name, b"conv") + body))


def test_layers_that_the_network_lacks_are_left_out_and_logged(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    write_caffemodel(tmp_path / "w", "net", {"conv": ARRAYS, "split": [], "loss": [numbers(1)]})
    check((tmp_path / "w").read_bytes())
    assert "does not use: loss" in caplog.text
    assert "split" not in caplog.text


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"conv1": ARRAYS}, "another network's: conv1, not conv"),
        ({"conv": ARRAYS[:1]}, "want 2 weight blobs of layer 'conv' of n.prototxt, got 1"),
        ({"conv": [numbers(2, 1, 3, 2), ARRAYS[1]]}, r"weights 0 of layer 'conv'.*\(2, 1, 3, 2\)"),
        ({"conv": [ARRAYS[0], numbers(2, 1)]}, r"weights 1 of layer 'conv'"),
        ({"conv": [ARRAYS[0], np.array([1, np.nan])]}, "finite numbers for weights 1"),
        ({}, "want weights in w.caffemodel, got 5 bytes without any"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, weights: dict[str, list[Array]], said: str
) -> None:
    write_caffemodel(tmp_path / "w", "net", weights)
    with pytest.raises(NetworkError, match=said):
        read((tmp_path / "w").read_bytes())


def test_fewer_numbers_than_the_shape_says_are_refused() -> None:
    net = caffe_proto.new("NetParameter")
    for array in ARRAYS:
        blob = caffe_proto.new("BlobProto")
        blob.shape.dim.extend(array.shape)
        blob.data.append(array.tobytes()[:-4])
        layer = net.layer[0] if net.layer else net.layer.add(name="conv")
        layer.blobs.append(blob.SerializeToString())
    with pytest.raises(NetworkError, match="want 18 numbers for weights 0 of layer 'conv'"):
        read(net.SerializeToString())


def test_an_empty_or_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    prototxt, caffemodel = write(tmp_path)
    whole = caffemodel.read_bytes()
    for length in range(0, len(whole), 7):
        caffemodel.write_bytes(whole[:length])
        with pytest.raises(NetworkError, match=r"net\.caffemodel"):
            caffe_net.read(prototxt, caffemodel)

"""Write the network that is served as text for Caffe, without what Caffe could not read.

The text has the layers of phase TEST alone. Training layers and their parameters, which may be a
fork's, fillers, and the choice of an engine such as CUDNN are left out: the weights are given.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from ..errors import NetworkError, SizeRefused
from . import caffe_proto, caffe_text
from .caffe_net import Network

_OF_TRAINING = (
    *("include", "exclude", "phase", "param", "blobs", "loss_weight", "propagate_down"),
    *("blobs_lr", "weight_decay", "blob_share_mode"),  # V1's
)
_OF_PARAMETERS = ("engine", "weight_filler", "bias_filler", "filler")
_LARGEST = 1 << 13  # pixels: the divisor of a size was found among smaller sides


def deploy_text(network: Network, prototxt: Path) -> str:
    """Return the text of the served layers, with an input of `smallest_side`.

    The layers are those of the file, so that Caffe itself reads their parameters. Raises
    `NetworkError` if the file changed since the network was read.
    """
    try:
        text = prototxt.read_bytes()
    except OSError as error:
        raise NetworkError(f"cannot read a network's file: {error}") from None
    if hashlib.sha256(text).hexdigest() != network.sha256:
        raise NetworkError(f"{prototxt} changed while it was read")
    net, _ = caffe_proto.from_text(text, str(prototxt))
    side = smallest_side(network)
    deployed = caffe_proto.new("NetParameter")
    deployed.name = net.name
    deployed.input.append(network.input_name)
    deployed.input_shape.add().dim.extend((1, network.input_channels, side, side))
    layers = deployed.layers if net.layers else deployed.layer
    for layer in caffe_text.served(net):
        if caffe_text.kind(layer) != "Input":
            _strip(layer)
            layers.append(layer)
    written: str = text_format.MessageToString(deployed)
    return written


def _strip(layer: Any) -> None:
    _clear(layer, _OF_TRAINING)
    for field, value in layer.ListFields():
        if field.name.endswith("_param"):
            _clear(value, _OF_PARAMETERS)


def _clear(message: Any, names: tuple[str, ...]) -> None:
    for name in set(message.DESCRIPTOR.fields_by_name.keys()) & set(names):
        message.ClearField(name)


def smallest_side(network: Network) -> int:
    """Return the side of the smallest square image that the network takes, in pixels."""
    for side in range(network.size_divisor, _LARGEST, network.size_divisor):
        try:
            network.shapes(1, side, side)
        except SizeRefused:
            continue
        return side
    raise NetworkError(f"want a network that takes an image, got {network.file}")

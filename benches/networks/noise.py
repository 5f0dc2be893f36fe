"""Write the shipped networks with noise on one layer, to see whether a canary finds it.

    python -m benches.networks.noise noisy --layer LAYER --share 0.05 --seed 1

Each weight of the layer gets normal noise with a standard deviation of this share of the layer's
own. Without --layer the layers are listed.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from services import networks
from services.caffe import caffe_proto
from services.caffe.caffe_weights import write_caffemodel


def write_noisy(folder: Path, layer: str, *, share: float, seed: int) -> None:
    """Write the networks of all planes into a folder. Raises `KeyError` for an unknown layer."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(networks.PROTOTXT, folder)
    for plane in range(3):
        weights = stored(networks.weights(plane))
        kernel = weights[layer][0]
        random = np.random.default_rng([seed, plane])
        noise = random.normal(0, share * kernel.std(), kernel.shape)
        weights[layer] = [(kernel + noise).astype(np.float32), *weights[layer][1:]]
        write_caffemodel(folder / networks.weights(plane).name, "uresnet", weights)


def stored(path: Path) -> dict[str, list[np.ndarray]]:
    """Return the arrays of each layer of a caffemodel that this project wrote."""
    net = caffe_proto.from_bytes("NetParameter", path.read_bytes(), str(path))
    arrays: dict[str, list[np.ndarray]] = {}
    for layer in net.layer:
        blobs = [caffe_proto.from_bytes("BlobProto", blob, str(path)) for blob in layer.blobs]
        arrays[layer.name] = [
            np.frombuffer(b"".join(blob.data), "<f4").reshape(tuple(blob.shape.dim))
            for blob in blobs
        ]
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layer", default="")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    if not words.layer:
        print(" ".join(stored(networks.weights(0))))
        return
    write_noisy(words.folder, words.layer, share=words.share, seed=words.seed)


if __name__ == "__main__":
    main()

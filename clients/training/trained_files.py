"""The files of a training: the network it starts from, and what it writes into its folder.

Existing networks are not replaced, unless they belong to this training.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lartpc import FileExists, WriteError
from lartpc.files.whole_file import write_whole
from services import networks
from services.caffe import caffe_net
from services.caffe.caffe_net import Network
from services.caffe.caffe_weights import Weights, write_caffemodel

from .torch_net import fresh

log = logging.getLogger(__name__)


def begin(prototxt: Path | None, weights: Path | None, *, seed: int) -> tuple[Network, Weights]:
    """Return the network and the initial weights.

    prototxt: None means the shipped one; weights: None means random ones from `seed`. Raises
    `NetworkError`.
    """
    network = caffe_net.read(prototxt or networks.PROTOTXT, weights)
    return network, network.weights if weights else fresh(network, seed=seed)


class TrainedFiles:
    """The paths of a training's files; trainings of single planes may share one folder."""

    def __init__(self, folder: Path, prototxt: Path | None, planes: Sequence[int]) -> None:
        self._source = source = prototxt or networks.PROTOTXT
        # with `plane2` in its name, the prototxt would be found only for that plane
        name = re.sub(r"[-_.]?plane\d*", "", source.stem) or "network"
        single = f"_plane{planes[0]}" if len(planes) == 1 else ""
        self.folder = folder
        self.checkpoint = folder / f"checkpoint{single}.npz"
        self.lines = folder / f"training{single}.jsonl"
        self.picture = folder / f"training{single}.png"
        self.prototxt = folder / f"{name}.prototxt"
        self.caffemodels = [folder / f"{name}_plane{plane}.caffemodel" for plane in planes]

    def make_folder(self) -> None:
        """Make the folder if it does not exist. Raises `WriteError`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot make the folder {self.folder}: {error.strerror}") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder against a second training of the same planes.

        The lock file stays: a process that removed it might remove another process's lock. Raises
        `FileExists` if the folder is locked, and `WriteError`.
        """
        path = self.folder / f".{self.checkpoint.stem}.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror}") from error
        try:
            self._take(lock)
            yield
        finally:
            os.close(lock)

    def _take(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExists(
                f"want one training at a time in {self.folder}, got another that is running"
            ) from None
        except OSError as error:  # some cluster file systems have no locks
            log.warning("the file system of %s has no locks (%s)", self.folder, error.strerror)

    def check_free(self) -> None:
        """Raise `FileExists` if the training would replace networks that it did not write."""
        for path in self.caffemodels:
            if path.exists():
                raise FileExists(f"{path} exists already; --force replaces it")
        if self.prototxt.exists() and self.prototxt.read_bytes() != self._source.read_bytes():
            raise FileExists(f"{self.prototxt} exists already; --force replaces it")

    def check_apart(self, weights: Path | None) -> None:
        """Raise `FileExists` if the training would replace its initial weights."""
        for path in self.caffemodels:
            if weights and path.resolve() == weights.resolve():
                raise FileExists(
                    f"want an output other than the initial weights, got {path} for both"
                )

    def write(self, network: Network, weights: Weights) -> None:
        """Write the network of each plane, each file atomically. Raises `WriteError`."""
        data = self._source.read_bytes()
        write_whole(self.prototxt, lambda part: part.write_bytes(data))
        for path in self.caffemodels:
            write_whole(path, lambda part: write_caffemodel(part, network.name, weights))

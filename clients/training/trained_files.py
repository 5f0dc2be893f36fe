"""The files of a training: what it begins with, and what it leaves in its folder.

Refuses to replace networks that are there, unless they are this training's own.
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
    """A network (None: the shipped one's) and weights to begin with (None: random ones).

    Raises `NetworkError`.
    """
    network = caffe_net.read(prototxt or networks.PROTOTXT, weights)
    return network, network.weights if weights else fresh(network, seed=seed)


class TrainedFiles:
    """Where everything goes. Trainings of single planes can share a folder, and so be served."""

    def __init__(self, folder: Path, prototxt: Path | None, planes: Sequence[int]) -> None:
        self._source = source = prototxt or networks.PROTOTXT
        name = re.sub(r"[-_.]?plane\d*", "", source.stem) or "network"  # else found for one plane
        single = f"_plane{planes[0]}" if len(planes) == 1 else ""
        self.folder = folder
        self.checkpoint = folder / f"checkpoint{single}.npz"
        self.lines = folder / f"training{single}.jsonl"
        self.picture = folder / f"training{single}.png"
        self.prototxt = folder / f"{name}.prototxt"
        self.caffemodels = [folder / f"{name}_plane{plane}.caffemodel" for plane in planes]

    def make_folder(self) -> None:
        """Raises `WriteError`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot make the folder {self.folder}: {error.strerror}") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from training the same into this folder; raises `FileExists`, `WriteError`.

        The lock's file stays: who removed it might remove another's.
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
            raise FileExists(f"want one training at a time in {self.folder}, got another") from None
        except OSError as error:  # some cluster file systems have none
            log.warning("no locks on the file system of %s (%s)", self.folder, error.strerror)

    def check_free(self) -> None:
        """Raise `FileExists` where another's networks would be replaced."""
        for path in self.caffemodels:
            if path.exists():
                raise FileExists(f"{path} is there already; --force replaces it")
        if self.prototxt.exists() and self.prototxt.read_bytes() != self._source.read_bytes():
            raise FileExists(f"{self.prototxt} is there already; --force replaces it")

    def check_apart(self, weights: Path | None) -> None:
        """Raise `FileExists` where what is begun with would be replaced."""
        for path in self.caffemodels:
            if weights and path.resolve() == weights.resolve():
                raise FileExists(f"want networks apart from what they begin with, got {path}")

    def write(self, network: Network, weights: Weights) -> None:
        """The network of each plane, each file whole. Raises `WriteError`."""
        data = self._source.read_bytes()
        write_whole(self.prototxt, lambda part: part.write_bytes(data))
        for path in self.caffemodels:
            write_whole(path, lambda part: write_caffemodel(part, network.name, weights))

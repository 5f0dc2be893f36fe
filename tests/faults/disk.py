"""A small disk that a test can fill: a tmpfs of its own, or, where none is allowed, a file limit.

A mount is made in a namespace of this process, so that it ends with it and nobody else sees it.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_SIZE = "48m"
_CHUNK = 1 << 20
_LIMIT_BYTES = 4096
_IN_NAMESPACE = "SSNET_OWN_MOUNTS"

Mend = Callable[[], None]


class Disk(Protocol):
    """Where outputs go."""

    folder: Path
    how: str
    """For people."""

    def fill(self, pid: int) -> Mend:
        """Let no byte more fit, at least for the process; returns what makes room again."""

    def close(self) -> None:
        """Nothing of it is left."""


def enter_namespace(argv: list[str]) -> None:
    """Run this command again in a namespace where it may mount, if there is such a thing."""
    if os.environ.get(_IN_NAMESPACE) or not shutil.which("unshare"):
        return
    for options in (["--mount"], ["--mount", "--map-root-user"]):
        try_it = ["unshare", *options, "mount", "-t", "tmpfs", "none", "/mnt"]
        if subprocess.run(try_it, capture_output=True, check=False).returncode == 0:
            os.environ[_IN_NAMESPACE] = "1"
            os.execvp("unshare", ["unshare", *options, sys.executable, *argv])


def open_disk(folder: Path) -> Disk:
    """A disk at this folder, of the best kind that this process may have."""
    folder.mkdir()
    if os.environ.pop(_IN_NAMESPACE, None):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "none", str(folder)]
        subprocess.run(mount, check=True)
        return Tmpfs(folder)
    return Limit(folder)


class Tmpfs:
    """Filled to the last byte: writes fail with ENOSPC."""

    how = f"a tmpfs of {_SIZE} that is filled (ENOSPC)"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fillings = 0
        self._ballast = folder / "ballast"

    def fill(self, pid: int) -> Mend:
        self._fillings += 1
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(_CHUNK))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        return self._make_room

    def close(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)

    def _make_room(self) -> None:
        self._fillings -= 1
        if not self._fillings:
            self._ballast.unlink()


class Limit:
    """No file of the process may grow beyond some bytes: writes fail with EFBIG."""

    how = f"a limit of {_LIMIT_BYTES} bytes a file of the running client (EFBIG)"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fillings: Counter[int] = Counter()  # by process

    def fill(self, pid: int) -> Mend:
        self._fillings[pid] += 1
        _limit(pid, _LIMIT_BYTES)

        def make_room() -> None:
            self._fillings[pid] -= 1
            if not self._fillings[pid]:
                _limit(pid, resource.RLIM_INFINITY)

        return make_room

    def close(self) -> None:
        shutil.rmtree(self.folder)


def _limit(pid: int, file_bytes: int) -> None:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (file_bytes, hard))
    except ProcessLookupError:
        return  # it has ended

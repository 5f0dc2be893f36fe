"""A file that appears under its name only when it is whole. Refuses to replace what is there."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from .errors import FileExists, WriteError


class WholeFile:
    """Write to `part`; then `publish()` gives it its name, or `discard()` leaves nothing.

    `part` lies in the same directory, so the renaming is one atomic step. A process that is
    killed leaves its `.NAME.xxxxxxxx.part` behind, which nobody takes for the file.
    """

    def __init__(self, path: Path, *, force: bool, inputs: Iterable[Path]) -> None:
        self.path = path
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", path.name)  # ROOT reads some others as a URL's
        self.part = path.with_name(f".{plain[:200]}.{secrets.token_hex(4)}.part")
        self._force = force
        if any(_same(path, source) for source in inputs):
            raise FileExists(f"want an output apart from the inputs, got {path} for both")
        self._check_free()
        try:
            os.close(os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror}") from error

    def _check_free(self) -> None:
        if self.path.is_dir():
            raise WriteError(f"want a file to write, got the directory {self.path}")
        if not self._force and os.path.lexists(self.path):
            raise FileExists(f"{self.path} is there already; force to replace it")

    def publish(self) -> None:
        """Make sure of the bytes, then give them their name."""
        try:
            self._check_free()
            if not self.part.stat().st_size:
                raise WriteError(f"want bytes to name {self.path}, got an empty file")
            _sync(self.part)
            os.replace(self.part, self.path)
            _sync(self.path.parent)
        except OSError as error:
            self.discard()
            if isinstance(error, WriteError):
                raise
            raise WriteError(f"cannot write {self.path}: {error.strerror}") from error

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file of its own, which then replaces what is there; or nothing changes.

    Raises `WriteError`.
    """
    file = WholeFile(path, force=True, inputs=())
    try:
        write(file.part)
        file.publish()
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        file.discard()


def _same(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:
        return path.absolute() == source.absolute()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

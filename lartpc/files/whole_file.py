"""A file that appears under its name only when it is whole. Refuses to replace what is there."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FileExists, LArTPCError, WriteError


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
        check_free(path, force=force, inputs=inputs)
        with named(path):
            os.close(os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))

    def publish(self) -> None:
        """Make sure of the bytes, then give them their name."""
        try:
            with named(self.path):
                check_free(self.path, force=self._force)
                if not self.part.stat().st_size:
                    raise WriteError(f"want bytes to name {self.path}, got an empty file")
                sync(self.part)
                move(self.part, self.path)
        except WriteError:
            self.discard()
            raise

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)


def check_free(path: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise `FileExists` or `WriteError` where no file may be written."""
    if any(_same(path, source) for source in inputs):
        raise FileExists(f"want an output apart from the inputs, got {path} for both")
    if path.is_dir():
        raise WriteError(f"want a file to write, got the directory {path}")
    if not force and os.path.lexists(path):
        raise FileExists(f"{path} is there already; force to replace it")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file of its own, which then replaces what is there; or nothing changes.

    Raises `WriteError`.
    """
    file = WholeFile(path, force=True, inputs=())
    try:
        with named(path):
            write(file.part)
            file.publish()
    finally:
        file.discard()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What the system refuses in the block becomes a `WriteError` that names the file."""
    try:
        yield
    except LArTPCError:
        raise
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def move(source: Path, target: Path) -> None:
    """Give a file that is safe on disk its name, in one step; the name is safe then, too."""
    os.replace(source, target)
    sync(target.parent)


def _same(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:
        return path.absolute() == source.absolute()


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

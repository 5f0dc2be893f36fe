"""A file that appears under its name only when it is complete. Refuses to replace a file."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FileExists, LArTPCError, WriteError


class WholeFile:
    """A file that is written as `part`; `publish()` renames it, `discard()` removes it.

    `part` lies in the same directory, so the rename is atomic. A process that is killed leaves its
    `.NAME.xxxxxxxx.part` behind, which cannot be mistaken for the finished file.
    """

    def __init__(self, path: Path, *, force: bool, inputs: Iterable[Path]) -> None:
        self.path = path
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", path.name)  # ROOT reads others as a URL
        self.part = path.with_name(f".{plain[:200]}.{secrets.token_hex(4)}.part")
        self._force = force
        check_free(path, force=force, inputs=inputs)
        with named(path):
            os.close(os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))

    def publish(self) -> None:
        """Sync the bytes to disk, then rename the file into place. Raises `WriteError`."""
        try:
            with named(self.path):
                check_free(self.path, force=self._force)
                if not self.part.stat().st_size:
                    raise WriteError(f"want a file with content for {self.path}, got an empty file")
                sync(self.part)
                move(self.part, self.path)
        except WriteError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the part file, if it has not been renamed."""
        self.part.unlink(missing_ok=True)


def check_free(path: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise `FileExists` or `WriteError` if no file may be written at this path."""
    if any(_same(path, source) for source in inputs):
        raise FileExists(f"want an output that is not an input, got {path} for both")
    if path.is_dir():
        raise WriteError(f"want a file to write, got the directory {path}")
    if not force and os.path.lexists(path):
        raise FileExists(f"{path} is there already; force to replace it")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with the path of a new file, which then replaces `path`.

    If anything fails, `path` stays as it was. Raises `WriteError`.
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
    """Raise a `WriteError` that names the file for any `OSError` in the block."""
    try:
        yield
    except LArTPCError:
        raise
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def move(source: Path, target: Path) -> None:
    """Rename a synced file into place, atomically, and sync the folder, so that the name lasts."""
    os.replace(source, target)
    sync(target.parent)


def _same(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:
        return path.absolute() == source.absolute()


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that only their owner may read: whole or not there, and refused if others can read them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import MDPError


def write_once(path: Path, text: str) -> None:
    """Write a file if it does not exist; of two writers at once, only the first one writes.

    Raises `MDPError` if it cannot be written.
    """
    with contextlib.suppress(FileExistsError):
        _write(path, text, mode=0o600, put=_put_once)


def _put_once(temporary: str, path: Path) -> None:
    """Give a file its name if no file has it. Raises `FileExistsError`, `OSError`."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        if path.exists():
            raise FileExistsError from None
        os.replace(temporary, path)  # a file system without hard links, such as exFAT


def write_whole(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file; a reader sees the old contents or the new ones.

    Raises `MDPError` if it cannot be written.
    """
    _write(path, text, mode=mode, put=os.replace)


def _write(path: Path, text: str, *, mode: int, put: Callable[[str, Path], None]) -> None:
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with open(descriptor, "w", encoding="utf-8") as file:  # mkstemp: its mode is 0600
            file.write(text)
            file.flush()
            if mode != 0o600:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        put(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise MDPError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if temporary:
            with contextlib.suppress(OSError):  # os.replace has moved it
                os.unlink(temporary)


def make_folder_of(path: Path, *, is_private: bool = False) -> None:
    """Make the folder of a file, with mode 0700, if it does not exist.

    is_private: raise `MDPError` if others can write in the folder, and so replace the file; in a
    folder with the sticky bit, such as /tmp, they cannot.
    """
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError as error:
        raise MDPError(f"cannot make the folder {folder}: {error.strerror}") from None
    if is_private and mode & 0o022 and not mode & stat.S_ISVTX:
        raise MDPError(
            f"others can write in {folder} (mode {mode:04o}), and so replace the keys in it:"
            f" `chmod go-w {folder}`"
        )


def make_private_folder(path: Path) -> None:
    """Make a folder with mode 0700.

    Raises `MDPError` if it exists and others can enter it, or if it is a symbolic link: in a folder
    such as /tmp, others can make one.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise MDPError(f"cannot make the folder {path}: {error.strerror}") from None
    if path.is_symlink():
        raise MDPError(f"{path} is a symbolic link, want a folder: remove the link")
    check_private(path)


def check_private(path: Path) -> None:
    """Raise `MDPError` if the file or folder is not ours, or if others can read or write it."""
    try:
        found = path.stat()
    except OSError as error:
        raise MDPError(f"cannot read {path}: {error.strerror}") from None
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (os.geteuid(), 0):
        raise MDPError(f"{path} has keys of another user (uid {found.st_uid}): it is not used")
    if mode & 0o077:
        right = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise MDPError(
            f"others can read the keys in {path} (mode {mode:04o}): `chmod {right} {path}`, and"
            " replace the keys if others may have read them (`mdp keys rotate`)"
        )

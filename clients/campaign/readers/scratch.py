"""A folder on a disk of the reader's host, in which an output is written before it is moved.

The folder `ssnet-UID-TOKEN` is locked while its reader lives. A reader that was killed leaves its
folder behind. The next reader on the host that gets the same file adopts its checkpoints and
removes it; any reader there removes it once the file is done, or after an hour. A folder of another
host is left alone: the disk may be shared, and locks may not reach that host.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lartpc import WriteError
from lartpc.files.whole_file import named, sync

from ..file_request import FileRequest
from .attempt import work_of

_OWNER = "owner.json"
_OLD_S = 3600.0  # a folder that was left behind is removed when it is so old
_BLOCK_BYTES = 4 << 20


def place_of(scratch: str) -> Path:
    """Return the folder that an option names, such as `$TMPDIR`, on this host.

    Raises `WriteError` if it names a variable that this host does not have.
    """
    place = os.path.expandvars(os.path.expanduser(scratch))
    if "$" in place:
        raise WriteError(f"cannot write {place}: {os.uname().nodename} has no such variable")
    return Path(place)


@contextmanager
def scratch_folder(place: Path, token: str, request: FileRequest) -> Iterator[Path]:
    """Make a locked folder for one attempt, which is removed afterwards. Raises `WriteError`."""
    folder = place / f"ssnet-{os.getuid()}-{token}"
    if not place.is_dir():
        hint = f"`ssnet campaign retry {request.folder} --scratch FOLDER` takes another one"
        raise WriteError(
            f"cannot write {folder}: {os.uname().nodename} has no folder {place} (--scratch): "
            + (hint if request.scratch else "start the readers with another one")
        )
    about = {"host": os.uname().nodename, "folder": request.folder, "number": request.number}
    with ExitStack() as stack:
        with named(folder):
            folder.mkdir(mode=0o700)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            owner = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, owner)
            with suppress(OSError):  # without locks, a folder that is left behind stays
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(owner, json.dumps(about).encode())  # after the lock: until then nobody sweeps
        yield folder


@contextmanager
def left_behind(place: Path, request: FileRequest | None) -> Iterator[list[Path]]:
    """Give the folders that killed readers of this file have left on this host; then remove them.

    Folders of other files are removed if nobody will adopt them. request: None: there is no file.
    """
    mine = None if request is None else (request.folder, request.number)
    with ExitStack() as stack:
        same: list[Path] = []
        for folder in place.glob(f"ssnet-{os.getuid()}-*"):
            with (
                ExitStack() as lock
            ):  # of a folder that another reader may adopt: only for a moment
                owner = _abandoned(folder, lock)
                if owner and owner == mine:
                    same.append(folder)
                    stack.push(lock.pop_all())
                    stack.callback(shutil.rmtree, folder, ignore_errors=True)
                elif owner and _is_useless(folder, *owner):
                    shutil.rmtree(folder, ignore_errors=True)
        yield same


def _is_useless(folder: Path, campaign: str, number: int) -> bool:
    """Whether the file is done, because the driver has removed the folder of its attempts."""
    if not (work_of(campaign) / str(number)).exists():
        return True
    with suppress(OSError):
        return time.time() - folder.stat().st_mtime > _OLD_S
    return False


def _abandoned(folder: Path, stack: ExitStack) -> tuple[str, int] | None:
    """Return campaign and file of a folder whose reader on this host has died; else None.

    It is locked until `stack` ends, so that no other reader takes it.
    """
    try:
        file = os.open(folder / _OWNER, os.O_RDWR)
        stack.callback(os.close, file)
        owner = json.loads(os.pread(file, 1 << 16, 0))
        if owner["host"] != os.uname().nodename:
            return None
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return str(owner["folder"]), int(owner["number"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, and compare what arrived on the other disk with what was sent.

    The file appears under its name only when it is complete. Raises `WriteError`.
    """
    part = target.with_name(f".{target.name}.part")
    with named(target):
        try:
            want = hashlib.sha256()
            with source.open("rb") as read, part.open("wb") as written:
                while block := read.read(_BLOCK_BYTES):
                    want.update(block)
                    written.write(block)
                written.flush()
                os.fsync(written.fileno())
                # read it from the disk, and not from this host's memory, where the kernel can
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with part.open("rb") as read:
                got = hashlib.sha256()
                while block := read.read(_BLOCK_BYTES):
                    got.update(block)
            if got.digest() != want.digest():
                raise OSError(errno.EIO, f"other bytes were read back than {source} has")
            os.replace(part, target)
            sync(target.parent)
        finally:
            part.unlink(missing_ok=True)

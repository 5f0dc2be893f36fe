"""A file object that stores its write errors instead of raising them, for HDF5 to write through.

If a write fails, HDF5 tries it again when it closes the file and when the process ends, and aborts
or crashes if it fails again. So HDF5 never sees the error: after the first one nothing more is
written, and `check` raises it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# all that h5py raises for a file whose bytes are not what HDF5 believes it has written
_CONSEQUENCES = (OSError, RuntimeError, ValueError, TypeError, LookupError)


class QuietFile:
    """A file object as h5py needs it. It has no buffer."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        self._at = 0
        self._end = os.fstat(self._descriptor).st_size
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        return self._error is not None

    def check(self) -> None:
        """Raise the first write error, if there was one."""
        if self._error is not None:
            raise self._error

    @contextmanager
    def first_error(self) -> Iterator[None]:
        """If an HDF5 error follows from a write error, raise the first write error instead."""
        try:
            yield
        except _CONSEQUENCES as error:
            if self._error is None or error is self._error:
                raise
            raise self._error from error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count

    def read(self, count: int) -> bytes:
        data = os.pread(self._descriptor, count, self._at)
        self._at += len(data)
        return data

    def write(self, data: memoryview) -> int:
        try:
            self._write(memoryview(data))
        except BaseException as error:  # not even Ctrl-C may stop HDF5 in the middle
            self._error = self._error or error
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def _write(self, data: memoryview) -> None:
        at = self._at
        while self._error is None and len(data):
            count = os.pwrite(self._descriptor, data, at)
            at, data = at + count, data[count:]

    def truncate(self, size: int) -> int:
        try:
            if self._error is None:
                os.ftruncate(self._descriptor, size)
        except BaseException as error:
            self._error = self._error or error
        self._end = size
        return size

    def flush(self) -> None:
        """Do nothing: there is no buffer, and `WholeFile` syncs the finished file."""

    def close(self) -> None:
        os.close(self._descriptor)

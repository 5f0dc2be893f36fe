"""A file that keeps its errors to itself, for HDF5 to write through. Refuses nothing: ask `check`.

HDF5 tries again, while closing and at the process's end, what it could not write, and aborts or
crashes if it still cannot. So it is never told: after the first error nothing more is written.
"""

from __future__ import annotations

import os
from pathlib import Path


class QuietFile:
    """What h5py wants of a file object, without a buffer of its own."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        self._at = 0
        self._end = os.fstat(self._descriptor).st_size
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        return self._error is not None

    def check(self) -> None:
        """Raise what went wrong, if anything has."""
        if self._error is not None:
            raise self._error

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
        except BaseException as error:  # Ctrl-C, too, must not leave HDF5 half way
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
        """Nothing waits here; `WholeFile` syncs what is whole."""

    def close(self) -> None:
        os.close(self._descriptor)

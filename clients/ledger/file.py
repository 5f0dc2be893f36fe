"""Ledgers on disk: a stream of msgpack values, `["ssnet ledger", 2]` and then records.

The writer gives the kernel whole records, so a kill leaves at most one torn record, at the end.
Refuses files that are not ledgers, and bytes that are not records.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import msgpack

from .records import (
    NAMES,
    EventTimes,
    LedgerError,
    Record,
    RecordError,
    RunStart,
    WorkerName,
    packed,
    record_of,
)

log = logging.getLogger(__name__)

FIRST: bytes = msgpack.packb(("ssnet ledger", 2))
"""The first value: what the file is, and the version of its format."""
_OLD = b"ssnet ledger 1\n"
_MAX_BYTES = 16 << 20  # of a record: a run of 100,000 inputs
_MAX_ITEMS = 1 << 20  # of an array
_CHUNK = 1 << 20


class LedgerReader:
    """Iterate over the records of a ledger, also while a run is writing it.

    Raises `LedgerError` for a file that is not a ledger, and at a damaged record. A last record
    that is not whole, or that only zeros follow (a power cut leaves them), is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whole_bytes = 0
        """Up to the end of the last whole record."""
        self.torn_bytes = 0
        """Bytes after that, once the iteration has ended."""
        self._records = 0
        self._workers = 0  # named in this run so far

    def __iter__(self) -> Iterator[Record]:
        try:
            with self.path.open("rb") as file:
                self._check_first(file.read(len(FIRST)))
                yield from self._read(file)
        except OSError as error:
            raise LedgerError(f"cannot read {self.path}: {error.strerror or error}") from None

    def _check_first(self, got: bytes) -> None:
        if got == FIRST:
            self.whole_bytes, self._records = len(got), 0
        elif got == _OLD or got[:-1] == FIRST[:-1]:
            raise LedgerError(
                f"{self.path}: want a ledger of version 2, got {got!r}: use the software that"
                " wrote it"
            )
        else:
            raise LedgerError(f"{self.path}: want a ledger of ssnet run, got {got!r}")

    def _read(self, file: BufferedReader) -> Iterator[Record]:
        unpacker = msgpack.Unpacker(
            file,
            use_list=False,
            unicode_errors=NAMES,
            max_buffer_size=_MAX_BYTES,
            max_array_len=_MAX_ITEMS,
        )
        while True:
            try:
                record = record_of(unpacker.unpack())
                self._check_place(record)
            except msgpack.OutOfData:
                self.torn_bytes = file.tell() - self.whole_bytes
                if self.torn_bytes > _MAX_BYTES:
                    raise self._damaged(f"want at most {_MAX_BYTES} bytes a record") from None
                return
            except RecordError as error:
                self._check_torn(file, len(FIRST) + unpacker.tell(), str(error))
                return
            except (ValueError, msgpack.UnpackException) as error:
                raise self._damaged(f"want msgpack: {error!r:.100}") from None
            self._records += 1
            self.whole_bytes = len(FIRST) + unpacker.tell()
            yield record

    def _check_place(self, record: Record) -> None:
        if isinstance(record, EventTimes):
            if any(crop.worker >= self._workers for crop in record.crops):
                raise RecordError("want crops of workers with a name")
        elif isinstance(record, WorkerName):
            self._workers += 1
        elif isinstance(record, RunStart):
            self._workers = 0
        if not self._records and not isinstance(record, RunStart):
            raise RecordError("want the start of a run as the first record")

    def _check_torn(self, file: BufferedReader, end: int, why: str) -> None:
        """Raise `LedgerError` if there is anything but zeros after a record that is wrong."""
        file.seek(end)
        while chunk := file.read(_CHUNK):
            if chunk.strip(b"\0"):
                raise self._damaged(why)
        self.torn_bytes = file.tell() - self.whole_bytes

    def _damaged(self, why: str) -> LedgerError:
        return LedgerError(
            f"{self.path} is damaged at byte {self.whole_bytes}, after {self._records} whole"
            f" records: {why}"
        )


class LedgerWriter:
    """Appends records. When `append` returns, the kernel has the record.

    A write that fails does not stop the run: it is logged once, and later records are dropped.
    """

    def __init__(self, path: Path, *, output: str, fresh: bool) -> None:
        """Continue the ledger of the same output, or begin one; `fresh`: begin it anew.

        Raises `LedgerError` for a file that is not a ledger, is damaged, belongs to another output
        or is written by another process, and leaves such a file as it is.
        """
        self.path = path
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._lock()
            whole_bytes = self._check(output)
            os.ftruncate(self._file, 0 if fresh else whole_bytes)
            if not os.lseek(self._file, 0, os.SEEK_END):
                self._write(FIRST)
        except OSError as error:
            self.close()
            raise LedgerError(f"cannot write {path}: {error.strerror or error}") from None
        except LedgerError:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise LedgerError(f"{self.path} is written by another run") from None
            log.debug("%s cannot be locked: %s", self.path, error)  # not on every network disk

    def _check(self, output: str) -> int:
        """Check whose ledger it is, and return the offset at which its last whole record ends."""
        first = os.pread(self._file, len(FIRST), 0)
        if len(first) < len(FIRST) and FIRST.startswith(first):
            return 0  # empty, or torn in its first value
        reader = LedgerReader(self.path)
        for record in reader:
            if isinstance(record, RunStart) and record.output != output:
                raise LedgerError(
                    f"want a ledger of {output}, got {self.path} of {record.output}: name another"
                    " with --ledger-to"
                )
        if reader.torn_bytes:
            log.info("%s: cut off %d bytes of a torn record", self.path, reader.torn_bytes)
        return reader.whole_bytes

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def append(self, record: Record) -> None:
        if self._file < 0:
            return
        try:
            self._write(packed(record))
        except OSError as error:
            log.warning("cannot write %s, which ends here: %s", self.path, error.strerror)
            self.close()

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

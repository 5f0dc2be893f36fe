"""Ledgers on disk: records appended one by one, each whole or, after a kill, the torn last one.

A line that says what it is, then records: kind (1 byte), length and CRC-32 of what follows (4 bytes
each, little endian), CRC-16 of these 9 bytes, msgpack. Refuses files that are no ledger, and
records that are not what was written.
"""

from __future__ import annotations

import binascii
import errno
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from types import TracebackType

from .records import (
    KIND_OF,
    KINDS,
    UNKNOWN,
    Event,
    LedgerError,
    Named,
    Record,
    RecordError,
    Run,
)

log = logging.getLogger(__name__)

MAGIC = b"ssnet ledger 1\n"
_FACTS = struct.Struct("<cII")
_HEAD_BYTES = _FACTS.size + 2
_MAX_BYTES = 64 << 20  # of a record: an event of a million crops
_CHUNK = 1 << 20


class LedgerReader:
    """Iterate for the records; afterwards `torn_bytes` says how much of a torn one is at the end.

    Raises `LedgerError` for a file that is no ledger, and at the record that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whole_bytes = 0
        """Up to the end of the last whole record."""
        self.torn_bytes = 0
        self._records = 0
        self._named = 0  # workers of the run

    def __iter__(self) -> Iterator[Record]:
        try:
            with self.path.open("rb") as file:
                self._read_magic(file)
                while (record := self._next(file)) is not None:
                    yield record
        except OSError as error:
            raise LedgerError(f"cannot read {self.path}: {error.strerror or error}") from None

    def _read_magic(self, file: BufferedReader) -> None:
        got = file.read(len(MAGIC))
        if got == MAGIC:
            self.whole_bytes, self._records = len(MAGIC), 0
            return
        if MAGIC.startswith(got) and got:
            raise LedgerError(
                f"{self.path}: want a ledger, got only the beginning of its first line"
            )
        kind = got[: len(MAGIC) - 2]
        if kind == MAGIC[: len(kind)] and kind:
            raise LedgerError(
                f"{self.path}: want a ledger of version 1, got {got!r}: newer software"
            )
        raise LedgerError(f"{self.path}: want a ledger of ssnet run, got {got!r}")

    def _next(self, file: BufferedReader) -> Record | None:
        head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            self.torn_bytes = len(head)
            return None
        kind, length, crc = _FACTS.unpack_from(head)
        if head != _head(kind, length, crc) or kind not in KINDS or length > _MAX_BYTES:
            self._check_torn(file, head, "want the head of a record")
            return None
        payload = file.read(length)
        if len(payload) < length:
            self.torn_bytes = len(head) + len(payload)
            return None
        if crc != zlib.crc32(payload):
            self._check_torn(file, payload, "its checksum is another")
            self.torn_bytes += len(head)
            return None
        try:
            record = KINDS[kind].decode(payload)
            self._check_place(record)
        except RecordError as error:
            raise self._damaged(str(error)) from None
        self._records += 1
        self.whole_bytes += len(head) + length
        return record

    def _check_place(self, record: Record) -> None:
        if isinstance(record, Run):
            self._named = 0
        elif not self._records:
            raise RecordError("want a run's facts before anything else")
        elif isinstance(record, Named):
            self._named += 1
        elif isinstance(record, Event) and max(record.worker, default=UNKNOWN) >= self._named:
            raise RecordError("want workers that were named before")

    def _check_torn(self, file: BufferedReader, got: bytes, why: str) -> None:
        """A power cut may leave zeros for what was never written; anything else is damage."""
        nothing, seen = not got.strip(b"\0"), len(got)
        while nothing and (more := file.read(_CHUNK)):
            nothing, seen = not more.strip(b"\0"), seen + len(more)
        if not nothing:
            raise self._damaged(why)
        self.torn_bytes = seen

    def _damaged(self, why: str) -> LedgerError:
        return LedgerError(
            f"{self.path} is damaged at byte {self.whole_bytes}, after {self._records} whole"
            f" records: {why}"
        )


def _head(kind: bytes, length: int, crc: int) -> bytes:
    facts = _FACTS.pack(kind, length, crc)
    return facts + binascii.crc_hqx(facts, 0).to_bytes(2, "little")


class LedgerWriter:
    """Append records; each is with the kernel when `append` returns, so a kill tears one at most.

    A ledger is worth less than its run: once it cannot be written, it says so, and is silent.
    """

    def __init__(self, path: Path, *, output: str, fresh: bool) -> None:
        """Go on with a ledger of the same output, or begin one; `fresh` begins it anew.

        Raises `LedgerError` for a file that is no ledger, damaged, another output's, or another
        process's, and never touches such a file.
        """
        self.path = path
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._lock()
            kept = self._check(output)
            kept = 0 if fresh else kept
            if os.fstat(self._file).st_size > kept:
                os.ftruncate(self._file, kept)
            os.lseek(self._file, 0, os.SEEK_END)
            if not kept:
                self._write(MAGIC)
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
        """Bytes to keep: up to the last whole record."""
        began = os.pread(self._file, len(MAGIC), 0)
        if len(began) < len(MAGIC) and MAGIC.startswith(began):
            return 0  # empty, or a kill tore its first line
        reader = LedgerReader(self.path)
        for record in reader:
            if isinstance(record, Run) and record.output != output:
                raise LedgerError(
                    f"want a ledger of {output}, got {self.path} of {record.output}: name another"
                )
        if reader.torn_bytes:
            log.info("%s: %d torn bytes were cut off", self.path, reader.torn_bytes)
        return reader.whole_bytes

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, record: Record) -> None:
        if self._file < 0:
            return
        payload = record.encode()
        head = _head(KIND_OF[type(record)], len(payload), zlib.crc32(payload))
        try:
            self._write(head + payload)
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

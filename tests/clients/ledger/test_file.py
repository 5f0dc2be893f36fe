"""Ledgers on disk: torn, damaged, of another kind, continued by a later run."""

from __future__ import annotations

import io
import os
from pathlib import Path

import msgpack
import pytest

from clients.ledger.file import FIRST, LedgerReader, LedgerWriter
from clients.ledger.records import EventTimes, ImageSizes, LedgerError, Record, RunEnd, WorkerName
from tests.support.ledgers import MadeUp

RECORDS = MadeUp(events=5).records()
RECORDS.insert(4, ImageSizes(((1008, 3456),) * 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "first.ledger"
    write(path, *RECORDS)
    return path


def write(path: Path, *records: Record, fresh: bool = False) -> None:
    with LedgerWriter(path, output="out.root", fresh=fresh) as ledger:
        for record in records:
            ledger.append(record)


def read(path: Path) -> list[Record]:
    return list(LedgerReader(path))


def ends(path: Path) -> list[int]:
    """Where the first value ends, and each record."""
    reader = LedgerReader(path)
    return [len(FIRST), *(reader.whole_bytes for _ in reader)]


def test_what_was_appended_is_read(path: Path) -> None:
    assert read(path) == RECORDS


def test_it_is_a_plain_stream_of_msgpack(path: Path) -> None:
    unpacker = msgpack.Unpacker(io.BytesIO(path.read_bytes()))
    first, *values = list(unpacker)
    assert first == ["ssnet ledger", 2]
    assert [value[0] for value in values] == [
        "run",
        *["worker"] * 3,
        "sizes",
        *["event"] * 5,
        "end",
    ]


def test_an_end_that_names_a_file_that_is_not_utf8_is_read(path: Path) -> None:
    name = os.fsdecode(b"\xff.root")
    end = RunEnd(f"WriteError: cannot write {name}: No space left on device")
    write(path, end)
    assert read(path) == [*RECORDS, end]


def test_wherever_a_kill_tears_it_the_whole_records_are_read_and_continued(path: Path) -> None:
    whole, stops = path.read_bytes(), ends(path)
    assert stops[-1] == len(whole)
    for length in range(len(FIRST), len(whole)):
        torn = path.with_name(str(length))  # disks take long to empty a file that is there
        torn.write_bytes(whole[:length])
        reader = LedgerReader(torn)
        count = sum(stop <= length for stop in stops[1:])
        assert list(reader) == RECORDS[:count]
        assert reader.torn_bytes == length - stops[count]
        write(torn, RECORDS[0])
        assert read(torn) == [*RECORDS[:count], RECORDS[0]]


@pytest.mark.parametrize("length", range(len(FIRST)))
def test_a_ledger_torn_in_its_first_value_is_begun_again(path: Path, length: int) -> None:
    path.write_bytes(FIRST[:length])
    with pytest.raises(LedgerError, match="want a ledger"):
        read(path)
    write(path, RECORDS[0])
    assert read(path) == RECORDS[:1]


@pytest.mark.parametrize("more", range(0, 70, 5))
def test_zeros_that_a_power_cut_left_are_torn_bytes(path: Path, more: int) -> None:
    """They may begin in the middle of a record."""
    whole, stops = path.read_bytes(), ends(path)
    assert stops[6] + more < stops[7]
    path.write_bytes(whole[: stops[6] + more] + bytes(3 << 20))
    reader = LedgerReader(path)
    assert list(reader) == RECORDS[:6]
    assert reader.torn_bytes == more + (3 << 20)
    write(path)
    assert path.stat().st_size == stops[6]


def test_a_changed_byte_is_an_error_that_names_the_place_or_leaves_values_of_the_right_types(
    path: Path,
) -> None:
    whole, stops = path.read_bytes(), ends(path)
    errors: list[tuple[str, int, int]] = []
    for at in range(stops[0], stops[-3]):
        changed = path.with_name(str(at))
        changed.write_bytes(whole[:at] + bytes([whole[at] ^ 0xC0]) + whole[at + 1 :])
        reader, whole_count = LedgerReader(changed), sum(stop <= at for stop in stops[1:])
        records: list[Record] = []
        try:
            records.extend(reader)
        except LedgerError as caught:
            errors.append((str(caught), reader.whole_bytes, len(records)))
        assert records[:whole_count] == RECORDS[:whole_count]
    assert len(errors) > (stops[-3] - stops[0]) / 3
    for text, place, count in errors:
        assert f"is damaged at byte {place}, after {count} whole records" in text


def test_a_record_that_is_longer_than_any_is_damage_and_not_torn(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\xdd\x00\x0f\xff\xff" + (b"\xb4" + b"x" * 20) * 900_000)
    with pytest.raises(LedgerError, match="is damaged at byte"):
        read(path)
    size = path.stat().st_size
    with pytest.raises(LedgerError, match="is damaged at byte"):
        write(path)
    assert path.stat().st_size == size


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"root\0\0\xf0\0and so on, for a while", "want a ledger of ssnet run, got b'root"),
        (b"", "want a ledger of ssnet run, got b''"),
        (b"ssnet ledger 1\nand so on", "want a ledger of version 2, got"),
        (FIRST[:-1] + b"\x03and so on", "want a ledger of version 2, got"),
    ],
)
def test_other_files_are_refused_and_not_touched(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=f"{path}: {says}"):
        read(path)
    if content:
        with pytest.raises(LedgerError, match=says):
            write(path, fresh=True)
        assert path.read_bytes() == content


def test_another_outputs_ledger_is_refused_and_not_touched(path: Path) -> None:
    content = path.read_bytes()
    with pytest.raises(LedgerError, match=r"want a ledger of b\.root, got .* of out\.root"):
        LedgerWriter(path, output="b.root", fresh=True)
    assert path.read_bytes() == content


def test_a_damaged_ledger_is_not_continued(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:17] + b"?" + whole[18:])
    with pytest.raises(LedgerError, match=f"is damaged at byte {len(FIRST)}, after 0 whole"):
        write(path, fresh=True)


def test_two_runs_do_not_write_one_ledger(path: Path) -> None:
    with (
        LedgerWriter(path, output="out.root", fresh=False),
        pytest.raises(LedgerError, match="is written by another run"),
    ):
        write(path)
    assert read(path) == RECORDS


def test_a_fresh_ledger_forgets_what_was_there(path: Path) -> None:
    write(path, RECORDS[0], fresh=True)
    assert read(path) == RECORDS[:1]


def test_a_ledger_that_cannot_be_written_says_so_once_and_is_silent(
    caplog: pytest.LogCaptureFixture, path: Path
) -> None:
    content = path.read_bytes()
    with (
        LedgerWriter(path, output="out.root", fresh=False) as ledger,
        Path("/dev/full").open("w") as full,
    ):
        os.dup2(full.fileno(), ledger._file)
        ledger.append(RECORDS[1])
        ledger.append(RECORDS[1])
    assert [record.message for record in caplog.records] == [
        f"cannot write {path}, which ends here: No space left on device"
    ]
    assert path.read_bytes() == content


EVENT = next(record for record in RECORDS if isinstance(record, EventTimes))
CROP = EVENT.crops[0]


@pytest.mark.parametrize(
    "odd",
    [
        EVENT._replace(crops=(CROP[:-1],)),  # type: ignore[arg-type]
        EVENT._replace(crops=1),  # type: ignore[arg-type]
        EVENT._replace(crops=(CROP._replace(worker=0), CROP._replace(worker=9))),
        EVENT._replace(crops=(CROP._replace(plane="zero"),)),  # type: ignore[arg-type]
        EVENT._replace(written=1 << 63),
        EVENT._replace(written=-2),
        EVENT._replace(read=1.5),  # type: ignore[arg-type]
        WorkerName("zero", "host:1"),  # type: ignore[arg-type]
        ImageSizes(((5,),)),  # type: ignore[arg-type]
        ImageSizes((("x", 5),)),  # type: ignore[arg-type]
    ],
)
def test_records_of_other_types_are_refused(path: Path, odd: Record) -> None:
    """Only another program, or a damaged disk, can have written them."""
    write(path, RECORDS[0], fresh=True)
    size = path.stat().st_size
    write(path, odd)
    reader = LedgerReader(path)
    assert list(reader) == RECORDS[:1]  # as the last record, it is taken for a torn one
    assert reader.torn_bytes == path.stat().st_size - size
    with path.open("ab") as file:
        file.write(b"\x90")
    with pytest.raises(
        LedgerError, match=rf"is damaged at byte {size}, after 1 whole records: want"
    ):
        read(path)


def test_an_event_before_any_run_is_refused(path: Path) -> None:
    write(path, RunEnd("done"), EVENT, fresh=True)
    with pytest.raises(LedgerError, match="want the start of a run as the first record"):
        read(path)

"""Ledgers on disk: torn, damaged, foreign, gone on with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clients.ledger.file import MAGIC, LedgerReader, LedgerWriter
from clients.ledger.records import End, Event, LedgerError, Named, Record
from tests.support.ledgers import MadeUp

RECORDS = MadeUp(events=5).records()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "first.ledger"
    with LedgerWriter(path, output="out.root", fresh=False) as ledger:
        for record in RECORDS:
            ledger.append(record)
    return path


def read(path: Path) -> list[Record]:
    return list(LedgerReader(path))


def ends(path: Path) -> list[int]:
    """Where the first line ends, and each record."""
    reader = LedgerReader(path)
    return [len(MAGIC), *(reader.whole_bytes for _ in reader)]


def test_what_was_appended_is_read(path: Path) -> None:
    assert read(path) == RECORDS


def test_an_end_that_names_a_file_that_is_no_utf8_is_read(path: Path) -> None:
    name = os.fsdecode(b"\xff.root")
    end = End(f"WriteError: cannot write {name}: No space left on device")
    with LedgerWriter(path, output="out.root", fresh=False) as ledger:
        ledger.append(end)
    assert read(path) == [*RECORDS, end]


def test_wherever_a_kill_tears_it_the_whole_records_are_read_and_gone_on_with(
    path: Path,
) -> None:
    whole, stops = path.read_bytes(), ends(path)
    assert stops[-1] == len(whole)
    for length in range(len(MAGIC), len(whole)):
        torn = path.with_name(str(length))  # disks take long to empty a file that is there
        torn.write_bytes(whole[:length])
        reader = LedgerReader(torn)
        count = sum(stop <= length for stop in stops[1:])
        assert list(reader) == RECORDS[:count]
        assert reader.torn_bytes == length - stops[count]
        with LedgerWriter(torn, output="out.root", fresh=False) as ledger:
            ledger.append(RECORDS[0])
        assert read(torn) == [*RECORDS[:count], RECORDS[0]]


@pytest.mark.parametrize("length", range(len(MAGIC)))
def test_a_ledger_torn_in_its_first_line_is_begun_again(path: Path, length: int) -> None:
    path.write_bytes(MAGIC[:length])
    with pytest.raises(LedgerError, match="want a ledger"):
        read(path)
    with LedgerWriter(path, output="out.root", fresh=False) as ledger:
        ledger.append(RECORDS[0])
    assert read(path) == RECORDS[:1]


def test_zeros_that_a_power_cut_left_are_torn_bytes(path: Path) -> None:
    whole, stops = path.read_bytes(), ends(path)
    for length in (stops[3], stops[3] + 20):
        path.write_bytes(whole[:length] + bytes(3 << 20))
        if length == stops[3]:
            assert read(path) == RECORDS[:3]
            with LedgerWriter(path, output="out.root", fresh=False):
                pass
            assert path.stat().st_size == stops[3]


def test_any_flipped_byte_is_found_and_named(path: Path) -> None:
    whole, stops = path.read_bytes(), ends(path)
    for at in range(stops[0], stops[-2]):
        torn = path.with_name(str(at))
        torn.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        before = sum(stop <= at for stop in stops[1:])
        says = f"is damaged at byte {stops[before]}, after {before} whole records"
        with pytest.raises(LedgerError, match=says):
            read(torn)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"root\0\0\xf0\0and so on, for a while", "want a ledger of ssnet run, got b'root"),
        (b"", "want a ledger of ssnet run, got b''"),
        (b"ssnet ledger 2\nand so on", "want a ledger of version 1, got"),
    ],
)
def test_other_files_are_refused_and_not_touched(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=f"{path}: {says}"):
        read(path)
    if content:
        with pytest.raises(LedgerError, match=says):
            LedgerWriter(path, output="out.root", fresh=True)
        assert path.read_bytes() == content


def test_another_outputs_ledger_is_refused_and_not_touched(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"want a ledger of b\.root, got .* of out\.root"):
        LedgerWriter(path, output="b.root", fresh=True)
    assert path.read_bytes() == before


def test_a_damaged_ledger_is_not_gone_on_with(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + b"?" + whole[41:])
    with pytest.raises(LedgerError, match="is damaged at byte 15"):
        LedgerWriter(path, output="out.root", fresh=True)


def test_two_runs_do_not_write_one_ledger(path: Path) -> None:
    with (
        LedgerWriter(path, output="out.root", fresh=False),
        pytest.raises(LedgerError, match="is written by another run"),
    ):
        LedgerWriter(path, output="out.root", fresh=False)
    assert read(path) == RECORDS


def test_a_fresh_ledger_forgets_what_was_there(path: Path) -> None:
    with LedgerWriter(path, output="out.root", fresh=True) as ledger:
        ledger.append(RECORDS[0])
    assert read(path) == RECORDS[:1]


def test_a_ledger_that_cannot_be_written_says_so_once_and_is_silent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    before = path.read_bytes()
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
    assert path.read_bytes() == before


EVENT = next(record for record in RECORDS if isinstance(record, Event))


@pytest.mark.parametrize(
    "odd",
    [
        EVENT._replace(sent=[1]),
        EVENT._replace(worker=[0, 1, 2]),
        EVENT._replace(written=1 << 63),
        EVENT._replace(read=1.5),  # type: ignore[arg-type]
        EVENT._replace(plane=["zero"] * 3),  # type: ignore[list-item]
        Named("zero", "host:1"),  # type: ignore[arg-type]
    ],
)
def test_records_that_nobody_wrote_are_refused(path: Path, odd: Record) -> None:
    """Only another program can have made them: their checksums are right."""
    path.write_bytes(path.read_bytes()[: ends(path)[1]])
    with LedgerWriter(path, output="out.root", fresh=False) as ledger:
        ledger.append(odd)
    with pytest.raises(LedgerError, match=r"is damaged at byte \d+, after 1 whole records: want"):
        read(path)


def test_an_event_before_any_run_is_refused(path: Path) -> None:
    with LedgerWriter(path, output="out.root", fresh=True) as ledger:
        ledger.append(EVENT)
    with pytest.raises(LedgerError, match="want a run's facts before anything else"):
        read(path)

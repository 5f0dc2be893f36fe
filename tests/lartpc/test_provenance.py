"""What files say of their making, in both formats and through ROOT's own mergers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import uproot

from lartpc import WriteError, open_reader, open_writer
from lartpc.errors import ReadError
from lartpc.files import larcv3, provenance, provenance_texts, root
from tests.support.images import event, same
from tests.support.root_tools import hadd

RECORDS = ('{"made": "first"}', "ein zweites, größer: " + "x" * 5000)
SUFFIXES = pytest.mark.parametrize("suffix", [".root", ".h5"])

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A file of two events and some records."""

    def made(name: str, *records: str, first: int = 0) -> Path:
        path = tmp_path / name
        with open_writer(path) as writer:
            for number in (first, first + 1):
                writer.write(event(number))
            writer.provenance = records
        return path

    return made


@SUFFIXES
def test_a_file_gives_back_what_it_was_told_and_its_events(make: Make, suffix: str) -> None:
    path = make("a" + suffix, *RECORDS)
    with open_reader(path, tick_order="backward") as reader:
        assert reader.provenance == RECORDS
        assert reader.images == ("wire",)
        order = all(same(got, event(number)) for number, got in enumerate(reader))
    assert order or suffix == ".h5"  # whose metas are turned, and may differ in a last digit
    assert provenance.read(path) == RECORDS


@SUFFIXES
def test_a_file_that_was_told_nothing_says_nothing(make: Make, suffix: str) -> None:
    assert provenance.read(make("a" + suffix)) == ()


@SUFFIXES
def test_records_are_added_to_those_that_are_there(make: Make, suffix: str) -> None:
    path = make("a" + suffix, RECORDS[0])
    provenance.append(path, RECORDS[1:])
    provenance.append(path, ())
    assert provenance.read(path) == RECORDS
    with open_reader(path, tick_order="backward") as reader:
        assert [item.rse for item in reader] == [event(0).rse, event(1).rse]


@SUFFIXES
def test_records_can_be_added_to_a_file_that_has_none(make: Make, suffix: str) -> None:
    path = make("a" + suffix)
    provenance.append(path, RECORDS)
    assert provenance.read(path) == RECORDS


@SUFFIXES
def test_several_files_say_all_that_each_says(make: Make, suffix: str) -> None:
    paths = [make("a" + suffix, "a"), make("b" + suffix), make("c" + suffix, "c", "d")]
    with open_reader(paths, tick_order="backward") as reader:
        assert reader.provenance == ("a", "c", "d")
        assert len(reader) == 6


def merge(target: Path, *sources: Path) -> None:
    """ROOT's TFileMerger, in a process of its own."""
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); import ROOT;"
        "m = ROOT.TFileMerger(False); m.OutputFile(sys.argv[1]);"
        "[m.AddFile(p) for p in sys.argv[2:]]; sys.exit(not m.Merge())"
    )
    subprocess.run([sys.executable, "-c", code, str(target), *map(str, sources)], check=True)


@pytest.mark.parametrize("join", [hadd, merge])
def test_merging_keeps_every_files_records_in_order(
    make: Make, tmp_path: Path, join: Callable[..., None]
) -> None:
    sources = [
        make("none.root", first=0),
        make("two.root", *RECORDS, first=2),
        make("one.root", "last", first=4),
    ]
    target = tmp_path / "all.root"
    join(target, *sources)
    assert provenance.read(target) == (*RECORDS, "last")
    with open_reader(target, tick_order="backward") as reader:
        assert [item.rse for item in reader] == [event(number).rse for number in range(6)]


def test_larcv1_takes_the_tree_for_none_of_its_own(make: Make) -> None:
    """IOManager.cxx: a name with one underscore, or that does not end with _tree, is skipped."""
    with uproot.open(make("a.root", "x")) as file:
        others = [key for key in file.keys(cycle=False, recursive=False) if "image2d" not in key]
    assert others == [provenance_texts.NAME]
    assert provenance_texts.NAME.count("_") == 1
    assert not provenance_texts.NAME.endswith("_tree")


@pytest.mark.parametrize("suffix", [".root", ".h5"])
def test_what_is_of_another_kind_under_that_name_is_an_error(make: Make, suffix: str) -> None:
    path = make("a" + suffix)
    if suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.create_group(provenance_texts.NAME)
    else:
        with uproot.update(path) as file:
            file[provenance_texts.NAME] = "a string"
    with pytest.raises(ReadError, match=f"{provenance_texts.NAME}: damaged"):
        provenance.read(path)
    with pytest.raises(WriteError, match=f"as {provenance_texts.NAME}, got"):
        provenance.append(path, ["x"])


@SUFFIXES
def test_records_that_a_file_cannot_hold_are_write_errors(make: Make, suffix: str) -> None:
    path = make("a" + suffix)
    with pytest.raises(WriteError, match="UTF-8"):
        provenance.append(path, ["half a character: \udc80"])
    if suffix == ".h5":
        with pytest.raises(WriteError, match="NUL"):
            provenance.append(path, ["a\0b"])
    assert provenance.read(path) == ()


@SUFFIXES
def test_a_full_disk_at_the_very_end_leaves_nothing(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    format_module = {".root": root, ".h5": larcv3}[suffix]
    monkeypatch.setattr(format_module, "append_provenance", full)
    writer = open_writer(tmp_path / ("a" + suffix))
    writer.write(event(0))
    writer.provenance = RECORDS
    with pytest.raises(WriteError, match="No space left"):
        writer.close()
    assert list(tmp_path.iterdir()) == []

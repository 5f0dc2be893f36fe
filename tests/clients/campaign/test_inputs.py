"""Inputs of a campaign: each file once, whatever names it has; all that is wrong named at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from clients.campaign.inputs import Given, Seen, expand, is_like_output, names, settled
from mdp import SettingsError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests run in a folder of their own, in which the campaign is `out`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path.encode("utf-8", "replace").decode())


def found(*words: str, folder: str = "out") -> list[str]:
    paths = [given.path for given in expand(words, folder=Path(folder))]
    assert all(path.is_absolute() for path in paths)
    return [str(path.relative_to(Path.cwd().resolve())) for path in paths]


def refused(*words: str, folder: str = "out") -> str:
    with pytest.raises(SettingsError) as error:
        expand(words, folder=Path(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_files_folders_and_patterns_come_in_the_order_of_the_words() -> None:
    make("b.root", "a.h5", "x/2.root", "x/1.hdf5", "x/deep/3.root", "y1/z.root", "y2/z.root")
    make("x/notes.txt", "x/.hidden.root", "x/.git/4.root")
    assert found("b.root", "x", "a.h5") == [
        "b.root",
        "x/1.hdf5",
        "x/2.root",
        "x/deep/3.root",
        "a.h5",
    ]
    assert found("y*/z.root") == ["y1/z.root", "y2/z.root"]
    assert found("y?") == ["y1/z.root", "y2/z.root"]
    assert found("x/**/*.root") == ["x/2.root", "x/deep/3.root"]


def test_a_given_file_has_its_size_and_time() -> None:
    make("a.root")
    os.utime("a.root", ns=(5, 7_000_000_123))
    (given,) = expand(["a.root"], folder=Path("out"))
    assert (given.bytes, given.mtime_ns) == (6, 7_000_000_123)


def test_a_file_is_taken_once_whatever_leads_to_it() -> None:
    make("d/a.root", "d/sub/b.root")
    os.symlink("d/a.root", "link.root")
    os.link("d/a.root", "hard.root")
    os.symlink("d", "folder")
    os.symlink("..", "d/sub/round")
    assert found("d/a.root", "link.root", "hard.root", "./d/../d/a.root", "d") == [
        "d/a.root",
        "d/sub/b.root",
    ]
    assert found("link.root", str(Path("d/a.root").absolute())) == ["d/a.root"]
    assert found("folder", "d", "d/*.root") == ["d/a.root", "d/sub/b.root"]
    assert found("hard.root", "d/a.root") == ["hard.root"]


@pytest.mark.parametrize(
    "name", ["a b.root", "ä \U0001f600.root", os.fsdecode(b"\xff\xfe.root"), "a[1].root", "#x.root"]
)
def test_odd_names_are_names(name: str) -> None:
    make(f"d/{name}")
    assert found(f"d/{name}") == [f"d/{name}"]
    assert found("d") == [f"d/{name}"]
    Path("list.txt").write_bytes(os.fsencode(f"d/{name}\n"))
    assert found("@list.txt") == [f"d/{name}"]
    stem = name.removesuffix(".root")
    assert names(expand(["d"], folder=Path("out"))) == [f"{stem}_ssnet.root"]


def test_a_list_may_come_from_windows() -> None:
    make("a.root", "b c.root", "d/e.root", "f #1.root", "g.root")
    Path("list.txt").write_bytes(
        b"\xef\xbb\xbfa.root\r\n\r\n   \r\n# comment\r\n  b c.root  \r\nd\r\n"
        b"f #1.root\r\ng.root # why\r\n"
    )
    expected = ["a.root", "b c.root", "d/e.root", "f #1.root", "g.root"]
    assert found("@list.txt") == expected
    text = Path("list.txt").read_text(encoding="utf-8-sig")
    Path("list.txt").write_bytes(text.encode("utf-16"))
    assert found("@list.txt") == expected


def test_a_list_names_files_from_its_folder_and_then_from_here() -> None:
    make("lists/near.root", "far.root", "lists/both.root", "both.root", "lists/p1.root")
    Path("lists/all.txt").write_text("near.root\nfar.root\nboth.root\np?.root\n")
    assert found("@lists/all.txt") == [
        "lists/near.root",
        "far.root",
        "lists/both.root",
        "lists/p1.root",
    ]
    Path("absolute.txt").write_text(f"{Path('far.root').absolute()}\n")
    assert found("@absolute.txt") == ["far.root"]


def test_a_file_whose_name_begins_with_an_at_is_a_file() -> None:
    make("@a.root")
    assert found("@a.root") == ["@a.root"]


def test_all_missing_files_are_named_at_once_at_most_ten() -> None:
    make("a.root")
    Path("list.txt").write_text("".join(f"gone{n}.root\n" for n in range(20)) + "a.root\n")
    os.symlink("nowhere", "dangling.root")
    message = refused("typo.root", "@list.txt", "none*.root", "dangling.root", "")
    for part in ("24 that are", "typo.root", "list.txt line 1: gone0.root", "and 14 more"):
        assert part in message
    assert "line 10" not in message
    message = refused("dangling.root", "none*.root", "")
    assert "dangling.root (a link to nowhere); none*.root; an empty name" in message
    assert "xrdcp" in refused("root://host//a.root")
    assert "one that is" in refused("b.root")
    make("d/a.root")
    os.symlink("nowhere", "d/dangling.root")
    assert "d/dangling.root (a link" in refused("d")
    assert "d/dangling.root (a link" in refused("d/*")
    assert "a.root/x" in refused("a.root/x")
    assert "x" in refused("x\0.root")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("No such file", "@LIST")),
        (b"", ("list.txt", "without any")),
        (b"\n# only this\n", ("list.txt", "without any")),
        (b"root\0\1\2", ("list.txt", "binary", "leave out the @")),
    ],
)
def test_a_list_that_is_none_is_named(content: bytes | None, words: tuple[str, ...]) -> None:
    if content is not None:
        Path("list.txt").write_bytes(content)
    message = refused("@list.txt")
    assert all(word in message for word in words)


def test_a_folder_without_files_is_named() -> None:
    make("d/notes.txt", "d/.a.root", "e/x.root")
    message = refused("d", "e")
    assert "folder d" in message
    assert "1 files of other kinds" in message
    assert ".root" in message
    assert expand(["d"], folder=Path("out"), may_be_empty=True) == []
    with pytest.raises(SettingsError, match="at least one"):
        expand([], folder=Path("out"))


def test_what_is_no_file_is_named() -> None:
    os.mkfifo("pipe.root")
    make("d/a.root")
    os.mkfifo("d/pipe.root")
    assert "pipe.root, which is not a regular file" in refused("pipe.root")
    assert "d/pipe.root" in refused("d")


def test_a_folder_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    make("d/a.root", "d/shut/b.root")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "the folder d/shut (Permission denied)" in refused("d")


def test_files_of_the_campaign_are_no_inputs() -> None:
    make("d/a.root", "d/out/a_ssnet.root", "d/out/.campaign/work/1/x/a.root", "e/x.root")
    os.symlink("../d/out/a_ssnet.root", "e/link.root")
    assert found("d", folder="d/out") == ["d/a.root"]
    assert found("d/**/*.root", folder="d/out") == ["d/a.root"]
    assert found("e", folder="d/out") == ["e/x.root"]
    for word in ("d/out/a_ssnet.root", "e/link.root"):
        message = refused(word, folder="d/out")
        assert "d/out" in message
        assert "-o" in message
    assert "only files in d/out" in refused("d/out", folder="d/out")
    assert "only files in d/out" in refused("d/out/*.root", folder="d/out")
    os.symlink("d/out", "same")
    assert found("d", folder="same") == ["d/a.root"]
    make("d/output/b.root")  # not inside of d/out
    assert found("d", folder="d/out") == ["d/a.root", "d/output/b.root"]


# Names of outputs.


def given(*words: str) -> list[Given]:
    return expand(words, folder=Path("out"))


def test_the_folders_below_a_given_folder_are_those_of_the_outputs() -> None:
    make("d/a.root", "d/x/a.root", "d/x/y/b.h5", "c.root", "r1/raw/a.root", "r2/raw/a.root")
    expected = ["a_ssnet.root", "x/a_ssnet.root", "x/y/b_ssnet.h5", "c_ssnet.root"]
    assert names(given("d", "c.root")) == expected
    assert names(given("r*/raw")) == ["r1/raw/a_ssnet.root", "r2/raw/a_ssnet.root"]
    assert names(given("r?/raw/*.root")) == ["r1/raw/a_ssnet.root", "r2/raw/a_ssnet.root"]
    assert names(given("./d/../d")) == expected[:3]


def test_a_link_gives_the_output_its_name() -> None:
    make("store/SHA256-77")
    os.mkdir("d")
    os.symlink("../store/SHA256-77", "d/run7.root")
    (one,) = given("d")
    assert one.path == Path("store/SHA256-77").resolve()
    assert names([one]) == ["run7_ssnet.root"]


def test_the_pattern_decides() -> None:
    make("d/x/a.root", "d/b.h5")
    pattern = "scores/{number:04d}_{stem}{suffix}"
    assert names(given("d"), pattern, first_number=9) == ["scores/0009_b.h5", "scores/0010_a.root"]
    assert names(given("d"), "{folder}/{folder}/{stem}.root") == ["b.root", "x/x/a.root"]
    assert names(given("d"), "{{{stem}}}.root") == ["{b}.root", "{a}.root"]


@pytest.mark.parametrize(
    "pattern",
    [
        "{stam}.root",
        "{stem",
        "{}.root",
        "{stem.root}",
        "{0}",
        "same.root",
        "{folder}/same.root",
        "{number:xx}.root",
        "{stem!z}.root",
        "{stem!r}.root",
        "{stem:9999999999}.root",
        "{number:9999999999}.root",
        "{number:100d}.root",
        "{number:{stem}}.root",
        "{number!s}.root",
        "../{stem}.root",
        "{stem}/../../x.root",
        ".{stem}.root",
        ".campaign/{stem}.root",
        "{stem}.txt",
        "{stem}",
        "{stem}.root/",
    ],
)
def test_a_wrong_pattern_is_refused(pattern: str) -> None:
    make("a.root")
    with pytest.raises(SettingsError, match="--name") as error:
        names(given("a.root"), pattern)
    assert "\n" not in str(error.value)


def test_two_inputs_with_one_name_are_named() -> None:
    make("r1/a.root", "r2/a.root")
    with pytest.raises(SettingsError) as error:
        names(given("r1/a.root", "r2/a.root"))
    for part in ("a_ssnet.root", "r1/a.root", "r2/a.root", "--name", "{number}"):
        assert part in str(error.value)


def test_names_that_no_file_can_have_are_refused() -> None:
    make(f"{'x' * 240}.root", "data.bin")
    with pytest.raises(SettingsError, match="more than"):
        names(given(f"{'x' * 240}.root"))
    with pytest.raises(SettingsError, match="suffix"):
        names(given("data.bin"))
    assert names(given("data.bin"), "{stem}.root") == ["data.root"]


# Files that may still grow.

A, B = Path("a.root"), Path("b.root")


def test_a_file_is_taken_when_it_has_stopped_growing() -> None:
    taken, seen = settled({A: (5, 1), B: (5, 1)}, {}, now=100.0, settle_s=10)
    assert (taken, seen) == ([], {A: Seen(5, 1, 100.0), B: Seen(5, 1, 100.0)})
    taken, seen = settled({A: (5, 1), B: (6, 2)}, seen, now=109.0, settle_s=10)
    assert (taken, seen) == ([], {A: Seen(5, 1, 100.0), B: Seen(6, 2, 109.0)})
    taken, seen = settled({A: (5, 1), B: (6, 2)}, seen, now=110.0, settle_s=10)
    assert (taken, seen) == ([A], {B: Seen(6, 2, 109.0)})
    taken, seen = settled({B: (6, 3)}, seen, now=119.0, settle_s=10)  # the same size, but written
    assert (taken, seen) == ([], {B: Seen(6, 3, 119.0)})
    taken, seen = settled({}, seen, now=130.0, settle_s=10)  # it is gone
    assert (taken, seen) == ([], {})


def test_an_empty_file_is_not_taken() -> None:
    _, seen = settled({A: (0, 1)}, {}, now=0.0, settle_s=1)
    assert settled({A: (0, 1)}, seen, now=50.0, settle_s=1)[0] == []
    assert settled({A: (1, 1)}, {}, now=0.0, settle_s=0)[0] == [A]


def test_3000_files_are_found_and_named_in_a_moment() -> None:
    for folder in range(3):
        os.makedirs(f"d/{folder}")
        for number in range(1000):
            os.close(os.open(f"d/{folder}/{number}.root", os.O_CREAT | os.O_WRONLY))
    began_at = time.process_time()
    files = given("d")
    assert len(set(names(files))) == 3000
    assert time.process_time() - began_at < 0.6


@pytest.mark.parametrize(
    ("name", "pattern", "is_like"),
    [
        ("july_ssnet.root", "{stem}_ssnet{suffix}", True),
        ("july.root", "{stem}_ssnet{suffix}", False),
        ("july_ssnet.root", "{folder}/{stem}_ssnet{suffix}", True),
        ("day1/july_ssnet.h5", "{folder}/{stem}_ssnet{suffix}", True),
        ("day1/july_ssnet.h5", "{stem}_ssnet{suffix}", False),
        ("00012.root", "{number:05d}.root", True),
        ("all.root", "{number:05d}.root", False),
    ],
)
def test_a_name_that_an_output_could_have_is_known(name: str, pattern: str, is_like: bool) -> None:
    assert is_like_output(name, pattern) == is_like

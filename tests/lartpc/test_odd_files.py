"""Files that are refused when they are opened, by name and with the way out; odd names work."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import uproot

from lartpc import (
    RSE,
    Event,
    ImageError,
    LArTPCError,
    ProductMissing,
    ReadError,
    WriteError,
    check_fits,
    check_target,
    listing,
    open_reader,
    open_writer,
    products,
)
from lartpc.files.root_writing.plain_path import PlainPaths
from tests.support.images import event, same

pytestmark = pytest.mark.slow

GROUP = "Data/image2d_wire_group"
Change = Callable[[Any], None]


def write(path: Path, *numbers: int) -> Path:
    with open_writer(path) as writer:
        for number in numbers or (0, 1):
            writer.write(event(number))
    return path


def opened(*paths: Path, **settings: Any) -> None:
    open_reader(paths, tick_order="backward", **settings).close()


# What is no file, or not here.


def test_a_fifo_a_folder_a_device_and_a_socket_are_refused_without_a_wait(tmp_path: Path) -> None:
    fifo, listener = tmp_path / "fifo.root", tmp_path / "socket.root"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(listener))
        odd = {
            "FIFO": fifo,
            "directory": tmp_path,
            "device": Path("/dev/null"),
            "socket": listener,
        }
        for kind, path in odd.items():
            with pytest.raises(ReadError, match=f"want a regular file, got the {kind} {path}"):
                opened(path)


@pytest.mark.parametrize("url", ["root://host//x.root", "xrootd://host/x.root", "https://h/x.h5"])
def test_a_url_is_to_be_copied_first(url: str) -> None:
    with pytest.raises(
        ReadError, match=r"want a local path \((xrdcp|curl -O) first\), got the URL"
    ):
        opened(Path(url))


def test_a_local_folder_that_is_called_root_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root:").mkdir()
    shutil.copy(write(tmp_path / "in.h5"), "root:/in.h5")
    opened(Path("root://in.h5"))


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    good = write(tmp_path / "good.h5")
    bad = [tmp_path / f"bad{number}.h5" for number in range(12)]
    for path in bad:
        path.write_bytes(b"no file of ours")
    with pytest.raises(ReadError, match="12 of 13 files") as caught:
        opened(good, *bad, images=["wire"])
    lines = str(caught.value).splitlines()
    assert [str(path) in line for path, line in zip(bad[:10], lines[1:-1], strict=True)] == [
        True
    ] * 10
    assert lines[-1].strip() == "and 2 more"
    # without a producer to look for, too, though the first file does not say which there are
    with pytest.raises(ReadError, match="2 of 3 files"):
        opened(bad[0], good, bad[1])
    with pytest.raises(ReadError, match=r"^want a ROOT or HDF5 file, got .*bad3.h5"):
        opened(good, bad[3])


# LArCV1.

_UNCLOSED = """
import os, sys
import numpy as np
import ROOT
file = ROOT.TFile.Open(sys.argv[1], "RECREATE")
tree, values = ROOT.TTree("image2d_wire_tree", ""), np.zeros(1000, "f4")
tree.Branch("v", values, "v[1000]/F")
for _ in range(50):
    values[:] = np.random.rand(1000)
    tree.Fill()
{last}
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    "last",
    ["", "tree.AutoSave()", "tree.AutoSave('SaveSelf')", "file.SaveSelf()"],
)
def test_a_file_whose_writer_was_killed_is_refused(root: Any, last: str, tmp_path: Path) -> None:
    path = tmp_path / "unclosed.root"
    subprocess.run(
        [sys.executable, "-c", _UNCLOSED.format(last=last), str(path)],
        stderr=subprocess.DEVNULL,
        timeout=100,
        check=False,
    )
    match = rf"unclosed.root: was not closed by its writer .*hadd fixed.root {path}"
    with pytest.raises(ReadError, match=match):
        products(path)


def test_closed_files_of_root_and_of_uproot_are_read(root: Any, tmp_path: Path) -> None:
    assert [item.name for item in products(write(tmp_path / "ours.root"))] == ["image2d_wire"]
    with uproot.recreate(tmp_path / "theirs.root") as file:
        file.mktree("image2d_wire_tree", {"x": "i4"}).extend({"x": np.arange(3, dtype="i4")})
    assert [item.name for item in products(tmp_path / "theirs.root")] == ["image2d_wire"]


def test_a_file_without_products_says_what_it_has(tmp_path: Path) -> None:
    def make(name: str, *trees: str, histogram: bool = False) -> Path:
        path = tmp_path / name
        with uproot.recreate(path) as file:
            for tree in trees:
                file.mktree(tree, {"x": "i4"}).extend({"x": np.arange(3, dtype="i4")})
            if histogram:
                file["h"] = np.histogram(np.arange(5))
        return path

    files = {
        make("folder.root", "larcv/image2d_wire_tree"): "the trees larcv/image2d_wire_tree",
        make("plot.root", histogram=True): r"got only h \(TH1",
        make("empty.root"): "got an empty file",
    }
    for path, says in files.items():
        for ask in (products, opened, lambda path: opened(path, images=["wire"])):
            with pytest.raises(ProductMissing, match=f"{path}: want LArCV products.*{says}"):
                ask(path)


ODD_NAMES = (
    "x.zip",
    "x.xml",
    "x.ZIP",
    "x.root.gz",
    "x.hdf5",
    "root",
    "x",
    "x#y.root",
    "x?z=1.root",
    "x*[0].root",
    "$HOME x.root",
    "~x.root",
    "a|b.root",
    "a:b;1.root",
    "%20&=@.root",
    "é\n.root",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_is_copied(root: Any, name: str, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.root", 0, 1)
    folder = tmp_path / f"of {name}"
    for number, source in enumerate((tmp_path / name, folder / name, folder / "in.root")):
        source.parent.mkdir(exist_ok=True)
        shutil.copy(plain, source)
        for entries in ([0, 1], [1], []):
            out = source.parent / f"out{number}{len(entries)}.root"
            with (
                open_reader(source, tick_order="backward") as reader,
                open_writer(out, copy_input=reader, images=["score"]) as writer,
            ):
                for entry in entries:
                    images = {"score": reader[entry].images["wire"]}
                    writer.write(Event(reader.rse(entry), images), entry=entry)
                want = [reader[entry] for entry in entries]
            with open_reader(out, tick_order="backward", images=["wire"]) as reader:
                assert all(map(same, want, reader))
                assert len(reader) == len(entries)


def test_only_paths_that_root_takes_as_they_are_are_given_to_it(tmp_path: Path) -> None:
    paths = PlainPaths()
    assert paths.of(tmp_path / "x.root") == str(tmp_path / "x.root")
    for name in ("x.zip", "x.xml", "x#y.root"):
        link = Path(paths.of(tmp_path / name))
        assert link.suffix == ".root"
        assert os.readlink(link) == str(tmp_path / name)
    paths.close()


# LArCV3.


def spoilt(tmp_path: Path, change: Change) -> Path:
    path = write(tmp_path / "in.h5", 0, 1, 2)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def set_row(name: str, row: int, value: tuple[int, ...]) -> Change:
    return lambda file: file[f"{GROUP}/{name}"].__setitem__(row, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_row("extents", 2, (0, 3)), "entries 0 and 2 that share some .their extents"),
        (set_row("extents", 1, (2, 3)), "entries 0 and 1 that share some .their extents"),
        (set_row("image_extents", 5, (84, 84, 2)), "entries 0 and 1 .* image_extents overlap"),
        (set_row("image_extents", 8, (420, 84, 2)), "entries 1 and 2 .* image_extents overlap"),
        (set_row("image_extents", 2, (0, 84, 2)), "entries 0 and 0 .* image_extents overlap"),
    ],
)
def test_entries_that_share_images_or_pixels_are_refused(
    change: Change, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ReadError, match=f"in.h5 image2d_wire: want .* {says}"):
        opened(spoilt(tmp_path, change), images=["wire"])


def test_entries_in_another_order_with_gaps_between_them_are_read(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        file[f"{GROUP}/extents"][:] = np.array([(6, 3), (0, 0), (0, 3)], "u8,u4").astype(
            file[f"{GROUP}/extents"].dtype
        )

    with open_reader(spoilt(tmp_path, change), tick_order="backward") as reader:
        got = [one.images["wire"] for one in reader]
    want = [event(2), event(1, images=0), event(0)]
    for images, other in zip(got, want, strict=True):
        assert [item.meta for item in images] == [item.meta for item in other.images["wire"]]
        assert all(
            np.array_equal(one.pixels, item.pixels)
            for one, item in zip(images, other.images["wire"], strict=True)
        )


def test_more_entries_than_the_bytes_can_hold_are_refused(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        for name in ("Events/event_id", f"{GROUP}/extents"):
            file[name].resize(1 << 40, axis=0)

    with pytest.raises(ReadError, match=r"no more entries than .* bytes can hold, got 1099511"):
        opened(spoilt(tmp_path, change), images=["wire"])


def test_an_image_that_is_not_valid_is_refused_as_larcv3_does(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        rows = file[f"{GROUP}/image_meta"][:]
        rows["valid"][4] = 0
        file[f"{GROUP}/image_meta"][:] = rows

    with open_reader(spoilt(tmp_path, change), tick_order="backward") as reader:
        assert len(reader[0].images["wire"]) == len(reader[2].images["wire"]) == 3
        for read in (reader.images_at, reader.metas_at):
            with pytest.raises(ReadError, match=r"in.h5 entry 1 image2d_wire: want .*valid = 1"):
                read(1)


def test_a_product_without_its_datasets_hides_no_other(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        file["Data"].create_group("image2d_hollow_group")
        file["Data"].create_dataset("image2d_odd_group", data=np.arange(3))

    path = spoilt(tmp_path, change)
    every = listing(path)
    assert [item.name for item in every if not isinstance(item, LArTPCError)] == ["image2d_wire"]
    errors = [str(item) for item in every if isinstance(item, ReadError)]
    assert [name in error for name, error in zip(("hollow", "odd"), errors, strict=True)] == [
        True,
        True,
    ]
    opened(path, images=["wire"])
    with pytest.raises(ReadError, match="image2d_hollow: want LArCV3's datasets"):
        products(path)


def test_a_file_of_no_groups_is_refused(tmp_path: Path) -> None:
    path = spoilt(tmp_path, lambda file: file.__delitem__(GROUP))
    with pytest.raises(ProductMissing, match=r"in.h5: want LArCV3 products.* got nothing in Data"):
        products(path)


_HOLDER = """
import h5py, sys
file = h5py.File(sys.argv[1], "r+", libver=sys.argv[2])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_a_writer_holds_open_is_not_called_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5")
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path), "earliest"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        try:
            with pytest.raises(
                ReadError, match=r"in.h5: another process holds it open for writing"
            ):
                opened(path)
        finally:
            holder.kill()
    opened(path)


def test_a_file_that_a_killed_writer_left_open_says_how_to_mend_it(tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    text = (
        "import h5py, os, sys; file = h5py.File(sys.argv[1], 'w', libver='latest'); file.flush();"
    )
    subprocess.run([sys.executable, "-c", f"{text} os.kill(os.getpid(), 9)", path], check=False)
    with pytest.raises(ReadError, match=r"in.h5: is open for writing, or .* h5clear -s"):
        opened(path)


# What an output cannot hold.


def numbered(path: Path, *rses: RSE) -> Path:
    with open_writer(path) as writer:
        for rse in rses:
            writer.write(Event(rse, event().images))
    return path


def test_negative_numbers_of_larcv3_are_found_before_anything_is_written(tmp_path: Path) -> None:
    one = numbered(tmp_path / "one.h5", RSE(1, 2, 3))
    two = numbered(tmp_path / "two.h5", *(RSE(1, 2, 4 + number) for number in range(3)))
    with h5py.File(two, "r+") as file:
        file["Events/event_id"][1] = (-5, 0, 1)
    with open_reader([one, two], tick_order="backward") as reader:
        for output in ("out.h5", "out.root"):
            with pytest.raises(ImageError, match=r"two.h5 entry 1: want .*got \(-5, 0, 1\)"):
                check_fits(output, reader, range(4))
            check_fits(output, reader, [0, 1, 3])  # not among those that are scored
        assert reader.rse(2) == (-5, 0, 1)


def test_the_largest_numbers_of_larcv1_fit_into_larcv1_only(root: Any, tmp_path: Path) -> None:
    path = numbered(tmp_path / "in.root", RSE(2**63 - 1, 0, 0), RSE(1, 0, 2**64 - 1))
    with open_reader(path, tick_order="backward") as reader:
        assert reader.rses(0).tolist() == [list(reader.rse(entry)) for entry in range(2)]
        check_fits("out.root", reader, range(2))
        check_fits("out.h5", reader, range(1))
        with pytest.raises(ImageError, match=r"in.root entry 1: want .*got \(1, 0, 184467440"):
            check_fits("out.h5", reader, range(2))


def test_an_output_that_is_a_folder_or_lies_in_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="got the directory"):
        check_target(tmp_path)
    with pytest.raises(WriteError, match="no directory"):
        check_target(tmp_path / "nowhere" / "out.h5")
    with pytest.raises(WriteError, match="want a suffix"):
        check_target(tmp_path / "out.txt")
    check_target(tmp_path / "out.h5")

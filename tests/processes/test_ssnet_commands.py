"""The `ssnet` command as a user runs it: its output, its exit codes, its errors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lartpc import open_reader
from mdp import Client
from tests.support import simple_files as files
from tests.support.commands_of_ssnet import one_line, ssnet
from tests.support.optional import optional
from tests.support.processes import ROOT, Processes, free_port, wait_for_workers

COMMANDS = (
    "worker planes",
    "worker batch-train",
    "worker dummy",
    "batches",
    "demo",
    "run",
    "toy",
    "simple",
    "display",
    "files",
    "check",
    "worker",
    "train",
    "ledger",
)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with two dummies."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("farm")) as processes:
        processes.broker(endpoint)
        processes.python("-m", "clients", "worker", "dummy", "-n", "2", "--broker", endpoint)
        with Client(endpoint) as client:
            wait_for_workers(client, "dummy", 2)
        yield endpoint


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "toy.h5"
    ssnet("toy", "--events", 3, "-o", path, "--rows", 64, "--cols", 96)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_examples_in_its_help(command: str) -> None:
    text = ssnet(*command.split(), "--help").stdout
    assert "Examples" in text
    assert len(re.findall(rf"ssnet {command} ", text)) >= 2


def test_the_issues_four_commands_work_one_after_the_other(tmp_path: Path, endpoint: str) -> None:
    toy, out, png = tmp_path / "toy.root", tmp_path / "out.root", tmp_path / "event.png"
    quiet = ssnet("toy", "--quiet", "--events", 4, "-o", toy, "--rows", 64, "--cols", 96)
    assert quiet.stdout == quiet.stderr == ""

    done = ssnet(
        *("simple", toy, "-o", out, "--service", "dummy", "--producer", "wire", "--copy-input"),
        MDP_BROKER=endpoint,
    )
    for text in ("events", "requests", "sent", "received", "reading", "waiting", "writing"):
        assert text in done.stdout
    with (
        open_reader(out, tick_order="backward") as reader,
        open_reader(toy, tick_order="backward") as asked,
    ):
        assert [event.rse for event in reader] == [event.rse for event in asked]
        for event, want in zip(reader, asked, strict=True):
            assert sorted(event.images) == ["dummy", "segment", "wire"]
            for image, wire in zip(event.images["dummy"], want.images["wire"], strict=True):
                assert image.meta == wire.meta
                np.testing.assert_array_equal(image.pixels, np.zeros((64, 96)))

    table = ssnet("files", toy, out).stdout
    for text in ("image2d_wire", "image2d_dummy", "partroi_croi", "1,0,0 to 1,0,3", "3 of 64 x 96"):
        assert text in table

    optional("matplotlib")
    ssnet("display", out, "--entry", 3, "-p", "wire", "--labels", "segment", "-o", png)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_seed_makes_the_same_toys_again(tmp_path: Path, toy: Path) -> None:
    three = ("toy", "--events", 3, "--rows", 64, "--cols", 96)
    ssnet(*three, "-o", tmp_path / "again.h5")
    ssnet(*three, "-o", tmp_path / "other.h5", "--seed", 2)
    same, other = files.read(tmp_path / "again.h5"), files.read(tmp_path / "other.h5")
    for first, again in zip(files.read(toy), same, strict=True):
        assert first.rse == again.rse
        for a, b in zip(first.images["wire"], again.images["wire"], strict=True):
            np.testing.assert_array_equal(a.pixels, b.pixels)
    assert other[0].rse.run == 2


def test_quiet_leaves_the_errors_alone_on_stderr_and_nothing_on_stdout(
    tmp_path: Path, endpoint: str
) -> None:
    source = files.write(tmp_path / "in.h5", files.events(3, ["wire"]))
    arguments = ("simple", source, "-o", tmp_path / "out.h5", "-s", "dummy", "-b", endpoint)
    done = ssnet(*arguments, "--quiet")
    assert done.stdout == done.stderr == ""
    assert "force" in one_line(ssnet(*arguments, "--quiet", code=1))


def test_scores_of_a_plane_each_make_one_row(tmp_path: Path) -> None:
    optional("matplotlib")
    [event] = files.events(1, ["wire"])
    planes = {f"uburn_plane{p}": (image, image) for p, image in enumerate(event.images["wire"])}
    source = tmp_path / "in.h5"
    files.write(source, [type(event)(event.rse, {**event.images, **planes})])
    scores = [text for name in planes for text in ("--scores", name)]
    ssnet("display", source, "-p", "wire", *scores, "-o", tmp_path / "event.png")
    assert (tmp_path / "event.png").exists()


def test_only_the_planes_that_there_are_get_a_panel(tmp_path: Path) -> None:
    optional("matplotlib")
    [event] = files.events(1, ["wire"])
    images = tuple(
        replace(image, meta=replace(image.meta, plane=plane))
        for image, plane in zip(event.images["wire"], (0, 65535, 7), strict=True)
    )
    source = files.write(tmp_path / "in.h5", [replace(event, images={"wire": images})])
    ssnet("display", source, "-p", "wire", "-o", tmp_path / "event.png")
    assert (tmp_path / "event.png").exists()


# What goes wrong: one line on stderr, 1 for a failure, 2 for a misuse.


def test_an_existing_output_is_refused_without_force(tmp_path: Path, toy: Path) -> None:
    assert "force" in one_line(ssnet("toy", "--events", 1, "-o", toy, code=1))
    assert len(files.read(toy)) == 3


def test_a_file_of_no_known_format_is_named_and_the_others_are_shown(
    tmp_path: Path, toy: Path
) -> None:
    text = tmp_path / "notes.root"
    text.write_text("not ROOT")
    done = ssnet("files", text, toy, code=1)
    assert "image2d_wire" in done.stdout
    assert "notes.root" in done.stderr


def test_a_product_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    h5py = optional("h5py")
    source = files.write(tmp_path / "in.h5", files.events(2, ["good", "ill", "well"]))
    with h5py.File(source, "r+") as file:
        file["Data/image2d_ill_group/images"][5] = np.nan
    done = ssnet("files", source, code=1)
    assert "image2d_good" in done.stdout
    assert "image2d_well" in done.stdout
    assert "image2d_ill" not in done.stdout
    assert re.fullmatch(r"ssnet: .*in.h5 entry 0 image2d_ill: want finite .*\n", done.stderr)


def test_files_whose_names_are_no_utf8_are_shown(tmp_path: Path, toy: Path) -> None:
    odd = toy.rename(tmp_path / os.fsdecode(b"\xff.h5"))
    strict = "utf-8:strict"  # as in most locales, though not in C.UTF-8
    assert r"\udcff.h5" in ssnet("files", odd, PYTHONIOENCODING=strict).stdout
    done = ssnet("files", odd, "--json", PYTHONIOENCODING=strict)
    (file,) = json.loads(done.stdout)["files"]
    assert file["file"] == str(odd)


def test_an_event_of_a_file_whose_name_is_no_utf8_is_drawn(tmp_path: Path, toy: Path) -> None:
    optional("matplotlib")
    odd = toy.rename(tmp_path / os.fsdecode(b"\xff.h5"))
    ssnet("display", odd, "-p", "wire", "-o", tmp_path / "event.png")
    assert (tmp_path / "event.png").read_bytes().startswith(b"\x89PNG")


def test_files_of_which_a_library_is_missing_hide_no_others(tmp_path: Path, toy: Path) -> None:
    optional("ROOT")
    source = files.write(tmp_path / "in.root", files.events(2, ["wire"]))
    done = ssnet("files", toy, source, without="h5py", code=1)
    assert "image2d_wire" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert "pip install" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--producer", "wires"), "wires"),
        (("--start", "7"), "want a start below 3"),
        (("--seed", "3"), "--random"),
        (("--broker", "nowhere"), "nowhere"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_a_misuse_of_simple_is_one_line(
    tmp_path: Path, toy: Path, options: tuple[str, ...], says: str
) -> None:
    output = tmp_path / "out.h5"
    code = 1 if options[0] == "--producer" else 2
    done = ssnet("simple", toy, "-o", output, "-s", "dummy", *options, code=code)
    assert says in one_line(done)
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--entry", 3, "-p", "wire"), 1, "want an entry from 0 to 2, got 3"),
        (("--entry", -1, "-p", "wire"), 1, "want an entry"),
        (("-p", "wires"), 1, "wires"),
        (("-e", "x"), 2, "want --entry 3 or --entry 0:5, got 'x'"),
        (("--event", "1,0"), 2, "want --event RUN,SUBRUN,EVENT"),
        (("--event", "1,0,9"), 1, "want the event 1,0,9 in"),
        (("--ticks", "9:3"), 2, "want --ticks A:B"),
        (("--ticks", "1:2"), 1, "want ticks that the images have"),
        (("--roi", "croi"), 2, "--rois names a producer"),
        (("--roi", "0"), 1, "want a ROI for --roi, got none"),
        (("--roi", "0", "--wires", "1:2"), 2, "--roi cannot be combined"),
        (("--scores", "wire"), 1, "want 2 images"),
    ],
    ids=str,
)
def test_a_misuse_of_display_is_one_line(
    tmp_path: Path, toy: Path, options: tuple[object, ...], code: int, says: str
) -> None:
    optional("matplotlib")
    output = tmp_path / "event.png"
    assert says in one_line(ssnet("display", toy, *options, "-o", output, code=code))
    assert not output.exists()


def test_a_display_never_replaces_a_data_file(toy: Path) -> None:
    optional("matplotlib")
    assert ".png" in one_line(ssnet("display", toy, "-p", "wire", "-o", toy, code=1))
    assert len(files.read(toy)) == 3


@pytest.mark.parametrize("options", [("--events", 0), ("--rows", 3), ("--cosmics", -1)], ids=str)
def test_a_misuse_of_toy_names_the_option(tmp_path: Path, options: tuple[object, ...]) -> None:
    output = tmp_path / "toy.h5"
    assert str(options[0]) in ssnet("toy", "-o", output, *options, code=2).stderr
    assert not output.exists()


def test_a_missing_h5py_says_what_to_install(tmp_path: Path) -> None:
    output = tmp_path / "toy.h5"
    says = one_line(ssnet("toy", "--events", 1, "-o", output, without="h5py", code=1))
    assert "pip install" in says
    assert not list(tmp_path.iterdir())


def test_a_missing_root_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "ROOT.py").write_text("raise ModuleNotFoundError('no ROOT')")
    path = os.pathsep.join([str(tmp_path / "without"), str(ROOT)])  # for the process that writes
    output = tmp_path / "toy.root"
    says = one_line(ssnet("toy", "--events", 1, "-o", output, code=1, PYTHONPATH=path))
    assert "pip install" in says
    assert [found.name for found in tmp_path.iterdir()] == ["without"]


def test_a_missing_matplotlib_says_what_to_install(tmp_path: Path, toy: Path) -> None:
    output = tmp_path / "event.png"
    done = ssnet("display", toy, "-p", "wire", "-o", output, without="matplotlib", code=1)
    assert "pip install 'matplotlib>=3.8'" in one_line(done)


def test_a_missing_uproot_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "some.root").write_bytes(b"root" + bytes(100))
    done = ssnet("files", tmp_path / "some.root", without="uproot", code=1)
    assert "pip install" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_commands_in_the_docs_work_as_typed(tmp_path: Path) -> None:
    optional("matplotlib")
    text = (ROOT / "docs" / "simple.md").read_text()
    [script] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    program = f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT; set -em\n{script}wait\n".replace(
        "mdp broker", f"mdp broker --bind {endpoint}"
    )
    binaries = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "MDP_BROKER": endpoint,
        },
    )
    assert done.returncode in (0, 143), done.stderr
    assert "image2d_dummy" in done.stdout
    assert (tmp_path / "event.png").exists()

"""`ssnet worker batch-train` and `ssnet batches` as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lartpc import Event
from tests.support import feed_files
from tests.support.commands_of_ssnet import one_line, ssnet
from tests.support.optional import optional


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return feed_files.toys(tmp_path_factory.mktemp("feed") / "toys.h5", 6)


def test_batches_shows_a_feed_of_files_and_draws_it(toys: Path, tmp_path: Path) -> None:
    optional("matplotlib")
    picture = tmp_path / "batch.png"
    sizes = ("--batch-size", 4, "--size", 64, "--batches", 5)
    done = ssnet("batches", toys, *sizes, "--workers", 2, "--planes", "2,0", "-o", picture)
    assert "WARNING" not in done.stderr
    for text in ("batches/s", "events/s", "latency", "waited", "pixels of shower", "6, 2"):
        assert text in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_a_feed_cannot_give_is_one_line(toys: Path, tmp_path: Path) -> None:
    asked = {
        "at most 96 x 128 pixels": ("batches", toys, "--size", 97),
        "want planes of (0, 1, 2), got (0, 4)": ("batches", toys, "--size", 64, "--planes", "0,4"),
        "want a picture named .png": (
            "batches",
            toys,
            "--size",
            64,
            "-o",
            tmp_path / "b.jpg",
        ),
    }
    for text, command in asked.items():
        assert text in one_line(ssnet(*command, code=1))


def test_options_that_would_do_nothing_are_misuse(toys: Path) -> None:
    asked = {
        "--broker cannot be combined with files": (toys, "--broker", "tcp://127.0.0.1:1"),
        "--workers needs files": ("--workers", 2),
        "--tick-order needs files": ("--tick-order", "forward"),
    }
    for text, arguments in asked.items():
        assert text in one_line(ssnet("batches", *arguments, code=2))


def test_files_that_are_no_good_end_the_workers_command_with_one_line(
    toys: Path, tmp_path: Path
) -> None:
    event = Event(feed_files.events(1)[0].rse, {"wire": (), "segment": ()})
    none = feed_files.write(tmp_path / "none.h5", [event])
    asked = {
        "got segment, wire: --labels segment": (toys, "--labels", "truth"),
        "want events with images, got none in": (none,),
        "cannot read": (tmp_path / "absent.root",),
    }
    for text, arguments in asked.items():
        assert text in one_line(ssnet("worker", "batch-train", *arguments, code=1))


def test_batch_train_needs_files_and_no_other_service_takes_any(toys: Path) -> None:
    for arguments in (("batch-train",), ("dummy", toys)):
        assert "Usage: " in ssnet("worker", *arguments, code=2).stderr

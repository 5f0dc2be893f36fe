"""`ssnet display` of several files and events: what it takes, finds, refuses and writes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lartpc import Event, Image
from tests.support import simple_files as files
from tests.support.commands_of_ssnet import one_line, ssnet
from tests.support.optional import optional
from tests.support.shared import data

optional("matplotlib")


def with_scores(event: Event) -> Event:
    """The event's scores alone, as `ssnet run` writes them."""
    rng = np.random.default_rng(event.rse.event)
    pairs = {
        f"uburn_plane{image.meta.plane}": tuple(
            Image(image.meta, (rng.random(image.pixels.shape) / 2).astype(np.float32))
            for _ in range(2)
        )
        for image in event.images["wire"]
    }
    return replace(event, images=pairs)


@pytest.fixture
def events() -> list[Event]:
    return files.events(4, ["wire", "other"])


@pytest.fixture
def charge(tmp_path: Path, events: list[Event]) -> Path:
    return files.write(tmp_path / "in.h5", events)


def test_charge_stands_above_the_scores_of_the_same_event(
    tmp_path: Path, events: list[Event], charge: Path
) -> None:
    turned = [with_scores(event) for event in reversed(events)]
    scores, output = files.write(tmp_path / "out.h5", turned), tmp_path / "event.svg"
    done = ssnet("display", charge, scores, "-e", 1, "-o", output)
    [line] = done.stderr.splitlines()
    assert "charge wire of in.h5; scores uburn of out.h5; not drawn: other" in line
    text = output.read_text()
    assert "in.h5 entry 1, out.h5 entry 2" in text
    assert text.index("<!-- wire -->") < text.index("<!-- uburn scores -->")


def test_an_event_that_the_other_file_lacks_is_named(
    tmp_path: Path, events: list[Event], charge: Path
) -> None:
    scores = files.write(tmp_path / "out.h5", [with_scores(event) for event in events[:2]])
    done = ssnet("display", charge, scores, "-e", 3, "-o", tmp_path / "event.png", code=1)
    assert "want the event 7,0,3 in" in one_line(done)
    assert "out.h5" in done.stderr
    assert not (tmp_path / "event.png").exists()


def test_scores_are_never_drawn_as_charge(tmp_path: Path, events: list[Event]) -> None:
    scores = files.write(tmp_path / "out.h5", [with_scores(event) for event in events])
    message = ssnet("display", scores, "-o", tmp_path / "event.png").stderr
    assert message == "ssnet: drawn: scores uburn of out.h5\n"


def test_several_events_are_pages_of_a_pdf_or_numbered_files(tmp_path: Path, charge: Path) -> None:
    options = ("-p", "wire", "-e", "0:2", "-e", 3, "--event", "7,0,1")
    ssnet("display", charge, *options, "-o", tmp_path / "event.png")
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == ["event-0.png", "event-1.png", "event-3.png"]
    ssnet("display", charge, *options, "-o", tmp_path / "events.pdf")
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "events.pdf").read_bytes())) == 3


def test_toys_come_with_their_labels_and_rois(tmp_path: Path) -> None:
    optional("ROOT")
    toy, output = tmp_path / "toy.root", tmp_path / "event.svg"
    ssnet("toy", "--events", 1, "-o", toy, "--rows", 64, "--cols", 96)
    message = ssnet("display", toy, "-o", output).stderr
    assert message == "ssnet: drawn: charge wire, labels segment, ROIs croi of toy.root\n"
    ssnet("display", toy, "--roi", 0, "-o", output)
    done = ssnet("display", toy, "--roi", 9, "-o", output, code=1)
    assert "want --roi from 0 to" in one_line(done)


def test_the_real_events_scores_are_taken_for_scores(tmp_path: Path) -> None:
    real = data("microboone_run6324_larcv.root")
    order = ("--tick-order", "forward", "--planes", 2)
    message = ssnet("display", real, *order, "-o", tmp_path / "event.png").stderr
    assert "drawn: charge wire, scores ubspurn of" in message
    assert "infill, inlabel, sparseuresnet_prediction" in message

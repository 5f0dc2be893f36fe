"""The counts of an agreement: by hand, and in any order."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.scoring.canary.agreement import (
    WORST,
    Agreement,
    CropName,
    Pair,
    classes_of,
    compare,
    sentence,
    total,
)
from clients.scoring.canary.canary_report import (
    CanaryReport,
    CropPixels,
    ReportError,
    files_of,
    merged,
    read,
    read_kept,
    write,
)
from clients.scoring.canary.crop_share import Canary, is_chosen
from lartpc import RSE
from mdp import SettingsError

NAME = CropName(1, 0, 7, 2, 0)
PAIR = Pair(2, "old", "new")
CHARGE = np.array([[0, 20, 20], [30, 30, 5]], np.float32)
OLD = np.array([[[0, 0.7, 0.2], [0.1, 0, 0]], [[0, 0.2, 0.7], [0.1, 1, 0]]], np.float32)


def test_a_class_is_that_of_the_largest_score() -> None:
    assert classes_of(OLD).tolist() == [[0, 1, 2], [0, 2, 0]]


def test_equal_scores_agree_to_the_bit() -> None:
    found = compare(NAME, CHARGE, OLD, OLD.copy(), low=10)
    assert (found.crops, found.equal_crops, found.pixels, found.charged) == (1, 1, 6, 4)
    assert found.confusion == [[1, 0, 0], [0, 1, 0], [0, 0, 2]]
    assert found.confusion_all == [[3, 0, 0], [0, 1, 0], [0, 0, 2]]
    assert (found.max_difference, found.worst) == ([0, 0], [])
    assert sentence(found) == "agrees to the bit in 1 of 1 crops"


def test_a_changed_pixel_is_counted_and_the_crop_is_remembered() -> None:
    new = OLD.copy()
    new[:, 0, 1] = 0.25, 0.5  # shower -> track
    found = compare(NAME, CHARGE, OLD, new, low=10)
    assert found.confusion == [[1, 0, 0], [0, 0, 1], [0, 0, 2]]
    assert found.changed == found.changed_all == 1
    assert found.max_difference == pytest.approx([0.45, 0.3])
    assert [found.mean_difference(n) for n in (0, 1)] == pytest.approx([0.45 / 4, 0.3 / 4])
    assert [(crop.name, crop.changed, crop.charged) for crop in found.worst] == [(NAME, 1, 4)]
    assert sentence(found).startswith(
        "differs: 25 % of the pixels with charge change class (shower -> track 25 %)"
    )


def test_scores_that_differ_without_a_change_of_class_are_not_equal() -> None:
    found = compare(NAME, CHARGE, OLD, OLD * np.float32(0.999), low=10)
    assert (found.equal_crops, found.changed) == (0, 0)
    assert sentence(found).startswith("no pixel changes its class; scores differ by at most 0.001")


def test_a_score_of_another_type_or_a_negative_zero_is_not_equal_to_the_bit() -> None:
    half = OLD.astype(np.float16)
    assert compare(NAME, CHARGE, half, half.astype(np.float32), low=10).equal_crops == 0
    zero = np.zeros_like(OLD)
    assert compare(NAME, CHARGE, zero, -zero, low=10).equal_crops == 0


def test_without_crops_nothing_is_said_to_agree() -> None:
    assert sentence(Agreement()) == "nothing was compared yet"


@st.composite
def agreements(draw: st.DrawFn) -> Agreement:
    seed = draw(st.integers(0, 10_000))
    generator = np.random.default_rng(seed)
    old, new = generator.random((2, 2, 3, 4)).astype(np.float16) / np.float16(2)
    new = old if draw(st.booleans()) else new
    charge = generator.choice([0, 50], (3, 4)).astype(np.float32)
    return compare(CropName(1, 0, seed, 0, 0), charge, old, new, low=10)


@given(st.lists(agreements(), max_size=14), st.randoms(use_true_random=False), st.integers(0, 14))
def test_the_order_and_the_groups_of_a_merge_change_nothing(
    parts: list[Agreement], random: random.Random, cut: int
) -> None:
    expected = total(parts).plain()
    mixed = list(parts)
    random.shuffle(mixed)
    assert total([total(mixed[cut:]), total(mixed[:cut])]).plain() == expected
    assert len(expected["worst"]) <= WORST
    assert Agreement.of(json.loads(json.dumps(expected))).plain() == expected


def test_the_share_is_that_of_the_hash() -> None:
    # `printf '1 2 3 0 4' | sha256sum` prints 3acf2301...
    assert is_chosen(0x3ACF2302 / 2**32, RSE(1, 2, 3), 0, 4)
    assert not is_chosen(0x3ACF2301 / 2**32, RSE(1, 2, 3), 0, 4)
    crops = [
        (RSE(1, 0, n), plane, crop) for n in range(500) for plane in range(3) for crop in (0, 1)
    ]
    tenth = {crop for crop in crops if is_chosen(0.1, *crop)}
    half = {crop for crop in crops if is_chosen(0.5, *crop)}
    assert tenth < half
    assert 0.08 * len(crops) < len(tenth) < 0.12 * len(crops)
    assert all(is_chosen(1, *crop) for crop in crops)
    assert not any(is_chosen(0, *crop) for crop in crops)


@pytest.mark.parametrize(("label", "share"), [("", 0.1), ("a b", 0.1), ("a" * 41, 0.1), ("a", 1.1)])
def test_a_bad_label_or_share_is_refused(label: str, share: float, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--canary|--share"):
        Canary(label, share, tmp_path)


def test_reports_are_written_whole_and_added(tmp_path: Path) -> None:
    new = OLD[:, :, ::-1].copy()
    found = compare(NAME, CHARGE, OLD, new, low=10)
    report = CanaryReport(agreements={PAIR: found}, clients=1)
    report.counts.update(chosen=3, sent=2, skipped=1)
    report.failed["404 NotServed"] += 1
    for name in ("a", "b"):
        pixels = {(PAIR, NAME): CropPixels(CHARGE, OLD, new)}
        write(tmp_path / "reports" / f"{name}.json", report, pixels)
    both = merged(files_of([tmp_path / "reports"]))
    assert (both.clients, both.counts["sent"], both.failed) == (2, 4, {"404 NotServed": 2})
    assert both.agreements[PAIR].confusion == [[2 * n for n in row] for row in found.confusion]
    [(key, pixels_read)] = read_kept(tmp_path / "reports" / "a.json").items()
    assert key == (PAIR, NAME)
    assert np.array_equal(pixels_read.new, new)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": "ssnet canary report 1"}'])
def test_another_file_is_no_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ReportError, match="report of a canary"):
        read(tmp_path / "x.json")

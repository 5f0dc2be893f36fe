"""Reasons of failures are folded into kinds."""

from __future__ import annotations

import pytest

from clients.campaign.views.reasons import Kinds, kinds


@pytest.mark.parametrize(
    ("reasons", "text"),
    [
        (
            ["entry 41: want 3 planes, got 2", "entry 5: want 3 planes, got 2"],
            "entry N: want 3 planes, got 2",
        ),
        (["/data/run7.root: no tree", "/data/x/run8.root: no tree"], "FILE: no tree"),
        (["run7.root entry 4: bad", "run8.h5 entry 5: bad"], "FILE entry N: bad"),
        (["took 3.5 s", "took 1e3 s", "took -4 s"], "took N s"),
        (["checksum 0x1f", "checksum 0xff"], "checksum ID"),
        (["want 9f86d081884c7d65, got 60303ae22b998861"], "want 9f86d081884c7d65, got 603"),
        (["N workers, FILE lost"], "N workers, FILE lost"),
        (["a\n b"], "a b"),
        ([""], ""),
    ],
)
def test_reasons_that_differ_in_numbers_and_names_are_one_kind(
    reasons: list[str], text: str
) -> None:
    (kind,) = kinds(reasons)
    assert kind.count == len(reasons)
    assert kind.example == reasons[0]
    assert kind.text.startswith(text)


def test_other_words_are_another_kind_and_the_most_frequent_comes_first() -> None:
    found = kinds(["no tree 1", "no worker 1", "no worker 2", "no worker 1"])
    assert [(kind.text, kind.count) for kind in found] == [("no worker N", 3), ("no tree 1", 1)]


def test_a_long_reason_is_cut() -> None:
    (kind,) = kinds(["x" * 10_000])
    assert len(kind.text) < 400


def test_the_name_of_the_file_itself_may_hold_blanks() -> None:
    counted = Kinds()
    for name in ("/data/my run 1.root", "/data/your run 2.root"):
        counted.add(f"{name}: no tree", name)
        counted.add("cannot open " + name.rpartition("/")[2], name)
    assert [kind.text for kind in counted.most_common] == ["FILE: no tree", "cannot open FILE"]

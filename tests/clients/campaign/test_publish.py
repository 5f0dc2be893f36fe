"""Final names of outputs after a kill: only the bytes of the reader's answer get them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clients.campaign.driving.publish import WORK, Publisher, Staged

CONTENT = b"the scores" * 1000


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    (tmp_path / "stage").mkdir()
    return tmp_path


def staged() -> Staged:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Staged(7, "token", "a/out.h5", len(CONTENT), digest, has_report=False, has_ledger=False)


def place(campaign: Path, name: str) -> Path:
    return (
        campaign
        / {
            "attempt": f"{WORK}/7/token/out.h5",
            "stage": "stage/7.out",
            "final": "a/out.h5",
        }[name]
    )


def recovered(campaign: Path) -> set[int]:
    """The outputs that are lost, after a driver has gone on with the one in its catalogue."""
    return Publisher(campaign, campaign / "stage").recover([staged()]).lost


@pytest.mark.parametrize("where", ["attempt", "stage", "final"])
def test_an_output_gets_its_name_wherever_the_kill_left_it(campaign: Path, where: str) -> None:
    path = place(campaign, where)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    assert recovered(campaign) == set()
    assert place(campaign, "final").read_bytes() == CONTENT


@pytest.mark.parametrize("where", ["attempt", "stage", "final"])
@pytest.mark.parametrize("content", [CONTENT[:-1], b"x" + CONTENT[1:]], ids=["short", "changed"])
def test_other_bytes_are_not_taken_for_the_output(
    campaign: Path, where: str, content: bytes
) -> None:
    path = place(campaign, where)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert recovered(campaign) == {7}


def test_an_output_that_is_nowhere_is_lost(campaign: Path) -> None:
    assert recovered(campaign) == {7}

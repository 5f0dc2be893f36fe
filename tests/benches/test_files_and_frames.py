"""The measuring runs; the figures are for a quiet machine, not for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches import files_and_frames
from tests.support.optional import optional


def test_every_target_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    optional("ROOT")
    files_and_frames.main(["--rounds", "1", "--events", "1"])
    report = capsys.readouterr().out
    assert all(name in report for name in files_and_frames.TARGETS)
    assert len(report.splitlines()) == len(files_and_frames.TARGETS)


def test_a_file_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files_and_frames.main([str(tmp_path / "absent.root")]) == 1
    assert "absent.root" in capsys.readouterr().err

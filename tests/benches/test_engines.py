"""The bench runs, and says each figure once; what it measures is docs/performance.md's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches import engines
from tests.support.tiny_networks import write


def test_the_bench_prints_a_figure_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prototxt, weights = write(tmp_path)
    sizes = ["--rows", "16", "--cols", "16", "--threads", "1", "--repeats", "2", "--rounds", "1"]
    engines.main([str(prototxt), str(weights), *sizes])
    report = capsys.readouterr()
    for name in ("start, converted", "start, cached", "peak memory, cached"):
        assert report.out.count(name) == 1
    assert "torch" in report.out + report.err


def test_the_bench_says_in_a_line_what_it_cannot_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prototxt, weights = write(tmp_path)
    assert engines.main([str(prototxt), str(weights), "--rows", "15", "--rounds", "1"]) == 1
    assert "multiples of 2" in capsys.readouterr().err

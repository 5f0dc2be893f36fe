"""The bench runs, and says each figure once; what it measures is docs/performance.md's."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from benches import engines
from tests.support import real_caffe
from tests.support.processes import ROOT
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
    if importlib.util.find_spec("caffe") is None:
        assert "caffe is not installed" in report.err


def test_the_bench_compares_with_caffe_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_caffe.require(monkeypatch)
    prototxt, weights = write(tmp_path)
    sizes = ("--rows", "16", "--cols", "16", "--threads", "1", "--repeats", "2", "--rounds", "1")
    command = [sys.executable, "-m", "benches.engines", str(prototxt), str(weights), *sizes]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT).stdout
    for name in ("start, Caffe", "peak memory, Caffe", "Caffe's time, of onnxruntime's"):
        assert out.count(name) == 1
    assert out.count("(no target)") == 3


def test_the_bench_says_in_a_line_what_it_cannot_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prototxt, weights = write(tmp_path)
    assert engines.main([str(prototxt), str(weights), "--rows", "15", "--rounds", "1"]) == 1
    assert "multiples of 2" in capsys.readouterr().err

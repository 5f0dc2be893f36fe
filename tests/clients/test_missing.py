"""The line that names what a command lacks: the libraries, and the extra that brings them."""

from __future__ import annotations

import re

import pytest

from clients.terminal import missing
from lartpc import LibraryMissing
from services import extras


@pytest.mark.parametrize(
    ("words", "module", "extra"),
    [
        ("worker planes --planes 0", "onnxruntime", "worker"),
        ("worker planes", "numpy", "worker"),
        ("worker batch-train a.h5", "h5py", "client"),
        ("worker dummy -n 2", "numpy", "images"),
        ("worker planes", "h5py", "client"),
        ("worker dummy", "onnx", "worker"),
        ("files a.h5", "uproot", "client"),
        ("run a.h5 -o b.h5 --local", "onnxruntime", "worker"),
        ("run a.h5 -o b.h5 --local", "h5py", "client"),
        ("display a.h5 -o a.png", "matplotlib", "display"),
        ("train a.h5 -o n", "torch", "train"),
        ("ledger a -o a.png", "matplotlib", "display"),
    ],
)
def test_the_extra_that_is_named_brings_what_is_missing(
    words: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "missing", lambda names: _only(module, names))
    line = missing.line(words.split(), module)
    assert line is not None
    assert f"(extra [{extra}])" in line
    assert re.search(rf"pip install '{module}\b", line)
    command = re.match(r"(worker )?\S+", words)
    assert command is not None
    assert line.startswith(f"ssnet {command[0]} needs {extras.module_of(module)} ")


def _only(module: str, names: object) -> list[str]:
    """What `extras.missing` gives where this module alone is missing."""
    wanted = {line for name in names for line in extras.requirements(name)}  # type: ignore[attr-defined]
    return [line for line in wanted if extras.module_of(line) == module]


def test_an_error_that_no_library_causes_is_not_explained() -> None:
    assert missing.explain(ValueError("x")) is None
    assert missing.explain(ModuleNotFoundError("x", name="nowhere_at_all")) is None
    error = LibraryMissing("want h5py")
    assert missing.explain(error) is None
    error.__cause__ = ImportError("no h5py", name="h5py")
    assert "h5py" in (missing.explain(error) or "")

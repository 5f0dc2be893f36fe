"""Real Caffe for tests: where `make install-caffe` has put it, and what it computes.

It runs in processes of its own: an error of Caffe ends the process, and its libraries are not those
of the other tests.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mdp.system import subprocesses
from services.engines.open_engine import open_engine
from tests.support import optional
from tests.support.tiny_networks import Array

_SCRIPT = Path(__file__).with_name("build_caffe.sh")
_PART = "pycaffe"
_ENVIRONMENT = dict(os.environ)  # before tests set a cache of their own


@functools.cache
def folder() -> Path:
    """The folder for PYTHONPATH; it may be missing."""
    environment = {**_ENVIRONMENT, "PYTHON": sys.executable}
    where = subprocess.check_output([_SCRIPT, "where"], env=environment, text=True, timeout=60)
    return Path(where.strip())


def require(patch: pytest.MonkeyPatch) -> None:
    """Have the processes that a test starts find real Caffe; without it, skip the test."""
    if _PART in optional.excluded:
        optional.missing(_PART, f"runs without {_PART}")
    if importlib.util.find_spec("caffe") is not None:  # it is installed otherwise
        return
    if not folder().exists():
        optional.missing(_PART, f"needs {_PART}, which is not in {folder()}")
    patch.setattr(sys, "path", [str(folder()), *sys.path])  # of `spawn`
    earlier = os.environ.get("PYTHONPATH")
    patch.setenv("PYTHONPATH", os.pathsep.join([str(folder()), *([earlier] if earlier else [])]))


@dataclass(frozen=True)
class Question:
    """What an engine shall compute: a network, its images, and inner blobs."""

    prototxt: Path
    weights: Path
    images: tuple[Array, ...]
    blobs: tuple[str, ...] = ()
    engine: str = "caffe"
    cache: Path | None = None


@dataclass(frozen=True)
class Answer:
    """The scores, and the blobs, of each of the images."""

    scores: list[Array]
    blobs: list[dict[str, Array]]


def answer(question: Question) -> Answer:
    """Compute it in this process, with an engine of two threads."""
    engine = open_engine(
        question.engine,
        question.prototxt,
        question.weights,
        threads=2,
        blobs=question.blobs,
        cache=question.cache,
    )
    answer = Answer([], [])
    for images in question.images:
        answer.scores.append(engine.forward(images))
        answer.blobs.append(engine.blobs)
    return answer


def answers(questions: Sequence[Question]) -> list[Answer]:
    """The answers of Caffe, from one process."""
    return subprocesses.call(_answers, tuple(questions))


def _answers(questions: Sequence[Question]) -> list[Answer]:
    return [answer(question) for question in questions]

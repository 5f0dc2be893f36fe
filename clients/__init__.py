"""Clients of the services: score LArCV files, ask one service, stream training batches.

The names are imported when they are first used, so that `import clients` needs no torch, ROOT or
h5py. The `ssnet` command is in `cli.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scoring.job import ScoringJob
    from .scoring.score import ScoringReport, score
    from .simple.simple_client import SimpleJob, SimpleReport, process_files
    from .training.batch_feed import Batches, Feed, TrainingBatch
    from .training.torch_batches import BatchDataset

__all__ = [
    "BatchDataset",
    "Batches",
    "Feed",
    "ScoringJob",
    "ScoringReport",
    "SimpleJob",
    "SimpleReport",
    "TrainingBatch",
    "process_files",
    "score",
]

_MODULES = {
    "BatchDataset": ".training.torch_batches",
    "Batches": ".training.batch_feed",
    "Feed": ".training.batch_feed",
    "ScoringJob": ".scoring.job",
    "ScoringReport": ".scoring.score",
    "SimpleJob": ".simple.simple_client",
    "SimpleReport": ".simple.simple_client",
    "TrainingBatch": ".training.batch_feed",
    "process_files": ".simple.simple_client",
    "score": ".scoring.score",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The services: workers that answer requests with frames of images. Never imports `clients`.

`SSNet`, `BatchTrain` and `Dummy` are `mdp.Worker`s to run or to subclass; `open_engine` opens a
network. The names are imported when they are first used, so that `import services` needs no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch_train import BatchTrain
    from .dummy import Dummy
    from .engines.engine import Engine, warm_up
    from .engines.open_engine import open_engine
    from .ssnet import PlaneSettings, SSNet
    from .training_files import TrainingSettings

__all__ = [
    "BatchTrain",
    "Dummy",
    "Engine",
    "PlaneSettings",
    "SSNet",
    "TrainingSettings",
    "open_engine",
    "warm_up",
]

_MODULES = {
    "BatchTrain": ".batch_train",
    "Dummy": ".dummy",
    "Engine": ".engines.engine",
    "PlaneSettings": ".ssnet",
    "SSNet": ".ssnet",
    "TrainingSettings": ".training_files",
    "open_engine": ".engines.open_engine",
    "warm_up": ".engines.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

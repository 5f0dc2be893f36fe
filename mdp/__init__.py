"""The Majordomo protocol: a broker, its workers and its clients. It does not depend on images.

`ArrayWorker` and `ArrayClient` need NumPy. They are imported when they are first used, so that the
rest needs no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .client.client import Client
from .errors import (
    Cancelled,
    ClientClosed,
    Draining,
    MDPError,
    NotServed,
    QueueFull,
    Refused,
    RequestTimeout,
    ServiceError,
    SettingsError,
    TooLarge,
    TooSlow,
    WireError,
    WorkerFailed,
    WorkersDied,
)
from .settings import BrokerSettings, ClientSettings, Heartbeats, WorkerSettings
from .version import VERSION
from .worker.worker import Worker

if TYPE_CHECKING:
    from .arrays.array_client import ArrayClient
    from .arrays.array_worker import ArrayWorker

__version__ = VERSION

__all__ = [
    "ArrayClient",
    "ArrayWorker",
    "BrokerSettings",
    "Cancelled",
    "Client",
    "ClientClosed",
    "ClientSettings",
    "Draining",
    "Heartbeats",
    "MDPError",
    "NotServed",
    "QueueFull",
    "Refused",
    "RequestTimeout",
    "ServiceError",
    "SettingsError",
    "TooLarge",
    "TooSlow",
    "WireError",
    "Worker",
    "WorkerFailed",
    "WorkerSettings",
    "WorkersDied",
    "__version__",
]

_NEED_NUMPY = {"ArrayClient": ".arrays.array_client", "ArrayWorker": ".arrays.array_worker"}


def __getattr__(name: str) -> Any:
    if name not in _NEED_NUMPY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_NEED_NUMPY[name], __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        hint = f"mdp.{name} needs NumPy: pip install 'numpy>=1.24' (docs/install.md: [arrays])"
        raise ModuleNotFoundError(hint, name="numpy") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The Majordomo protocol: a broker, its workers and its clients. It does not depend on images."""

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

__version__ = VERSION

__all__ = [
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

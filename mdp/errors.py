"""The exceptions of `mdp`. All of them derive from `MDPError`."""

from __future__ import annotations

from typing import ClassVar


class MDPError(Exception):
    """The base class of the errors of this project."""

    code = 500
    """The code in an error reply."""
    request: str = ""
    """The id of the request that failed, as the logs of client, broker and worker have it."""
    exit_code: ClassVar[int] = 1
    """The exit code of a command that this error ends: 1 failed, 2 misused."""


class WireError(MDPError, ValueError):
    """A peer sent frames that are not valid in any dialect of MDP, or that hold no array."""


class SettingsError(MDPError, ValueError):
    """A setting is out of its range, or two settings contradict each other."""

    exit_code = 2


class RequestTimeout(MDPError, TimeoutError):
    """No answer arrived in time, after all tries."""


class ClientClosed(MDPError, RuntimeError):
    """The client was closed before the request, or before its answer."""


class WorkerFailed(MDPError, RuntimeError):
    """A worker ended: `setup()` failed too often in a row, or its fingerprint was refused."""


class Refused(MDPError, ValueError):
    """The handler does not accept the input. Raise it in `handle()`: the client gets error 400."""

    code = 400


class ServiceError(MDPError, RuntimeError):
    """The service answered with an error, or the broker did so in its place."""

    code = 500


class NotServed(ServiceError, LookupError):
    """The service had no worker until the request expired."""

    code = 404


class Cancelled(ServiceError):
    """An operator has cancelled the request (`mdp cancel`)."""

    code = 410


class TooLarge(ServiceError):
    """The request, or its answer, is larger than the broker takes; and will never fit."""

    code = 413


class QueueFull(ServiceError):
    """The service's queue is at its limit of requests or of bytes."""

    code = 429


class WorkersDied(ServiceError):
    """Too many workers died of the request, or were lost while they held it."""

    code = 502


class Draining(ServiceError):
    """The broker is about to stop and accepts no new requests."""

    code = 503


class TooSlow(ServiceError, TimeoutError):
    """A worker held the request longer than the service's time limit."""

    code = 504


_BY_CODE: dict[int, type[MDPError]] = {
    error.code: error
    for error in (
        Refused,
        ServiceError,
        NotServed,
        Cancelled,
        TooLarge,
        QueueFull,
        WorkersDied,
        Draining,
        TooSlow,
    )
}


def from_code(code: int, text: str) -> MDPError:
    """Return the exception for an error reply; an unknown code gives a `ServiceError`."""
    error = _BY_CODE.get(code, ServiceError)(text)
    error.code = code
    return error

"""Every error this project raises on purpose. Refuses nothing: it only names what went wrong."""

from __future__ import annotations

from typing import ClassVar


class MDPError(Exception):
    """Base of the errors in this project."""

    code = 500
    """How an error reply says it."""
    exit_code: ClassVar[int] = 1
    """With what a command ends that it stops: 1 failed, 2 misused."""


class WireError(MDPError, ValueError):
    """A peer sent frames that no dialect of MDP allows."""


class SettingsError(MDPError, ValueError):
    """A setting is out of its range, or settings contradict each other."""

    exit_code = 2


class RequestTimeout(MDPError, TimeoutError):
    """No answer came in time, after all the tries."""


class ClientClosed(MDPError, RuntimeError):
    """The client was closed while, or before, it was asked."""


class WorkerFailed(MDPError, RuntimeError):
    """A worker's `setup()` failed again and again."""


class Refused(MDPError, ValueError):
    """The input is not one the handler takes: raise it in `handle()`, the client gets error 400."""

    code = 400


class ServiceError(MDPError, RuntimeError):
    """The service, or the broker in its place, answered with an error."""

    code = 500


class NotServed(ServiceError, LookupError):
    """No worker came for the service before the request expired."""

    code = 404


class QueueFull(ServiceError):
    """The service's queue holds as many requests, or bytes, as it may."""

    code = 429


class WorkersDied(ServiceError):
    """Every worker that took the request died of it, or while it held it."""

    code = 502


class Draining(ServiceError):
    """The broker is about to stop and takes no new requests."""

    code = 503


class TooSlow(ServiceError, TimeoutError):
    """The request was held longer than its service's time limit."""

    code = 504


_BY_CODE: dict[int, type[MDPError]] = {
    error.code: error
    for error in (Refused, ServiceError, NotServed, QueueFull, WorkersDied, Draining, TooSlow)
}


def from_code(code: int, text: str) -> MDPError:
    """Make the exception for an error reply's code; an unknown code is a `ServiceError`."""
    error = _BY_CODE.get(code, ServiceError)(text)
    error.code = code
    return error

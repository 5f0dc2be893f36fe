"""The errors that services raise on purpose."""

from __future__ import annotations

from mdp import MDPError, Refused


class NetworkError(MDPError, ValueError):
    """A network's files are damaged, contradict each other, or use an unsupported feature."""


class SizeRefused(NetworkError, Refused):
    """The network cannot take images of this size; the client gets error 400."""

    code = 400


class EngineError(MDPError, RuntimeError):
    """An engine, its library or its device is not available on this machine."""

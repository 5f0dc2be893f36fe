"""Every error that services raise on purpose. Refuses nothing: it only names what went wrong."""

from __future__ import annotations

from mdp import MDPError, Refused


class NetworkError(MDPError, ValueError):
    """A network's files are damaged, contradict each other, or ask for what is not known here."""


class SizeRefused(NetworkError, Refused):
    """The network cannot take images of this size: error 400 to the client."""

    code = 400


class EngineError(MDPError, RuntimeError):
    """An engine, its library or its device is not to be had on this machine."""

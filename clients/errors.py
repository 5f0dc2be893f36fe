"""The errors of clients. Refuses nothing: it only names what went wrong."""

from __future__ import annotations

from mdp import MDPError


class AnswerError(MDPError, ValueError):
    """A reply is malformed, or does not answer what was asked."""

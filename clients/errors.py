"""The errors of clients."""

from __future__ import annotations

from mdp import MDPError


class AnswerError(MDPError, ValueError):
    """A reply is malformed, or does not answer the request."""

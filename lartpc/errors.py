"""Every error that this room raises on purpose. Refuses nothing: it names what went wrong."""

from __future__ import annotations


class LArTPCError(Exception):
    """Base of the errors in this room."""


class ImageError(LArTPCError, ValueError):
    """An image, a meta or an event that cannot be."""


class SettingsError(LArTPCError, ValueError):
    """A setting is out of its range, or settings contradict each other."""

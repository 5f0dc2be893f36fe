"""Every error that lartpc raises on purpose. Refuses nothing: it only names what went wrong."""

from __future__ import annotations

from typing import ClassVar


class LArTPCError(Exception):
    """Base of the errors in `lartpc`."""

    exit_code: ClassVar[int] = 1
    """With what a command ends that it stops: 1 failed, 2 misused."""


class ImageError(LArTPCError, ValueError):
    """An image, its meta or an event is not what it must be: shape, type, NaN, RSE."""


class SettingsError(LArTPCError, ValueError):
    """A setting is out of its range, or settings contradict each other."""

    exit_code = 2


class TickOrderError(SettingsError):
    """A tick order is asked for that contradicts the files, or files have different ones."""


class FrameError(LArTPCError, ValueError):
    """A message's frames are malformed, or larger than allowed."""


class BatchError(LArTPCError, ValueError):
    """A training batch is named that these files do not have."""


class ReadError(LArTPCError, ValueError):
    """A file is not of a known format, is damaged, or contradicts itself."""


class ProductMissing(LArTPCError, LookupError):
    """A file lacks the producer that was asked for."""


class WriteError(LArTPCError, OSError):
    """A file cannot be written, or what is to be written does not fit into it."""


class FileExists(WriteError, FileExistsError):
    """The output is there already, or is one of the inputs."""


class LibraryMissing(LArTPCError, ImportError):
    """An optional library is needed and is not installed."""

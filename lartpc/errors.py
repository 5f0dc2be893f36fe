"""The errors that lartpc raises on purpose."""

from __future__ import annotations

from typing import ClassVar


class LArTPCError(Exception):
    """The base class of all errors in `lartpc`."""

    exit_code: ClassVar[int] = 1
    """The exit code of a command that this error ends: 1 failed, 2 misused."""


class ImageError(LArTPCError, ValueError):
    """An image, its meta or an event is invalid: its shape, its type, a NaN, its RSE."""


class ParameterError(LArTPCError, ValueError):
    """A setting is out of its range, or settings contradict each other."""

    exit_code = 2


class TickOrderError(ParameterError):
    """The requested tick order contradicts the files, or the files have different ones."""


class FrameError(LArTPCError, ValueError):
    """The frames of a message are malformed, or larger than allowed."""


class TooManyPixels(FrameError):
    """An image in a message has more pixels than the receiver allows."""


class BatchError(LArTPCError, ValueError):
    """A training batch's name is malformed, or these files have no batch of that name."""


class ReadError(LArTPCError, ValueError):
    """A file is of no known format, is damaged, or contradicts itself."""


class ProductMissing(LArTPCError, LookupError):
    """A file does not have the requested product."""


class WriteError(LArTPCError, OSError):
    """A file cannot be written, or its format cannot hold what is to be written."""


class FileExists(WriteError, FileExistsError):
    """The output file exists already, or it is one of the inputs."""


class LibraryMissing(LArTPCError, ImportError):
    """An optional library is needed and is not installed."""

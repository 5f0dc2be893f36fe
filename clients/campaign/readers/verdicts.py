"""What an error says about a file: whether the input, the disk, or the services failed."""

from __future__ import annotations

import os
import stat
from datetime import datetime

from lartpc import LArTPCError, LibraryMissing, WriteError
from lartpc.errors import ParameterError, TickOrderError
from mdp import MDPError, SettingsError
from services.planes import DescriptionError

from ...errors import AnswerError
from ...scoring.output.failures import EventFailed, TooManyFailed
from ..file_request import FileRequest, Kind


def kind_of(error: Exception, *, is_opening: bool = False) -> Kind:
    """Return what failed. is_opening: the input was being opened, so its contents do not fit."""
    match error:
        case TooManyFailed() | EventFailed():
            return "input" if error.is_of_input else "network"
        case AnswerError() | DescriptionError():
            return "network"
        case SettingsError():
            return "input" if is_opening else "settings"
        case MDPError():
            return "service"
        case TickOrderError():
            return "input"
        case ParameterError() | LibraryMissing():
            return "settings"
        case WriteError():
            return "write"
        case LArTPCError():
            return "input"
        case _:
            return "write"  # an OSError of a disk


def input_trouble(request: FileRequest) -> tuple[Kind, str]:
    """Return a kind and a reason if the input is not the file that was listed; else empty texts."""
    try:
        status = os.stat(request.path)
    except OSError as error:
        return "input", f"cannot read {request.path}: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "something else"
        return "input", f"want a file to read, got {what}: {request.path}"
    if (status.st_size, status.st_mtime_ns) == (request.bytes, request.mtime_ns):
        return "", ""
    listed = _version(request.bytes, request.mtime_ns)
    now = _version(status.st_size, status.st_mtime_ns)
    text = f"{request.path} was changed: it had {listed} when it was listed, and has {now}"
    return "changed", text


def _version(size: int, mtime_ns: int) -> str:
    return f"{size} bytes of {datetime.fromtimestamp(mtime_ns / 1e9):%Y-%m-%d %H:%M:%S.%f}"

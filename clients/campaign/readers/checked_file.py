"""Compares one output of a campaign with its input, for a request of the verb `check` or `read`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lartpc import LArTPCError
from mdp import MDPError

from ...check.acceptance import Check, check_output
from ...check.findings import as_json
from ...files.checksums import checksum
from ..file_content import content_of, packed
from ..file_request import FileRequest, Kind
from .verdicts import input_trouble

_MAX_REASON = 1000  # characters


def check_file(request: FileRequest) -> dict[str, Any]:
    """Return what a `FileReport` says of the output and of its input.

    The kind is `write` if the output cannot be read, `input` or `changed` if the input cannot; it
    is empty if both were compared. The driver compares the checksums with those of the catalogue.
    """
    kind, reason = input_trouble(request)
    if kind:
        return _failed(kind, reason)
    output, source = Path(request.folder) / request.name, Path(request.path)
    try:
        have, events = checksum(output), content_of(output).events
    except (LArTPCError, OSError) as error:
        return _failed("write", str(error))
    try:
        read = checksum(source)
        asked = Check(inputs=(source,), output=output, allow_failed=request.allow_failed)
        findings = as_json(check_output(asked))
    except (MDPError, LArTPCError, OSError) as error:
        return _failed("write" if str(output) in str(error) else "input", str(error))
    kind, reason = input_trouble(request)  # it may have been written to meanwhile
    if kind:
        return _failed(kind, reason)
    bad = [finding for finding in findings if finding["bad"]]
    return {
        "ok": not bad,
        "reason": line("; ".join(f"{one['name']}: {one['first']}" for one in bad)),
        "findings": findings,
        "event_names": packed(events),
        "entries": len(events),
        "out_bytes": have.bytes,
        "out_sha256": have.sha256,
        "input_bytes": read.bytes,
        "input_sha256": read.sha256,
    }


def read_input(request: FileRequest) -> dict[str, Any]:
    """Return what a `FileReport` says of an input that has no output of its own: its checksum."""
    kind, reason = input_trouble(request)
    if kind:
        return _failed(kind, reason)
    try:
        read = checksum(Path(request.path))
    except (LArTPCError, OSError) as error:
        return _failed("input", str(error))
    return {"ok": True, "input_bytes": read.bytes, "input_sha256": read.sha256}


def _failed(kind: Kind, reason: str) -> dict[str, Any]:
    return {"ok": False, "kind": kind, "reason": line(reason)}


def line(text: str) -> str:
    """Return a reason as one line, and not too long."""
    return " ".join(text.split())[:_MAX_REASON]

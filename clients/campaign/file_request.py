"""A request to score or to check one file, and the report that answers it. Pure.

The driver of a campaign sends the request to the service `ssnet-files`, and one of its workers, a
reader, sends the report. Both are one frame of JSON behind a frame that names the format. Malformed
frames are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from mdp import Refused

SERVICE = "ssnet-files"
MAX_FAILURES = 1000
"""The most failures in a report; the report of failed events beside the output names all."""

Verb = Literal["score", "check", "read"]
"""`read`: only the checksum of the input is asked for."""
Kind = Literal["", "input", "network", "write", "service", "settings", "changed"]
"""What failed. `input`: the file cannot be read or scored; `changed`: it is not the file that was
asked for, or it changed meanwhile; `network`: too many events failed, or other networks answer than
before; `write`: the disk of the output or of the scratch folder; `service`: the planes had no
workers, or the broker did not answer; `settings`: the options do not fit the file or the networks.
"""

_REQUEST = b"ssnet file request 1"
_REPORT = b"ssnet file report 1"

Frames = list[bytes]
_T = TypeVar("_T", "FileRequest", "FileReport")


@dataclass(frozen=True, kw_only=True)
class FileRequest:
    """One file of a campaign, to be scored, to be compared with its output, or only to be read."""

    verb: Verb
    number: int
    """The number of the file in the catalogue."""
    path: str
    """The input: an absolute path."""
    bytes: int
    """The size of the input when it was listed. A reader refuses a file of another size or time."""
    mtime_ns: int
    folder: str
    """The campaign's folder, as an absolute path."""
    name: str
    """The output, relative to the folder."""
    options: dict[str, Any] = field(default_factory=dict)
    """`ScoringOptions.as_dict()`."""
    scratch: str = ""
    """A folder on the reader's host, in which the output is written first; empty: none."""
    command: tuple[str, ...] = ()
    """The command line of the campaign, for the provenance of the output."""
    allow_failed: bool = True
    """Only for `check`: do not count events as wrong that the run itself listed as failed."""

    def pack(self) -> Frames:
        return _pack(_REQUEST, asdict(self))

    @classmethod
    def unpack(cls, frames: Sequence[Any]) -> FileRequest:
        """Read a request. Raises `Refused` for anything else."""
        values = _unpack(cls, _REQUEST, frames)
        values["command"] = tuple(values["command"])
        request = cls(**values)
        _check(
            request.verb in get_args(Verb)
            and request.number >= 0
            and request.path.startswith("/")
            and request.folder.startswith("/")
            and is_inside(request.name)
            and "\0" not in request.path + request.folder + request.name + request.scratch,
            values,
        )
        return request


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What a reader did with a file. A file that could not be scored gives a report, too."""

    number: int
    ok: bool
    kind: Kind = ""
    reason: str = ""
    """One line that says what failed; empty if nothing did."""
    token: str = ""
    """The name of the attempt's folder in `.campaign/work/NUMBER`; empty if it has none."""
    staged: str = ""
    """The finished output, relative to `.campaign/work`: `17/TOKEN/NAME`."""
    failed_report: str = ""
    """The report of its failed events, likewise; empty if none failed."""
    ledger: str = ""
    """Its ledger, likewise; empty if none was asked for."""
    out_bytes: int = 0
    out_sha256: str = ""
    """The checksum of the output, as `clients.files.checksums.checksum` computes it; that of the
    input likewise."""
    input_bytes: int = 0
    input_sha256: str = ""
    entries: int = 0
    """How many entries the output has."""
    events: int = 0
    """How many of them this attempt scored; the others come from parts of earlier attempts."""
    failed_events: int = 0
    """How many of the entries are empty because they failed."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """The first failures, each a `Failure` as an object; at most `MAX_FAILURES`."""
    crops: int = 0
    """How many crops this attempt sent."""
    seconds: float = 0.0
    """How long the attempt took."""
    computed_s: float = 0.0
    """How long the workers of the planes computed for it, added up."""
    began_at: float = 0.0
    """Unix time."""
    ended_at: float = 0.0
    host: str = ""
    pid: int = 0
    job: str = ""
    """The batch job of the reader; empty: none."""
    mode: str = ""
    tick_order: str = ""
    networks: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The origin of the scores by plane, each an `Origin` as an object; empty if none was asked."""
    findings: list[dict[str, Any]] = field(default_factory=list)
    """Only for `check`: the rows of `findings.as_json`."""
    event_names: str = ""
    """Only for `check`: (run, subrun, event) of each entry of the output, see `file_content`."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by stage, of `score()` and of moving the output from the scratch folder."""

    def pack(self) -> Frames:
        return _pack(_REPORT, asdict(self))

    @classmethod
    def unpack(cls, frames: Sequence[Any]) -> FileReport:
        """Read a report. Raises `Refused` for anything else."""
        values = _unpack(cls, _REPORT, frames)
        _check(all(plane.isdecimal() for plane in values["networks"]), values)
        values["networks"] = {int(plane): origin for plane, origin in values["networks"].items()}
        report = cls(**values)
        paths = [path for path in (report.staged, report.failed_report, report.ledger) if path]
        _check(
            report.kind in get_args(Kind)
            and all(is_inside(path) for path in paths)
            and all(isinstance(row, dict) for row in (*report.failures, *report.findings)),
            values,
        )
        return report


def is_inside(path: str) -> bool:
    """Whether a relative path stays inside its folder, and names a file there."""
    parts = path.split("/")
    return bool(path) and not set(parts) & {"", ".", ".."} and "\0" not in path


def _pack(form: bytes, values: Mapping[str, Any]) -> Frames:
    # ASCII only: bytes of a file's name that are not UTF-8 are lone surrogates, which stay escaped
    return [form, json.dumps(values, ensure_ascii=True).encode()]


def _unpack(of: type[_T], form: bytes, frames: Sequence[Any]) -> dict[str, Any]:
    """Return the values of a message, with the types of the fields. Raises `Refused`."""
    if len(frames) != 2 or bytes(frames[0]) != form:
        first = bytes(frames[0])[:40] if frames else b""
        raise Refused(f"want two frames, {form.decode()!r} first, got {len(frames)}: {first!r}")
    try:
        values = json.loads(bytes(frames[1]))
    except ValueError as error:
        raise Refused(f"want {form.decode()} as JSON, got {error}") from None
    types = {field.name: _TYPES[str(field.type).partition("[")[0]] for field in fields(of)}
    _check(isinstance(values, dict) and set(values) == set(types), values)
    for name, value in values.items():
        is_right = isinstance(value, types[name]) and (
            types[name] is bool or not isinstance(value, bool)
        )
        _check(is_right, {name: value})
    return dict(values)


_TYPES: dict[str, Any] = {
    "str": str,
    "Verb": str,
    "Kind": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "dict": dict,
    "list": list,
    "tuple": list,
}


def _check(is_right: bool, values: object) -> None:
    if not is_right:
        raise Refused(f"want a request or a report about a file, got {values!r:.300}")

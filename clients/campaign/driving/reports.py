"""What the catalogue, and the renaming of outputs, keep of a reader's report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdp import MDPError

from ..file_request import FileReport
from ..records.rows import File, Scored, Unscored
from .progression import Verdict
from .publish import Staged


def verdict(number: int, answer: FileReport | MDPError) -> Verdict:
    """Return what an answer says of a file; an error is one of the readers, not of the file."""
    if isinstance(answer, MDPError):
        return Verdict(number, ok=False, kind="service", reason=_line(str(answer)))
    return Verdict(number, answer.ok, answer.kind, _line(answer.reason))


def unscored(
    verdict: Verdict, answer: FileReport | MDPError, *, again: bool, now: float
) -> Unscored:
    """Return the record of an attempt that did not score its file. now: Unix time."""
    more: dict[str, Any] = {"ended_at": now}
    if isinstance(answer, FileReport):
        more = {"token": answer.token, **_attempt(answer)}
    return Unscored(
        number=verdict.number, kind=verdict.kind, reason=verdict.reason, again=again, **more
    )


def scored(report: FileReport, file: File) -> Scored:
    """Return the record of an attempt that scored its file."""
    return Scored(
        number=report.number,
        token=report.token,
        bytes=report.input_bytes,
        mtime_ns=file.mtime_ns,  # the reader has compared it
        sha256=report.input_sha256,
        out_bytes=report.out_bytes,
        out_sha256=report.out_sha256,
        entries=report.entries,
        events=report.events,
        failed_events=report.failed_events,
        crops=report.crops,
        computed_s=report.computed_s,
        tick_order=report.tick_order,
        mode=report.mode,
        failures=tuple(report.failures),
        **_attempt(report),
    )


def staged(report: FileReport, file: File) -> Staged:
    return Staged(
        number=report.number,
        token=report.token,
        output=file.output,
        out_bytes=report.out_bytes,
        out_sha256=report.out_sha256,
        has_report=bool(report.failed_report),
        has_ledger=bool(report.ledger),
    )


def staged_earlier(file: File, *, ledger: bool) -> Staged:
    """Return the same for a file that an earlier driver was publishing."""
    return Staged(
        number=file.number,
        token=file.token,
        output=file.output,
        out_bytes=file.out_bytes,
        out_sha256=file.out_sha256,
        has_report=file.failed_events > 0,
        has_ledger=ledger,
    )


def first_difference(want: Mapping[str, Any], got: Mapping[str, Any]) -> str:
    """Name the first difference of the networks of planes that both have; empty: none."""
    for plane in sorted(want.keys() & got.keys()):
        old, new = want[plane], got[plane]
        for name in [*old, *(name for name in new if name not in old)]:
            if old.get(name) != new.get(name):
                was, now_is = (f"{value!s:.12}" for value in (old.get(name), new.get(name)))
                return f"plane {plane}, {name}: {was} before, {now_is} now"
    return ""


def _attempt(report: FileReport) -> dict[str, Any]:
    """Return who made an attempt, and when."""
    return {
        "seconds": report.seconds,
        "began_at": report.began_at,
        "ended_at": report.ended_at,
        "host": report.host,
        "reader": f"{report.host}:{report.pid}",
        "job": report.job,
    }


def _line(text: str) -> str:
    return " ".join(text.split())

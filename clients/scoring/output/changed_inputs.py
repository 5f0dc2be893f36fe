"""Inputs that changed since a run read them: which parts and scores are still valid.

A damaged file may be fetched again or repaired, under its old name. A retry refuses a changed file
if its events or their charge do not fit the scores that it keeps.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from lartpc import LArTPCError, Reader
from mdp import SettingsError

from ...check.findings import Finding
from ...check.provenance_checks import ScoreSettings, common_settings
from ...check.score_checks import ScoreFindings, compare
from ...files.provenance import Record
from .state import Part, RunSettings

log = logging.getLogger(__name__)

_CHECKSUM = ("bytes", "sha256", "hashed")


def changed_inputs(was: RunSettings, now: RunSettings) -> list[int]:
    """Return the numbers of the inputs whose bytes have changed, but not their names.

    The list is empty if other names were given.
    """
    earlier, current = was.get("inputs", []), now["inputs"]
    if [file["name"] for file in earlier] != [file["name"] for file in current]:
        return []
    pairs = enumerate(zip(earlier, current, strict=True))
    return [number for number, (one, other) in pairs if _checksum(one) != _checksum(other)]


def _checksum(file: RunSettings) -> list[Any]:
    return [file[name] for name in _CHECKSUM]


def as_if_unchanged(was: RunSettings, now: RunSettings, changed: Collection[int]) -> RunSettings:
    """Return `was` with the changed inputs taken from `now`, to compare all other settings."""
    if "inputs" not in was or len(was["inputs"]) != len(now["inputs"]):
        return was
    inputs = [
        # the same bytes hold the same number of entries, which older software did not record
        current if number in changed else {**earlier, "entries": current["entries"]}
        for number, (earlier, current) in enumerate(zip(was["inputs"], now["inputs"], strict=True))
    ]
    entries = was["entries"]
    if any(_count(was, number) != _count(now, number) for number in changed):
        entries = [entries[0], now["entries"][1]]
    return {**was, "inputs": inputs, "entries": entries}


def _count(run: RunSettings, number: int) -> int | None:
    """The number of entries of an input; None if older software did not record it."""
    count: int | None = run["inputs"][number].get("entries")
    return count


def parts_of_unchanged(
    parts: Sequence[Part], was: RunSettings, now: RunSettings, changed: Collection[int]
) -> list[Part]:
    """Return the parts without entries of changed inputs.

    If an input now has another number of entries, the numbers of all later entries change, so no
    later part is returned either.
    """
    void = list(_void(was, now, changed))
    return [
        part
        for part in parts
        if all(part.stop <= start or stop <= part.start for start, stop in void)
    ]


def _void(
    was: RunSettings, now: RunSettings, changed: Collection[int]
) -> Iterator[tuple[float, float]]:
    """(start, stop) of the ranges of entries that changed."""
    start = 0
    for number, file in enumerate(now["inputs"]):
        stop = start + file["entries"]
        if number in changed:
            same_count = _count(was, number) == file["entries"]
            yield start, stop if same_count else float("inf")
        start = stop


class MendedInput:
    """A changed input of a retry, to compare with the output that an earlier run made from it.

    `check` raises `SettingsError` if the scores that are copied do not fit this input.
    """

    def __init__(self, number: int, *, reader: Reader, order: range, hint: str) -> None:
        self.path = reader.paths[number]
        self._number = number
        self._reader = reader
        self._hint = hint
        self._start = sum(reader.sizes[:number])
        stop = self._start + reader.sizes[number]
        self._entries = range(max(order.start, self._start), min(order.stop, stop))
        self._first = order.start

    def check(self, record: Record, output: Reader, failed: Collection[int]) -> None:
        """Compare with the `output` and its `record`; `failed`: the entries that failed in it."""
        want, got = record.inputs[self._number].entries, self._reader.sizes[self._number]
        if want != got:
            self._refuse(f"as many entries as before, {want}, got {got}")
        if not any(entry in failed for entry in self._entries):
            self._refuse("no change of a file without failed events, got other bytes")
        self._check_names(output)
        copied = [entry for entry in self._entries if entry not in failed]
        self._check_charge(record, output, copied)
        log.warning(
            "%s was changed since: the scores of its %d events that did not fail are copied,"
            " because their (run, subrun, event) and pixels with charge are the same; that their"
            " ADC values are the same is assumed",
            self.path,
            len(copied),
        )

    def _check_names(self, output: Reader) -> None:
        for entry in self._entries:
            want, got = output.rse(entry - self._first), self._reader.rse(entry)
            if want != got:
                self._refuse(f"event {tuple(want)} in entry {self._local(entry)}, got {tuple(got)}")

    def _check_charge(self, record: Record, output: Reader, copied: Sequence[int]) -> None:
        settings = common_settings([record], len(output), Finding("provenance", ""))
        if settings is None:
            self._refuse("an output with the settings of its run, got none")
            return
        for entry in copied:
            if wrong := self._misfit(output, entry, settings):
                self._refuse(f"the charge that was scored in entry {self._local(entry)}: {wrong}")

    def _misfit(self, output: Reader, entry: int, settings: ScoreSettings) -> str:
        """Describe how the scores of an event do not fit its charge; empty if they fit."""
        findings = ScoreFindings()
        try:
            event = self._reader[entry]
            compare(findings, output[entry - self._first], event, settings, "event")
        except LArTPCError as error:
            return str(error)
        places = (findings.images, findings.below, findings.above)
        return next((finding.first for finding in places if finding.bad), "")

    def _local(self, entry: int) -> int:
        return entry - self._start

    def _refuse(self, wanted: str) -> None:
        raise SettingsError(f"{self.path} was changed since: want {wanted}: {self._hint}")

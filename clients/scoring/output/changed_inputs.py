"""Inputs that changed since a run read them: what is safe of the others, and what a retry may keep.

A damaged file that is fetched again, or mended, is another file under its old name. Refuses one
whose good entries are not those that were scored, as far as that can be seen.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from lartpc import LArTPCError, Reader
from mdp import SettingsError

from ...check.findings import Finding
from ...check.provenance_checks import Making, making_of
from ...check.score_checks import ScoreFindings, compare
from ...files.provenance import Record
from .state import Part, RunSettings

log = logging.getLogger(__name__)

_STAMP = ("bytes", "sha256", "hashed")


def changed_inputs(was: RunSettings, now: RunSettings) -> list[int]:
    """Which inputs have other bytes under the same names; none if other names were given."""
    before, after = was.get("inputs", []), now["inputs"]
    if [each["name"] for each in before] != [each["name"] for each in after]:
        return []
    pairs = enumerate(zip(before, after, strict=True))
    return [number for number, (one, other) in pairs if _stamp(one) != _stamp(other)]


def _stamp(one: RunSettings) -> list[Any]:
    return [one[name] for name in _STAMP]


def as_if_unchanged(was: RunSettings, now: RunSettings, changed: Collection[int]) -> RunSettings:
    """`was` with the changed inputs as they are now, so that only other differences are left."""
    if "inputs" not in was or len(was["inputs"]) != len(now["inputs"]):
        return was
    inputs = [
        # the same bytes hold as many entries: older software did not say how many
        after if number in changed else {**before, "entries": after["entries"]}
        for number, (before, after) in enumerate(zip(was["inputs"], now["inputs"], strict=True))
    ]
    entries = was["entries"]
    if any(_count(was, number) != _count(now, number) for number in changed):
        entries = [entries[0], now["entries"][1]]
    return {**was, "inputs": inputs, "entries": entries}


def _count(run: RunSettings, number: int) -> int | None:
    """How many entries an input has; None: older software did not say."""
    count: int | None = run["inputs"][number].get("entries")
    return count


def parts_of_unchanged(
    parts: Sequence[Part], was: RunSettings, now: RunSettings, changed: Collection[int]
) -> list[Part]:
    """The parts of which no entry comes from a changed input.

    Where an input has another number of entries now, none after it: they are counted otherwise.
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
    """(start, stop) of entries that are not as they were."""
    start = 0
    for number, each in enumerate(now["inputs"]):
        stop = start + each["entries"]
        if number in changed:
            same_count = _count(was, number) == each["entries"]
            yield start, stop if same_count else float("inf")
        start = stop


class MendedInput:
    """One changed input of a retry, held against the output that was made of it before.

    `check` raises `SettingsError` if what is kept cannot be of this input.
    """

    def __init__(self, number: int, *, reader: Reader, order: range, way_out: str) -> None:
        self.path = reader.paths[number]
        self._number = number
        self._reader = reader
        self._way_out = way_out
        self._start = sum(reader.sizes[:number])
        stop = self._start + reader.sizes[number]
        self._entries = range(max(order.start, self._start), min(order.stop, stop))
        self._first = order.start

    def check(self, record: Record, output: Reader, asked: Collection[int]) -> None:
        """`record`: of the output; `asked`: the entries that failed."""
        want, got = record.inputs[self._number].entries, self._reader.sizes[self._number]
        if want != got:
            self._refuse(f"as many entries as before, {want}, got {got}")
        if not any(entry in asked for entry in self._entries):
            self._refuse("no change of a file of which no event failed, got another content")
        self._check_names(output)
        kept = [entry for entry in self._entries if entry not in asked]
        self._check_charge(record, output, kept)
        log.warning(
            "%s was changed since: its %d events that did not fail are kept, as their (run, subrun,"
            " event) and the places of their charge are the same; that their ADC is the same, too,"
            " is assumed",
            self.path,
            len(kept),
        )

    def _check_names(self, output: Reader) -> None:
        for entry in self._entries:
            want, got = output.rse(entry - self._first), self._reader.rse(entry)
            if want != got:
                self._refuse(f"event {tuple(want)} in entry {self._local(entry)}, got {tuple(got)}")

    def _check_charge(self, record: Record, output: Reader, kept: Sequence[int]) -> None:
        making = making_of([record], len(output), Finding("provenance", ""))
        if making is None:
            self._refuse("an output that says how it was made, got none")
            return
        for entry in kept:
            if wrong := self._misfit(output, entry, making):
                self._refuse(f"the charge that was scored in entry {self._local(entry)}: {wrong}")

    def _misfit(self, output: Reader, entry: int, making: Making) -> str:
        """What of an event's scores does not fit its charge."""
        findings = ScoreFindings()
        try:
            event = self._reader[entry]
            compare(findings, output[entry - self._first], event, making, "event")
        except LArTPCError as error:
            return str(error)
        places = (findings.images, findings.below, findings.above)
        return next((finding.first for finding in places if finding.bad), "")

    def _local(self, entry: int) -> int:
        return entry - self._start

    def _refuse(self, wanted: str) -> None:
        raise SettingsError(f"{self.path} was changed since: want {wanted}: {self._way_out}")

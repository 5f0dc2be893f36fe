"""`ssnet check`: compare an output with what `ssnet run` should have made from these inputs.

It reads everything and computes no scores: it checks entries, events, metas, the range of the
numbers, and whether pixels have scores where the input has charge. One event of each file is in
memory at a time. Every error in a file that can be opened becomes a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from lartpc import (
    RSE,
    AskedOrder,
    Event,
    LArTPCError,
    Reader,
    ReadError,
    TickOrder,
    TickOrderError,
    open_reader,
)
from lartpc.crops import chain
from lartpc.files import provenance
from lartpc.files.open import format_of
from lartpc.files.ticks import Basis, TickChoice, order_shown_by, turned_to
from mdp import SettingsError
from services.planes import answer_name

from ..files import choices
from ..files.checksums import checksum
from ..files.entries import names
from ..files.failed_report import FailedReport, events_of, report_path
from ..files.provenance import Record
from ..flow.progress import OnProgress, progress_of
from .events import EventFindings, expected_entries
from .findings import Finding
from .provenance_checks import ScoreSettings, common_settings, planes_of, read_records
from .score_checks import ScoreFindings, compare

_NO_RECORD = "there is no provenance"
_NO_SETTINGS = "the provenance does not state how the scores were made"
_NO_EVENTS = "there are no events"


@dataclass(frozen=True, kw_only=True)
class Check:
    """An output, and the inputs to compare it with."""

    inputs: tuple[Path, ...]
    output: Path
    allow_failed: bool = False
    """Do not count events as wrong that the run itself listed as failed."""
    settings: ScoreSettings | None = None
    """How the scores were made, for an output without provenance; None: the defaults of
    `ssnet run`."""


def check_output(check: Check, *, on_progress: OnProgress | None = None) -> list[Finding]:
    """Check the whole output and return all findings.

    Raises `LArTPCError` for files that cannot be opened, and `SettingsError` if `check.settings` is
    given for an output that has provenance.
    """
    about_provenance = Finding("provenance", "one network and one set of settings throughout")
    records = read_records(provenance.read(check.output), about_provenance)
    if records and check.settings:
        raise SettingsError(
            f"want no settings for {check.output}, whose provenance states how it was made"
        )
    with ExitStack() as stack:
        given = None if records else _given_settings(check)
        order = given.tick_order if given else records[0].tick_order
        trust = given.trust_tick_order if given else True  # records of two orders are a finding
        planes = given.planes if given else planes_of(records[0])
        images = [answer_name(plane) for plane in planes]
        of_output = _order_of_output(check.output, order)
        output = open_reader(check.output, tick_order=of_output, images=images, trust=trust)
        stack.enter_context(output)
        settings = given or common_settings(records, len(output), about_provenance)
        of_inputs = given.tick_order if given else _recorded(records[0])
        reader = _open_inputs(check.inputs, settings, of_inputs, trust=trust)
        inputs = stack.enter_context(reader)
        check_output = _Run(check, records, settings, inputs, output)
        return [about_provenance, *check_output.all(on_progress)]


def _given_settings(check: Check) -> ScoreSettings:
    """The settings of an output without provenance; its tick order is that of the inputs."""
    settings = check.settings
    if settings is None:
        usual = choices.scored(check.inputs)
        settings = ScoreSettings(mode=usual.mode, producer=usual.producer)
    order, trust = settings.tick_order, settings.trust_tick_order
    with _open_inputs(check.inputs, settings, order, trust=trust) as inputs:
        return replace(settings, tick_order=inputs.tick_order)


def _order_of_output(path: Path, order: AskedOrder) -> AskedOrder | TickChoice:
    """The order in which an output is read: that of LArCV2 is defined, whatever the inputs had."""
    if order == "auto" or format_of(path) != "larcv2":
        return order
    return turned_to(order)


def _recorded(record: Record) -> TickChoice:
    """The order in which a run read its inputs; it may have overruled LArCV2's definition."""
    basis: Basis = next((b for b in get_args(Basis) if b == record.tick_order_basis), "format")
    return TickChoice(record.tick_order, basis, record.tick_order_reason)


def _open_inputs(
    paths: Sequence[Path],
    settings: ScoreSettings | None,
    order: AskedOrder | TickChoice,
    *,
    trust: bool,
) -> Reader:
    if settings is None:  # only the names of the events are read, which every producer has
        return open_reader(paths, tick_order=turned_to("backward"))
    rois = chain.rois_of(settings.mode)
    return open_reader(
        paths,
        tick_order=order,
        images=(settings.producer,),
        rois=rois,
        trust=trust,
    )


def tick_finding(inputs: Reader, order: TickOrder, basis: str) -> Finding:
    """Compare the tick order that the inputs show with the one in which they were scored."""
    finding = Finding("ticks", "the tick order that the inputs show", checked=0)
    for survey in inputs.surveys:
        try:
            shown = order_shown_by(survey)
        except TickOrderError as error:
            finding.look(1, str(error))
            continue
        if shown is not None and basis != "trusted":
            text = f"want --tick-order {shown.order}, got {order}: {shown.reason}"
            finding.look(shown.order != order, text)
    if not finding.checked:
        trusted = "it was trusted (--trust-tick-order)"
        finding.skipped = trusted if basis == "trusted" else "the inputs do not show it"
    return finding


class _Run:
    """One check of all events."""

    def __init__(
        self,
        check: Check,
        records: Sequence[Record],
        settings: ScoreSettings | None,
        inputs: Reader,
        output: Reader,
    ) -> None:
        self._check = check
        self._settings = settings
        self._inputs = inputs
        self._output = output
        self._tick_order = output.tick_order
        self._basis = records[0].tick_order_basis if records else ""
        self._of_inputs = Finding("inputs", "the files that the provenance names", checked=0)
        if not records:
            self._of_inputs.skipped = _NO_RECORD
            self._entries = range(len(inputs))
        else:
            checksums = [checksum(path) for path in check.inputs]
            self._entries = expected_entries(records, inputs, checksums, self._of_inputs)
        self._readable = Finding("readable", "float32 images, no NaN, no Inf")
        self._failed = Finding("failed", "no events that failed in the run")
        self._counted = sum(record.failed_events for record in records)
        self._scores = ScoreFindings()

    def all(self, on_progress: OnProgress | None) -> list[Finding]:
        got = names(map(self._output.rse, range(len(self._output))))
        events = EventFindings(names(map(self._inputs.rse, self._entries)), got)
        failed = self._failed_events()
        progress = progress_of(on_progress)
        check = self._check
        inputs = ", ".join(str(path) for path in check.inputs)
        text = f"{len(self._output)} events of {check.output}, made from {inputs}"
        progress.begin(text, total=len(self._output))
        for entry, partner in enumerate(events.partner()):
            self._look(entry, partner, failed)
            progress(entry + 1, len(self._output))
        scores = self._scores.close()
        if self._settings is None:
            for finding in scores:
                finding.skipped = _NO_SETTINGS if len(self._output) else _NO_EVENTS
        ticks = tick_finding(self._inputs, self._tick_order, self._basis)
        return [self._of_inputs, *events.all(), ticks, self._failed, self._readable, *scores]

    def _failed_events(self) -> set[RSE]:
        """The events that the report beside the output names."""
        path = report_path(self._check.output)
        self._failed.checked = len(self._output)
        try:
            failed = FailedReport.read(path).failed if path.exists() else ()
        except SettingsError as error:
            self._failed.look(1, str(error), of=0)
            return set()
        rses = {RSE(failure.run, failure.subrun, failure.event) for failure in failed}
        if rses:
            text = f"{path}: {failed[0]}"
            allowed = self._check.allow_failed
            self._failed.look(0 if allowed else len(rses), text, of=0)
            if allowed:
                self._failed.skipped = f"{len(rses)} allowed"
        unnamed = self._counted - len(events_of(failed))
        if unnamed > 0:
            text = f"the provenance counts {self._counted} failed events, {path} lacks {unnamed}"
            self._failed.look(unnamed, text, of=0)
        return rses

    def _look(self, entry: int, partner: int, failed: set[RSE]) -> None:
        try:
            scored = self._output[entry]
        except ReadError as error:
            self._readable.look(1, str(error))
            return
        self._readable.look(0, "")
        if partner < 0 or self._settings is None or _has_failed(scored, failed):
            return
        where = f"entry {entry}, event {tuple(scored.rse)}"
        try:
            event = self._inputs[self._entries[partner]]
            compare(self._scores, scored, event, self._settings, where)
        except ReadError as error:
            self._readable.look(1, str(error), of=0)
        except LArTPCError as error:  # images that no run could have cut into crops
            self._scores.images.look(1, f"{where}: {error}")


def _has_failed(scored: Event, failed: set[RSE]) -> bool:
    return scored.rse in failed and not any(scored.images.values())

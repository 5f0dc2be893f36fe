"""`ssnet check`: is an output what `ssnet run` should have made of these inputs?

Everything is read, nothing is computed anew: entries, events, metas, numbers, and where scores
are, against the input's charge. One event of each is in memory at a time. Refuses no file that
can be opened: what is wrong with it is a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from lartpc import (
    RSE,
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
from lartpc.files.ticks import order_shown_by
from mdp import SettingsError
from services.planes import answer_name

from ..files import choices
from ..files.checksums import stamp
from ..files.entries import names
from ..files.provenance import Record
from ..flow.progress import OnProgress, progress_of
from ..scoring.output.failures import FailedReport, events_of, report_path
from .events import EventFindings, expected_entries
from .findings import Finding
from .provenance_checks import Making, making_of, planes_of, read_records
from .score_checks import ScoreFindings, compare

_NO_RECORD = "there is no provenance"
_NO_MAKING = "the provenance does not say how the scores were made"
_NO_EVENTS = "there are no events"


@dataclass(frozen=True, kw_only=True)
class Check:
    """What is held against what."""

    inputs: tuple[Path, ...]
    output: Path
    allow_failed: bool = False
    """Events that a run listed as failed are no failure."""
    making: Making | None = None
    """How an output was made that has no provenance; None: as `ssnet run` does by itself."""


def run(check: Check, *, on_progress: OnProgress | None = None) -> list[Finding]:
    """Look at all of it. Raises `LArTPCError` for files that cannot be opened at all, and
    `SettingsError` where they are said to be made otherwise than their provenance says."""
    made = Finding("provenance", "one network and one set of settings throughout")
    records = read_records(provenance.read(check.output), made)
    if records and check.making:
        raise SettingsError(f"{check.output} says itself how it was made: want no other settings")
    with ExitStack() as stack:
        asked = None if records else _asked(check)
        order = asked.tick_order if asked else records[0].tick_order
        trust = asked.trust_tick_order if asked else True  # records of two orders are a finding
        planes = asked.planes if asked else planes_of(records[0])
        images = [answer_name(plane) for plane in planes]
        output = open_reader(check.output, tick_order=order, images=images, trust=trust)
        stack.enter_context(output)
        making = asked or making_of(records, len(output), made)
        inputs = stack.enter_context(_open_inputs(check.inputs, making, trust=trust))
        return [made, *_Looking(check, records, making, inputs, output).all(on_progress)]


def _asked(check: Check) -> Making:
    """How an output without provenance was made; its tick order is the inputs'."""
    making = check.making
    if making is None:
        usual = choices.scored(check.inputs)
        making = Making(mode=usual.mode, producer=usual.producer)
    with _open_inputs(check.inputs, making, trust=making.trust_tick_order) as inputs:
        return replace(making, tick_order=inputs.tick_order)


def _open_inputs(paths: Sequence[Path], making: Making | None, *, trust: bool) -> Reader:
    if making is None:  # any producer says which events there are
        return open_reader(paths, tick_order="backward", trust=True)
    rois = (making.mode.rois,) if isinstance(making.mode, chain.Croi) else ()
    return open_reader(
        paths,
        tick_order=making.tick_order,
        images=(making.producer,),
        rois=rois,
        trust=trust,
    )


def tick_finding(inputs: Reader, order: TickOrder, basis: str) -> Finding:
    """Whether the inputs show the tick order in which they were scored."""
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


class _Looking:
    """One check's way through the events."""

    def __init__(
        self,
        check: Check,
        records: Sequence[Record],
        making: Making | None,
        inputs: Reader,
        output: Reader,
    ) -> None:
        self._check = check
        self._making = making
        self._inputs = inputs
        self._output = output
        self._tick_order = output.tick_order
        self._basis = records[0].tick_order_basis if records else ""
        self._of_inputs = Finding("inputs", "the files that the provenance names", checked=0)
        if not records:
            self._of_inputs.skipped = _NO_RECORD
            self._entries = range(len(inputs))
        else:
            given = [stamp(path) for path in check.inputs]
            self._entries = expected_entries(records, inputs, given, self._of_inputs)
        self._readable = Finding("readable", "float32 images, no NaN, no Inf")
        self._failed = Finding("failed", "no events that a run gave up")
        self._counted = sum(record.failed_events for record in records)
        self._scores = ScoreFindings()

    def all(self, on_progress: OnProgress | None) -> list[Finding]:
        got = names(map(self._output.rse, range(len(self._output))))
        events = EventFindings(names(map(self._inputs.rse, self._entries)), got)
        given_up = self._given_up()
        progress = progress_of(on_progress)
        check = self._check
        inputs = ", ".join(str(path) for path in check.inputs)
        text = f"{len(self._output)} events of {check.output}, made of {inputs}"
        progress.begin(text, total=len(self._output))
        for entry, partner in enumerate(events.partner()):
            self._look(entry, partner, given_up)
            progress(entry + 1, len(self._output))
        scores = self._scores.close()
        if self._making is None:
            for each in scores:
                each.skipped = _NO_MAKING if len(self._output) else _NO_EVENTS
        ticks = tick_finding(self._inputs, self._tick_order, self._basis)
        return [self._of_inputs, *events.all(), ticks, self._failed, self._readable, *scores]

    def _given_up(self) -> set[RSE]:
        """The events that the report beside the output names."""
        path = report_path(self._check.output)
        self._failed.checked = len(self._output)
        try:
            failed = FailedReport.read(path).failed if path.exists() else ()
        except SettingsError as error:
            self._failed.look(1, str(error), of=0)
            return set()
        rses = {RSE(each.run, each.subrun, each.event) for each in failed}
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

    def _look(self, entry: int, partner: int, given_up: set[RSE]) -> None:
        try:
            scored = self._output[entry]
        except ReadError as error:
            self._readable.look(1, str(error))
            return
        self._readable.look(0, "")
        if partner < 0 or self._making is None or _is_given_up(scored, given_up):
            return
        where = f"entry {entry}, event {tuple(scored.rse)}"
        try:
            event = self._inputs[self._entries[partner]]
            compare(self._scores, scored, event, self._making, where)
        except ReadError as error:
            self._readable.look(1, str(error), of=0)
        except LArTPCError as error:  # of the chain: images that no run could have cut
            self._scores.images.look(1, f"{where}: {error}")


def _is_given_up(scored: Event, given_up: set[RSE]) -> bool:
    return scored.rse in given_up and not any(scored.images.values())

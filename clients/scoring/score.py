"""The production client: reads LArCV files, gets the scores of each plane, and writes a file.

The requests for all planes of several events are in flight at once. The output has the input's
entries in their order, and producers `uburn_plane<p>` with images [shower, track]. It appears only
when it is complete; a client that was killed resumes after the last checkpoint. An answer that does
not fit its request is an error.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lartpc import ProductMissing, Reader, check_fits, check_target, format_to_write, open_reader
from lartpc.crops import chain
from mdp import Client, ClientSettings, MDPError, SettingsError
from services.planes import DESCRIBE, Description, Origin, answer_name, service_name

from ..files.entries import entry_range
from ..files.failed_report import Failure, events_of
from ..files.provenance import Provenance, check_repeats, mode_settings
from ..flow.in_flight import InFlightLimit
from ..flow.prefetcher import Outcome, Prefetcher, Reply
from ..flow.progress import OnProgress, Progress, progress_of
from ..flow.signals import uninterrupted
from ..flow.stopwatch import Stopwatch
from ..flow.waiting import wait_for_workers
from .canary.shadow import Shadow
from .crop_requests import Cutter, EventQuestion, failures_of
from .job import ScoringJob
from .output.failures import Tally, is_permanent
from .output.open_output import Output, open_output
from .recorder import NoRecorder, Recorder, recorded
from .scores import Info, Scores, nbytes

log = logging.getLogger(__name__)

_LANES = 256  # requests in flight; each uses a socket
_HASH = 12  # characters of a sha256


@dataclass
class ScoringReport:
    """The figures of a run."""

    events: int = 0
    empty: int = 0
    """How many of the events have no crops, so that no request was sent."""
    earlier: int = 0
    """How many further events an earlier run finished: resumed, or copied by a retry."""
    failed: tuple[Failure, ...] = ()
    """The crops of all events that could not be scored; their events are empty in the output."""
    crops: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    workers: int = 0
    computed_s: float = 0.0
    """Seconds that all workers together spent computing."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage. Reading, cutting and packing run in parallel to the other stages."""
    output: Path | None = None
    mode: str = ""
    tick_order: str = ""
    """The tick order in which the inputs were read."""
    networks: dict[int, Origin] = field(default_factory=dict)
    """The origin of the scores by plane; empty if no service was asked."""


def score(
    job: ScoringJob,
    *,
    on_progress: OnProgress | None = None,
    watch: Stopwatch | None = None,
    known: dict[int, Description] | None = None,
) -> ScoringReport:
    """Run the job. Raises `LArTPCError` for files, `MDPError` for requests and answers.

    `watch`: a stopwatch that already measured earlier stages, such as the start of workers.
    `known`: the planes' descriptions from an earlier job of this process, which are not asked for
    again; new ones are added. An answer of another network raises `AnswerError`.
    """
    watch, progress = watch or Stopwatch(), progress_of(on_progress)
    with ExitStack() as stack:
        check_target(job.output, job.format)  # before thousands of inputs are opened
        provenance = stack.enter_context(Provenance(job, "ssnet run"))
        progress.step("opening the inputs")
        with watch.stage("inputs"):
            reader = stack.enter_context(_open_reader(job))
        format = format_to_write(job.output, job.format, reader.formats)
        job = replace(job, tick_order=reader.tick_order, format=format)
        order = entry_range(job.start, job.end, len(reader))
        check_fits(job.output, reader, order)
        check_repeats(job, provenance, reader, order)
        with watch.stage("open"), uninterrupted():
            names = [answer_name(plane) for plane in job.planes]
            opened = open_output(job, reader, order, provenance, images=names)
            output = stack.enter_context(opened)
        shadow = stack.enter_context(Shadow(job))
        known = {} if known is None else known
        report = (
            _send(job, reader, output, watch, progress, stack, known, shadow)
            if output.needs_services
            else ScoringReport()
        )
        progress.step("finishing the output")
        with watch.stage("close"):
            output.close()
        shadow.finish()
    report.earlier = len(order) - report.events
    report.failed = output.failed
    report.output, report.tick_order = job.output, reader.tick_order
    report.mode = str(mode_settings(job.mode)["name"])
    watch.finish()
    report.seconds = watch.seconds
    return report


def _send(
    job: ScoringJob,
    reader: Reader,
    output: Output,
    watch: Stopwatch,
    progress: Progress,
    stack: ExitStack,
    known: dict[int, Description],
    shadow: Shadow,
) -> ScoringReport:
    """Send the requests. `stack` closes after the output, so only then the ledger says `done`."""
    settings = ClientSettings(
        heartbeats=job.heartbeats,
        timeout_s=job.timeout_s,
        tries=job.tries,
        lanes=_LANES,
        waits=job.waits,
        interactive=len(output.asked) == 1,  # a person waits for this event
    )
    with Client(job.broker, settings) as client:
        with watch.stage("workers"):
            described = describe(client, job, progress, known)
        origins = {plane: service.origin for plane, service in described.items()}
        shadow.compared_with(origins)
        output.check_networks({str(plane): asdict(origin) for plane, origin in origins.items()})
        if not output.asked:
            return ScoringReport(networks=origins)
        fitting = replace(job, mode=fitted(job.mode, described))
        asked = len(output.asked)
        done = output.entries - asked  # by earlier runs; all but the failed ones before a retry
        recorder = stack.enter_context(recorded(job, client, watch, events=asked, done=done))
        run = _Run(fitting, described, reader, output, watch, recorder, shadow)
        progress.step("waiting for scores")
        failed = len(events_of(output.failed))
        line = statement(fitting, reader, output, origins)
        progress.begin(line, done=output.written, total=output.entries, failed=failed)
        return run.send(client, progress)


_FIRST_ROW = {"backward": "largest", "forward": "smallest"}


def statement(
    job: ScoringJob, reader: Reader, output: Output, networks: Mapping[int, Origin]
) -> str:
    """Return a line that describes the run: inputs, events, mode, tick order, weights."""
    first, *more = job.inputs
    inputs = f"{first} and {len(more)} more files" if more else str(first)
    size = f" of {job.mode.size} pixels" if isinstance(job.mode, chain.Croi | chain.Tiles) else ""
    done = output.entries - len(output.asked)
    hashes = [
        f"plane {plane} {(origin.weights or origin.network)[:_HASH]}"
        for plane, origin in networks.items()
    ]
    return (
        f"{output.entries} events of {inputs} to {job.output}"
        + (f", {done} of them done by earlier runs" if done else "")
        + f"; mode {mode_settings(job.mode)['name']}{size}, tick order {reader.tick_order}"
        f" (row 0 is the {_FIRST_ROW[reader.tick_order]} tick);"
        f" weights (sha256): {', '.join(hashes)}"
    )


def _open_reader(job: ScoringJob) -> Reader:
    rois = chain.rois_of(job.mode)
    try:
        reader = open_reader(
            job.inputs,
            tick_order=job.tick_order,
            images=(job.producer,),
            rois=rois,
            trust=job.trust_tick_order,
        )
    except ProductMissing as error:
        raise ProductMissing(f"{error} ({_ALIKE})") from error
    if job.mode_taken and not rois:
        _check_no_regions(reader)
    return reader


_ALIKE = (
    "all inputs are read in the same way: -p names the producer of images, --rois that of regions;"
    " --mode tiles needs no regions"
)


def _check_no_regions(reader: Reader) -> None:
    """Raise `SettingsError` if a file has regions: alone, it would be scored in mode `croi`."""
    for survey in reader.surveys:
        if survey.rois:
            raise SettingsError(
                f"want inputs that are scored in one way, got {reader.paths[0]} without regions of"
                f" interest and {survey.path} with {', '.join(survey.rois)}: --mode tiles scores"
                " all of them as whole events; or run them separately"
            )


# The services.


Descriptions = Mapping[int, Description]


def describe(
    client: Client,
    job: ScoringJob,
    progress: Progress | None = None,
    known: dict[int, Description] | None = None,
) -> Descriptions:
    """Ask a worker of each plane for its description; add it to `known`, if it is not there.

    Raises `NotServed` for a plane without workers, and `SettingsError` if the workers do not score
    all pixels from `low_adc` on.
    """
    start = {service_name(plane): f"ssnet worker planes --planes {plane}" for plane in job.planes}
    wait_for_workers(client, start, wait_s=job.wait_s, ask=DESCRIBE, progress=progress)
    known = {} if known is None else known
    asked = [plane for plane in job.planes if plane not in known]
    replies = {plane: client.submit(service_name(plane), [DESCRIBE]) for plane in asked}
    known |= {p: Description.unpack(reply.result(), plane=p) for p, reply in replies.items()}
    described = {plane: known[plane] for plane in job.planes}
    for plane, description in described.items():
        if description.origin.threshold_adc > job.low_adc:
            raise SettingsError(
                f"want {service_name(plane)} to score pixels from {job.low_adc:g} ADC on, got"
                f" {description.origin.threshold_adc:g}: `ssnet worker planes --threshold"
                f" {job.low_adc:g}`"
            )
    return described


def fitted(mode: chain.Mode, descriptions: Descriptions) -> chain.Mode:
    """Return the mode with a divisor that fits all networks.

    Raises `SettingsError` for a size of crops that does not fit them.
    """
    divisor = math.lcm(*(description.divisor for description in descriptions.values()))
    match mode:
        case chain.Croi(size=size):
            if size % divisor:
                raise SettingsError(
                    f"want crops of a multiple of {divisor} pixels (--size), got {size}"
                )
            return mode
        case chain.Tiles() | chain.Whole():
            return replace(mode, divisor=divisor)


class _Run:
    """Sends the requests of one run and writes the answers."""

    def __init__(
        self,
        job: ScoringJob,
        described: Descriptions,
        reader: Reader,
        output: Output,
        watch: Stopwatch,
        recorder: Recorder | NoRecorder,
        shadow: Shadow,
    ) -> None:
        self._job = job
        self._reader = reader
        self._output = output
        self._watch = watch
        self._recorder = recorder
        self._shadow = shadow
        origins = {plane: service.origin for plane, service in described.items()}
        self._scores = Scores(origins)
        self._tally = Tally(max_failed=job.max_failed, strict=job.strict, copied=output.reused)
        self._report = ScoringReport(networks=origins)
        self._failed_earlier = len(events_of(output.failed))

    def send(self, client: Client, progress: Progress) -> ScoringReport:
        def ask(question: EventQuestion) -> Iterator[Future[Reply]]:
            for request in question.requests:
                with self._watch.stage("send"):
                    future = client.submit(service_name(request.plane), request.frames)
                yield future
            self._shadow.offer(question)

        recorder = self._recorder
        asked = self._questions(self._output.asked)
        window = InFlightLimit(requests=self._job.window, max_bytes=self._job.window_bytes)
        with Prefetcher(
            asked, recorder.asking(ask), window=window, watch=self._watch
        ) as prefetcher:
            for question, outcomes in prefetcher.outcomes(tolerated=is_permanent):
                infos = self._take(question, outcomes)
                recorder.append(question, outcomes, infos)
                self._show(client, progress)
        self._report.workers = len(self._scores.workers)
        self._report.computed_s = self._scores.computed_s
        return self._report

    def _show(self, client: Client, progress: Progress) -> None:
        failed = self._failed_earlier + self._tally.failed
        output = self._output
        progress(output.written, output.entries, failed)
        client.tell_progress(
            output.written,
            output.entries,
            before=output.reused,
            failed=failed,
            output=str(self._job.output),
        )

    def _questions(self, order: Sequence[int]) -> Iterator[EventQuestion]:
        job = self._job
        cutter = Cutter(
            job.mode,
            job.producer,
            job.planes,
            job.low_adc,
            job.high_adc,
            bad_input=job.bad_input,
            skip_others=job.skip_others,
        )
        return cutter.questions(self._reader, order, self._watch)

    def _take(self, question: EventQuestion, outcomes: Sequence[Outcome]) -> list[Info]:
        """Write an event; returns what the workers reported with its answers."""
        failures = failures_of(question, outcomes)
        for failure in failures:
            rse = (failure.run, failure.subrun, failure.event)
            log.info("event %s failed with %d: %s", rse, failure.code, failure)
        self._tally.count(failures)
        replies = [outcome for outcome in outcomes if not isinstance(outcome, MDPError)]
        self._count(question, replies)
        infos: list[Info] = []
        if failures:
            event = self._scores.empty_event(question)
            self._shadow.take(question, None)
        else:
            with self._watch.stage("check"):
                scores, infos = self._scores.check(question, replies)
            self._shadow.take(question, scores)
            with self._watch.stage("stitch"):
                event = self._scores.stitch(question, scores)
        with self._watch.stage("write"):
            self._output.write(event, question.entry.number, failures)
        return infos

    def _count(self, question: EventQuestion, replies: Sequence[Reply]) -> None:
        self._report.events += 1
        self._report.empty += not question.requests and not question.failure
        self._report.crops += len(question.requests)
        self._report.bytes_out += question.nbytes
        self._report.bytes_in += nbytes(replies)

"""The production client: LArCV files in, every plane's pixels scored by its own pool, files out.

All planes of several events are under way at once. The output has the input's entries in their
order, producers `uburn_plane<p>` with images [shower, track]; it appears when it is whole, and who
was killed before goes on after what is safe. Refuses answers to anything that was not asked.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lartpc import (
    Event,
    ProductMissing,
    Reader,
    chain,
    check_fits,
    check_target,
    open_reader,
)
from mdp import Client, ClientSettings, MDPError, SettingsError
from services.planes import DESCRIBE, Description, Origin, answer_name, service_name

from .asker import Asker, Outcome, Reply
from .crops import Cutter, EventQuestion, failures_of
from .entries import entry_range
from .ledger.recorder import NoRecorder, Recorder, recorded
from .output.failures import Failure, Tally, events_of, is_for_good
from .output.production import Output, open_output
from .progress import OnProgress, Progress, progress_of
from .provenance import Provenance, check_repeats, mode_settings
from .scores import Scores, nbytes
from .signals import uninterrupted
from .ssnet_job import Job
from .stopwatch import Stopwatch
from .waiting import wait_for_workers
from .window import Window

log = logging.getLogger(__name__)

_LANES = 256  # requests under way; each is a socket
_HASH = 12  # characters of a sha256


@dataclass
class Report:
    """What was done, in numbers."""

    events: int = 0
    empty: int = 0
    """Of these, those without crops: nobody was asked."""
    before: int = 0
    """Events besides these, that an earlier run has made safe, or that were kept by a retry."""
    failed: tuple[Failure, ...] = ()
    """Crops that nobody could score, of all events; those are empty in the output."""
    crops: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    workers: int = 0
    computed_s: float = 0.0
    """What the workers took, all together."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage. Reading, cutting and packing go on while the other stages do."""
    output: Path | None = None
    mode: str = ""
    tick_order: str = ""
    """In which the inputs were read."""
    networks: dict[int, Origin] = field(default_factory=dict)
    """By plane, where services were asked."""


def run(
    job: Job, *, on_progress: OnProgress | None = None, watch: Stopwatch | None = None
) -> Report:
    """Do it. Raises `LArTPCError` for files, `MDPError` for requests and answers.

    `watch`: one that has measured what went before, the start of workers, say.
    """
    watch, progress = watch or Stopwatch(), progress_of(on_progress)
    with ExitStack() as stack:
        check_target(job.output)  # before thousands of inputs are opened
        made = stack.enter_context(Provenance(job, "ssnet run"))
        progress.step("opening the inputs")
        with watch.stage("inputs"):
            reader = stack.enter_context(_open_reader(job))
        job = replace(job, tick_order=reader.tick_order)
        order = entry_range(job.start, job.end, len(reader))
        check_fits(job.output, reader, order)
        check_repeats(job, made, reader, order)
        with watch.stage("open"), uninterrupted():
            names = [answer_name(plane) for plane in job.planes]
            output = stack.enter_context(open_output(job, reader, order, made, images=names))
        report = (
            _send(job, reader, output, watch, progress, stack)
            if output.needs_services
            else Report()
        )
        progress.step("finishing the output")
        with watch.stage("close"):
            output.close()
    report.before = len(order) - report.events
    report.failed = output.failed
    report.output, report.tick_order = job.output, reader.tick_order
    report.mode = str(mode_settings(job.mode)["name"])
    watch.finish()
    report.seconds = watch.seconds
    return report


def _send(
    job: Job,
    reader: Reader,
    output: Output,
    watch: Stopwatch,
    progress: Progress,
    stack: ExitStack,
) -> Report:
    """`stack` ends with the run: a ledger says `done` once the output has its name."""
    settings = ClientSettings(
        pulse=job.pulse, timeout_s=job.timeout_s, tries=job.tries, lanes=_LANES
    )
    with Client(job.broker, settings) as client:
        with watch.stage("workers"):
            described = describe(client, job, progress)
        origins = {plane: said.origin for plane, said in described.items()}
        output.made_by({str(plane): asdict(origin) for plane, origin in origins.items()})
        if not output.asked:
            return Report(networks=origins)
        fitting = replace(job, mode=fitted(job.mode, described))
        asked = len(output.asked)
        done = output.entries - asked  # by earlier runs; all but the failed ones before a retry
        recorder = stack.enter_context(recorded(job, client, watch, events=asked, done=done))
        making = _Run(fitting, described, reader, output, watch, recorder)
        progress.step("waiting for scores")
        failed = len(events_of(output.failed))
        line = statement(fitting, reader, output, origins)
        progress.begin(line, done=output.done, total=output.entries, failed=failed)
        return making.send(client, progress)


_FIRST_ROW = {"backward": "largest", "forward": "smallest"}


def statement(job: Job, reader: Reader, output: Output, networks: Mapping[int, Origin]) -> str:
    """What a run is, in a line: inputs, events, mode, tick order, weights."""
    first, *more = job.inputs
    of = f"{first} and {len(more)} more files" if more else str(first)
    size = f" of {job.mode.size} pixels" if isinstance(job.mode, chain.Croi | chain.Tiles) else ""
    before = output.entries - len(output.asked)
    hashes = [
        f"plane {plane} {(origin.weights or origin.network)[:_HASH]}"
        for plane, origin in networks.items()
    ]
    return (
        f"{output.entries} events of {of} to {job.output}"
        + (f", {before} of them done before" if before else "")
        + f"; mode {mode_settings(job.mode)['name']}{size}, tick order {reader.tick_order}"
        f" (row 0 is the {_FIRST_ROW[reader.tick_order]} tick);"
        f" weights (sha256): {', '.join(hashes)}"
    )


def _open_reader(job: Job) -> Reader:
    rois = (job.mode.rois,) if isinstance(job.mode, chain.Croi) else ()
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
    "all inputs are read alike: -p names the producer of images, --roi that of regions;"
    " --mode tiles needs no regions"
)


def _check_no_regions(reader: Reader) -> None:
    """Raise `SettingsError` if one of the files would have been scored around its regions."""
    for survey in reader.surveys:
        if survey.rois:
            raise SettingsError(
                f"want inputs that are scored in one way, got {reader.paths[0]} without regions of"
                f" interest and {survey.path} with {', '.join(survey.rois)}: --mode tiles scores"
                " all of them as whole events, or run them apart"
            )


# What the services are.


Descriptions = Mapping[int, Description]


def describe(client: Client, job: Job, progress: Progress | None = None) -> Descriptions:
    """What a worker of each plane says of itself; raises `NotServed` for a plane without any."""
    start = {service_name(plane): f"ssnet worker --plane {plane}" for plane in job.planes}
    wait_for_workers(client, start, wait_s=job.wait_s, progress=progress)
    asked = {plane: client.submit(service_name(plane), [DESCRIBE]) for plane in job.planes}
    described = {p: Description.unpack(each.result(), plane=p) for p, each in asked.items()}
    for plane, said in described.items():
        if said.origin.threshold_adc > job.low_adc:
            raise SettingsError(
                f"want {service_name(plane)} to score pixels from {job.low_adc:g} ADC on, got"
                f" {said.origin.threshold_adc:g}: `ssnet worker --threshold {job.low_adc:g}`"
            )
    return described


def fitted(mode: chain.Mode, descriptions: Descriptions) -> chain.Mode:
    """The mode with a divisor that suits all networks; raises `SettingsError` for other sizes."""
    divisor = math.lcm(*(said.divisor for said in descriptions.values()))
    if isinstance(mode, chain.Croi):
        if mode.size % divisor:
            raise SettingsError(
                f"want crops of a multiple of {divisor} pixels (--size), got {mode.size}"
            )
        return mode
    return replace(mode, divisor=divisor)


class _Run:
    """One run's way from the reader to the writer."""

    def __init__(
        self,
        job: Job,
        described: Descriptions,
        reader: Reader,
        output: Output,
        watch: Stopwatch,
        recorder: Recorder | NoRecorder,
    ) -> None:
        self._job = job
        self._reader = reader
        self._output = output
        self._watch = watch
        self._recorder = recorder
        self._scores = Scores({plane: said.origin for plane, said in described.items()})
        self._tally = Tally(max_failed=job.max_failed, strict=job.strict, kept=output.kept)
        self._report = Report(networks={plane: said.origin for plane, said in described.items()})
        self._failed_before = len(events_of(output.failed))

    def send(self, client: Client, progress: Progress) -> Report:
        def ask(question: EventQuestion) -> Iterator[Future[Reply]]:
            for request in question.requests:
                with self._watch.stage("send"):
                    future = client.submit(service_name(request.plane), request.frames)
                yield future

        recorder = self._recorder
        asked = self._questions(self._output.asked)
        window = Window(requests=self._job.window, max_bytes=self._job.window_bytes)
        with Asker(asked, recorder.asking(ask), window=window, watch=self._watch) as asker:
            for question, outcomes in asker.outcomes(tolerated=is_for_good):
                self._take(question, outcomes)
                recorder.append(question, outcomes, self._scores.take_infos())
                self._show(progress)
        self._report.workers = len(self._scores.workers)
        self._report.computed_s = self._scores.computed_s
        return self._report

    def _show(self, progress: Progress) -> None:
        failed = self._failed_before + self._tally.failed
        progress(self._output.done, self._output.entries, failed)

    def _questions(self, order: Sequence[int]) -> Iterator[EventQuestion]:
        job = self._job
        cutter = Cutter(
            job.mode, job.producer, job.planes, job.low_adc, job.high_adc, bad_input=job.bad_input
        )
        return cutter.questions(self._reader, order, self._watch)

    def _take(self, question: EventQuestion, outcomes: Sequence[Outcome]) -> None:
        failures = failures_of(question, outcomes)
        self._tally.count(failures)
        replies = [each for each in outcomes if not isinstance(each, MDPError)]
        self._count(question, replies)
        event = self._scores.nothing(question) if failures else self._event(question, replies)
        with self._watch.stage("write"):
            self._output.write(event, question.entry.number, failures)

    def _count(self, question: EventQuestion, replies: Sequence[Reply]) -> None:
        self._report.events += 1
        self._report.empty += not question.requests and not question.failure
        self._report.crops += len(question.requests)
        self._report.bytes_out += question.nbytes
        self._report.bytes_in += nbytes(replies)

    def _event(self, question: EventQuestion, replies: Sequence[Reply]) -> Event:
        with self._watch.stage("check"):
            scores = self._scores.check(question, replies)
        with self._watch.stage("stitch"):
            return self._scores.stitch(question, scores)

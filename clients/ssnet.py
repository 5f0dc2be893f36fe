"""The production client: LArCV files in, every plane's pixels scored by its own pool, files out.

All planes of several events are under way at once. The output has the input's entries in their
order, producers `uburn_plane<p>` with images [shower, track]; it appears when it is whole, or not
at all. Refuses answers to anything that was not asked.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from lartpc import Reader, Writer, chain, open_reader, open_writer
from mdp import Client, ClientSettings, NotServed, RequestTimeout, SettingsError
from services.planes import DESCRIBE, Description, answer_name, service_name

from .asker import Asker, Reply
from .crops import Cutter, EventQuestion
from .entries import entry_range
from .job import FileJob
from .provenance import Recorder, mode_settings
from .scores import Scores, nbytes
from .signals import close_output, uninterrupted
from .simple import OnProgress
from .stopwatch import Stopwatch
from .window import Window

log = logging.getLogger(__name__)

PLANES = (0, 1, 2)
_LANES = 256  # requests under way; each is a socket
_LOOK_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Job(FileJob):
    """What is scored, by whom, and where the scores go. A question is an event."""

    mode: chain.Mode = field(default_factory=chain.Croi)
    producer: str = "wire"
    """Of the images: one of each plane."""
    low_adc: float = chain.LOW_ADC
    """Below, a pixel is no charge: 0 for the network, and scored 0."""
    high_adc: float = chain.HIGH_ADC
    """Above, a pixel is cut off to this."""
    timeout_s: float = 3600.0
    """For one try of one crop, the wait in the broker's queue included."""
    wait_s: float = 10.0
    """How long to wait for the first worker of a plane."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low_adc < self.high_adc < math.inf:
            got = f"{self.low_adc} and {self.high_adc}"
            raise SettingsError(f"want 0 <= threshold < ceiling, in ADC, got {got}")
        if not 0 <= self.wait_s < math.inf:
            raise SettingsError(f"want a wait from 0 s on, got {self.wait_s}")


@dataclass
class Report:
    """What was done, in numbers."""

    events: int = 0
    empty: int = 0
    """Of these, those without crops: nobody was asked."""
    crops: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    workers: int = 0
    computed_s: float = 0.0
    """What the workers took, all together."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage. Reading, cutting and packing go on while the other stages do."""


def run(job: Job, *, on_progress: OnProgress | None = None) -> Report:
    """Do it. Raises `LArTPCError` for files, `MDPError` for requests and answers."""
    watch = Stopwatch()
    with watch.stage("all"), ExitStack() as stack:
        recorder = stack.enter_context(Recorder(job, "ssnet run"))
        reader = stack.enter_context(_open_reader(job))
        order = entry_range(job.start, job.end, len(reader))
        settings = ClientSettings(timeout_s=job.timeout_s, tries=job.tries, lanes=_LANES)
        client = stack.enter_context(Client(job.broker, settings))
        described = describe(client, job)
        job = replace(job, mode=fitted(job.mode, described))
        with watch.stage("open"), uninterrupted():
            writer = stack.enter_context(_open_writer(job, reader))
        report = _Run(job, described, reader, writer, watch).send(client, order, on_progress)
        with watch.stage("close"):
            record = recorder.record(
                reader,
                order,
                events=report.events,
                settings=_settings(job),
                services={service_name(p): [said.origin] for p, said in described.items()},
            )
            writer.provenance = (record,)
            close_output(writer)
    report.seconds = watch.seconds
    return report


def _open_reader(job: Job) -> Reader:
    rois = (job.mode.rois,) if isinstance(job.mode, chain.Croi) else ()
    return open_reader(job.inputs, tick_order=job.tick_order, images=(job.producer,), rois=rois)


def _open_writer(job: Job, reader: Reader) -> Writer:
    return open_writer(
        job.output,
        force=job.force,
        copy_input=reader if job.copy_input else None,
        inputs=job.inputs,
        images=[answer_name(plane) for plane in PLANES],
    )


def _settings(job: Job) -> dict[str, Any]:
    """What decides the scores besides the networks."""
    return {
        "mode": mode_settings(job.mode),
        "producer": job.producer,
        "threshold_adc": job.low_adc,
        "ceiling_adc": job.high_adc,
    }


# What the services are.


Descriptions = Mapping[int, Description]


def describe(client: Client, job: Job) -> Descriptions:
    """What a worker of each plane says of itself; raises `NotServed` for a plane without any."""
    _wait_for_workers(client, job)
    asked = {plane: client.submit(service_name(plane), [DESCRIBE]) for plane in PLANES}
    described = {p: Description.unpack(each.result(), plane=p) for p, each in asked.items()}
    for plane, said in described.items():
        if said.origin.threshold_adc > job.low_adc:
            raise SettingsError(
                f"want {service_name(plane)} to score pixels from {job.low_adc:g} ADC on, got"
                f" {said.origin.threshold_adc:g}: `ssnet worker --threshold {job.low_adc:g}`"
            )
    return described


def _wait_for_workers(client: Client, job: Job) -> None:
    give_up_at = time.monotonic() + job.wait_s
    while True:
        left_s = give_up_at - time.monotonic()
        missing = _missing(client, job, max(left_s, 1.0))
        if not missing:
            return
        if left_s <= 0:
            plane = missing[0]
            names = ", ".join(service_name(plane) for plane in missing)
            raise NotServed(
                f"want workers of {names} at {job.broker}, got none in {job.wait_s:g} s:"
                f" `ssnet worker --plane {plane} --broker {job.broker}` starts one"
            )
        time.sleep(_LOOK_S)


def _missing(client: Client, job: Job, timeout_s: float) -> list[int]:
    try:
        served = client.services(timeout_s=timeout_s)
    except RequestTimeout:
        raise RequestTimeout(
            f"no broker answers at {job.broker}: `mdp broker` starts one"
        ) from None
    return [p for p in PLANES if not served.get(service_name(p), {}).get("workers")]


def fitted(mode: chain.Mode, descriptions: Descriptions) -> chain.Mode:
    """The mode with a divisor that suits all networks; raises `SettingsError` for other sizes."""
    divisor = math.lcm(*(said.divisor for said in descriptions.values()))
    if isinstance(mode, chain.Croi):
        if mode.size % divisor:
            raise SettingsError(
                f"want crops of a multiple of {divisor}, as the networks do, got {mode.size}"
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
        writer: Writer,
        watch: Stopwatch,
    ) -> None:
        self._job = job
        self._reader = reader
        self._writer = writer
        self._watch = watch
        self._scores = Scores({plane: said.origin for plane, said in described.items()})
        self._report = Report()

    def send(self, client: Client, order: Sequence[int], on_progress: OnProgress | None) -> Report:
        def ask(question: EventQuestion) -> list[Future[Reply]]:
            return [
                client.submit(service_name(request.plane), request.frames)
                for request in question.requests
            ]

        asked = self._questions(order)
        window = Window(requests=self._job.window, max_bytes=self._job.window_bytes)
        with Asker(asked, ask, window=window, watch=self._watch) as asker:
            for question, replies in asker:
                self._count(question, replies)
                self._write(question, replies)
                if on_progress:
                    on_progress(self._report.events, len(order))
        self._report.workers = len(self._scores.workers)
        self._report.computed_s = self._scores.computed_s
        return self._report

    def _questions(self, order: Sequence[int]) -> Iterator[EventQuestion]:
        job = self._job
        cutter = Cutter(job.mode, job.producer, PLANES, job.low_adc, job.high_adc)
        return cutter.questions(self._reader, order, self._watch)

    def _count(self, question: EventQuestion, replies: Sequence[Reply]) -> None:
        self._report.events += 1
        self._report.empty += not question.requests
        self._report.crops += len(question.requests)
        self._report.bytes_out += question.nbytes
        self._report.bytes_in += nbytes(replies)

    def _write(self, question: EventQuestion, replies: Sequence[Reply]) -> None:
        with self._watch.stage("check"):
            scores = self._scores.check(question, replies)
        with self._watch.stage("stitch"):
            event = self._scores.stitch(question, scores)
        with self._watch.stage("write"), uninterrupted():
            entry = question.entry.number if self._job.copy_input else None
            self._writer.write(event, entry=entry)

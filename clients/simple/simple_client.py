"""The simple client: sends images of LArCV files to any service, and writes the answers to a file.

The output has the input's events in the order sent, each under its (run, subrun, event), with
the answers under their names and with the exact metas of the images that they answer.
An answer that does not fit its request is an error. The file appears only when it is complete.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lartpc import (
    Reader,
    Writer,
    check_fits,
    check_target,
    format_to_write,
    open_reader,
    open_writer,
    producers,
)
from lartpc.files.names import as_producer
from mdp import Client, ClientSettings, RequestTimeout, ServiceError, SettingsError
from services.planes import Origin

from ..files.entries import entry_range
from ..files.file_job import FileJob
from ..files.provenance import Provenance, check_repeats
from ..flow.in_flight import InFlightLimit
from ..flow.prefetcher import Prefetcher, Reply
from ..flow.progress import OnProgress, Progress, progress_of
from ..flow.signals import close_output, uninterrupted
from ..flow.stopwatch import Stopwatch
from .answers import Answered, Answers
from .questions import SimpleQuestion, questions

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SimpleJob(FileJob):
    """A job of the simple client: inputs, service, output and limits. A question is a request.

    Raises `SettingsError` for values out of range.
    """

    service: str
    producers: tuple[str, ...] | None = None
    """The producers of the images to send; None: all of the first file."""
    answers: tuple[str, ...] = ()
    """The names that every reply must have; empty: those of the first reply."""
    batch: int = 1
    """The most events in a request."""
    seed: int | None = None
    """Send the events in a random order with this seed; None: in the files' order."""
    interactive: bool = False
    """True if a person waits: the broker hands these requests out before those of production."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 1:
            raise SettingsError(f"want batch of at least 1, got {self.batch}")
        if self.seed is not None and self.seed < 0:
            raise SettingsError(f"want a seed of at least 0, got {self.seed}")


@dataclass
class SimpleReport:
    """The figures of a run."""

    events: int = 0
    empty: int = 0
    """How many of these events have no images, so that they were not sent."""
    requests: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage. Reading and packing run in parallel to the other stages."""
    output: Path | None = None
    tick_order: str = ""
    """The tick order in which the inputs were read."""


def process_files(plan: SimpleJob, *, on_progress: OnProgress | None = None) -> SimpleReport:
    """Run the job. Raises `LArTPCError` for files, `MDPError` for requests and answers."""
    watch, progress = Stopwatch(), progress_of(on_progress)
    with ExitStack() as stack:
        check_target(plan.output, plan.format)  # before thousands of inputs are opened
        provenance = stack.enter_context(Provenance(plan, "ssnet simple"))
        client = stack.enter_context(_client(plan))
        progress.step("opening the inputs")
        with watch.stage("inputs"):
            reader = stack.enter_context(_open_reader(plan))
            order = _order(plan, len(reader))
            check_fits(plan.output, reader, order)
            check_repeats(plan, provenance, reader, order)
        progress.step(f"waiting for the broker at {plan.broker}")
        with watch.stage("workers"):
            _look_for_workers(client, plan)
        with watch.stage("open"), uninterrupted():
            writer = stack.enter_context(_open_writer(plan, reader, empty=not len(order)))
        run = _Run(plan, reader, writer, watch)
        progress.step(f"waiting for answers of {plan.service}")
        progress.begin(_statement(plan, reader, len(order)), total=len(order))
        report = run.send(client, order, progress)
        with watch.stage("close"):
            record = provenance.record(
                reader,
                order,
                events=report.events,
                settings={"producers": reader.images, "batch": plan.batch, "seed": plan.seed},
                services={plan.service: run.origins},
            )
            writer.provenance = (record,)
            close_output(writer)
    watch.finish()
    report.seconds = watch.seconds
    report.output, report.tick_order = plan.output, reader.tick_order
    return report


def _statement(plan: SimpleJob, reader: Reader, events: int) -> str:
    """Return a line that describes the run."""
    first, *more = plan.inputs
    inputs = f"{first} and {len(more)} more files" if more else str(first)
    what = f"images of {', '.join(reader.images)}, tick order {reader.tick_order}"
    return f"{events} events of {inputs} to {plan.service}, answers to {plan.output}; {what}"


def _open_reader(plan: SimpleJob) -> Reader:
    return open_reader(
        plan.inputs,
        tick_order=plan.tick_order,
        images=plan.producers,
        trust=plan.trust_tick_order,
    )


def _client(plan: SimpleJob) -> Client:
    settings = ClientSettings(
        timeout_s=plan.timeout_s,
        tries=plan.tries,
        lanes=plan.window,
        interactive=plan.interactive,
        waits=True,
    )
    return Client(plan.broker, settings)


def _order(plan: SimpleJob, entries: int) -> Sequence[int]:
    """The entry numbers to send, in order."""
    numbers = entry_range(plan.start, plan.end, entries)
    if plan.seed is None:
        return numbers
    shuffled: Sequence[int] = np.random.default_rng(plan.seed).permutation(numbers).tolist()
    return shuffled


def _open_writer(plan: SimpleJob, reader: Reader, *, empty: bool) -> Writer:
    # without events no reply sets the names, so the output gets the input's
    names = plan.answers or (tuple(map(as_producer, reader.images)) if empty else ())
    return open_writer(
        plan.output,
        format=format_to_write(plan.output, plan.format, reader.formats),
        force=plan.force,
        copy_input=reader if plan.copy_input else None,
        inputs=plan.inputs,
        images=names,
    )


def _look_for_workers(client: Client, plan: SimpleJob) -> None:
    """Warn at once if the broker or the workers are missing; the job waits for them anyway."""
    try:
        code = client.request("mmi.service", [plan.service.encode()], timeout_s=3, tries=1)[0]
    except RequestTimeout:
        log.warning("no broker answers at %s yet: %s", client.broker_shown, client.why_silent())
        return
    except ServiceError:  # a broker of another kind, which has no mmi
        return
    if code == b"404":
        log.warning("no worker serves %s yet at %s", plan.service, client.broker_shown)


class _Run:
    """Sends the requests of one run and writes the answers."""

    def __init__(self, plan: SimpleJob, reader: Reader, writer: Writer, watch: Stopwatch) -> None:
        self._plan = plan
        self._reader = reader
        self._writer = writer
        self._watch = watch
        self._answers = Answers(plan.answers)
        self._report = SimpleReport()
        self._copied = set(producers(reader.paths[0])) if plan.copy_input else set()

    def send(self, client: Client, order: Sequence[int], progress: Progress) -> SimpleReport:
        def ask(question: SimpleQuestion) -> list[Future[Reply]]:
            if not question.frames:
                return []
            return [client.submit(self._plan.service, question.frames)]

        asked = questions(self._reader, order, batch=self._plan.batch, watch=self._watch)
        window = InFlightLimit(requests=self._plan.window, max_bytes=self._plan.window_bytes)
        with Prefetcher(asked, ask, window=window, watch=self._watch) as prefetcher:
            for question, replies in prefetcher:
                reply = replies[0] if replies else None
                self._count(question, reply)
                self._write(self._answers.take(question, reply))
                progress(self._report.events, len(order))
        self._finish()
        return self._report

    @property
    def origins(self) -> list[Origin]:
        """The networks that the answers name."""
        return self._answers.origins

    def _count(self, question: SimpleQuestion, reply: Reply | None) -> None:
        self._report.events += len(question.entries)
        if reply is None:
            self._report.empty += len(question.entries)
            return
        self._report.requests += 1
        self._report.bytes_out += question.nbytes
        self._report.bytes_in += sum(len(frame) for frame in reply)

    def _write(self, answered: Iterator[Answered]) -> None:
        while True:
            with self._watch.stage("check"):
                one = next(answered, None)
            if one is None:
                return
            self._warn_of_replaced(one)
            with self._watch.stage("write"), uninterrupted():
                entry = one.entry.number if self._plan.copy_input else None
                self._writer.write(one.event, entry=entry)

    def _warn_of_replaced(self, one: Answered) -> None:
        """Warn at the first event: all others have the same names."""
        replaced = sorted(self._copied & set(one.event.images))
        if replaced:
            log.warning(
                "answers named %s replace the input's images of these names", ", ".join(replaced)
            )
        self._copied = set()

    def _finish(self) -> None:
        if self._report.events and not self._answers.names:
            names = self._reader.images
            log.warning("no event has images of %s: nothing was sent", ", ".join(names))
        self._write(self._answers.finish(names=[*map(as_producer, self._reader.images)]))

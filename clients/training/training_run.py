"""Train a network from the batches of a `batch-train` feed: the work of `ssnet train`.

A training that is started again with the same settings resumes from its checkpoint, and its weights
are equal, to the bit, to those of a training that never stopped. Checkpoints of other trainings,
and training files among the files to validate, are refused. The networks are written at the end,
each file atomically.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lartpc import AskedOrder
from lartpc.image import Pixels
from lartpc.training.sparse import Labels
from lartpc.training.training_crops import class_weights
from mdp import Client, MDPError, SettingsError
from mdp.settings import DEFAULT_ENDPOINT
from services.caffe.caffe_net import Network
from services.caffe.caffe_weights import Weights
from services.memory import keep_memory
from services.training_files import TrainingSettings

from ..flow.progress import OnProgress, Progress, progress_of
from ..flow.signals import uninterrupted
from . import checkpoint
from .batch_feed import Batches, Feed, Files, client_settings, describe
from .checkpoint import Checkpoint
from .torch_batches import check_device, tensors
from .trained_files import TrainedFiles, begin
from .trainer import Trainer, Training, TrainingFailed, check_network, weigh
from .training_report import Reports, Say, TrainingSummary
from .validation import Validation, ValidationResult


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """The settings of a training: its input, its course, its output. Raises `SettingsError`."""

    folder: Path
    """The folder for the networks, the checkpoint and the curve."""
    feed: Feed
    """The batches; the training sets the feed's `start` and `epochs`."""
    training: Training
    broker: str = DEFAULT_ENDPOINT
    epochs: int | None = None
    """The number of epochs, which replaces the training's number of steps."""
    prototxt: Path | None = None
    """The network's architecture; None: the shipped one."""
    weights: Path | None = None
    """A .caffemodel with the initial weights; None: random weights."""
    validate: tuple[Path, ...] = ()
    tick_order: AskedOrder = "auto"
    """The tick order of the files to validate."""
    trust_tick_order: bool = False
    """Use `tick_order` even if these files contradict it."""
    validate_every: int = 500
    """Steps between validations; the end is always validated, with all events."""
    validate_events: int = 50
    """Events of each validation before the end."""
    report_every: int = 50
    """Steps between reports."""
    checkpoint_s: float = 300.0
    """Seconds between checkpoints; 0: a checkpoint after each step."""
    threads: int = 1
    device: str = "cpu"
    force: bool = False
    """Replace existing networks."""
    fresh: bool = False
    """Discard the checkpoint of an earlier training, and start over."""

    def __post_init__(self) -> None:
        for name in ("validate_every", "validate_events", "report_every", "threads"):
            if getattr(self, name) < 1:
                raise SettingsError(f"want {name} of at least 1, got {getattr(self, name)}")
        if self.epochs is not None and self.epochs < 1:
            raise SettingsError(f"want at least one epoch, got {self.epochs}")
        if not self.checkpoint_s >= 0:
            raise SettingsError(f"want checkpoints every 0 s or more, got {self.checkpoint_s}")


def statement(job: TrainingJob, *, files: Sequence[Path] = ()) -> str:
    """Describe the training in one line; files: on this machine, or empty if a broker is used."""
    first, *more = [*map(str, files), ""]
    source = f"{first} and {len(more) - 1} more files" if len(more) > 1 else first
    network = job.prototxt or "the shipped network"
    length = f"{job.epochs} epochs" if job.epochs else f"{job.training.steps} steps"
    planes = ", ".join(map(str, job.feed.planes))
    return (
        f"trains {network} for planes {planes}: {length} of {job.feed.batch_size} events, crops of"
        f" {job.feed.rows} x {job.feed.cols}, from {source or f'the workers at {job.broker}'};"
        f" on {job.device}, to {job.folder}"
    )


def train(job: TrainingJob, say: Say, *, on_progress: OnProgress | None = None) -> TrainingSummary:
    """Train; a training that is stopped writes a checkpoint. Raises `MDPError`, `LArTPCError`."""
    progress = progress_of(on_progress)
    network, weights = checked(job)
    keep_memory()
    torch.set_num_threads(job.threads)
    with Client(job.broker, client_settings(job.feed)) as client:
        files = describe(client, wait_s=job.feed.wait_s, progress=progress)
    training = job.training
    if job.epochs:
        steps = job.epochs * job.feed.recipe().batches_of(files.events)
        training = replace(training, steps=steps)
    trainer = Trainer(network, weights, training, fresh=job.weights is None, device=job.device)
    progress.step("training")
    with ExitStack() as stack:
        validation = _validation(job, network, files) if job.validate else None
        if validation:
            stack.callback(validation.close)
        return _Run(job, network, trainer, files, validation, say, progress).go()


def checked(job: TrainingJob) -> tuple[Network, Weights]:
    """Return the network and its initial weights; raise all errors that need no batch."""
    check_device(job.device, what="training")
    network, weights = begin(job.prototxt, job.weights, seed=job.feed.seed)
    check_network(network)
    network.shapes(1, job.feed.rows, job.feed.cols)  # raises with the sizes that it can take
    places = TrainedFiles(job.folder, job.prototxt, job.feed.planes)
    places.check_apart(job.weights)
    if not job.force and (job.fresh or not places.checkpoint.exists()):
        places.check_free()
    return network, weights


def _validation(job: TrainingJob, network: Network, files: Files) -> Validation:
    settings = TrainingSettings(
        job.validate,
        image=files.image,
        label=files.label,
        tick_order=job.tick_order,
        trust_tick_order=job.trust_tick_order,
    )
    planes, divisor = job.feed.planes, network.size_divisor
    return Validation(settings, planes=planes, training=files.parts, divisor=divisor)


class _Run:
    """One run, from the checkpoint, if there is one, to the networks."""

    def __init__(
        self,
        job: TrainingJob,
        network: Network,
        trainer: Trainer,
        files: Files,
        validation: Validation | None,
        say: Say,
        progress: Progress,
    ) -> None:
        self._job = job
        self._network = network
        self._trainer = trainer
        self._files = files
        self._validation = validation
        self._steps = trainer.training.steps
        self._epoch = job.feed.recipe().batches_of(files.events)
        self._places = places = TrainedFiles(job.folder, job.prototxt, job.feed.planes)
        self._reports = Reports(places, say, steps=self._steps, epoch=self._epoch)
        self._progress = progress
        self._saved_step = 0
        self._saved_at = time.monotonic()

    def go(self) -> TrainingSummary:
        self._places.make_folder()
        with self._places.alone():
            self._begin()
            return self._go()

    def _go(self) -> TrainingSummary:
        feed = replace(
            self._job.feed,
            epochs=None,
            start=divmod(self._trainer.done, self._epoch),
            fingerprint=self._files.fingerprint,
        )
        try:
            with Batches(self._job.broker, feed) as batches:
                self._train(batches)
            self._save()
            results = self._validate(None)
        except TrainingFailed:
            raise  # the state is not finite, so no checkpoint can be written
        except (KeyboardInterrupt, MDPError):
            self._stop()
            raise
        with uninterrupted():
            self._places.write(self._network, self._trainer.best.weights())
            self._reports.draw()
        spent = self._reports.trained_s, self._reports.waited_s
        return TrainingSummary(self._trainer.done, *spent, results, self._places)

    def _begin(self) -> None:
        job, places = self._job, self._places
        if job.fresh or not places.checkpoint.exists():
            return
        stored = checkpoint.load(places.checkpoint, self._settings())
        try:
            self._trainer.load(stored.arrays)
        except (KeyError, ValueError) as error:
            raise checkpoint.damaged(places.checkpoint, error) from error
        self._reports.history = stored.history
        self._saved_step = done = self._trainer.done
        self._reports.say(f"resumes at step {done} of {self._steps} from {places.checkpoint}")
        if stored.threads != job.threads:
            self._reports.say(
                f"resumes with {job.threads} threads after {stored.threads}: sums are added in"
                " another order, so the weights will differ in their last bits"
            )

    def _settings(self) -> dict[str, Any]:
        """Return all settings that decide the weights, as plain values."""
        recipe = {**asdict(self._job.feed.recipe()), "planes": list(self._job.feed.planes)}
        return {
            "files": self._files.fingerprint,
            "network": self._network.sha256,
            "weights to begin with": self._network.weights_sha256,
            **recipe,
            **asdict(self._trainer.training),
        }

    # Step by step.

    def _train(self, batches: Batches) -> None:
        job, trainer = self._job, self._trainer
        self._progress(trainer.done, self._steps)
        while trainer.done < self._steps:
            self._step(batches)
            self._progress(trainer.done, self._steps)
            if trainer.done % job.report_every == 0 or trainer.done == self._steps:
                self._report()
            if trainer.done % job.validate_every == 0 and trainer.done < self._steps:
                self._validate(job.validate_events)
            if time.monotonic() - self._saved_at >= job.checkpoint_s:
                self._save()

    def _step(self, batches: Batches) -> None:
        began_at, waited_s = time.perf_counter(), batches.waited_s
        batch = tensors(next(batches), pin_memory=self._job.device != "cpu")
        with uninterrupted():  # a signal must not leave half a step
            step = self._trainer.step(batch.images, batch.labels, batch.weights)
            spent_s, waited_s = time.perf_counter() - began_at, batches.waited_s - waited_s
            self._reports.add(step, spent_s=spent_s, waited_s=waited_s)

    def _report(self) -> None:
        done = self._trainer.done
        self._reports.say_steps(done, rate=self._trainer.training.rate_at(max(done - 1, 0)))

    def _validate(self, events: int | None) -> Mapping[int, ValidationResult]:
        if not self._validation:
            return {}
        forward = self._trainer.best.forward
        self._progress.step("validating")
        results = self._validation.measure(forward, self._weigh, events=events)
        self._progress.step("training")
        self._reports.say_validation(self._trainer.done, results)
        self._reports.draw()
        return results

    def _weigh(self, adc: Pixels, label: Labels) -> Pixels:
        arrays = adc, label, class_weights(label)
        weights: Pixels = weigh(self._trainer.training, *map(torch.from_numpy, arrays)).numpy()
        return weights

    # Checkpoints.

    def _save(self) -> None:
        done, self._saved_at = self._trainer.done, time.monotonic()
        if done == self._saved_step:
            return
        state = self._trainer.state()
        current = Checkpoint(self._settings(), self._reports.history, self._job.threads, state)
        checkpoint.save(self._places.checkpoint, current)
        self._saved_step = done

    def _stop(self) -> None:
        try:
            self._report()
        finally:
            self._save()
        self._reports.draw()
        done, path = self._trainer.done, self._places.checkpoint
        text = f"stopped at step {done} of {self._steps}"
        if done:
            text += f": run the same command again (without --fresh) to resume from {path}"
        self._reports.say(text)

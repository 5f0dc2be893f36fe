"""Trainings through a real broker and two real workers: they learn, stop, and go on to the bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.optional import optional

pytestmark = pytest.mark.torch
torch = optional("torch")
optional("matplotlib")
optional("onnxruntime")

from clients.training.batch_feed import Batches, Feed  # noqa: E402
from clients.training.checkpoint import CheckpointError  # noqa: E402
from clients.training.torch_net import TorchNet  # noqa: E402
from clients.training.trainer import Training, TrainingFailed  # noqa: E402
from clients.training.training_run import TrainingJob, train  # noqa: E402
from lartpc import FileExists, ParameterError  # noqa: E402
from mdp import Client, MDPError  # noqa: E402
from services import networks  # noqa: E402
from services.batch_train import NAME  # noqa: E402
from services.caffe import caffe_net  # noqa: E402
from services.engines.onnx_engine import OnnxEngine  # noqa: E402
from tests.support import feed_files, tiny_networks  # noqa: E402
from tests.support.processes import QUICK, Processes, free_port, held, until, wait_for_workers  # noqa: E402

STEPS = 12
LONG_S = 300.0  # until torch is loaded and steps are made, on a machine that others use
FEED = Feed(**{**vars(feed_files.RECIPE), "rows": 64, "cols": 64}, window=4)
TRAINING = Training(steps=STEPS, warm_up=2, rate=1e-2)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """To train on, and to validate with."""
    folder = tmp_path_factory.mktemp("toys")
    learnt = feed_files.toys(folder / "learnt.h5", 14)
    return learnt, feed_files.toys(folder / "unseen.h5", 3, seed=4)


@pytest.fixture(scope="module")
def farm(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with two workers."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("farm")) as processes:
        processes.broker(endpoint, *QUICK)
        command = ("-m", "clients", "worker", NAME, str(files[0]), "-n", "2")
        processes.python(*command, "--broker", endpoint, *QUICK)
        with Client(endpoint) as client:
            wait_for_workers(client, NAME, 2)
        yield endpoint


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A network that is quick to train: its sides are even."""
    folder = tmp_path / "small"
    folder.mkdir()
    return tiny_networks.write(folder)[0]


@pytest.fixture
def job(farm: str, tmp_path: Path, small: Path) -> TrainingJob:
    return TrainingJob(
        folder=tmp_path / "trained", feed=FEED, training=TRAINING, broker=farm, prototxt=small
    )


def command_of(job: TrainingJob) -> list[str]:
    """`ssnet train`, which does the same as the job; ready for more options."""
    feed, training = job.feed, job.training
    options = {
        "--output": job.folder,
        "--broker": job.broker,
        "--prototxt": job.prototxt,
        "--seed": feed.seed,
        "--batch-size": feed.batch_size,
        "--rows": feed.rows,
        "--cols": feed.cols,
        "--planes": ",".join(map(str, feed.planes)),
        "--steps": training.steps,
        "--rate": training.rate,
        "--warm-up": training.warm_up,
        "--threads": job.threads,
        "--report-every": 1,
    }
    return ["-m", "clients", "train", *(f"{name}={value}" for name, value in options.items())]


def written(folder: Path) -> dict[str, bytes]:
    """The networks in a folder, by name."""
    kinds = (".prototxt", ".caffemodel")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in kinds}


def lines_of(job: TrainingJob, name: str = "training.jsonl") -> list[dict[str, Any]]:
    text = (job.folder / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_training_sees_its_loss_fall_and_its_networks_are_served(
    job: TrainingJob, files: tuple[Path, Path]
) -> None:
    report: list[str] = []
    shipped = replace(
        job,
        prototxt=None,
        training=replace(TRAINING, rate=3e-3, freeze_statistics=0.0),
        validate=(files[1],),
        report_every=4,
        validate_every=6,
        validate_events=1,
    )
    done = train(shipped, report.append)
    lines = lines_of(job)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    assert [line["step"] for line in lines] == [4, 6, 8, 12, 12]
    assert 0 < done.waited_s < done.trained_s
    assert sum("validation: plane 0" in line for line in report) == 2
    assert (job.folder / "training.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(written(job.folder)) == sorted(written(networks.SHIPPED))
    image = np.zeros((1, 1, 64, 96), np.float32)
    image[0, 0, 20:40, 30:80] = 100
    for plane in (0, 1, 2):
        matches = networks.find(job.folder, plane)
        scores = OnnxEngine(*matches, threads=1).forward(image)
        ours = TorchNet(caffe_net.read(*matches)).forward(image)
        assert np.abs(scores - ours).max() < 1e-4
        unseen = done.validation[plane].accuracy.strict
        assert unseen[1:].sum() > 0


def test_validation_counts_each_labelled_pixel_once(
    job: TrainingJob, files: tuple[Path, Path]
) -> None:
    done = train(replace(job, validate=(files[1],), training=replace(TRAINING, steps=1)), ignored)
    for plane, matches in done.validation.items():
        labels = [event.images["segment"][plane].pixels for event in feed_files.events(3, seed=4)]
        truth = [int(sum((label == kind).sum() for label in labels)) for kind in (1, 2)]
        assert matches.accuracy.strict[1:].sum(axis=1).tolist() == truth
        assert 0 < matches.loss < 100


def ignored(line: str) -> None:
    assert line


def test_equal_trainings_write_equal_files_wherever_they_run(
    job: TrainingJob, processes: Processes, files: tuple[Path, Path]
) -> None:
    train(job, ignored)
    again = replace(job, folder=job.folder / "again")
    options = [o for o in command_of(again) if not o.startswith("--broker")]
    process = processes.python(*options, str(files[0]), "--workers=2")
    assert process.exit_code(within_s=LONG_S) == 0, process.stderr
    process.wait_until_nothing_is_left()
    assert written(again.folder) == written(job.folder)
    assert len(written(job.folder)) == 4


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_was_stopped_goes_on_to_the_bit(
    job: TrainingJob, processes: Processes, files: tuple[Path, Path], stop: signal.Signals
) -> None:
    train(job, ignored)
    stopped = replace(job, folder=job.folder / "stopped")
    options = command_of(stopped)
    if stop is signal.SIGINT:  # with a broker and workers of its own
        options = [*(o for o in options if not o.startswith("--broker")), str(files[0])]
    if stop is signal.SIGKILL:
        options.append("--checkpoint-seconds=0")
    first = processes.python(*options)
    first.wait_until_it_says("step 3 of 12", within_s=LONG_S)
    os.kill(first.pid, stop)
    assert first.exit_code() == (-stop if stop is signal.SIGKILL else 130)
    first.wait_until_nothing_is_left()
    assert not written(stopped.folder)
    if stop is not signal.SIGKILL:
        assert "run the same command again" in first.stderr
    second = processes.python(*options)
    assert second.exit_code(within_s=LONG_S) == 0, second.stderr
    assert "resumes at step" in second.stderr
    assert "step 1 of 12, " not in second.stderr
    assert written(stopped.folder) == written(job.folder)
    assert [line["step"] for line in lines_of(stopped)] == list(range(1, STEPS + 1))


def test_who_stops_early_leaves_nothing_in_the_brokers_queue(job: TrainingJob) -> None:
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(job, report_every=2), stop)
    with Client(job.broker) as client:
        until(lambda: held(client, NAME) == 0, "the broker holds nothing")


def test_a_feed_that_is_lost_leaves_a_checkpoint_to_go_on_from(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(job, folder=job.folder / "whole")
    train(whole, ignored)
    take = Batches.__next__

    def lost(batches: Batches) -> Any:
        if batches.taken == 5:
            raise MDPError("lost")
        return take(batches)

    monkeypatch.setattr(Batches, "__next__", lost)
    with pytest.raises(MDPError, match="lost"):
        train(job, ignored)
    monkeypatch.undo()
    report: list[str] = []
    train(job, report.append)
    assert report[0].startswith("resumes at step 5 of 12 ")
    assert written(job.folder) == written(whole.folder)


def test_a_plane_alone_gets_its_own_files_and_shares_the_folder(job: TrainingJob) -> None:
    for plane in (2, 0):
        train(replace(job, feed=replace(FEED, planes=(plane,))), ignored)
    result = written(job.folder)
    assert sorted(result) == ["net.prototxt", "net_plane0.caffemodel", "net_plane2.caffemodel"]
    assert result["net_plane0.caffemodel"] != result["net_plane2.caffemodel"]
    assert networks.find(job.folder, 2)[1].name == "net_plane2.caffemodel"
    assert len(lines_of(job, "training_plane2.jsonl")) == 1


def test_a_training_begins_with_the_weights_that_it_is_given(job: TrainingJob) -> None:
    train(job, ignored)
    weights = job.folder / "net_plane1.caffemodel"
    still = replace(TRAINING, steps=1, rate=0.0, freeze_statistics=1.0)
    other = replace(job, folder=job.folder / "more", weights=weights, training=still)
    train(other, ignored)
    assert written(other.folder)["net_plane0.caffemodel"] == weights.read_bytes()


def test_epochs_are_counted_in_batches_of_the_feed(job: TrainingJob) -> None:
    done = train(replace(job, epochs=2), ignored)
    assert done.steps == 2 * 4  # 14 events, by four
    assert lines_of(job)[-1]["epoch"] == 2


# What is refused.


@pytest.fixture
def begun(job: TrainingJob) -> TrainingJob:
    """A training that is done, with its checkpoint."""
    train(replace(job, training=replace(TRAINING, steps=2)), ignored)
    return job


def test_another_trainings_checkpoint_is_refused_with_what_differs(begun: TrainingJob) -> None:
    other = replace(begun, training=replace(TRAINING, steps=2, rate=0.5))
    with pytest.raises(CheckpointError, match=r"rate 0\.01, not 0\.5.*--fresh"):
        train(other, ignored)
    seed = replace(begun, feed=replace(FEED, seed=6), training=replace(TRAINING, steps=2))
    with pytest.raises(CheckpointError, match="seed 5, not 6"):
        train(seed, ignored)
    earlier = written(begun.folder)
    assert train(replace(other, fresh=True, force=True), ignored).steps == 2
    assert written(begun.folder) != earlier


def test_a_damaged_checkpoint_is_refused(begun: TrainingJob) -> None:
    path = begun.folder / "checkpoint.npz"
    whole = path.read_bytes()
    central = whole.index(b"PK\x01\x02")
    # cut off; packed in a way that nobody knows, for which zipfile has an error of its own
    for damaged in (whole[:-100], whole[: central + 10] + b"\x63" + whole[central + 11 :]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"want a checkpoint in .*npz, got"):
            train(replace(begun, training=replace(TRAINING, steps=2)), ignored)


def test_two_trainings_at_once_do_not_share_a_folder(job: TrainingJob) -> None:
    def second(line: str) -> None:
        if "step 1 of" in line:
            other = replace(job, training=replace(TRAINING, steps=2))
            with pytest.raises(FileExists, match=r"want one training at a time in .*trained, got"):
                train(other, ignored)
            refused.append(line)

    refused: list[str] = []
    train(replace(job, training=replace(TRAINING, steps=2), report_every=1), second)
    assert refused


def test_anothers_networks_are_not_replaced(begun: TrainingJob) -> None:
    (begun.folder / "checkpoint.npz").unlink()
    with pytest.raises(FileExists, match=r"net_plane0.caffemodel exists already.*--force"):
        train(begun, ignored)
    weights = begun.folder / "net_plane1.caffemodel"
    with pytest.raises(FileExists, match=r"initial weights, got .*net_plane1"):
        train(replace(begun, weights=weights, force=True), ignored)


def test_files_that_are_trained_on_do_not_validate(
    job: TrainingJob, files: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(files[0].read_bytes())
    with pytest.raises(ParameterError, match="not used for training, got"):
        train(replace(job, validate=(files[1], copy)), ignored)
    assert not job.folder.exists()


def test_a_loss_that_explodes_ends_the_training_without_a_checkpoint(job: TrainingJob) -> None:
    hot = replace(TRAINING, rate=1e6, optimizer="sgd", warm_up=0, weight_decay=1e6)
    with pytest.raises(TrainingFailed, match="a lower rate"):
        train(replace(job, training=hot), ignored)
    assert not (job.folder / "checkpoint.npz").exists()


def test_a_crop_that_the_network_cannot_take_is_refused(job: TrainingJob) -> None:
    with pytest.raises(MDPError, match="want rows and cols that are multiples of 2"):
        train(replace(job, feed=replace(FEED, rows=63)), ignored)
    with pytest.raises(MDPError, match=r"epoch 0 batch 0: .*at most 96 x 128 pixels"):
        train(replace(job, feed=replace(FEED, rows=98)), ignored)


@pytest.mark.parametrize(
    "option",
    [{"report_every": 0}, {"validate_every": 0}, {"epochs": 0}, {"checkpoint_s": -1.0}],
    ids=str,
)
def test_settings_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(MDPError, match="want"):
        TrainingJob(folder=Path("nowhere"), feed=FEED, training=TRAINING, **option)


def test_a_device_that_is_not_there_is_refused(job: TrainingJob) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MDPError, match="want cuda:0 for training"):
        train(replace(job, device="cuda:0"), ignored)
    assert not job.folder.exists()

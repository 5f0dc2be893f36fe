"""What a feed takes for the answer to a batch's name, and what it does not. No socket."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clients.errors import AnswerError
from clients.training.batch_feed import Files, answered
from lartpc.training.batches import BatchName
from services.batch_train import BatchTrain
from services.training_files import TrainingSettings
from tests.support import feed_files
from tests.support.feed_files import RECIPE

EVENTS = 10


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> BatchTrain:
    path: Path = feed_files.toys(tmp_path_factory.mktemp("feed") / "toys.h5", EVENTS)
    result = BatchTrain(TrainingSettings((path,)))
    result.setup()
    return result


@pytest.fixture(scope="module")
def files(worker: BatchTrain) -> Files:
    fingerprint = worker.fingerprint.removeprefix("files ")
    return Files(fingerprint, EVENTS, (0, 1, 2), 96, 128, image="wire", label="segment")


def test_the_answer_to_a_name_is_the_batch(worker: BatchTrain, files: Files) -> None:
    name = BatchName(files.fingerprint, RECIPE, 1, 2)
    batch = answered(name, files, worker.handle([name.pack()]))
    assert (batch.epoch, batch.index, len(batch.rses)) == (1, 2, 2)


@pytest.mark.parametrize(
    ("epoch", "index", "seed"), [(1, 0, RECIPE.seed), (0, 1, RECIPE.seed), (0, 0, RECIPE.seed + 1)]
)
def test_another_batch_of_the_same_shape_is_refused(
    worker: BatchTrain, files: Files, epoch: int, index: int, seed: int
) -> None:
    asked = BatchName(files.fingerprint, RECIPE, 0, 0)
    other = BatchName(files.fingerprint, replace(RECIPE, seed=seed), epoch, index)
    with pytest.raises(AnswerError, match=r"want the batch \{.*, got"):
        answered(asked, files, worker.handle([other.pack()]))


def test_part_of_an_answer_is_refused(worker: BatchTrain, files: Files) -> None:
    name = BatchName(files.fingerprint, RECIPE, 0, 0)
    frames = worker.handle([name.pack()])
    with pytest.raises(AnswerError, match="want"):
        answered(name, files, frames[:-3])

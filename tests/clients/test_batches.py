"""Feeds of training batches through a real broker and real workers, which die while they run."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.training.batch_feed import Batches, Feed, TrainingBatch
from lartpc.training.batches import BatchName
from mdp import Client, NotServed, Refused, RequestTimeout, SettingsError
from services.batch_train import NAME
from tests.support import feed_files
from tests.support.feed_files import RECIPE, digest, opened
from tests.support.processes import (
    QUICK,
    Process,
    Processes,
    free_port,
    held,
    kill_a_child,
    until,
    wait_for_workers,
)

EVENTS = 22
FEED = Feed(**vars(RECIPE), epochs=2, window=4)
IN_AN_EPOCH = 6  # 5 of four events, and one of two


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return feed_files.toys(tmp_path_factory.mktemp("feed") / "toys.h5", EVENTS)


@pytest.fixture(scope="module")
def made(path: Path) -> list[tuple[int, int, bytes]]:
    """The images of two epochs, made here, without broker or workers."""
    files = opened(path)
    places = [(epoch, index) for epoch in range(2) for index in range(IN_AN_EPOCH)]
    names = [feed_files.name_of(files, index, epoch=epoch) for epoch, index in places]
    images = [files.batch(name)[0].array.tobytes() for name in names]
    return [(*place, item) for place, item in zip(places, images, strict=True)]


def start(processes: Processes, endpoint: str, *files: Path, workers: int = 1) -> Process:
    """A host of workers, ready."""
    command = ("-m", "clients", "worker", NAME, *map(str, files), "-n", str(workers))
    host = processes.python(*command, "--broker", endpoint, *QUICK)
    with Client(endpoint) as client:
        wait_for_workers(client, NAME, workers)
    return host


def all_of(endpoint: str, **options: Any) -> list[TrainingBatch]:
    with Batches(endpoint, FEED, **options) as batches:
        return list(batches)


def images_of(batches: list[TrainingBatch]) -> list[tuple[int, int, bytes]]:
    return [(batch.epoch, batch.index, batch.images.tobytes()) for batch in batches]


def test_the_stream_is_the_same_with_one_worker_or_four_and_has_every_event_once(
    processes: Processes, endpoint: str, path: Path, made: list[tuple[int, int, bytes]]
) -> None:
    processes.broker(endpoint, *QUICK)
    start(processes, endpoint, path)
    alone = all_of(endpoint)
    start_more = ("-m", "clients", "worker", NAME, str(path), "-n", "3", "--broker", endpoint)
    processes.python(*start_more, *QUICK)
    with Client(endpoint) as client:
        wait_for_workers(client, NAME, 4)
    together = all_of(endpoint)
    assert list(map(digest, together)) == list(map(digest, alone))
    assert images_of(alone) == made
    assert len({batch.worker for batch in together}) > 1
    for epoch in range(2):
        rses = feed_files.rses([batch for batch in alone if batch.epoch == epoch])
        assert sorted(rses) == [(3, 0, number) for number in range(EVENTS)]
    assert [len(batch.rses) for batch in alone] == [4, 4, 4, 4, 4, 2] * 2


def test_workers_that_are_killed_change_nothing(
    processes: Processes, endpoint: str, path: Path, made: list[tuple[int, int, bytes]]
) -> None:
    processes.broker(endpoint, *QUICK)
    host = start(processes, endpoint, path, workers=2)
    dice, taken, killed = random.Random(2), [], 0
    with Batches(endpoint, FEED, window=6) as batches:
        for batch in batches:
            taken.append(batch)
            if len(taken) % 3 == 0:
                kill_a_child(host, dice)
                killed += 1
    assert killed >= 3
    assert images_of(taken) == made


def test_a_broker_that_is_restarted_changes_nothing(
    processes: Processes, endpoint: str, path: Path, made: list[tuple[int, int, bytes]]
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    start(processes, endpoint, path, workers=2)
    with Batches(endpoint, FEED) as batches:
        taken = [next(batches) for _ in range(2)]
        broker.send(signal.SIGKILL)
        broker.exit_code()
        processes.broker(endpoint, *QUICK)
        taken += batches
    assert images_of(taken) == made


@pytest.fixture(scope="module")
def farm(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with two workers."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("farm")) as processes:
        processes.broker(endpoint, *QUICK)
        start(processes, endpoint, path, workers=2)
        yield endpoint


def test_a_feed_resumes_where_another_one_stopped(farm: str) -> None:
    whole = list(map(digest, all_of(farm)))
    with Batches(farm, FEED) as batches:
        first = [digest(next(batches)) for _ in range(IN_AN_EPOCH + 2)]
        position = batches.position
    assert position == (1, 2)
    rest = list(map(digest, all_of(farm, start=position)))
    assert first + rest == whole


def test_ranks_share_the_batches_without_overlap(farm: str) -> None:
    shares = [[digest(b) for b in all_of(farm, rank=rank, world_size=3)] for rank in range(3)]
    assert sorted(batch for share in shares for batch in share) == list(map(digest, all_of(farm)))
    assert [len(share) for share in shares] == [4, 4, 4]


def test_a_feed_says_how_long_its_consumer_waited_and_where_it_is(farm: str) -> None:
    with Batches(farm, FEED, epochs=1) as batches:
        assert batches.waited_s == 0
        assert batches.batches_per_epoch == IN_AN_EPOCH
        assert batches.files.events == EVENTS
        assert batches.position == (0, 0)
        for batch in batches:
            assert batch.made_s > 0
            assert batch.latency_s > batch.made_s
        assert 0 < batches.waited_s < 60
        assert batches.taken == IN_AN_EPOCH
        assert batches.position == (1, 0)
        with pytest.raises(StopIteration):
            next(batches)


def test_planes_come_in_the_order_that_was_asked_for(farm: str, path: Path) -> None:
    [batch, *_] = all_of(farm, planes=(2,))
    files = opened(path)
    name = BatchName(files.fingerprint, replace(RECIPE, planes=(2,)), 0, 0)
    want = files.batch(name)
    for array, made in zip((batch.images, batch.labels, batch.weights), want, strict=True):
        np.testing.assert_array_equal(array, made.array)


def test_who_stops_early_leaves_nothing_in_the_brokers_queue(farm: str) -> None:
    with Client(farm) as client:
        with Batches(farm, batch_size=200, rows=96, cols=128, epochs=None, window=40) as batches:
            next(batches)
            assert held(client, NAME) > 0
        until(lambda: held(client, NAME) == 0, "the broker holds nothing")
        assert len(all_of(farm)) == 2 * IN_AN_EPOCH  # the workers live on
    assert not [thread for thread in threading.enumerate() if "decodes" in thread.name]


def test_a_feed_that_is_left_by_an_error_leaves_nothing_either(farm: str) -> None:
    def train() -> None:
        with Batches(farm, FEED, epochs=None, window=30) as batches:
            raise ArithmeticError(next(batches).epoch)

    with pytest.raises(ArithmeticError):
        train()
    with Client(farm) as client:
        until(lambda: held(client, NAME) == 0, "the broker holds nothing")


def test_what_workers_refuse_is_an_error_that_names_the_batch(farm: str) -> None:
    with (
        Batches(farm, FEED, rows=97, start=(1, 2)) as batches,
        pytest.raises(Refused, match=r"epoch 1 batch 2: .*at most 96 x 128 pixels"),
    ):
        next(batches)
    assert batches.position == (1, 2)  # where to go on
    with pytest.raises(StopIteration):
        next(batches)


def test_an_index_beyond_the_epoch_is_an_error(farm: str) -> None:
    with pytest.raises(SettingsError, match=r"want an index below 6, for 22 events"):
        Batches(farm, FEED, start=(0, 6))


def test_a_rank_without_batches_is_an_error_where_epochs_do_not_end(farm: str) -> None:
    with pytest.raises(SettingsError, match=r"want a rank below 6\b"):
        Batches(farm, FEED, rank=6, world_size=7, epochs=None)
    assert all_of(farm, rank=6, world_size=7) == []


def test_other_files_than_wanted_are_an_error(farm: str) -> None:
    with (
        Batches(farm, FEED, fingerprint="abc") as batches,
        pytest.raises(Refused, match=r"files, [0-9a-f]{32}.*got one of abc"),
    ):
        next(batches)


def test_workers_of_other_files_are_not_let_in_and_the_feed_goes_on(
    processes: Processes,
    endpoint: str,
    path: Path,
    made: list[tuple[int, int, bytes]],
    tmp_path: Path,
) -> None:
    processes.broker(endpoint, *QUICK)
    start(processes, endpoint, path)
    other = feed_files.toys(tmp_path / "other.h5", EVENTS, seed=4)
    command = ("-m", "clients", "worker", NAME, str(other), "--broker", endpoint, *QUICK)
    refused = processes.python(*command)
    assert refused.exit_code() == 1
    ours, theirs = opened(path).fingerprint, opened(other).fingerprint
    want = f"1 worker of fingerprint 'files {ours}', this one has fingerprint 'files {theirs}'"
    assert want in refused.stderr.splitlines()[-1]
    assert images_of(all_of(endpoint)) == made


def test_no_workers_and_no_broker_are_errors_that_say_what_to_start(
    processes: Processes, endpoint: str
) -> None:
    with pytest.raises(RequestTimeout, match=r"`mdp broker --bind .*` starts one"):
        Batches(endpoint, wait_s=0.1)
    processes.broker(endpoint)
    with pytest.raises(NotServed, match="`ssnet worker batch-train FILE --broker"):
        Batches(endpoint, wait_s=0.1)


@pytest.mark.parametrize(
    "option",
    [{"rank": 2, "world_size": 2}, {"turn": 1}, {"window": 0}, {"start": (-1, 0)}, {"epochs": 0}],
    ids=str,
)
def test_settings_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="want"):
        Feed(**option)


def test_what_is_no_option_is_no_option() -> None:
    with pytest.raises(TypeError, match="batchsize"):
        Batches("tcp://127.0.0.1:1", batchsize=4)

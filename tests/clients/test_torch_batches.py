"""The dataset of tensors: under a DataLoader, with and without processes of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.training.batch_feed import Batches, Feed
from mdp import Client, SettingsError
from services.batch_train import NAME
from tests.support import feed_files
from tests.support.feed_files import RECIPE
from tests.support.optional import optional
from tests.support.processes import QUICK, ROOT, Processes, free_port, held, until, wait_for_workers

FEED = Feed(**vars(RECIPE), epochs=1)
# torch's advice where there are fewer cores than processes
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture(scope="module")
def torch() -> Any:
    return optional("torch")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("farm")
    path = feed_files.toys(folder / "toys.h5", 22)
    with Processes(folder) as processes:
        processes.broker(endpoint, *QUICK)
        command = ("-m", "clients", "worker", NAME, str(path), "-n", "2", "--broker", endpoint)
        processes.python(*command, *QUICK)
        with Client(endpoint) as client:
            wait_for_workers(client, NAME, 2)
        yield endpoint


@pytest.mark.parametrize("processes", [0, 2])
def test_a_data_loader_gives_the_feeds_batches_in_their_order(
    torch: Any, farm: str, processes: int
) -> None:
    from clients.training.torch_batches import BatchDataset

    loader = torch.utils.data.DataLoader(
        BatchDataset(farm, FEED),
        batch_size=None,
        num_workers=processes,
        multiprocessing_context="spawn" if processes else None,
    )
    with Batches(farm, FEED) as batches:
        want = list(batches)
    got = list(loader)
    assert len(got) == len(want)
    for tensors, batch in zip(got, want, strict=True):
        assert tuple(tensors.position) == (batch.epoch, batch.index)
        assert [tuple(rse) for rse in tensors.rses] == [tuple(rse) for rse in batch.rses]
        assert tensors.labels.dtype == torch.uint8
        for name in ("images", "labels", "weights"):
            np.testing.assert_array_equal(getattr(tensors, name).numpy(), getattr(batch, name))


@pytest.mark.parametrize("start", [(0, 0), (0, 1), (1, 4)])
def test_a_data_loaders_processes_keep_the_order_from_any_start_and_over_epochs(
    torch: Any, farm: str, start: tuple[int, int]
) -> None:
    from clients.training.torch_batches import BatchDataset

    loader = torch.utils.data.DataLoader(
        BatchDataset(farm, FEED, batch_size=5, start=start, epochs=3),  # 5 batches an epoch
        batch_size=None,
        num_workers=2,
        multiprocessing_context="spawn",
    )
    every = [(epoch, index) for epoch in range(3) for index in range(5)]
    assert [tuple(batch.position) for batch in loader] == every[every.index(start) :]


def test_ranks_share_the_batches_without_overlap(torch: Any, farm: str) -> None:
    from clients.training.torch_batches import BatchDataset

    shares = [
        [tuple(batch.position) for batch in BatchDataset(farm, FEED, rank=rank, world_size=2)]
        for rank in range(2)
    ]
    assert shares == [[(0, 0), (0, 2), (0, 4)], [(0, 1), (0, 3), (0, 5)]]


@pytest.mark.parametrize("processes", [0, 1])
def test_a_loop_that_is_left_leaves_nothing_in_the_brokers_queue(
    torch: Any, farm: str, processes: int
) -> None:
    from clients.training.torch_batches import BatchDataset

    dataset = BatchDataset(farm, FEED, batch_size=100, rows=96, cols=128, epochs=None, window=20)
    spawn = "spawn" if processes else None
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=None, num_workers=processes, multiprocessing_context=spawn
    )
    taken = 0
    for _ in loader:
        taken += 1
        break
    assert taken
    del loader
    with Client(farm) as client:
        until(lambda: held(client, NAME) == 0, "the broker holds nothing")


def test_a_loss_takes_tensors_as_they_come(torch: Any, farm: str) -> None:
    from clients.training.torch_batches import BatchDataset

    batch = next(iter(BatchDataset(farm, FEED, planes=(2,))))
    scores = torch.zeros(4, 3, 64, 48, requires_grad=True)
    item = torch.nn.functional.cross_entropy(scores, batch.labels[:, 0].long(), reduction="none")
    loss = (item * batch.weights[:, 0]).sum() / batch.weights[:, 0].sum()
    loss.backward()
    assert loss.item() == pytest.approx(np.log(3), rel=1e-5)


def test_pinned_memory_without_a_gpu_is_refused(torch: Any) -> None:
    from clients.training.torch_batches import BatchDataset

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SettingsError, match="want cuda for pinned memory"):
        BatchDataset(pin_memory=True)


def test_without_torch_one_line_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from clients.terminal.process import errors_reported\n"
        "with errors_reported():\n"
        "    import clients.training.torch_batches\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'torch>=2.4'" in done.stderr

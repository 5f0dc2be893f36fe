"""Pools of workers on this machine: their errors, and how they reach another process."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path

import pytest

from clients.local import local_services
from clients.local.plane_pool import PlanePool
from clients.local.serving import DummyPool, Factories, Pool
from mdp import SettingsError
from mdp.testing import LocalFailed
from tests.support.optional import optional

pytestmark = pytest.mark.slow


class Unstartable(DummyPool):
    """A pool whose process ends before it serves."""

    def factories(self) -> Factories:
        raise SettingsError("want something else")


def test_a_pool_that_ends_at_its_start_is_one_error_with_its_last_line() -> None:
    with (
        pytest.raises(LocalFailed, match="workers ended: ssnet: want something"),
        local_services.services(Unstartable()),
    ):
        pass


def test_a_pool_reaches_another_process_with_every_field(tmp_path: Path) -> None:
    optional("h5py")
    from clients.local.feed_pool import FeedPool
    from services.training_files import TrainingSettings

    settings = TrainingSettings((tmp_path / "a.h5",), "x", "y", "forward", True, 7)
    pools: list[Pool] = [
        PlanePool(
            *((2,), 3, None, Path("p"), Path("w"), "caffe", "cuda:1", 4, 12.0, "float32", 9),
            canary="new",
        ),
        PlanePool((0, 2), network=Path("folder")),
        PlanePool((1,), device="auto", per_gpu=3),
        FeedPool(settings, 3),
        DummyPool(2),
    ]
    for pool in pools:
        copy = pickle.loads(pickle.dumps(pool))
        assert copy == pool
    usual = {
        field.name for field in fields(PlanePool) if field.default == vars(pools[0])[field.name]
    }
    assert usual == {"network", "per_gpu"}  # the others would show a field that is lost

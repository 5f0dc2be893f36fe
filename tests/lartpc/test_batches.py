"""What a batch's name stands for: order, shards, dice, and the names themselves."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lartpc import BatchError, ParameterError
from lartpc.training.batches import BatchName, Dice, Recipe, chosen, order, positions, unpack_name

NAME = BatchName("abc", Recipe(seed=7, batch_size=4, planes=(2, 0)), 3, 1)
NUMBERS = st.integers(0, 2**32 - 1)


@given(seed=NUMBERS, epoch=NUMBERS, events=st.integers(1, 200), size=st.integers(1, 50))
def test_an_epoch_has_every_event_once(seed: int, epoch: int, events: int, size: int) -> None:
    recipe = Recipe(seed=seed, batch_size=size, rows=8, cols=8)
    batches = [
        chosen(BatchName("", recipe, epoch, index), events)
        for index in range(recipe.batches_of(events))
    ]
    assert sorted(event for batch in batches for event in batch) == list(range(events))
    assert all(len(batch) == size for batch in batches[:-1])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [order(seed, epoch, 100).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(one) for one in orders}) == 9


def test_the_order_is_that_of_the_first_release() -> None:
    """A new numpy, or a change here, must not change what a name stands for."""
    assert order(1, 2, 8).tolist() == [7, 1, 3, 0, 4, 2, 6, 5]
    dice = Dice(1, 2, 3)
    assert [dice.below(1000), dice.below(7), dice.share()] == [340, 5, 0.7567256378933076]


def test_the_size_of_batches_does_not_change_the_order() -> None:
    small, large = (Recipe(batch_size=size, rows=8, cols=8) for size in (3, 6))
    twice = [chosen(BatchName("", small, 0, index), 12) for index in (0, 1)]
    assert twice[0] + twice[1] == chosen(BatchName("", large, 0, 0), 12)


def test_dice_are_fair() -> None:
    dice = Dice(0, 0, 0)
    counts = np.bincount([dice.below(10) for _ in range(10_000)], minlength=10)
    assert counts.min() > 880
    assert counts.max() < 1120
    shares = [dice.share() for _ in range(10_000)]
    assert min(shares) >= 0
    assert max(shares) < 1
    assert abs(np.mean(shares) - 0.5) < 0.015


@given(
    batches=st.integers(1, 30),
    world_size=st.integers(1, 6),
    epoch=st.integers(0, 2),
    data=st.data(),
)
def test_ranks_share_every_batch_without_overlap(
    batches: int, world_size: int, epoch: int, data: st.DataObject
) -> None:
    start = (epoch, data.draw(st.integers(0, batches - 1)))
    shares = [
        list(positions(start, batches=batches, epochs=3, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    every = [(e, index) for e in range(3) for index in range(batches) if (e, index) >= start]
    assert sorted(place for share in shares for place in share) == every
    assert all(share == sorted(share) for share in shares)


def test_epochs_without_end_do_not_end() -> None:
    several = positions((0, 1), batches=2, epochs=None, rank=0, world_size=1)
    assert [next(several) for _ in range(4)] == [(0, 1), (1, 0), (1, 1), (2, 0)]


def test_a_name_comes_back_as_it_was() -> None:
    assert unpack_name(NAME.pack()) == NAME


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": 1 << 32},
        {"seed": True},
        {"epoch": -1},
        {"index": 1.0},
        {"batch_size": 0},
        {"batch_size": 10**9},
        {"planes": []},
        {"planes": 5},
        {"planes": [1, 1]},
        {"planes": ["0"]},
        {"rows": 0},
        {"gain": 1.0},
        {"gain": float("nan")},
        {"gain": "much"},
        {"shower_share": 1.5},
        {"flips": 1},
        {"fingerprint": 4},
        {"something": 4},
    ],
    ids=str,
)
def test_a_malformed_name_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BatchError, match=r"want"):
        unpack_name(msgpack.packb({**NAME.plain(), **change}))


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"describe", b"\x80", b"\x90" * 5000])
def test_bytes_that_are_no_name_are_refused(frame: bytes) -> None:
    with pytest.raises(BatchError, match="want"):
        unpack_name(frame)


@given(frame=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(frame: bytes) -> None:
    try:
        unpack_name(frame)
    except BatchError:
        return


def test_an_index_beyond_the_epoch_is_refused() -> None:
    with pytest.raises(BatchError, match="want an index below 3, for 9 events in batches of 4"):
        chosen(BatchName("", Recipe(batch_size=4), 0, 3), 9)


def test_a_batch_that_fits_no_message_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"at most .* bytes, got .*: use fewer events"):
        Recipe(batch_size=64, rows=1008, cols=3456)

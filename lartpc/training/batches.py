"""Batches of training data are named, not drawn: which events a name stands for. Pure.

Whoever has the files makes the same batch of the same name, to the bit; so a batch can be asked
for again, of anyone, in any order. Refuses names that are malformed, or of other files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from ..errors import BatchError, SettingsError
from ..frames import DEFAULT_LIMITS

MAX_NUMBER = (1 << 32) - 1
"""The largest seed, epoch and entry: a word each in what seeds the dice."""
MAX_PLANE = 9
PIXEL_BYTES = 9
"""What a pixel of a batch weighs: float32 ADC, uint8 label, float32 weight."""

_MAX_NAME_BYTES = 4096
_MAX_IMAGES = 8192  # of 85 bytes of meta text each, of which a message holds 1 MB
_ORDER, _EVENT = 0, 1  # what dice are for


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How batches are made; all of it is part of their names. Raises `SettingsError`."""

    seed: int = 0
    batch_size: int = 16
    """Events in a batch; an epoch's last batch holds those that are left."""
    planes: tuple[int, ...] = (0, 1, 2)
    rows: int = 256
    """Of a crop, in pixels."""
    cols: int = 256
    flips: bool = True
    """Whether half of the crops are mirrored in time, and half in the wires."""
    gain: float = 0.2
    """ADC is scaled by a factor from 1 - gain to 1 + gain, before the threshold."""
    shower_share: float = 0.4
    """Of the crops around a shower, where there is one: of all pixels a sixth are a shower's."""

    def __post_init__(self) -> None:
        _want_integer("seed", self.seed, 0, MAX_NUMBER)
        for name in ("batch_size", "rows", "cols"):
            _want_integer(name, getattr(self, name), 1, MAX_NUMBER)
        if not self.planes or len(set(self.planes)) != len(self.planes):
            raise SettingsError(f"want different planes, at least one, got {self.planes}")
        for plane in self.planes:
            _want_integer("a plane", plane, 0, MAX_PLANE)
        if not 0 <= self.gain < 1 or not 0 <= self.shower_share <= 1:
            got = f"{self.gain} and {self.shower_share}"
            raise SettingsError(f"want 0 <= gain < 1 and 0 <= shower_share <= 1, got {got}")
        if self.batch_size * len(self.planes) > _MAX_IMAGES:
            got = f"{self.batch_size} events of {len(self.planes)} planes"
            raise SettingsError(f"want at most {_MAX_IMAGES} images in a batch, got {got}")
        if self.nbytes > DEFAULT_LIMITS.array_bytes:
            want = f"batches of at most {DEFAULT_LIMITS.array_bytes} bytes"
            raise SettingsError(f"want {want}, got {self.nbytes}: fewer events or smaller crops")

    @property
    def nbytes(self) -> int:
        """What the arrays of a batch weigh."""
        return self.batch_size * len(self.planes) * self.rows * self.cols * PIXEL_BYTES

    def batches_of(self, events: int) -> int:
        """How many batches an epoch of so many events has."""
        return -(-events // self.batch_size)


def _want_integer(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise SettingsError(f"want {name} from {low} to {high}, got {value!r}")


@dataclass(frozen=True)
class BatchName:
    """Batch `index` of an `epoch` over the files with this fingerprint, made by this recipe."""

    fingerprint: str
    recipe: Recipe
    epoch: int
    index: int

    def plain(self) -> dict[str, Any]:
        """The name as a flat map of plain values."""
        recipe = {field.name: getattr(self.recipe, field.name) for field in fields(Recipe)}
        return {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "index": self.index,
            **recipe,
            "planes": list(self.recipe.planes),
        }

    def pack(self) -> bytes:
        """The name as a message's frame."""
        packed: bytes = msgpack.packb(self.plain())
        return packed


def unpack_name(frame: bytes) -> BatchName:
    """The name that `BatchName.pack` made a frame of; raises `BatchError`."""
    if len(frame) > _MAX_NAME_BYTES:
        raise BatchError(f"want a name of at most {_MAX_NAME_BYTES} bytes, got {len(frame)}")
    try:
        said = msgpack.unpackb(frame)
    except (ValueError, msgpack.UnpackException) as error:
        raise BatchError(f"want a batch's name as a msgpack map: {error!r}") from None
    return _name(said)


def _name(said: Any) -> BatchName:
    want = {"fingerprint", "epoch", "index"} | {field.name for field in fields(Recipe)}
    if not isinstance(said, Mapping) or set(said) != want:
        got = sorted(map(str, said)) if isinstance(said, Mapping) else type(said).__name__
        raise BatchError(f"want a batch's name of {sorted(want)}, got {got}")
    rest = dict(said)
    fingerprint, epoch, index = (rest.pop(key) for key in ("fingerprint", "epoch", "index"))
    try:
        recipe = Recipe(**{**rest, "planes": tuple(rest["planes"])})
        _want_integer("epoch", epoch, 0, MAX_NUMBER)
        _want_integer("index", index, 0, MAX_NUMBER)
    except (SettingsError, TypeError) as error:
        raise BatchError(f"want a batch's name, got one with {error}") from None
    if not isinstance(fingerprint, str) or type(recipe.flips) is not bool:
        raise BatchError(f"want text and a truth value, got {fingerprint!r} and {recipe.flips!r}")
    return BatchName(fingerprint, recipe, epoch, index)


# What a name stands for.


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, events: int) -> npt.NDArray[np.int64]:
    """The order of an epoch's events: each number from 0 to `events - 1` once. Read-only."""
    drawn = np.argsort(_philox(seed, epoch, _ORDER, 0).random_raw(events), kind="stable")
    drawn.flags.writeable = False
    return drawn


def chosen(name: BatchName, events: int) -> list[int]:
    """The events of a batch, of so many; raises `BatchError` for one beyond the epoch's end."""
    recipe = name.recipe
    batches = recipe.batches_of(events)
    if name.index >= batches:
        raise BatchError(
            f"want an index below {batches}, for {events} events in batches of"
            f" {recipe.batch_size}, got {name.index}"
        )
    start = name.index * recipe.batch_size
    of_epoch = order(recipe.seed, name.epoch, events)
    return [int(event) for event in of_epoch[start : start + recipe.batch_size]]


def positions(
    start: tuple[int, int], *, batches: int, epochs: int | None, rank: int, world_size: int
) -> Iterator[tuple[int, int]]:
    """(epoch, index) of each batch from `start` on that is this rank's, up to epoch `epochs`.

    Rank r of w has the batches r, r + w, r + 2w ... of every epoch; None: epochs without end.
    """
    epoch, first = start
    while epochs is None or epoch < epochs:
        begin = first + (rank - first) % world_size
        yield from ((epoch, index) for index in range(begin, batches, world_size))
        epoch, first = epoch + 1, 0


class Dice:
    """Draws for one event of one epoch: the same whatever batch it is in."""

    def __init__(self, seed: int, epoch: int, event: int) -> None:
        self._philox = _philox(seed, epoch, _EVENT, event)

    def below(self, count: int) -> int:
        """From 0 to `count - 1`."""
        return int(self._philox.random_raw()) % count

    def share(self) -> float:
        """From 0 to below 1."""
        return (int(self._philox.random_raw()) >> 11) * 2.0**-53


def _philox(*key: int) -> Any:
    # NEP 19: a bit generator's raw words stay as they are from one numpy to the next; what a
    # Generator makes of them may change
    return np.random.Philox(np.random.SeedSequence(key))

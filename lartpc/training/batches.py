"""Names of training batches, and the events that a name stands for. Pure.

The name and the files determine a batch to the bit. So any worker that has the files can make it,
and a client can request it again, in any order. Refuses names that are malformed, or that lie
beyond the end of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from ..errors import BatchError, ParameterError
from ..frames import DEFAULT_LIMITS

MAX_NUMBER = (1 << 32) - 1
"""The largest seed, epoch and entry: each is one 32-bit word of the random generator's seed."""
MAX_PLANE = 9
PIXEL_BYTES = 9
"""Bytes per pixel of a batch: float32 ADC, uint8 label, float32 weight."""

_MAX_NAME_BYTES = 4096
_MAX_IMAGES = 8192  # their meta texts have 85 bytes each, and a message holds 1 MB of them
_ORDER, _EVENT = 0, 1  # words of the seed that keep the two kinds of draws independent


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How batches are made; every field is part of their names. Raises `SettingsError`."""

    seed: int = 0
    batch_size: int = 16
    """Events in a batch; the last batch of an epoch holds the remaining ones."""
    planes: tuple[int, ...] = (0, 1, 2)
    rows: int = 256
    """Rows of a crop, in pixels."""
    cols: int = 256
    """Columns of a crop, in pixels."""
    flips: bool = True
    """Whether to mirror half of the crops in time and, independently, half of them in the wires."""
    gain: float = 0.2
    """ADC is scaled by a factor from 1 - gain to 1 + gain, before the threshold."""
    shower_share: float = 0.4
    """The share of crops that are placed around a shower pixel, if the event has one. Only a sixth
    of the pixels with charge are shower."""

    def __post_init__(self) -> None:
        _want_integer("seed", self.seed, 0, MAX_NUMBER)
        for name in ("batch_size", "rows", "cols"):
            _want_integer(name, getattr(self, name), 1, MAX_NUMBER)
        if not self.planes or len(set(self.planes)) != len(self.planes):
            raise ParameterError(f"want different planes, at least one, got {self.planes}")
        for plane in self.planes:
            _want_integer("a plane", plane, 0, MAX_PLANE)
        if not 0 <= self.gain < 1 or not 0 <= self.shower_share <= 1:
            got = f"{self.gain} and {self.shower_share}"
            raise ParameterError(f"want 0 <= gain < 1 and 0 <= shower_share <= 1, got {got}")
        if self.batch_size * len(self.planes) > _MAX_IMAGES:
            got = f"{self.batch_size} events of {len(self.planes)} planes"
            raise ParameterError(f"want at most {_MAX_IMAGES} images in a batch, got {got}")
        if self.nbytes > DEFAULT_LIMITS.array_bytes:
            want = f"batches of at most {DEFAULT_LIMITS.array_bytes} bytes"
            raise ParameterError(f"want {want}, got {self.nbytes}: use fewer events, smaller crops")

    @property
    def nbytes(self) -> int:
        """The size of the arrays of a batch, in bytes."""
        return self.batch_size * len(self.planes) * self.rows * self.cols * PIXEL_BYTES

    def batches_of(self, events: int) -> int:
        """Return the number of batches in an epoch of `events` events."""
        return -(-events // self.batch_size)


def _want_integer(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ParameterError(f"want {name} from {low} to {high}, got {value!r}")


@dataclass(frozen=True)
class BatchName:
    """Names batch `index` of an `epoch`, made by `recipe` from the files with this fingerprint."""

    fingerprint: str
    recipe: Recipe
    epoch: int
    index: int

    def plain(self) -> dict[str, Any]:
        """Return the name as a flat map of plain values."""
        recipe = {field.name: getattr(self.recipe, field.name) for field in fields(Recipe)}
        return {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "index": self.index,
            **recipe,
            "planes": list(self.recipe.planes),
        }

    def pack(self) -> bytes:
        """Return the name as a message frame."""
        packed: bytes = msgpack.packb(self.plain())
        return packed


def unpack_name(frame: bytes) -> BatchName:
    """Return the name that `BatchName.pack` packed into this frame. Raises `BatchError`."""
    if len(frame) > _MAX_NAME_BYTES:
        raise BatchError(f"want a name of at most {_MAX_NAME_BYTES} bytes, got {len(frame)}")
    try:
        values = msgpack.unpackb(frame)
    except (ValueError, msgpack.UnpackException) as error:
        raise BatchError(f"want a batch's name as a msgpack map: {error!r}") from None
    return _name(values)


def _name(values: Any) -> BatchName:
    want = {"fingerprint", "epoch", "index"} | {field.name for field in fields(Recipe)}
    if not isinstance(values, Mapping) or set(values) != want:
        got = sorted(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
        raise BatchError(f"want a batch's name of {sorted(want)}, got {got}")
    rest = dict(values)
    fingerprint, epoch, index = (rest.pop(key) for key in ("fingerprint", "epoch", "index"))
    try:
        recipe = Recipe(**{**rest, "planes": tuple(rest["planes"])})
        _want_integer("epoch", epoch, 0, MAX_NUMBER)
        _want_integer("index", index, 0, MAX_NUMBER)
    except (ParameterError, TypeError) as error:
        raise BatchError(f"want a valid name of a batch: {error}") from None
    if not isinstance(fingerprint, str) or type(recipe.flips) is not bool:
        got = f"{fingerprint!r} and {recipe.flips!r}"
        raise BatchError(f"want fingerprint as a text and flips as a bool, got {got}")
    return BatchName(fingerprint, recipe, epoch, index)


# The events of a batch.


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, events: int) -> npt.NDArray[np.int64]:
    """Return the order of an epoch's events: every number from 0 to `events - 1`. Read-only."""
    drawn = np.argsort(_philox(seed, epoch, _ORDER, 0).random_raw(events), kind="stable")
    drawn.flags.writeable = False
    return drawn


def chosen(name: BatchName, events: int) -> list[int]:
    """Return the entries in a batch, drawn from files of `events` events.

    Raises `BatchError` for a batch beyond the end of the epoch.
    """
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
    """Yield (epoch, index) of this rank's batches, from `start` to the end of epoch `epochs - 1`.

    Rank r of w has the batches r, r + w, r + 2w ... of every epoch. With None the epochs never end.
    """
    epoch, first = start
    while epochs is None or epoch < epochs:
        begin = first + (rank - first) % world_size
        yield from ((epoch, index) for index in range(begin, batches, world_size))
        epoch, first = epoch + 1, 0


class Dice:
    """Random numbers for one event of one epoch; they do not depend on its batch."""

    def __init__(self, seed: int, epoch: int, event: int) -> None:
        self._philox = _philox(seed, epoch, _EVENT, event)

    def below(self, count: int) -> int:
        """Draw an integer from 0 to `count - 1`."""
        return int(self._philox.random_raw()) % count

    def share(self) -> float:
        """Draw a number from 0 to below 1."""
        return (int(self._philox.random_raw()) >> 11) * 2.0**-53


def _philox(*key: int) -> Any:
    # NEP 19: the raw words of a bit generator are the same in every version of numpy, but what a
    # Generator makes from them may change
    return np.random.Philox(np.random.SeedSequence(key))

"""The class that users subclass to write a service of NumPy arrays."""

from __future__ import annotations

import types
import typing
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Refused, WireError
from ..worker.worker import AnyWorker
from .array_frames import pack_array, unpack_array


class ArrayWorker(AnyWorker):
    """Base class: override `handle`, and `setup` if there is something to load.

    The types in the signature of `handle` are checked for each request and each answer:
    `NDArray[np.float32]` is an array of float32 of any shape, `NDArray[np.integer]` one of any
    integers, `np.ndarray[tuple[int, int], np.dtype[np.float32]]` one with two axes, `np.ndarray`
    any array. A request of another type gets error 400, which says what was wanted and what came.

    `setup` and `handle` run in a separate process, one call at a time, as those of `Worker`.
    """

    @abstractmethod
    def handle(self, image: NDArray[Any], /) -> NDArray[Any]:
        """Answer a request: one array for one array. You may write to `image`.

        The same request must give the same answer, because it may be given to another worker
        after this one dies. Raise `Refused` for an input that you do not accept (400). Any other
        exception reaches the client as error 500 with its message, and the worker goes on.
        """

    @classmethod
    def check_class(cls) -> None:
        """Raise `TypeError` if the types of `handle` cannot be read, or are no arrays."""
        _signature(cls)

    def handle_frames(self, frames: list[bytes]) -> list[bytes]:
        wanted, promised = _signature(type(self))
        try:
            image = unpack_array(frames)
        except WireError as error:
            raise Refused(str(error)) from error
        if not wanted.fits(image):
            raise Refused(f"want {wanted}, got {image.dtype} {image.shape}")
        answer = self.handle(image)
        if not isinstance(answer, (np.ndarray, np.generic)):
            raise TypeError(f"want {_name(self)} to return an array, got {type(answer).__name__}")
        if not promised.fits(answer):
            got = f"{answer.dtype} {answer.shape}"
            raise TypeError(f"want {_name(self)} to return {promised}, got {got}")
        return [pack_array(np.asarray(answer))]


def _name(worker: ArrayWorker) -> str:
    return f"{type(worker).__name__}.handle"


@dataclass(frozen=True)
class ArrayType:
    """What a type hint says about an array."""

    scalars: tuple[type[np.generic], ...] = (np.generic,)
    """The types of the elements, one of which must fit."""
    axes: int | None = None
    """The number of axes; None: any."""

    def fits(self, array: NDArray[Any] | np.generic) -> bool:
        has_type = any(issubclass(array.dtype.type, scalar) for scalar in self.scalars)
        return has_type and self.axes in (None, array.ndim)

    def __str__(self) -> str:
        names = " or ".join(scalar.__name__ for scalar in self.scalars)
        text = "an array" if self.scalars == (np.generic,) else f"an array of {names}"
        return text if self.axes is None else f"{text} with {self.axes} axes"


def array_type(hint: object) -> ArrayType:
    """Return what a type hint says. Raises `TypeError` if it is not one of an array."""
    if hint in (Any, np.ndarray):
        return ArrayType()
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is not np.ndarray or len(arguments) != 2:
        raise TypeError(f"want a hint such as NDArray[np.float32], got {hint}")
    shape, dtype = arguments
    scalars = [_bound(scalar) for scalar in _members(*(typing.get_args(dtype) or (Any,)))]
    if not all(isinstance(scalar, type) and issubclass(scalar, np.generic) for scalar in scalars):
        raise TypeError(f"want a hint such as NDArray[np.float32], got {hint}")
    return ArrayType(tuple(scalars), _axes(shape))


def _members(hint: object) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


def _bound(scalar: Any) -> Any:
    """Return NumPy's class for a hint such as `np.floating[Any]`, `Any` or a type variable."""
    if scalar is Any or isinstance(scalar, typing.TypeVar):
        return np.generic
    return typing.get_origin(scalar) or scalar


def _axes(shape: object) -> int | None:
    sides = typing.get_args(shape)
    return None if not sides or Ellipsis in sides else len(sides)


@cache
def _signature(worker: type[ArrayWorker]) -> tuple[ArrayType, ArrayType]:
    """Return the types of the argument of `handle` and of its result; without hints, any array."""
    try:
        hints = typing.get_type_hints(worker.handle)
    except NameError as error:
        text = f"want types that can be read in {worker.__name__}.handle, got {error}"
        raise TypeError(f"{text}: import them at run time, too") from None
    result = hints.pop("return", Any)
    argument = next(iter(hints.values()), Any)
    try:
        return array_type(argument), array_type(result)
    except TypeError as error:
        raise TypeError(f"{worker.__name__}.handle: {error}") from None

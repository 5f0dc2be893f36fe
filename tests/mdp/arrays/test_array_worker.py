"""A worker of arrays without a broker: what its types say, what it refuses, what it answers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mdp import ArrayWorker, Refused
from mdp.arrays.array_frames import pack_array, unpack_array
from mdp.arrays.array_worker import ArrayType, array_type
from mdp.worker.child import answers

F4 = np.float32
Floats = NDArray[np.float32]


class Negate(ArrayWorker):
    def handle(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        image *= -1  # an array of its own
        return image


class Anything(ArrayWorker):
    """Without types, as a first try is."""

    def handle(self, image):  # type: ignore[no-untyped-def]
        return image


class Lines(ArrayWorker):
    def handle(
        self, image: np.ndarray[tuple[int, int], np.dtype[np.integer[Any]]]
    ) -> NDArray[np.float64]:
        if image.shape[0] != 3:
            raise Refused(f"want 3 rows, got {image.shape[0]}")
        return np.asarray(image.mean(axis=1)) if image.any() else image[0]


class Wrong(ArrayWorker):
    def handle(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return [1.0]  # type: ignore[return-value]


def ask(worker: ArrayWorker, array: NDArray[Any]) -> NDArray[Any]:
    worker.check_class()
    return unpack_array(worker.handle_frames([pack_array(array)]))


def refusal(worker: ArrayWorker, array: NDArray[Any]) -> str:
    with pytest.raises(Refused) as raised:
        ask(worker, array)
    return str(raised.value)


def test_an_array_is_answered_by_an_array() -> None:
    image = np.arange(6, dtype=F4).reshape(2, 3)
    np.testing.assert_array_equal(ask(Negate(), image), -image)
    np.testing.assert_array_equal(ask(Negate(), image.astype(">f4")), -image)
    assert ask(Negate(), np.array(2, F4)).shape == ()
    assert ask(Negate(), np.zeros((0, 5), F4)).shape == (0, 5)


def test_another_dtype_is_refused_with_what_was_wanted_and_what_came() -> None:
    text = refusal(Negate(), np.zeros((2, 3)))
    assert text == "want an array of float32, got float64 (2, 3)"


def test_another_number_of_axes_is_refused() -> None:
    text = refusal(Lines(), np.zeros(3, int))
    assert text == "want an array of integer with 2 axes, got int64 (3,)"
    np.testing.assert_array_equal(ask(Lines(), np.ones((3, 2), np.uint8)), [1, 1, 1])
    assert refusal(Lines(), np.ones((2, 2), int)) == "want 3 rows, got 2"


def test_without_types_any_array_is_accepted() -> None:
    for array in (np.zeros(2), np.array(["a"]), np.array([True])):
        assert ask(Anything(), array).dtype == array.dtype


@pytest.mark.parametrize("frames", [[], [b"x", b"y"], [b"not an array"]])
def test_what_is_no_array_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(Refused, match="want"):
        Negate().handle_frames(frames)


@pytest.mark.parametrize(
    ("worker", "array", "words"),
    [
        (Wrong(), np.zeros(2, F4), "Wrong.handle to return an array, got list"),
        (Lines(), np.zeros((3, 2), int), "Lines.handle to return an array of float64, got int64"),
    ],
)
def test_an_answer_that_is_not_what_the_types_say_is_an_error_of_the_worker(
    worker: ArrayWorker, array: NDArray[Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        ask(worker, array)


class Broken(ArrayWorker):
    def handle(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        raise LookupError("no such wire")


def test_an_error_names_the_line_of_the_users_file() -> None:
    [(_, (_, code, text))] = answers(Broken(), [pack_array(np.zeros(2, F4))])
    assert code == b"500"
    assert text.startswith(b"LookupError: no such wire (test_array_worker.py:")
    [(_, (_, code, text))] = answers(Wrong(), [pack_array(np.zeros(2, F4))])
    assert code == b"500"
    assert b"got list at worker" in text


# What types say.


@pytest.mark.parametrize(
    ("hint", "wanted"),
    [
        (Any, ArrayType()),
        (np.ndarray, ArrayType()),
        (NDArray[Any], ArrayType()),
        (NDArray[np.float32], ArrayType((np.float32,))),
        (NDArray[np.floating[Any]], ArrayType((np.floating,))),
        (NDArray[np.float32 | np.float64], ArrayType((np.float32, np.float64))),
        (np.ndarray[tuple[int], np.dtype[np.int8]], ArrayType((np.int8,), 1)),
        (np.ndarray[tuple[int, ...], np.dtype[np.int8]], ArrayType((np.int8,))),
        (np.ndarray[tuple[int, int, int], np.dtype[Any]], ArrayType(axes=3)),
    ],
)
def test_a_hint_says_which_arrays_fit(hint: object, wanted: ArrayType) -> None:
    assert array_type(hint) == wanted


@pytest.mark.parametrize("hint", [int, list[int], "text", NDArray[np.float32] | None])
def test_a_hint_that_is_no_array_is_a_type_error(hint: object) -> None:
    with pytest.raises(TypeError, match=r"NDArray\[np.float32\]"):
        array_type(hint)


def test_a_class_whose_types_cannot_serve_is_an_error_before_the_first_request() -> None:
    class Number(ArrayWorker):
        def handle(self, image: int) -> int:  # type: ignore[override]
            return image

    class Unknown(ArrayWorker):
        def handle(self, image: Nothing) -> Nothing:  # type: ignore[name-defined]  # noqa: F821
            return image

    with pytest.raises(TypeError, match=r"Number.handle: want a hint"):
        Number.check_class()
    with pytest.raises(TypeError, match=r"Unknown.handle, got name 'Nothing'"):
        Unknown.check_class()


# Without NumPy.

WITHOUT = """
import sys
sys.modules["numpy"] = None
import mdp, mdp.echo, mdp.worker.worker_loop, mdp.broker.broker_loop, mdp.testing
mdp.Client, mdp.Worker
try:
    from mdp import ArrayWorker
except ModuleNotFoundError as error:
    print(error)
"""


def test_mdp_without_numpy_serves_frames_and_says_what_arrays_need() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.stdout.startswith("mdp.ArrayWorker needs NumPy: pip install 'numpy>="), done.stderr

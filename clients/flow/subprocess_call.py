"""Runs a function in a short-lived process, which frees all memory and libraries at its end."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from .signals import inherited_by_none

A = TypeVar("A")
R = TypeVar("R")


def apart(function: Callable[[A], R], argument: A) -> R:
    """Return the function's result or raise its error; `BrokenProcessPool` if the process died."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        with inherited_by_none():  # only this process, which waits, handles Ctrl-C
            running = executor.submit(function, argument)
        return running.result()

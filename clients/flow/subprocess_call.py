"""Runs a function in a process that ends: what it loads and holds is gone after it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from .signals import inherited_by_none

A = TypeVar("A")
R = TypeVar("R")


def apart(function: Callable[[A], R], argument: A) -> R:
    """Its result, or what it raised; `BrokenProcessPool` if the process died."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        with inherited_by_none():  # a terminal's Ctrl-C is for us, who wait for it
            running = executor.submit(function, argument)
        return running.result()

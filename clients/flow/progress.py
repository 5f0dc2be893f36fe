"""What long work reports while it runs; `terminal.progress` shows it."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""Is called with (done, in all)."""


class Progress:
    """Takes reports, and drops them. It is a function (done, in all), too."""

    def step(self, text: str) -> None:
        """What goes on now, or is waited for: `waiting for scores`."""

    def begin(self, text: str, *, done: int = 0, total: int = 0, failed: int = 0) -> None:
        """The work is checked and begins; text: what it is; done: by earlier runs, of total."""

    def say(self, text: str) -> None:
        """A line of its own, between those of progress."""

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        """So many are done, of all; `failed` of the done ones failed."""


class _Calling(Progress):
    def __init__(self, function: OnProgress) -> None:
        self._function = function

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        self._function(done, total)


def progress_of(on_progress: OnProgress | None) -> Progress:
    """A `Progress` for what a caller gave: one already, a plain function, or nothing."""
    if isinstance(on_progress, Progress):
        return on_progress
    return _Calling(on_progress) if on_progress else Progress()

"""Progress reports of long work; `terminal.screen` shows them."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""A function that is called with (done, total)."""


def rate_text(rate: float) -> str:
    """Return a rate in three digits or more, without powers of ten."""
    if rate >= 100 or not rate:
        return f"{rate:.0f}"
    return f"{rate:.3g}" if rate >= 0.1 else f"{rate:.3f}"


class Progress:
    """Takes reports of progress and ignores them. It can also be called as an `OnProgress`."""

    def step(self, text: str) -> None:
        """Report what happens now: `waiting for scores`."""

    def begin(self, text: str, *, done: int = 0, total: int = 0, failed: int = 0) -> None:
        """Report that the work `text` begins, after all checks; `done` is from earlier runs."""

    def say(self, text: str) -> None:
        """Report one line of text, apart from the progress."""

    def note(self, text: str) -> None:
        """Report further figures, which are shown with the next counts: `81 events`."""

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        """Report that `done` of `total` are done, and that `failed` of these failed."""


class _Calling(Progress):
    def __init__(self, function: OnProgress) -> None:
        self._function = function

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        self._function(done, total)


def progress_of(on_progress: OnProgress | None) -> Progress:
    """Return a `Progress` for a caller's argument: a `Progress`, a plain function, or None."""
    if isinstance(on_progress, Progress):
        return on_progress
    return _Calling(on_progress) if on_progress else Progress()

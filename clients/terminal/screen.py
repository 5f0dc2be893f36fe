"""Progress on stderr: a bar on a terminal, lines in a log. Tables on stdout."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from json import dumps
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from mdp.commands.tables import duration

from ..flow.progress import Progress, rate_text
from . import narrow
from .narrow import Pairs, Rows

INTERVAL_S = 60.0
_PATIENCE_S = 5.0  # a log has a line for a step of the start that takes longer
_BAR_WIDTH = 20  # characters: with the longest text it fits into 80

_PIPE_WIDTH = 1 << 20


@contextmanager
def progress(
    unit: str,
    *,
    command: str,
    quiet: bool = False,
    interval_s: float = INTERVAL_S,
) -> Iterator[Progress]:
    """Show the progress of the block: a bar if stderr is a terminal, else a line now and then.

    unit: what is counted, `events`. interval_s: the time between two lines in a log.
    """
    if quiet:
        yield Progress()
        return
    console = Console(stderr=True)
    shown: _Bar | _Lines
    if console.is_terminal and not console.is_dumb_terminal:
        shown = _Bar(unit, command, console)
    else:
        shown = _Lines(unit, command, interval_s)
    with shown.showing():
        try:
            yield shown
        except BaseException as error:
            shown.end(error)
            raise
        shown.end(None)


class _Shown(Progress):
    """Keeps the counts and puts them into words; a subclass writes the lines."""

    def __init__(self, unit: str, command: str) -> None:
        self._unit = unit
        self._command = command
        self._step = ""
        self._note = ""
        self._began_at: float | None = None
        self._first: tuple[int, float] | None = None
        self._done = self._total = self._failed = 0

    def write(self, text: str) -> None:
        """Write a whole line."""
        raise NotImplementedError

    def step(self, text: str) -> None:
        self._step = text

    def begin(self, text: str, *, done: int = 0, total: int = 0, failed: int = 0) -> None:
        self._began_at = time.monotonic()
        self.write(text)
        if total:
            self(done, total, failed)

    def say(self, text: str) -> None:
        self.write(text)

    def note(self, text: str) -> None:
        self._note = text

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        self._first = self._first or (done, time.monotonic())
        self._done, self._total, self._failed = done, total, failed

    def end(self, error: BaseException | None) -> None:
        """Write the last line, if the work had begun."""
        if self._began_at is None:
            return
        took = duration(time.monotonic() - self._began_at)
        how = "done" if error is None else "stopped by a signal" if _is_stop(error) else "failed"
        self.write(f"{how} after {took}: {self._count()}")

    def _state(self) -> str:
        """How much is done, how fast, and when the rest will be done."""
        if self._began_at is None or self._first is None:
            return self._step or "begins"
        first, first_at = self._first
        rate = (self._done - first) / max(time.monotonic() - first_at, 1e-9)
        if not rate:
            return f"{self._count()}, {self._step}" if self._step else self._count()
        left_s = (self._total - self._done) / rate
        end = datetime.fromtimestamp(time.time() + left_s).astimezone()
        speed = f"{rate_text(60 * rate)} {self._unit} a minute so far"
        return f"{self._count()}, {speed}, {duration(left_s)} to go, until {end:%H:%M}"

    def _count(self) -> str:
        share = f" ({100 * self._done / self._total:.0f} %)" if self._total else ""
        failed = f", {self._failed} failed" if self._failed else ""
        note = f", {self._note}" if self._note else ""
        return f"{self._done} of {self._total} {self._unit}{share}{failed}{note}"


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt)  # SIGTERM raises it, too


class _Lines(_Shown):
    """For a log: a line at the beginning, at the end, and after each interval without a line."""

    def __init__(self, unit: str, command: str, interval_s: float) -> None:
        super().__init__(unit, command)
        self._interval_s = interval_s
        self._changed = threading.Condition()
        self._due_at = time.monotonic() + interval_s
        self._ended = False

    @contextmanager
    def showing(self) -> Iterator[None]:
        # a thread, so that a run that hangs still writes lines
        thread = threading.Thread(target=self._run, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()
            thread.join()

    def step(self, text: str) -> None:
        with self._changed:
            is_new = text != self._step
            super().step(text)
            if is_new and self._began_at is None:
                patience_s = min(_PATIENCE_S, self._interval_s)
                self._due_at = time.monotonic() + patience_s
                self._changed.notify()

    def write(self, text: str) -> None:
        with self._changed:
            self._due_at = time.monotonic() + self._interval_s
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            line(f"{now} {self._command}: {text}")

    def _run(self) -> None:
        with self._changed:
            while not self._ended:
                left_s = self._due_at - time.monotonic()
                if left_s <= 0:
                    self.write(self._state())
                else:
                    self._changed.wait(left_s)


class _Bar(_Shown):
    """For a terminal; lines appear above the bar."""

    def __init__(self, unit: str, command: str, console: Console) -> None:
        super().__init__(unit, command)
        self._console = console
        columns = (TextColumn("{task.description}", markup=False), BarColumn(_BAR_WIDTH))
        counts = (MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = RichProgress(*columns, *counts, console=console)
        self._task = self._bar.add_task(unit, total=None)

    @contextmanager
    def showing(self) -> Iterator[None]:
        with _logs_above(self._console), self._bar:
            yield

    def write(self, text: str) -> None:
        _print(self._console, text)

    def step(self, text: str) -> None:
        super().step(text)
        self._describe()

    def note(self, text: str) -> None:
        super().note(text)
        self._describe()

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        if self._first is None:  # events of an earlier run do not count in the speed
            self._bar.reset(self._task, total=total, completed=done)
        more = failed != self._failed
        super().__call__(done, total, failed)
        self._bar.update(self._task, completed=done, total=total)
        if more:
            self._describe()

    def end(self, error: BaseException | None) -> None:
        if error is not None:  # else the closing table shows it
            super().end(error)

    def _describe(self) -> None:
        failed = f"{self._failed} failed" if self._failed else ""
        parts = [part for part in (self._unit, failed, self._note or self._step) if part]
        self._bar.update(self._task, description=", ".join(parts))


class _Above(io.TextIOBase):
    """A stream for a log handler whose text appears above the bar."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        if text.strip("\n"):
            _print(self._console, text.rstrip("\n"))
        return len(text)


def _print(console: Console, text: str) -> None:
    """Print lines unchanged; the terminal folds long ones, so they can be copied."""
    console.print(Text(text), soft_wrap=True, highlight=False)


@contextmanager
def _logs_above(console: Console) -> Iterator[None]:
    """Let the console write the log lines for stderr, since it knows where its bar is."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    ]
    streams = [handler.setStream(_Above(console)) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            handler.setStream(stream)


def table(*columns: str, left: int = 1) -> Table:
    """A plain table; the first `left` columns are text, the others numbers."""
    result = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        if index < left:
            result.add_column(column, overflow="fold")
        else:
            result.add_column(column, justify="right", no_wrap=True)
    return result


def show(*tables: Table | Rows | Pairs) -> None:
    """Print tables with a line between them; in a file or a pipe, as wide as they need to be."""
    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(file=sys.stdout, highlight=False, width=wide)
    for number, shown in enumerate(tables):
        if number:
            console.print()
        # a soft wrap is the terminal's: text that is copied from it has no line break
        console.print(
            shown if isinstance(shown, Table) else narrow.shown(shown, console), soft_wrap=False
        )


def close(tables: Sequence[Table], values: Mapping[str, Any], *, quiet: bool, json: bool) -> None:
    """Print the results of a command: one JSON object, or tables unless it is quiet."""
    if json:
        sys.stdout.write(dumps(values) + "\n")
    elif not quiet:
        show(*tables)


def show_values(tables: Sequence[Rows | Pairs], values: Mapping[str, Any], *, json: bool) -> None:
    """Print a report: one JSON object, or tables."""
    if json:
        sys.stdout.write(dumps(values) + "\n")
    else:
        show(*tables)


def line(text: str) -> None:
    """Write a line to stderr."""
    with suppress(OSError):  # an error in writing the log does not end a run
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def escaped(text: str) -> str:
    """Text in which rich sees no markup."""
    return text.replace("[", r"\[")

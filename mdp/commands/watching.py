"""Show something again and again until Ctrl-C: on the screen, as plain lines, or as JSON."""

from __future__ import annotations

import json as json_text
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ..sockets import clock, unix_time
from ..system.logs import timestamp

WIDE = 1000  # columns, if stdout is not a terminal

T = TypeVar("T")


class Watch(Generic[T]):
    """What is looked at, and how it is shown."""

    def __init__(
        self,
        title: str,
        *,
        look: Callable[[], T],
        view: Callable[[T], RenderableType],
        as_json: Callable[[T], dict[str, Any]],
    ) -> None:
        self._title = title
        self._look = look
        self._view = view
        self._as_json = as_json

    def run(self, *, every_s: float, json: bool) -> None:
        """Show it until KeyboardInterrupt."""
        if json:
            self._repeat(every_s, self._write_object)
        elif sys.stdout.isatty():
            self._on_screen(every_s)
        else:
            self._repeat(every_s, self._write_rows)

    def _repeat(self, every_s: float, show: Callable[[T], None]) -> None:
        pause = threading.Event()  # never set: only its `wait` is used
        while True:
            due_at = clock() + every_s
            show(self._look())
            pause.wait(max(0.0, due_at - clock()))

    def _on_screen(self, every_s: float) -> None:
        """Show it on the alternate screen; print the last view when it ends."""
        shown: RenderableType = ""
        console = Console()

        def show(seen: T) -> None:
            nonlocal shown
            shown = self._view(seen)
            title = Text(f"{self._title}   (Ctrl-C ends)\n", style="dim")
            live.update(Group(title, shown), refresh=True)

        try:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                self._repeat(every_s, show)
        finally:
            console.print(shown)

    def _write_rows(self, seen: T) -> None:
        """Write plain lines, each with the time."""
        console = Console(width=WIDE, no_color=True, highlight=False)
        with console.capture() as captured:
            console.print(self._view(seen))
        rows = [row.rstrip() for row in captured.get().splitlines()]
        time = timestamp(unix_time())
        sys.stdout.writelines(f"{time}  {row}\n" for row in rows if row)
        sys.stdout.flush()

    def _write_object(self, seen: T) -> None:
        """Write one line of JSON."""
        sys.stdout.write(json_text.dumps(self._as_json(seen)) + "\n")
        sys.stdout.flush()

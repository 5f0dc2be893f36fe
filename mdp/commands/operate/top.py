"""`mdp top`: a broker's services and workers, live on a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from ...client.client import Client
from ...errors import MDPError, SettingsError
from ...settings import DEFAULT_ENDPOINT, ClientSettings
from ...sockets import clock, unix_time
from ...system.contact import locate
from ...system.logs import configure_logging, timestamp
from ...system.process import ended_by_signals
from ..command_line import (
    TERMINAL,
    Broker,
    Every,
    PoolName,
    Quiet,
    Timeout,
    Verbose,
    broker_of,
    option,
)
from .top_view import KEYS, SORTS, View

TOP_HELP = f"""Show services and workers live, in a terminal: a table that can be sorted.

Keys: {KEYS}.

It needs 80 columns and 24 lines to show all of a row, works through ssh, and ends with q or \
Ctrl-C. It needs an operator's key at a broker with keys. `mdp services --watch --by-worker` \
writes the same figures to a file or a pipe.

[bold]Examples[/]

  mdp top
  mdp top ssnet-plane2
  mdp top --sort busy --every 0.5
  mdp top --pool july
"""

_SETTINGS = ClientSettings(tries=1, interactive=True)
_TIMEOUT_S = 3.0


def top(
    context: typer.Context,
    service: Annotated[
        str | None, typer.Argument(help="Show only the service of this name.")
    ] = None,
    sort: Annotated[
        str,
        option(TERMINAL, "--sort", metavar="COLUMN", help=f"Sort workers by {', '.join(SORTS)}."),
    ] = SORTS[0],
    every: Every = None,
    timeout: Timeout = _TIMEOUT_S,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet, default="error")
    if sort not in SORTS:
        raise SettingsError(f"want --sort {', '.join(SORTS)}, got {sort!r}")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        instead = "`mdp services --watch --by-worker` writes lines to a file or a pipe"
        raise SettingsError(f"mdp top needs a terminal; {instead}")
    broker = broker_of(context, pool_name, broker)
    locate(broker)  # an error at once, if there is no contact file
    view = View(broker, service, sort)
    with ended_by_signals(), Client(broker, _SETTINGS) as client:
        run(view, _looker(client, timeout), every_s=every or 1.0)


def add_to(app: typer.Typer) -> None:
    """Add the command to `mdp`."""
    app.command(help=TOP_HELP)(top)


def _looker(client: Client, timeout_s: float) -> Callable[[], dict[str, Any]]:
    def look() -> dict[str, Any]:
        """Return one look at the broker; it has only `error` if the broker does not answer."""
        seen: dict[str, Any] = {"time": timestamp(unix_time()), "at": clock()}
        try:
            services = client.services(timeout_s=timeout_s)
            workers = client.management("workers", timeout_s=timeout_s)["workers"]
        except MDPError as error:
            return {**seen, "error": str(error)}
        return {**seen, "services": services, "workers": workers}

    return look


def run(view: View, look: Callable[[], dict[str, Any]], *, every_s: float) -> None:
    """Show the view until the user ends it. A thread looks, so that keys work at any time."""
    read_end, write_end = os.pipe()
    ended = threading.Event()
    looks: list[dict[str, Any]] = []

    def watch() -> None:
        while not ended.is_set():
            due_at = clock() + every_s
            looks.append(look())
            with contextlib.suppress(OSError):  # the screen has ended
                os.write(write_end, b"x")
            ended.wait(max(0.0, due_at - clock()))
        os.close(write_end)

    watcher = threading.Thread(target=watch, name="mdp top", daemon=True)
    console = Console()
    try:
        with _keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
            watcher.start()
            while not view.is_over:
                width, height = console.size
                live.update(view.screen(width, height), refresh=True)
                ready, _, _ = select.select([keyboard, read_end], [], [], every_s)
                if read_end in ready:
                    os.read(read_end, 4096)
                while looks:
                    view.see(looks.pop(0))
                if keyboard in ready:
                    keys = os.read(keyboard, 64)
                    view.press(keys)
                    view.is_over = view.is_over or not keys  # the terminal is gone
    finally:
        ended.set()
        os.close(read_end)


@contextmanager
def _keys() -> Iterator[int]:
    """Read keys one by one, without an echo; afterwards the terminal is as it was before."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        changed = termios.tcgetattr(keyboard)
        changed[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the terminal as it is meanwhile
        termios.tcsetattr(keyboard, termios.TCSANOW, changed)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)

"""Options that several commands have."""

from __future__ import annotations

import enum
import logging
from pathlib import Path
from typing import Annotated

import typer

from mdp.process import configure_logging


class Ticks(str, enum.Enum):
    """Which tick row 0 is."""

    backward = "backward"
    forward = "forward"


Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Read as one file.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file: .root or .h5.")]
Start = Annotated[int, typer.Option(help="The first entry, over all files.")]
End = Annotated[int | None, typer.Option(help="The entry after the last.")]
Tries = Annotated[int, typer.Option(help="How often a request is sent.")]
CopyInput = Annotated[
    bool, typer.Option("--copy-input", help="The input's other products come along.")
]
Broker = Annotated[
    str, typer.Option("--broker", "-b", envvar="MDP_BROKER", help="The broker's address.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it is there.")]
Heartbeat = Annotated[float, typer.Option(help="Seconds between heartbeats.")]
Liveness = Annotated[int, typer.Option(help="Heartbeats missed until a peer is gone.")]
TickOrder = Annotated[
    Ticks,
    typer.Option(
        help="Whether row 0 is the largest tick (backward, as in LArCV1) or the smallest."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]


def log_warnings(*, verbose: bool) -> None:
    """A client's user wants to hear of trouble, not of each step."""
    configure_logging(verbose=verbose)
    if not verbose:
        logging.getLogger().setLevel(logging.WARNING)

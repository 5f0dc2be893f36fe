"""Options that several commands have."""

from __future__ import annotations

import enum
import logging
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError
from mdp.commands.command_line import Broker as Broker
from mdp.commands.command_line import finite as finite
from mdp.commands.command_line import positive as positive
from mdp.process import configure_logging


class Ticks(str, enum.Enum):
    """Which tick row 0 is."""

    auto = "auto"
    backward = "backward"
    forward = "forward"


Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Read as one file.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file: .root or .h5.")]
Start = Annotated[int, typer.Option(min=0, help="The first entry, over all files.")]
End = Annotated[int | None, typer.Option(min=1, help="The entry after the last.")]
Tries = Annotated[int, typer.Option(min=1, help="How often a request is sent.")]
CopyInput = Annotated[
    bool, typer.Option("--copy-input", help="The input's other products come along.")
]
RepeatInputs = Annotated[
    bool, typer.Option("--repeat-inputs", help="Take an input that is given twice.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it is there.")]
Heartbeat = Annotated[float, typer.Option(callback=positive, help="Seconds between heartbeats.")]
Liveness = Annotated[int, typer.Option(min=1, help="Heartbeats missed until a peer is gone.")]
TickOrder = Annotated[
    Ticks,
    typer.Option(
        help="Whether row 0 is the largest tick (backward, as in LArCV1) or the smallest (forward)."
        " auto: what the files show, else backward, with a warning."
    ),
]
TrustTickOrder = Annotated[
    bool,
    typer.Option(
        "--trust-tick-order",
        help="Take --tick-order even if the files contradict it: their ticks may be below 0.",
    ),
]
ImageProducer = Annotated[str, typer.Option(help="Producer of the images, with files.")]
LabelProducer = Annotated[
    str, typer.Option(help="Producer of their labels 0, 1, 2 (background, shower, track).")
]
CHOICES = ("lartpc.files.reader", "clients.files.choices", "clients.pictures.event_pictures")
"""The loggers that say what was chosen where no option did."""
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no closing table; errors stay.")
]
Json = Annotated[
    bool, typer.Option("--json", help="The closing figures on stdout as JSON, for programs.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]


def numbers(text: str) -> tuple[int, ...]:
    """Different planes from 0 to 9, as users write them: 0,1,2. Raises `SettingsError`."""
    try:
        wanted = tuple(int(number) for number in text.split(",") if number)
    except ValueError:
        raise SettingsError(f"want planes as in 0,1,2, got {text!r}") from None
    if len(set(wanted)) != len(wanted) or any(not 0 <= number <= 9 for number in wanted):
        raise SettingsError(f"want different planes from 0 to 9, got {wanted}")
    return wanted


def log_warnings(*, verbose: bool, quiet: bool = False) -> None:
    """Log trouble, and unless `quiet` what was chosen where no option did; not each step."""
    configure_logging(verbose=verbose)
    if not verbose:
        logging.getLogger().setLevel(logging.WARNING)
    for name in () if quiet else CHOICES:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)


def typed(context: typer.Context, name: str) -> bool:
    """Whether the user gave this option, rather than its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def check_files(context: typer.Context, *, files: bool, theirs: tuple[str, ...]) -> None:
    """Refuse options that would do nothing: the broker's with files, `theirs` without any."""
    for name in ("broker",) if files else theirs:
        if typed(context, name):
            option = name.replace("_", "-")
            raise SettingsError(f"want --{option} {'without' if files else 'with'} files")

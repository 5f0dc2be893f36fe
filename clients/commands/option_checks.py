"""Checks of options that several commands make, and what their log shows."""

from __future__ import annotations

import logging

import typer

from mdp import SettingsError
from mdp.system.logs import chosen, configure_logging
from services.planes import MAX_PLANE

CHOICES = ("lartpc.files.reader", "clients.files.choices", "clients.pictures.event_pictures")
"""The loggers that report what the program chose because no option decided."""


def numbers(text: str) -> tuple[int, ...]:
    """Parse numbers of planes, all different, from 0 to 99: `0,1,2`, `0-5,7`.

    Raises `SettingsError`.
    """
    wanted: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        try:
            ends = int(first), int(last) if "-" in part else int(first)
        except ValueError:
            raise SettingsError(f"want planes as in 0,1,2 or 0-5, got {text!r}") from None
        if not 0 <= ends[0] <= ends[1] <= MAX_PLANE:
            raise SettingsError(f"want planes from 0 to {MAX_PLANE}, as in 0-5, got {part!r}")
        wanted += range(ends[0], ends[1] + 1)
    if len(set(wanted)) != len(wanted):
        raise SettingsError(f"want different planes, got {text!r}")
    return tuple(wanted)


def log_warnings(*, verbose: bool, quiet: bool = False) -> None:
    """Log warnings and, unless quiet, the program's choices; log each step only if verbose."""
    configure_logging(verbose=verbose, quiet=quiet)
    if chosen().level or chosen().file:
        return
    if not verbose:
        logging.getLogger().setLevel(logging.WARNING)
    for name in () if quiet else CHOICES:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)


def typed(context: typer.Context, name: str) -> bool:
    """Whether the user typed this option, rather than took its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def check_files(context: typer.Context, *, files: bool, theirs: tuple[str, ...]) -> None:
    """Refuse `--broker` and `--pool` together with files, and `theirs` without files."""
    for name, option in {"broker": "--broker", "pool_name": "--pool"}.items():
        if files and typed(context, name):
            raise SettingsError(f"{option} cannot be combined with files")
    for name in () if files else theirs:
        check_useful(context, name, needs="files")


def check_useful(context: typer.Context, name: str, *, needs: str) -> None:
    """Refuse an option that has no effect without another one. Raises `SettingsError`."""
    if typed(context, name):
        raise SettingsError(f"--{name.replace('_', '-')} needs {needs}")

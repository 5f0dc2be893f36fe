"""Shared by the commands `mdp` and `ssnet`: the app, options, errors that name options."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from .. import addresses
from ..errors import SettingsError
from ..version import VERSION


def new_app(name: str, help: str) -> typer.Typer:
    """An app with --version, -h and --help, and shell completion."""
    app = typer.Typer(
        name=name,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )

    app.callback(help=help)(_before_each_command)
    return app


def _show_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(f"{context.command.name} {VERSION}")
        raise typer.Exit


_Version = Annotated[
    bool,
    typer.Option(
        "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
    ),
]


def _before_each_command(version: _Version = False) -> None:
    """Do nothing: the callback of `--version` prints the version."""


# Errors that name what to type.

PULSE_OPTIONS = {"interval_s": "--heartbeat", "liveness": "--liveness"}
"""The arguments of `options_named` where a `Pulse` is created from options."""


@contextmanager
def options_named(**options: str) -> Iterator[None]:
    """Put options into errors about settings: `with options_named(interval_s="--heartbeat"): ...`.

    In the message of a `ValueError` (every `SettingsError` is one), each word that is the name of
    a field is replaced by its option. Use it only where settings are created: other messages may
    contain the same words.
    """
    try:
        yield
    except ValueError as error:
        error.args = (_with_options(str(error), options),)
        raise


def _with_options(text: str, options: dict[str, str]) -> str:
    names = "|".join(map(re.escape, options))
    # not within a path, an option, or a value in quotes
    return re.sub(rf"(?<![\w'\"./-])({names})(?![\w'\"./=-])", lambda m: options[m[1]], text)


def option_of(context: typer.Context, parameter: typer.CallbackParam) -> str:
    """Return the option, such as `--broker`, or the environment variable that set the value."""
    source = context.get_parameter_source(parameter.name or "")
    if source is not None and source.name == "ENVIRONMENT" and parameter.envvar:
        return str(parameter.envvar)
    return max(parameter.opts, key=len)


# Options. Their callbacks check them before the command runs.


def _connectable(context: typer.Context, parameter: typer.CallbackParam, value: str) -> str:
    _check_address(context, parameter, value, bind=False)
    return value


def _connectable_or_none(
    context: typer.Context, parameter: typer.CallbackParam, value: str | None
) -> str | None:
    if value is not None:
        _check_address(context, parameter, value, bind=False)
    return value


def _bindable(
    context: typer.Context, parameter: typer.CallbackParam, values: list[str] | None
) -> list[str] | None:
    for value in values or []:
        _check_address(context, parameter, value, bind=True)
    return values


def _check_address(
    context: typer.Context, parameter: typer.CallbackParam, value: str, *, bind: bool
) -> None:
    try:
        addresses.parse(value, bind=bind)
    except SettingsError as error:
        raise SettingsError(f"{option_of(context, parameter)}: {error}") from None


def finite(
    context: typer.Context, parameter: typer.CallbackParam, value: float | None
) -> float | None:
    """A callback: refuses nan and infinities, which `min` lets pass."""
    if value is not None and not math.isfinite(value):
        raise SettingsError(f"want {option_of(context, parameter)} as a number, got {value}")
    return value


def positive(
    context: typer.Context, parameter: typer.CallbackParam, value: float | None
) -> float | None:
    """A callback: refuses nan, infinities, and numbers that are not above 0."""
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"want {option_of(context, parameter)} above 0, got {value}")
    return value


Broker = Annotated[
    str,
    typer.Option(
        "--broker", "-b", envvar="MDP_BROKER", help="The broker's address.", callback=_connectable
    ),
]
BrokerToLoad = Annotated[
    str | None,
    typer.Option("--broker", "-b", help="A broker to load.", callback=_connectable_or_none),
]
Bind = Annotated[
    list[str] | None, typer.Option(help="Address to serve at; repeatable.", callback=_bindable)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each request, too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log only warnings and errors.")]

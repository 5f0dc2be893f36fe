"""What the commands `mdp` and `ssnet` share: the app, options, errors that name options.

An option that several commands have is defined once, here or in `clients/commands/options.py`:
one name has one meaning in all commands (docs/options.md is the table).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from .. import addresses
from ..errors import SettingsError
from ..settings import DEFAULT_ENDPOINT
from ..version import VERSION


def new_app(name: str, help: str) -> typer.Typer:
    """An app with --version, -h and --help, and shell completion."""
    app = new_group(name, help)
    app.callback(help=help)(_before_each_command)
    return app


def new_group(name: str, help: str) -> typer.Typer:
    """Commands under one name, with -h and --help; without a command it shows its help."""
    return typer.Typer(
        name=name,
        help=help,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )


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
    """Do nothing: this function exists for `--version`, whose callback does the work."""


# Errors that name the option to change.

HEARTBEAT_OPTIONS = {"interval_s": "--heartbeat", "liveness": "--liveness"}
"""The arguments of `options_named` for code that makes `Heartbeats` from options."""


@contextmanager
def options_named(**options: str) -> Iterator[None]:
    """Name options in errors about settings: `with options_named(interval_s="--heartbeat"): ...`.

    In the message of a `ValueError` (every `SettingsError` is one), each field's name that is a
    word of its own is replaced by its option. Use it only around the construction of settings,
    since other messages may contain the same words.
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
    """Return an option's long name, `--broker`, or the environment variable that set it."""
    source = context.get_parameter_source(parameter.name or "")
    if source is not None and source.name == "ENVIRONMENT" and parameter.envvar:
        return str(parameter.envvar)
    return max(parameter.opts, key=len)


# Panels of the help.

FILES = "Input and output"
COMPUTED = "What is computed"
LEARNED = "How a network learns"
DRAWN = "What is drawn"
SERVED = "Workers and broker"
FAILURES = "Failures and resuming"
TERMINAL = "Output on the terminal"
PANELS = (FILES, COMPUTED, LEARNED, DRAWN, SERVED, FAILURES, TERMINAL)


def option(panel: str, *names: str, help: str, **more: Any) -> Any:
    """An option under a panel of the help.

    help: one sentence with the unit. A default that the value itself does not show stands in a
    second sentence, "Default: ...".
    """
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


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
    """A callback that refuses NaN and infinities, which `min` accepts."""
    if value is not None and not math.isfinite(value):
        raise SettingsError(f"want {option_of(context, parameter)} as a number, got {value}")
    return value


def positive(
    context: typer.Context, parameter: typer.CallbackParam, value: float | None
) -> float | None:
    """A callback that refuses NaN, infinities, and numbers that are not above 0."""
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"want {option_of(context, parameter)} above 0, got {value}")
    return value


Broker = Annotated[
    str,
    option(
        SERVED,
        *("--broker", "-b"),
        envvar="MDP_BROKER",
        callback=_connectable,
        help="Address of the broker.",
    ),
]
BrokerToLoad = Annotated[
    str | None,
    option(
        SERVED,
        *("--broker", "-b"),
        callback=_connectable_or_none,
        help="Address of the broker. Default: a broker that is started for the measurement.",
    ),
]
Bind = Annotated[
    list[str] | None,
    option(
        SERVED,
        callback=_bindable,
        help=f"Address at which the broker listens; repeatable. Default: {DEFAULT_ENDPOINT}.",
    ),
]
Workers = Annotated[
    int, option(SERVED, "--workers", "-n", min=1, help="Workers to start for each service.")
]
Heartbeat = Annotated[
    float,
    option(
        SERVED,
        callback=positive,
        help="Seconds between heartbeats; use one value for a broker, its workers and its clients.",
    ),
]
Liveness = Annotated[
    int,
    option(
        SERVED,
        callback=positive,
        help="Heartbeat intervals of silence after which a peer counts as gone.",
    ),
]
Timeout = Annotated[
    float,
    option(
        FAILURES,
        callback=positive,
        help="Seconds to wait for an answer in each try, including its time in the broker's queue.",
    ),
]
Tries = Annotated[
    int, option(FAILURES, min=1, help="Number of times to send a request before it fails.")
]
Wait = Annotated[
    float,
    option(
        SERVED,
        min=0,
        callback=finite,
        help="Seconds to wait for the first worker of a service; 0: do not wait.",
    ),
]
Json = Annotated[bool, option(TERMINAL, "--json", help="Print JSON instead of tables.")]
Quiet = Annotated[
    bool, option(TERMINAL, "--quiet", "-q", help="Show only results, warnings and errors.")
]
Verbose = Annotated[bool, option(TERMINAL, "--verbose", "-v", help="Log every step, too.")]

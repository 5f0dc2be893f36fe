"""What the commands `mdp` and `ssnet` share: the app, options, errors that name options.

An option that several commands have is defined once, here or in `clients/commands/options.py`:
one name has one meaning in all commands (docs/options.md is the table).
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import SettingsError
from ..settings import DEFAULT_ENDPOINT, seconds_of
from ..sockets import addresses, unix_time
from ..system import batch_job
from ..version import VERSION
from .log_options import PANEL as LOG
from .log_options import with_log_options

log = logging.getLogger(__name__)


def new_app(name: str, help: str) -> typer.Typer:
    """An app with --version, -h and --help, and shell completion."""
    app = new_group(name, help)
    app.callback(help=help)(_before_each_command)
    return app


def new_group(name: str, help: str) -> typer.Typer:
    """Commands under one name, with -h and --help; without a command it shows its help."""
    return _App(
        name=name,
        help=help,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )


class _App(typer.Typer):
    """An app whose commands have the options of the log, beside --verbose and --quiet."""

    def command(self, *names: Any, **settings: Any) -> Callable[[Any], Any]:
        register = super().command(*names, **settings)

        def add(function: Any) -> Any:
            register(with_log_options(function))
            return function

        return add


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


def broker_of(context: typer.Context, pool: Path | None, broker: str) -> str:
    """Return the broker that --broker or --pool names. Raises `SettingsError` and `PoolError`."""
    if pool is None:
        return broker
    source = context.get_parameter_source("broker")
    if source is not None and source.name == "COMMANDLINE":
        raise SettingsError("--broker cannot be combined with --pool")
    from ..pool.observe import Outlook
    from ..pool.pool_folder import PoolFolder

    folder = PoolFolder(pool)
    folder.require()
    Outlook(folder).check()
    return f"@{pool / folder.contact_file.name}"


# Panels of the help.

FILES = "Input and output"
COMPUTED = "What is computed"
LEARNED = "How a network learns"
DRAWN = "What is drawn"
SERVED = "Workers and broker"
SECURITY = "Keys"
FAILURES = "Failures and resuming"
TERMINAL = "Output on the terminal"
PANELS = (FILES, COMPUTED, LEARNED, DRAWN, SERVED, SECURITY, FAILURES, TERMINAL, LOG)


def option(panel: str, *names: str, help: str, **more: Any) -> Any:
    """An option under a panel of the help.

    help: one sentence with the unit. A default that the value itself does not show stands in a
    second sentence, "Default: ...".
    """
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def duration(value: str | float) -> float:
    """Parse a duration on the command line, in seconds: `option(parser=duration)`."""
    if isinstance(value, (int, float)):
        return value  # a default
    try:
        return seconds_of(value)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from None


Duration = {"parser": duration, "metavar": "DURATION"}
"""For `option(SERVED, help="...", **Duration)` of a parameter that is a number of seconds."""


def end_time(text: str | None) -> float:
    """Return the Unix time that `--until` names; infinity if it names none.

    `auto` is the end of the batch job that this process runs in; a duration counts from now; a
    time such as 2026-11-28T18:00 is local, if it has no zone. Raises `SettingsError`.
    """
    if text is None:
        return math.inf
    if text == "auto":
        return _end_of_job()
    try:
        return datetime.fromisoformat(text).timestamp() if "T" in text else _from_now(text)
    except (SettingsError, ValueError, OverflowError):
        want = "want --until auto, a duration such as 4:00:00, or a time such as 2026-11-28T18:00"
        raise SettingsError(f"{want}, got {text!r}") from None


def _from_now(text: str) -> float:
    return unix_time() + seconds_of(text)


def _end_of_job() -> float:
    job = batch_job.here()
    if job is None:
        log.info("--until auto: this is not a batch job, so no end is known")
        return math.inf
    ends_at = batch_job.end_time(job)
    return math.inf if ends_at is None else ends_at


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
        if value.startswith("@") and not bind:
            addresses.contact_path(value)
        else:
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
        help="Address of the broker, or @FILE with its contact file.",
    ),
]
PoolName = Annotated[
    Path | None,
    option(
        SERVED,
        "--pool",
        metavar="NAME",
        help="Use the broker and the workers of this pool: its folder.",
    ),
]
BrokerToLoad = Annotated[
    str | None,
    option(
        SERVED,
        *("--broker", "-b"),
        callback=_connectable_or_none,
        help="Address of the broker, or @FILE with its contact file. Default: a broker that is"
        " started for the measurement.",
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
Until = Annotated[
    str | None,
    option(
        SERVED,
        metavar="TIME",
        help="When to have ended: auto (the end of the batch job), a duration from now such as"
        " 4:00:00, or a time such as 2026-11-28T18:00. Default: no end.",
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
LongWait = Annotated[
    float | None,
    option(
        SERVED,
        "--wait",
        min=0,
        callback=finite,
        help="Seconds to wait for the first worker of a service; 0: do not wait. Default: as long"
        " as --timeout.",
    ),
]
WatchIt = Annotated[bool, option(TERMINAL, "--watch", help="Update the table until Ctrl-C.")]
Every = Annotated[
    float | None,
    option(
        TERMINAL,
        min=0.1,
        callback=finite,
        help="Seconds between updates. Default: 1.",
    ),
]
Json = Annotated[bool, option(TERMINAL, "--json", help="Print JSON instead of tables.")]
CONTACT_HELP = (
    "File in which the broker writes where it is, for `--broker @FILE`; on a file system that"
    " workers and clients share."
)
PUBLISH_HELP = (
    "Also write where the broker is, without a key, into a FILE that everybody may read: for people"
    " with keys of their own (`mdp keys new`). none writes no such file."
)
Quiet = Annotated[
    bool, option(TERMINAL, "--quiet", "-q", help="Show only results, warnings and errors.")
]
Verbose = Annotated[bool, option(TERMINAL, "--verbose", "-v", help="Log every step, too.")]

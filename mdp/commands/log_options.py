"""How a command logs: options that all commands of `mdp` and `ssnet` have."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from ..errors import SettingsError
from ..system import logs
from ..system.logs import LogSettings

PANEL = "Log"
_DEFAULT = LogSettings()
_MB = 1_000_000


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL, **more)


def _level(value: str | None) -> str | None:
    if value is not None and value not in logs.LEVELS:
        raise SettingsError(f"want --log-level {', '.join(logs.LEVELS)}, got {value!r}")
    return value


_Level = Annotated[
    str | None,
    _option(
        "--log-level",
        metavar="LEVEL",
        callback=_level,
        help="Least level of the lines that are logged: debug (as --verbose), info, warning or"
        " error. Default: that of the command.",
    ),
]
_AsJson = Annotated[bool, _option("--log-json", help="Log one JSON object per line, not text.")]
_File = Annotated[
    str | None,
    _option(
        "--log-file",
        metavar="FILE",
        help="Append the log to this file; the terminal still shows warnings and errors. {host}"
        " and {pid} in the name are replaced. Default: the log goes to stderr.",
    ),
]
_Size = Annotated[
    int,
    _option(
        "--log-size",
        min=1,
        help="Rename the log file to FILE.1 and begin a new one before it has more than so many"
        " MB.",
    ),
]
_Kept = Annotated[int, _option("--log-keep", min=0, help="Number of old log files to keep.")]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "log_level": (_Level, None),
    "log_json": (_AsJson, False),
    "log_file": (_File, None),
    "log_size": (_Size, _DEFAULT.size_bytes // _MB),
    "log_keep": (_Kept, _DEFAULT.kept),
}


def with_log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that has --verbose the options of its log.

    They take effect in `configure_logging`, which the command calls.
    """
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    if "verbose" not in signature.parameters or "log_level" in signature.parameters:
        return command

    @functools.wraps(command)
    def with_options(**values: Any) -> Any:
        logs.choose(
            LogSettings(
                level=values.pop("log_level") or "",
                json=values.pop("log_json"),
                file=_path(values.pop("log_file")),
                size_bytes=values.pop("log_size") * _MB,
                kept=values.pop("log_keep"),
            )
        )
        return command(**values)

    kind = inspect.Parameter.KEYWORD_ONLY
    own = {one.name: (hints[one.name], one.default) for one in signature.parameters.values()}
    parameters = [
        inspect.Parameter(name, kind, default=default, annotation=hint)
        for name, (hint, default) in {**own, **_OPTIONS}.items()
    ]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options


def _path(name: str | None) -> str:
    """Return the absolute path, with the names of this process; empty without a file."""
    if not name:
        return ""
    here = name.replace("{host}", os.uname().nodename).replace("{pid}", str(os.getpid()))
    return os.path.abspath(here)

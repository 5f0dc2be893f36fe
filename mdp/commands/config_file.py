"""`--config FILE` and `--show-config`: the options of a command, read from TOML and shown as TOML.

The keys are the command's own options, so that no second list of them exists. The values of the
file become the defaults of the command line, and are checked as it checks them.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tomlkit
import tomlkit.exceptions
import typer

from ..errors import SettingsError
from .command_line import FILES, PANELS, TERMINAL, option

_META = "ssnetserver.config"
_NOT_KEYS = {"config", "show_config", "help"}
_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}
_COLUMNS = 98


def with_config_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --config and --show-config.

    An error of the command about an option that came from the file names the file and the line.
    The command gets `show_config`; it calls `shown` when it has checked its settings.
    """

    @functools.wraps(command)
    def with_options(context: typer.Context, **values: Any) -> Any:
        values.pop("config")
        try:
            return command(context=context, **values)
        except SettingsError as error:
            error.args = (_with_places(str(error), context),)
            raise

    hints = get_type_hints(command, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        one.replace(kind=kind, annotation=hints[one.name])
        for one in inspect.signature(command).parameters.values()
    ]
    names = [one.name for one in parameters]
    parameters[names.index("show_config")] = inspect.Parameter(
        "show_config", kind, default=False, annotation=_ShowConfig
    )
    config = inspect.Parameter("config", kind, default=None, annotation=_Config)
    parameters.insert(names.index("show_config"), config)
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options


# Reading.


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    if path is None or context.resilient_parsing:
        return path
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = tomlkit.parse(text).unwrap()
    except OSError as error:
        raise SettingsError(f"--config {path}: {error.strerror or error}") from None
    except (tomlkit.exceptions.TOMLKitError, ValueError) as error:
        raise SettingsError(f"--config {path}: want TOML, got: {error}") from None
    parameters = {_key(one): one for one in _options(context)}
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for written, value in table.items():
        place = f"{path}{_line(text, written)}"
        key = written.replace("_", "-")
        if key not in parameters:
            raise SettingsError(f"{place}: {_unknown(written, list(parameters))}")
        parameter = parameters[key]
        if parameter.name in values:
            raise SettingsError(f"{place}: want one value of {key}, got a second one")
        places[parameter.name] = place
        values[parameter.name] = _checked(context, parameter, value, place)
    context.default_map = values
    context.meta[_META] = (path, places)
    return path


def _options(context: typer.Context) -> list[Any]:
    return [one for one in context.command.params if one.name not in _NOT_KEYS]


def _key(parameter: Any) -> str:
    return str(max(parameter.opts, key=len)).lstrip("-")


def _line(text: str, key: str) -> str:
    """Return ` line 3`, where the file has the key; nothing if that cannot be told."""
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[=.\]]", line):
            return f" line {number}"
    return ""


def _unknown(key: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(key.replace("_", "-"), known, n=1, cutoff=0.5)
    return f"unknown key {key!r}; " + (
        f"did you mean {nearest[0]}?" if nearest else f"want one of {', '.join(known)}"
    )


def _checked(context: typer.Context, parameter: Any, value: Any, place: str) -> Any:
    """Return a value of the right TOML type that the option accepts; raises `SettingsError`."""
    key, kind = _key(parameter), _kind(parameter)
    fits = _is_a(kind, value)
    if parameter.multiple:
        fits = isinstance(value, list) and all(_is_a(kind, one) for one in value)
    if not fits:
        want = f"a list: {_WANTED[kind]}, with commas" if parameter.multiple else _WANTED[kind]
        raise SettingsError(f"{place}: want {key} as {want}, got {_as_toml(value)}")
    try:
        parameter.process_value(context, value)
    except SettingsError as error:
        raise SettingsError(f"{place}: {error}") from None
    except Exception as error:
        message = getattr(error, "message", None)  # click's BadParameter: typer may have its own
        if message is None:
            raise
        raise SettingsError(f"{place}: {key} = {_as_toml(value)}: {message}") from None
    return value


def _kind(parameter: Any) -> type:
    """Return the type of one value. Old versions of typer have click's types, new ones hints."""
    if parameter.is_flag:
        return bool
    descriptor = getattr(parameter, "type_descriptor", None)
    name = str(parameter.type.name if descriptor is None else descriptor.annotation)
    return int if "int" in name else float if "float" in name else str


def _is_a(kind: type, value: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _with_places(text: str, context: typer.Context) -> str:
    """Add where the options in a message stand in the file."""
    _, places = context.meta.get(_META, (None, {}))
    named = [
        f"{places[one.name]}: {_key(one)}"
        for one in _options(context)
        if _source(context, one) == "DEFAULT_MAP" and re.search(rf"--{_key(one)}(?![\w-])", text)
    ]
    return f"{text} ({', '.join(named)})" if named else text


def _source(context: typer.Context, parameter: Any) -> str:
    source = context.get_parameter_source(parameter.name)
    return "" if source is None else source.name


# Showing.


def shown(context: typer.Context) -> str:
    """Return all options of a command that runs, as the text of a file for --config."""
    path, _ = context.meta.get(_META, (None, {}))
    name = str(context.command_path)
    lines = [f"# {name} --config FILE. An option on the command line replaces that of the file."]
    panel = ""
    for parameter in sorted(_options(context), key=lambda one: PANELS.index(one.rich_help_panel)):
        if parameter.rich_help_panel != panel:
            panel = parameter.rich_help_panel
            lines += ["", "", f"# ---- {panel} ----"]
        lines += ["", *_wrapped(parameter.help or ""), _entry(context, parameter, path)]
    return "\n".join(lines)


def _entry(context: typer.Context, parameter: Any, path: Path | None) -> str:
    value = context.params[parameter.name]
    if value is None or (parameter.multiple and not value):
        return f"# {_key(parameter)} ="  # TOML has no word for "not set"
    origin = {"DEFAULT_MAP": str(path), "COMMANDLINE": "command line"}
    source = origin.get(_source(context, parameter), "default")
    return f"{_key(parameter)} = {_as_toml(value)}  # {' '.join(source.split())}"


def _as_toml(value: Any) -> str:
    if isinstance(value, Path):
        value = str(value)
    if any(not _is_text(item) for item in (value if isinstance(value, tuple) else (value,))):
        raise SettingsError(f"want options in UTF-8 for --show-config, got {value!r}")
    try:
        return str(
            tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string()
        ).strip()
    except (TypeError, ValueError):
        return repr(value)


def _is_text(value: Any) -> bool:
    """Return False for a text with bytes that are not UTF-8, as paths may have them."""
    return not isinstance(value, str) or not any("\ud800" <= char <= "\udfff" for char in value)


def _wrapped(text: str) -> list[str]:
    words = " ".join(text.split()).split(" ")
    lines = ["#"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _COLUMNS:
            lines.append("#")
        lines[-1] += f" {word}"
    return lines


_Config = Annotated[
    Path | None,
    option(
        FILES,
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=_read_config,
        help="TOML file with options of this command, such as `max-queue = 1000`. An option on the"
        " command line replaces that of the file.",
    ),
]
_ShowConfig = Annotated[
    bool,
    option(
        TERMINAL,
        "--show-config",
        help="Print all options with their values as TOML for --config, and do not start.",
    ),
]

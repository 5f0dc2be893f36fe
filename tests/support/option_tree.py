"""The options of all commands of `mdp` and `ssnet`, as their functions declare them.

`python -m tests.support.option_tree` prints the tables of docs/options.md.
"""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from clients.cli import app as ssnet
from mdp.commands.cli import app as mdp
from mdp.commands.command_line import PANELS

LOG_OPTIONS = {"--log-level", "--log-json", "--log-file", "--log-size", "--log-keep"}
"""Options of all commands: the page does not list the commands."""
APPS = {"mdp": mdp, "ssnet": ssnet}


@dataclass(frozen=True)
class Option:
    """An option of one command."""

    program: str
    command: str
    """`run`, `worker planes`."""
    field: str
    """The parameter's name."""
    names: tuple[str, ...]
    """The long name, then a short one if it has one."""
    kind: type
    """`int`, `float`, `bool`, `str`, `Path` or an enum."""
    repeatable: bool
    help: str
    panel: str
    default: Any

    @property
    def long(self) -> str:
        return self.names[0]

    @property
    def short(self) -> str:
        return next(iter(self.names[1:]), "")

    @property
    def has_default(self) -> bool:
        return self.default is not inspect.Parameter.empty

    @property
    def meaning(self) -> str:
        """The help without its sentence about the default."""
        return self.help.partition(" Default:")[0].replace("; repeatable.", ".")

    @property
    def default_text(self) -> str:
        """The default as the docs show it."""
        _, _, text = self.help.partition(" Default: ")
        if text:
            return text.removesuffix(".")
        if not self.has_default:
            return "required"
        value = self.default.value if isinstance(self.default, enum.Enum) else self.default
        return "" if value is None or value is False else f"{value}"


def commands(app: typer.Typer, above: str = "") -> Iterator[tuple[str, Any]]:
    """(name, function) of all commands of an app, those of its groups included."""
    for info in app.registered_commands:
        assert info.callback is not None
        yield above + (info.name or info.callback.__name__), info.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{group.typer_instance.info.name} ")


def options_of(app: typer.Typer, program: str = "") -> list[Option]:
    """All options of an app's commands."""
    return [
        option
        for command, function in commands(app)
        for option in _options(program, command, function)
    ]


def all_options() -> list[Option]:
    return [option for program, app in APPS.items() for option in options_of(app, program)]


def _options(program: str, command: str, function: Any) -> Iterator[Option]:
    hints = typing.get_type_hints(function, include_extras=True)
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    for field, hint in hints.items():
        if typing.get_origin(hint) is not typing.Annotated:
            continue
        plain, info = typing.get_args(hint)[:2]
        if not isinstance(info, typer.models.OptionInfo):
            continue
        # the first name of an option is where typer has a default without Annotated
        texts = (info.default, *(info.param_decls or ()))
        written = [text for text in texts if isinstance(text, str) and text.startswith("-")]
        names = sorted(written or [f"--{field.replace('_', '-')}"], key=len, reverse=True)
        kind, repeatable = _kind(plain)
        yield Option(
            program=program,
            command=command,
            field=field,
            names=tuple(names),
            kind=kind,
            repeatable=repeatable,
            help=info.help or "",
            panel=info.rich_help_panel if isinstance(info.rich_help_panel, str) else "",
            default=defaults[field],
        )


def _kind(plain: Any) -> tuple[type, bool]:
    """The type of one value, and whether the option may be repeated."""
    if typing.get_origin(plain) is list:
        return typing.get_args(plain)[0], True
    for part in typing.get_args(plain):
        if part is not type(None):
            return _kind(part)
    return plain, False


# The page.


def tables() -> str:
    """A table a panel: each option, its meaning, the commands that have it and their defaults."""
    options = all_options()
    return "\n".join(_table(panel, options) for panel in PANELS)


def _table(panel: str, options: list[Option]) -> str:
    rows: dict[str, list[Option]] = {}
    for option in options:
        if option.panel == panel:
            rows.setdefault(option.long, []).append(option)
    lines = [f"## {panel}", "", "| option | meaning | commands: default |", "|---|---|---|"]
    lines += [_row(several) for _, several in sorted(rows.items())]
    return "\n".join([*lines, ""])


def _row(options: list[Option]) -> str:
    names = ", ".join(f"`{name}`" for name in reversed(options[0].names))
    meanings = dict.fromkeys(option.meaning.replace("\\[", "[") for option in options)
    defaults: dict[str, list[str]] = {}
    for option in options:
        defaults.setdefault(option.default_text, []).append(f"{option.program} {option.command}")
    where = "; ".join(
        f"{', '.join(commands)}: {text}" if text else ", ".join(commands)
        for text, commands in defaults.items()
    )
    meaning = " / ".join(meanings).replace("|", "\\|")
    if {option.long for option in options} <= LOG_OPTIONS:
        where = _of_all(defaults)
    return f"| {names} | {meaning} | {where.replace('|', '/')} |"


def _of_all(defaults: dict[str, list[str]]) -> str:
    [text] = defaults
    return f"all{': ' + text if text else ''}"


def numeric_options(app: typer.Typer) -> list[tuple[str, str, type]]:
    """(command, option, type) of all options of an app that take a number."""
    options = [o for o in options_of(app) if o.kind in (int, float)]
    return [(option.command, option.long, option.kind) for option in options]


if __name__ == "__main__":
    print(tables())

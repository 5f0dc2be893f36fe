"""One line that says which libraries a command lacks, and how to install them.

One missing module ends a command; the line names all modules that the command lacks, so that one
installation is enough.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import dropwhile, pairwise
from pathlib import Path

from services import extras

_COMMANDS = {
    "batches": "client",
    "check": "client",
    "dashboard": "dashboard",
    "demo": "all",
    "display": "display",
    "files": "client",
    "ledger": "images",
    "run": "client",
    "simple": "client",
    "toy": "client",
    "train": "train",
    "worker": "worker",
    "worker batch-train": "client",
    "worker dummy": "images",
    "worker planes": "worker",
}
"""The extra that each command of `ssnet` needs."""

_OUTPUTS = {".root": "larcv1", ".png": "display", ".pdf": "display", ".svg": "display"}
"""The extra that a command also needs to write a file with this suffix."""


def explain(error: Exception) -> str | None:
    """What to install, for an error that comes of a missing library; None for other errors."""
    text = ""
    cause: BaseException | None = error
    if not isinstance(error, ModuleNotFoundError):
        text, cause = str(error), error.__cause__
    if not isinstance(cause, ImportError):
        return None
    return line(sys.argv[1:], cause.name or "", otherwise=text)


def line(words: Sequence[str], module: str, *, otherwise: str = "") -> str | None:
    """Say what a command needs, which modules of it are missing, and how to install them.

    words: what was typed after `ssnet`. module: the first one that is missing; returns None if it
    belongs to no extra. otherwise: a better line, for this module alone.
    """
    command, arguments = _command(words)
    wanted = extras_of(command, arguments)
    top = module.partition(".")[0]
    if top not in _modules(wanted):
        extra = extras.extra_with(module)
        if extra is None:
            return None
        wanted.append(extra)
    lacking = extras.missing(wanted)
    if otherwise and len(lacking) < 2:
        return otherwise
    needed = [extra for extra in wanted if extras.missing([extra]) or top in _modules([extra])]
    names = ", ".join(map(extras.module_of, lacking)) or module
    subject = f"ssnet {command}" if command else "this"
    needs = " and ".join(f"[{extra}]" for extra in needed)
    return f"{subject} needs {names} (extra {needs}): {extras.install(lacking or [module])}"


def extras_of(command: str, arguments: Sequence[str]) -> list[str]:
    """The extras that a command needs, with the arguments that were typed."""
    wanted = [_COMMANDS[command]] if command in _COMMANDS else []
    if "--local" in arguments:
        wanted.append("worker")
    output = _OUTPUTS.get(_output(arguments).suffix)
    if output and not set(_modules([output])) <= set(_modules(wanted)):
        wanted.append(output)
    return wanted


def _command(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The command's name, with that of a sub-command, and the arguments that follow."""
    typed = list(dropwhile(lambda word: word.startswith("-"), words))
    for length in (2, 1):
        if (name := " ".join(typed[:length])) in _COMMANDS:
            return name, typed[length:]
    return "", typed


def _output(arguments: Sequence[str]) -> Path:
    """The path that follows `-o` or `--output`; an empty path if there is none."""
    for word, following in pairwise([*arguments, ""]):
        if word in ("-o", "--output"):
            return Path(following)
        for option in ("--output=", "-o"):
            if word.startswith(option):
                return Path(word.removeprefix(option))
    return Path()


def _modules(names: Sequence[str]) -> list[str]:
    """The top-level modules that extras bring."""
    requirements = (requirement for name in names for requirement in extras.requirements(name))
    return [extras.module_of(requirement).partition(".")[0] for requirement in requirements]

"""What a command lacks of its extras, in one line. Refuses nothing.

One missing module ends a command; the line names all that the command lacks, so that one
installation is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile, pairwise
from pathlib import Path

from services import extras

_COMMANDS = {
    "batches": "client",
    "check": "client",
    "demo": "all",
    "display": "display",
    "files": "client",
    "ledger": "images",
    "run": "client",
    "simple": "client",
    "toy": "client",
    "train": "train",
    "worker": "worker",
}
"""The extra that each command of `ssnet` needs."""

_SERVICES = {"dummy": "images", "batch-train": "client"}
"""The extra of what `ssnet worker` serves besides planes."""

_OUTPUTS = {".root": "larcv1", ".png": "display", ".pdf": "display", ".svg": "display"}
"""What a command needs as well, to write a file of this suffix."""


def line(words: Sequence[str], module: str, *, otherwise: str = "") -> str | None:
    """Say what a command needs, what of it is missing, and how to install that.

    words: what was typed after `ssnet`. module: the one that was found to be missing; None is
    returned if it belongs to no extra. otherwise: a better line, for this module alone.
    """
    words = list(dropwhile(lambda word: word.startswith("-"), words))
    wanted = extras_of(words)
    if module.partition(".")[0] not in _modules(wanted):
        extra = extras.extra_with(module)
        if extra is None:
            return None
        wanted.append(extra)
    lacking = extras.missing(wanted)
    if otherwise and len(lacking) < 2:
        return otherwise
    names = ", ".join(map(extras.module_of, lacking)) or module
    command = f"ssnet {words[0]}" if words and words[0] in _COMMANDS else "this"
    needs = " and ".join(f"[{extra}]" for extra in wanted)
    return f"{command} needs {names} (extra {needs}): {extras.install(lacking or [module])}"


def extras_of(words: Sequence[str]) -> list[str]:
    """The extras that a command needs, as it was typed."""
    command, *arguments = words or [""]
    wanted = [_COMMANDS[command]] if command in _COMMANDS else []
    if command == "worker":
        wanted = [_SERVICES[word] for word in arguments if word in _SERVICES] or wanted
    if "--local" in arguments:
        wanted.append("worker")
    output = _OUTPUTS.get(_output(arguments).suffix)
    brought = _modules(wanted)
    if output and not set(_modules([output])) <= set(brought):
        wanted.append(output)
    return wanted


def _output(arguments: Sequence[str]) -> Path:
    """What stands after `-o`; an empty path without it."""
    for word, following in pairwise([*arguments, ""]):
        if word in ("-o", "--output"):
            return Path(following)
        for option in ("--output=", "-o"):
            if word.startswith(option):
                return Path(word.removeprefix(option))
    return Path()


def _modules(names: Sequence[str]) -> list[str]:
    """The top-level modules that extras bring."""
    brought = (requirement for name in names for requirement in extras.requirements(name))
    return [extras.module_of(requirement).partition(".")[0] for requirement in brought]

"""What the extras of ssnetserver ask for, and the line that installs what is missing of them.

No package index has ssnetserver itself, so the line names its requirements. They are read from the
installed metadata; a checkout that was never installed has none, and no requirement is known.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec

EXTRAS = ("images", "worker", "client", "display", "larcv1", "train")
"""The smaller ones first."""

_MODULES = {"protobuf": "google.protobuf", "root": "ROOT"}
"""Modules that are not named as their distributions are."""


def requirements(extra: str) -> Iterator[str]:
    """Requirements of an extra on this platform, as pip takes them: `numpy>=1.24`."""
    for line in _metadata():
        requirement, _, marker = line.partition(";")
        if re.search(rf"extra == ['\"]{extra}['\"]", marker) and _is_for_this_platform(marker):
            yield requirement.strip()


def missing(extras: Iterable[str]) -> list[str]:
    """Requirements of some extras whose modules this Python does not find; each once."""
    wanted = dict.fromkeys(line for extra in extras for line in requirements(extra))
    return [requirement for requirement in wanted if not _is_found(module_of(requirement))]


def extra_with(module: str) -> str | None:
    """The smallest extra that brings a module; None for a module that no extra brings."""
    for extra in EXTRAS:
        for requirement in requirements(extra):
            # `import google.protobuf` fails at `google` where that is missing, too
            if module.partition(".")[0] == module_of(requirement).partition(".")[0]:
                return extra
    return None


def install(wanted: Iterable[str]) -> str:
    """The command that installs requirements."""
    line = "pip install " + " ".join(f"'{requirement}'" for requirement in wanted)
    # on Linux the usual index has torch for CUDA, which is some gigabytes
    return f"{line} (docs/install.md: torch for the CPU)" if "'torch" in line else line


def module_of(requirement: str) -> str:
    """The module that a requirement brings."""
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
    return _MODULES.get(name, name.replace("-", "_"))


def _metadata() -> list[str]:
    try:
        return metadata.requires("ssnetserver") or []
    except metadata.PackageNotFoundError:
        return []


def _is_for_this_platform(marker: str) -> bool:
    wanted = re.search(r"sys_platform == ['\"](\w+)['\"]", marker)
    return wanted is None or wanted[1] == sys.platform


def _is_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False

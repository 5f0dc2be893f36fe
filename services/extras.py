"""The requirements of ssnetserver's extras, and the pip command for those that are missing.

No package index has ssnetserver itself, so the command names the requirements. They are read from
the installed metadata. A checkout that was never installed has no metadata, so that no requirement
is known.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec

EXTRAS = (
    "arrays",
    "images",
    "worker",
    "client",
    "display",
    "larcv1",
    "metrics",
    "dashboard",
    "train",
)
"""All extras of the package; smaller ones come first."""

_MODULES = {"protobuf": "google.protobuf", "root": "ROOT"}
"""The module to import, for each distribution whose module has a different name."""


def requirements(extra: str) -> Iterator[str]:
    """Yield the requirements of an extra on this platform in pip's syntax: `numpy>=1.24`."""
    for line in _metadata():
        requirement, _, marker = line.partition(";")
        if re.search(rf"extra == ['\"]{extra}['\"]", marker) and _is_for_this_platform(marker):
            yield requirement.strip()


def missing(extras: Iterable[str]) -> list[str]:
    """Return the requirements of these extras whose modules are not installed, each once."""
    wanted = dict.fromkeys(line for extra in extras for line in requirements(extra))
    return [requirement for requirement in wanted if not _is_found(module_of(requirement))]


def extra_with(module: str) -> str | None:
    """Return the smallest extra that installs a module, or None if no extra installs it."""
    for extra in EXTRAS:
        for requirement in requirements(extra):
            # if protobuf is missing, `import google.protobuf` already fails at `google`
            if module.partition(".")[0] == module_of(requirement).partition(".")[0]:
                return extra
    return None


def install(wanted: Iterable[str]) -> str:
    """Return the pip command that installs these requirements."""
    line = "pip install " + " ".join(f"'{requirement}'" for requirement in wanted)
    # on Linux, PyPI's torch is the CUDA build, which takes several gigabytes
    return f"{line} (docs/install.md: torch for the CPU)" if "'torch" in line else line


def module_of(requirement: str) -> str:
    """Return the module that a requirement installs."""
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

"""What the clients of a canary found: one report for each process, and their sum.

FOLDER/HOST-PID-TOKEN.json    the counts
FOLDER/HOST-PID-TOKEN.npz     charge and scores of the worst crops

Each file is replaced as a whole. Reports of several processes are added when they are read.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from lartpc.files.whole_file import write_whole as write_whole_file
from mdp import MDPError
from mdp.system.contact import host_name
from mdp.system.private_files import write_whole

from .agreement import Agreement, CropName, Pair, total

FORMAT = "ssnet canary report 1"
COUNTS = ("chosen", "sent", "skipped", "unfinished")
_TOKEN = secrets.token_hex(4)
_WRONG = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_DAMAGED = (*_WRONG, OSError, EOFError, BadZipFile, zlib.error)
_MAX_BYTES = 16 << 20


class ReportError(MDPError, ValueError):
    """A file is not the report of a canary."""


class CropPixels(NamedTuple):
    """The pixels of a crop."""

    charge: npt.NDArray[np.float32]
    """(rows, cols), in ADC."""
    old: npt.NDArray[np.floating]
    """(2, rows, cols): shower and track."""
    new: npt.NDArray[np.floating]


@dataclass
class CanaryReport:
    """What one or several clients found."""

    counts: Counter[str] = field(default_factory=Counter)
    """`chosen`: crops in the share; `sent`; `skipped`: too much was in flight; `unfinished`: no
    answer when the run ended."""
    failed: Counter[str] = field(default_factory=Counter)
    """Crops without a usable answer, by the reason."""
    agreements: dict[Pair, Agreement] = field(default_factory=dict)
    """By plane and networks: more than one for a plane if workers of other weights took over."""
    clients: int = 0
    """How many processes reported."""

    def add(self, other: CanaryReport) -> None:
        self.counts.update(other.counts)
        self.failed.update(other.failed)
        self.clients += other.clients
        for pair, agreement in other.agreements.items():
            self.agreements.setdefault(pair, Agreement()).add(agreement)

    def total(self) -> Agreement:
        """Return the agreement over all planes."""
        return total(self.agreements.values())

    @property
    def fingerprints(self) -> tuple[set[str], set[str]]:
        """The old networks and the new ones."""
        return {pair.old for pair in self.agreements}, {pair.new for pair in self.agreements}

    def worst(self) -> list[tuple[Pair, CropName]]:
        """Return the crops that are kept for pictures."""
        return [(pair, crop.name) for pair, of in self.agreements.items() for crop in of.worst]

    def plain(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "clients": self.clients,
            "counts": {name: self.counts[name] for name in COUNTS},
            "failed": dict(self.failed),
            "agreements": [
                {**pair._asdict(), **agreement.plain()}
                for pair, agreement in sorted(self.agreements.items())
            ],
        }

    @classmethod
    def of(cls, raw: dict[str, Any]) -> CanaryReport:
        """Read what `plain` gave. Raises `KeyError`, `TypeError` and `ValueError`."""
        if raw["format"] != FORMAT:
            raise ValueError(f"want format {FORMAT!r}, got {raw['format']!r}")
        return cls(
            Counter({name: int(raw["counts"][name]) for name in COUNTS}),
            Counter({str(name): int(n) for name, n in raw["failed"].items()}),
            {
                Pair(int(one["plane"]), str(one["old"]), str(one["new"])): Agreement.of(one)
                for one in raw["agreements"]
            },
            int(raw["clients"]),
        )


Kept = dict[tuple[Pair, CropName], CropPixels]
"""The pixels of the worst crops."""


def report_path(folder: Path) -> Path:
    """Return the file of this process."""
    return folder / f"{host_name()}-{os.getpid()}-{_TOKEN}.json"


def write(path: Path, report: CanaryReport, kept: Kept) -> None:
    """Write the report of one process, and its worst crops. Raises `MDPError` and `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, ((pair, name), pixels) in enumerate(kept.items()):
        arrays[f"{number}.name"] = np.array(json.dumps([list(pair), list(name)]))
        arrays |= {f"{number}.{key}": values for key, values in pixels._asdict().items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_whole_file(path.with_suffix(".npz"), lambda part: part.write_bytes(buffer.getvalue()))
    write_whole(path, json.dumps(report.plain(), indent=1) + "\n", mode=0o644)


def read(path: Path) -> CanaryReport:
    """Read a report. Raises `ReportError`, which names the file."""
    try:
        with path.open("rb") as file:
            return CanaryReport.of(json.loads(file.read(_MAX_BYTES)))
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror}") from None
    except _WRONG as error:
        raise ReportError(
            f"want the report of a canary in {path}: {type(error).__name__}: {error}"
        ) from None


def read_kept(path: Path) -> Kept:
    """Read the worst crops of the report in `path`; those that cannot be read are left out."""
    kept: Kept = {}
    with (
        contextlib.suppress(*_DAMAGED),
        np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays,
    ):
        for number in range(sum(key.endswith(".name") for key in arrays)):
            pair, name = json.loads(str(arrays[f"{number}.name"]))
            pixels = CropPixels(*(arrays[f"{number}.{key}"] for key in CropPixels._fields))
            kept[Pair(*pair), CropName(*name)] = pixels
    return kept


def files_of(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the reports in some folders."""
    for folder in folders:
        yield from sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def merged(paths: Iterable[Path]) -> CanaryReport:
    """Return the sum of some reports. Raises `ReportError`."""
    result = CanaryReport()
    for path in paths:
        result.add(read(path))
    return result

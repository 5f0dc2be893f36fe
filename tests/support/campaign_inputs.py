"""Inputs of a campaign for tests, good and bad, and what `ssnet run` alone makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import uproot

from clients.files.failed_report import FailedReport, report_path
from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc import RSE, Event, Image, LArTPCError, open_writer
from lartpc.crops import chain
from lartpc.simulation import toy
from tests.support import plane_pools

SIZE, OVERLAP = 128, 32
TILES = ("--mode", "tiles", "--size", str(SIZE), "--overlap", str(OVERLAP))
"""HDF5 files have no regions of interest, so that both formats are scored in tiles."""
NAME = "{folder}/{stem}_ssnet.root"
"""One format for all outputs, as `merge` wants it."""
CROPS = 4  # tiles of a plane of an event: 160 x 192 pixels
RUN = 7000
"""The run of an event is this plus the number of its file, so that each event is unique."""


@dataclass
class Inputs:
    """The files of a campaign, by what a campaign should make of them."""

    folder: Path
    words: list[str] = field(default_factory=list)
    """The INPUTS of the command."""
    good: list[Path] = field(default_factory=list)
    """Files that can be scored, sorted; some of them have a bad entry."""
    bad_entries: dict[Path, int] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)
    """Files that cannot be scored, and the kind of the damage."""
    copies: dict[Path, Path] = field(default_factory=dict)
    """Files with the same content as another one."""
    events: int = 0
    """In the good files, the bad entries included."""


def make(
    folder: Path,
    count: int,
    *,
    seed: int = 1,
    events: tuple[int, int] = (1, 4),
    hdf5: float = 0.3,
    damaged: int = 0,
    bad_entries: int = 0,
    twice: int = 0,
) -> Inputs:
    """Write `count` files in folders below `folder`, some of them spoiled.

    `twice`: how many inputs are given twice, in turn by the same path, by a symbolic link, and by a
    file with the same content.
    """
    dice = random.Random(seed)
    inputs = Inputs(folder)
    numbers = dice.sample(range(count), damaged + bad_entries + twice)
    for number in range(count):
        suffix = ".h5" if dice.random() < hdf5 else ".root"
        path = folder / f"day{number % 3}" / f"toys{number:04d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = dice.randint(*events)
        write(path, toys(number, max(2, size) if number in numbers else size, seed=seed))
        inputs.words.append(str(path))
        inputs.good.append(path)
        inputs.events += max(2, size) if number in numbers else size
    for turn, number in enumerate(numbers[:damaged]):
        path = inputs.good[number]
        inputs.events -= len(plane_pools.read(path))
        inputs.damaged[path] = damage(path, turn)
    for turn, number in enumerate(numbers[damaged : damaged + bad_entries]):
        inputs.bad_entries[inputs.good[number]] = spoil(inputs.good[number], turn)
    for turn, number in enumerate(numbers[damaged + bad_entries :]):
        _give_again(inputs, inputs.good[number], turn)
    inputs.good = sorted(set(inputs.good) - set(inputs.damaged))
    return inputs


def toys(number: int, count: int, *, seed: int = 1) -> list[Event]:
    """Return toy events that no other file has."""
    made = [
        toy.make(1000 * number + k, seed=seed, settings=plane_pools.SETTINGS).event
        for k in range(count)
    ]
    return [replace(event, rse=RSE(RUN + number, 1, k)) for k, event in enumerate(made)]


def write(path: Path, events: Iterable[Event]) -> Path:
    path.unlink(missing_ok=True)
    with open_writer(path) as writer:
        for event in events:
            writer.write(event if path.suffix == ".root" else replace(event, rois={}))
    return path


def _give_again(inputs: Inputs, path: Path, turn: int) -> None:
    other = path.with_name(f"again_{path.name}")
    if turn % 3 == 1:
        other.symlink_to(path)
    elif turn % 3 == 2:
        other.write_bytes(path.read_bytes())
        inputs.copies[other] = path
    inputs.words.append(str(path if turn % 3 == 0 else other))


# Ways to damage a file.


def damage(path: Path, turn: int) -> str:
    """Damage a file in one of five ways; the way's name."""
    ways: list[Callable[[Path], None]] = [_emptied, _cut, _text, _other_producer, _folderless]
    way = ways[turn % len(ways)]
    way(path)
    return way.__name__.strip("_")


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _text(path: Path) -> None:
    path.write_text("The transfer was refused: no such file.\n" * 40)


def _other_producer(path: Path) -> None:
    events = plane_pools.read(path)
    write(path, [replace(e, images={"segment": e.images["segment"]}, rois={}) for e in events])


def _folderless(path: Path) -> None:
    """A file that starts as its format, and holds noise."""
    content = path.read_bytes()
    noise = random.Random(5).randbytes(len(content) - 64)
    path.write_bytes(content[:64] + noise)


def spoil(path: Path, turn: int) -> int:
    """Make one entry bad; its number."""
    entry = 1
    if path.suffix == ".root" and turn % 3 == 0:
        _dig(path, entry)
        return entry
    # the writer of HDF5 refuses NaN
    change = _with_nan if path.suffix == ".root" and turn % 3 == 1 else _with_six_images
    events = plane_pools.read(path)
    events[entry] = change(events[entry])
    write(path, events)
    return entry


def _with_nan(event: Event) -> Event:
    first, *others = event.images["wire"]
    pixels = np.array(first.pixels)
    image = Image(first.meta, pixels)
    pixels[5, 6] = np.nan  # after it was looked at
    return replace(event, images={**event.images, "wire": (image, *others)})


def _with_six_images(event: Event) -> Event:
    return replace(event, images={**event.images, "wire": event.images["wire"] * 2})


def _dig(path: Path, entry: int) -> None:
    """Flip bytes of the basket with an entry's pixels."""
    with uproot.open(path) as file:
        [column] = [
            item
            for item in file["image2d_wire_tree"].itervalues(recursive=True)
            if item.name.endswith("_image_v._img")
        ]
        seek = int(column.member("fBasketSeek")[entry])
        size = int(column.member("fBasketBytes")[entry])
    content = bytearray(path.read_bytes())
    at = seek + size // 2
    content[at : at + 8] = bytes(byte ^ 0xFF for byte in content[at : at + 8])
    path.write_bytes(content)


# What one run makes of each file.


@dataclass(frozen=True)
class Alone:
    """The result of `ssnet run` for one input, without a campaign."""

    events: list[Event]
    failed: tuple[int, ...]
    """Entries."""


def alone(inputs: Sequence[Path], folder: Path, broker: str) -> dict[Path, Alone]:
    """Score each file by itself with the settings of `TILES`; bad entries stay empty."""
    folder.mkdir(parents=True, exist_ok=True)
    return {path: _alone(path, folder / f"{path.stem}_alone.root", broker) for path in inputs}


def _alone(path: Path, output: Path, broker: str) -> Alone:
    mode = chain.Tiles(size=SIZE, overlap=OVERLAP, divisor=1)
    score(ScoringJob(inputs=(path,), output=output, broker=broker, mode=mode, bad_input="fail"))
    return Alone(plane_pools.read(output), failed_entries(output))


def failed_entries(output: Path) -> tuple[int, ...]:
    report = report_path(output)
    if not report.exists():
        return ()
    return tuple(sorted({failure.entry for failure in FailedReport.read(report).failed}))


def differences(expected: dict[Path, Alone], outputs: dict[Path, Path]) -> list[str]:
    """Say of each input whose output is missing or differs, by a bit, from that of a run alone."""
    found = [f"{path}: it has no output" for path in expected if path not in outputs]
    for path, output in outputs.items():
        if path not in expected:
            found.append(f"{path}: it has an output, {output}")
            continue
        want = expected[path]
        try:
            got = plane_pools.read(output)
        except (LArTPCError, OSError) as error:
            found.append(f"{output}: {error}")
            continue
        if not plane_pools.same(got, want.events):
            found.append(f"{output}: {len(got)} events differ from the {len(want.events)} alone")
        if failed_entries(output) != want.failed:
            found.append(f"{output}: failed {failed_entries(output)}, alone {want.failed}")
    return found

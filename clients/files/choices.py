"""Default values of the options that say what to read, found in the first file.

Each unusual choice is logged. If several are possible, an error names the option that decides.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from lartpc import (
    ImageMeta,
    LArTPCError,
    LibraryMissing,
    ProductMissing,
    Reader,
    ReadError,
    open_reader,
    readable_products,
)
from lartpc.crops import chain
from lartpc.files.names import regions_for_crops
from lartpc.files.reader import images_in, regions_in
from lartpc.files.ticks import turned_to
from lartpc.image import INVALID_INDEX
from mdp import SettingsError
from services.planes import ranges

log = logging.getLogger(__name__)

ModeName = Literal["croi", "tiles", "whole"]

_USUAL_IMAGES, _USUAL_REGIONS = "wire", "croi"
_LOOKED_AT = 8  # entries whose image sizes are checked
_SMALLEST = 32  # pixels: the smallest side of a crop that networks accept


class Scored(NamedTuple):
    """The producer of the images to score, and the mode that selects parts of them."""

    producer: str
    mode: chain.Mode


def scored(
    paths: Sequence[Path],
    *,
    producer: str | None = None,
    mode: ModeName | None = None,
    rois: str | None = None,
    size: int = 512,
    overlap: int = 64,
) -> Scored:
    """Replace the options that are None by what the first file has.

    `size`: rows and columns of crops and tiles; `overlap`: pixels that tiles share. If the file
    cannot be read, the usual names are returned, and the error is raised when the file is opened.
    Raises `SettingsError` and `ProductMissing`.
    """
    path = paths[0]
    try:
        listed = readable_products(path)
    except LArTPCError:
        return Scored(producer or _USUAL_IMAGES, chain.Croi(rois or _USUAL_REGIONS, size))
    regions = regions_in(listed)
    usual = regions_for_crops(product[:2] for product in listed)
    producer = _images(path, images_in(listed), producer)
    if mode is None and not usual and rois is None:
        log.info(
            "%s has no regions of interest: whole events are scored in tiles (--mode tiles)", path
        )
        mode = "tiles"
    mode = mode or "croi"
    if mode == "croi" and not regions:
        raise SettingsError(
            f"want regions of interest for --mode croi, got none in {path}: {_TILES}"
        )
    # the divisor depends on the networks, so it is not known before the services describe them
    match mode:
        case "croi":
            return Scored(producer, chain.Croi(_regions(path, regions, rois, usual), size))
        case "tiles":
            return Scored(producer, chain.Tiles(size=size, overlap=overlap, divisor=1))
        case "whole":
            return Scored(producer, chain.Whole(divisor=1))


_TILES = "--mode tiles scores whole events"


def check_producers(paths: Sequence[Path], requested: Mapping[str, str]) -> None:
    """Raise `ProductMissing` if the first file lacks images that an option asks for.

    `requested`: names of producers by option. A file that cannot be read is skipped here; the
    error is raised when the file is opened.
    """
    for path in paths[:1]:
        with suppress(ReadError, LibraryMissing):
            listed = readable_products(path)
            present = images_in(listed)
            for option, name in requested.items():
                if name not in present:
                    raise ProductMissing(_missing("images", path, name, present, option))


def _images(path: Path, present: Sequence[str], requested: str | None) -> str:
    dense = [name for name in present if ":" not in name] or present
    present = present if requested else dense
    return _producer(path, present, requested, what="images", usual=_USUAL_IMAGES, option="-p")


def _regions(
    path: Path, present: Sequence[str], requested: str | None, usual: Sequence[str]
) -> str:
    what = "regions of interest"
    wanted = requested or _USUAL_REGIONS
    if wanted not in present and any(name.partition(":")[2] == wanted for name in present):
        return wanted  # LArCV2's product of that name, whatever its kind; two are refused later
    present = present if requested else usual or present
    return _producer(path, present, requested, what=what, usual=_USUAL_REGIONS, option="--rois")


def _producer(
    path: Path,
    present: Sequence[str],
    requested: str | None,
    *,
    what: str,
    usual: str,
    option: str,
) -> str:
    """The producer that is asked for, else the usual one, else the only one."""
    wanted = requested or usual
    if wanted in present:
        return wanted
    if requested is None and len(present) == 1:
        (only,) = present
        log.info("the only %s of %s are of %s: taken (%s %s)", what, path, only, option, only)
        return only
    raise ProductMissing(_missing(what, path, wanted, present, option))


def _missing(what: str, path: Path, wanted: str, present: Iterable[str], option: str) -> str:
    names = list(present)
    example = f": {option} {names[0]}" if names else ""
    return f"want {what} of {wanted} in {path}, got {', '.join(names) or 'none'}{example}"


def check_size(
    paths: Sequence[Path], scored: Scored, *, planes: Container[int], entries: range
) -> None:
    """Raise `SettingsError` if crops do not fit into any of the first 8 events of the first file.

    `entries`: the range that is asked for; it may end beyond the file. If only some of the events
    are too small, no error is raised here: these are bad entries, which are found later.
    """
    if not isinstance(scored.mode, chain.Croi):
        return
    path, rois, size = paths[0], scored.mode.rois, scored.mode.size
    small: list[tuple[int, ImageMeta]] = []
    with suppress(LArTPCError), _reader(path, scored) as reader:
        for entry in islice(entries[: max(0, len(reader) - entries.start)], _LOOKED_AT):
            if not reader.rois_at(entry)[rois]:
                continue
            metas = [m for m in reader.metas_at(entry)[scored.producer] if m.plane in planes]
            unfit = [(entry, meta) for meta in metas if min(meta.rows, meta.cols) < size]
            if metas and not unfit:
                return
            small += unfit
    if small:
        entry, meta = small[0]
        raise SettingsError(
            f"want images of at least {size} x {size} pixels for crops (--size), got"
            f" {meta.rows} x {meta.cols} in {path} entry {entry}: {_better(meta)}"
        )


def planes(path: Path, producer: str, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Return the planes that are scored if the user names none: the usual ones, or all of a file
    that has them and more. A file that lacks one is refused later: a later entry may have it."""
    present: set[int] = set()
    with (
        suppress(LArTPCError),
        open_reader(path, tick_order=turned_to("backward"), images=(producer,)) as reader,
    ):
        for entry in range(min(len(reader), _LOOKED_AT)):
            present |= {meta.plane for meta in reader.metas_at(entry)[producer]}
        present.discard(INVALID_INDEX)
        if present > set(usual):
            log.info("%s has planes %s: all are scored (--planes)", path, ranges(present))
            return tuple(sorted(present))
    return usual


def _better(meta: ImageMeta) -> str:
    """The options that would fit an image."""
    fitting = _fitting(min(meta.rows, meta.cols))
    return f"--size {fitting}, or {_TILES}" if fitting else _TILES


def _reader(path: Path, scored: Scored) -> Reader:
    rois = chain.rois_of(scored.mode)
    return open_reader(path, tick_order=turned_to("backward"), images=(scored.producer,), rois=rois)


def _fitting(side: int) -> int:
    """The largest power of 2 that fits; 0 if it is too small for networks."""
    fitting = 1 << (side.bit_length() - 1) if side else 0
    return fitting if fitting >= _SMALLEST else 0

"""Names of producers, and of products of other kinds. Pure.

An image producer is `wire`, or `sparse2d:wire` and `cluster2d:wire` for other kinds of LArCV2; one
of regions is `croi`, or `particle:mcst` and `bbox2d:croi`. Refuses names that a ROOT tree or an
HDF5 group cannot have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ..errors import ImageError, ProductMissing

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")

IMAGE_KINDS = ("image2d", "sparse2d", "cluster2d")
"""The kinds of products that are read as images; the first one needs no prefix."""
REGION_KINDS = ("partroi", "particle", "bbox2d")
"""The kinds of products that are read as regions; LArCV1 has the first, LArCV2 the others."""
_USUAL_REGIONS = "croi"

Key = tuple[str, str]
"""The kind and the producer of a product."""


def check_name(name: str) -> None:
    """Raise `ImageError` unless both formats can hold this name."""
    if not _NAME.fullmatch(name):
        raise ImageError(
            f"want a name of letters, digits, _, - and ., up to 200 of them, got {name[:250]!r}"
        )


def image_key(name: str) -> Key:
    """Return kind and producer of images: `wire`, `sparse2d:wire`. Raises `ProductMissing`."""
    kind, colon, producer = name.partition(":")
    return _known(kind, producer, IMAGE_KINDS) if colon else (IMAGE_KINDS[0], name)


def region_key(name: str, present: Collection[Key]) -> Key:
    """Return kind and producer of regions: `croi`, `particle:mcst`.

    `present`: the products of the file. A plain name is that of a product partroi or, in a file
    without it, of a product particle or bbox2d. Raises `ProductMissing` if it is that of both.
    """
    kind, colon, producer = name.partition(":")
    if colon:
        return _known(kind, producer, REGION_KINDS)
    keys = [(kind, name) for kind in REGION_KINDS if (kind, name) in present]
    if len(keys) > 1 and keys[0][0] != REGION_KINDS[0]:
        names = " and ".join(plain(*key) for key in keys)
        raise ProductMissing(
            f"want one product of regions, {name} is {names}: --rois {plain(*keys[0])}"
        )
    return keys[0] if keys else (REGION_KINDS[0], name)


def _known(kind: str, producer: str, kinds: tuple[str, ...]) -> Key:
    if kind not in kinds or not _NAME.fullmatch(producer):
        raise ProductMissing(f"want KIND:PRODUCER with a kind of {kinds}, got {kind}:{producer}")
    return kind, producer


def plain(kind: str, producer: str) -> str:
    """Return the name by which a product is asked for: `wire`, `sparse2d:wire`."""
    return producer if kind in (IMAGE_KINDS[0], REGION_KINDS[0]) else f"{kind}:{producer}"


def as_producer(name: str) -> str:
    """Return a name of images that a file can have: `sparse2d_wire` for `sparse2d:wire`."""
    return name.replace(":", "_")


def image_names(present: Iterable[Key]) -> tuple[str, ...]:
    """Return the names of all products that are read as images; those of image2d come first."""
    keys = sorted(
        (key for key in present if key[0] in IMAGE_KINDS),
        key=lambda key: IMAGE_KINDS.index(key[0]),
    )
    return tuple(plain(*key) for key in keys)


def region_names(present: Iterable[Key]) -> tuple[str, ...]:
    """Return the names of all products that are read as regions."""
    return tuple(plain(*key) for key in present if key[0] in REGION_KINDS)


def regions_for_crops(present: Iterable[Key]) -> tuple[str, ...]:
    """Return the names of the regions that crops are made around without being asked to.

    LArCV1's partroi, and LArCV2's particle or bbox2d of the usual name. Other particles are truth
    from simulation.
    """
    usual = {(kind, _USUAL_REGIONS) for kind in REGION_KINDS[1:]}
    return tuple(plain(*key) for key in present if key[0] == REGION_KINDS[0] or key in usual)

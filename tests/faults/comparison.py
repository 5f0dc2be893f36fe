"""What a disturbed run's output has less, more, or otherwise than an undisturbed one's. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lartpc import RSE, Event
from tests.support.plane_pools import pixels


@dataclass(frozen=True)
class Seen:
    """An event, without the memory that its pixels take."""

    rse: RSE
    digest: str
    """Of its producers, images, metas, pixels and ROIs, to the bit."""

    @classmethod
    def of(cls, event: Event) -> Seen:
        content = {name: pixels(images) for name, images in sorted(event.images.items())}
        digest = hashlib.sha256()
        for name, images in content.items():
            digest.update(f"{name} {len(images)}".encode())
            for raw, meta in images:
                digest.update(f"{len(raw)} {meta!r}".encode())
                digest.update(raw)
        digest.update(repr(sorted(event.rois.items())).encode())
        return cls(event.rse, digest.hexdigest())


@dataclass(frozen=True)
class Comparison:
    """In events."""

    lost: int
    duplicated: int
    different: int
    """Under the same (run, subrun, event) at the same place: other images, pixels or metas."""
    out_of_order: bool

    @property
    def equal(self) -> bool:
        return not (self.lost or self.duplicated or self.different or self.out_of_order)


def compare(calm: Sequence[Seen], stormy: Sequence[Seen]) -> Comparison:
    """`calm` is what it should be."""
    want, got = (Counter(event.rse for event in events) for events in (calm, stormy))
    different = sum(
        one.rse == other.rse and one != other for one, other in zip(calm, stormy, strict=False)
    )
    order = [[event.rse for event in events] for events in (calm, stormy)]
    return Comparison(
        lost=(want - got).total(),
        duplicated=(got - want).total(),
        different=different,
        out_of_order=want == got and order[0] != order[1],
    )

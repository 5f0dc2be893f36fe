"""What a disturbed run's output has less, more, or otherwise than an undisturbed one's. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lartpc import RSE, Event
from tests.plane_pools import pixels


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


def compare(calm: Sequence[Event], stormy: Sequence[Event]) -> Comparison:
    """To the bit; `calm` is what it should be."""
    want, got = (_times(events) for events in (calm, stormy))
    different = sum(
        _content(one) != _content(other)
        for one, other in zip(calm, stormy, strict=False)
        if one.rse == other.rse
    )
    order = [[event.rse for event in events] for events in (calm, stormy)]
    return Comparison(
        lost=(want - got).total(),
        duplicated=(got - want).total(),
        different=different,
        out_of_order=want == got and order[0] != order[1],
    )


def _times(events: Sequence[Event]) -> Counter[RSE]:
    return Counter(event.rse for event in events)


def _content(event: Event) -> dict[str, object]:
    return {name: pixels(images) for name, images in event.images.items()}

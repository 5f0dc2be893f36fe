"""Where a file keeps its provenance, and what these texts state of the tick order.

In LArCV1 the texts are entries of a tree `ssnet_provenance`, which LArCV does not read and `hadd`
concatenates; in LArCV3 they are rows of a dataset of that name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import get_args

from ..image import TickOrder

NAME = "ssnet_provenance"
# LArCV1 skips every tree whose name does not end with _tree
RECORD = "record"
"""The tree's one branch: a `std::string`."""


def tick_orders(records: Sequence[str]) -> tuple[TickOrder, ...]:
    """The tick orders that these texts state, each once."""
    stated: dict[TickOrder, None] = {}
    for text in records:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            order = json.loads(text)["tick_order"]
            if order in get_args(TickOrder):
                stated[order] = None
    return tuple(stated)

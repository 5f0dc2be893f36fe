"""Where a file holds its provenance records, and the tick order that the records state.

In LArCV1 the records are entries of a tree `ssnet_provenance`, which LArCV ignores and `hadd`
concatenates; in LArCV3 they are rows of a dataset of that name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import get_args

from ..errors import WriteError
from ..image import TickOrder

NAME = "ssnet_provenance"
# LArCV1 skips every tree whose name does not end with _tree
RECORD = "record"
"""The only branch of the tree, a `std::string`."""


def check_encodable(records: Sequence[str]) -> None:
    """Raise `WriteError` for a record that UTF-8 cannot encode."""
    for record in records:
        try:
            record.encode()
        except UnicodeEncodeError as error:
            raise WriteError(f"want provenance that UTF-8 can encode: {error}") from None


def tick_orders(records: Sequence[str]) -> tuple[TickOrder, ...]:
    """Return the tick orders that these records state, without repetitions."""
    stated: dict[TickOrder, None] = {}
    for text in records:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            order = json.loads(text)["tick_order"]
            if order in get_args(TickOrder):
                stated[order] = None
    return tuple(stated)

"""What every worker here answers, whoever wrote its side of the protocol."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator


def parts_of(body: list[bytes]) -> Iterator[list[bytes]]:
    """Reverse a text; count in parts; or, the first that is asked, dawdle in silence."""
    order, *arguments = body
    if order == b"reverse":
        (text,) = arguments
        yield [text[::-1]]
    elif order == b"count":
        for number in range(int(arguments[0])):
            yield [b"part", b"%d" % number]
    elif order == b"dawdle":
        text, note, seconds = arguments
        if _leave(note):
            time.sleep(float(seconds))
        yield [text[::-1]]


def _leave(note: bytes) -> bool:
    try:
        os.mkdir(note)
    except FileExistsError:
        return False
    return True

"""A worker that answers wrongly, in the way that the name of the first batch says."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import msgpack
import numpy as np
import zstandard

from lartpc import Batch, pack, unpack
from mdp import Worker


class Liar(Worker):
    """`ssnet simple --producer wrong_size` gets an answer of a wrong size."""

    def handle(self, frames: list[bytes]) -> list[bytes]:
        first = unpack(frames)[0]
        answer: list[bytes] = getattr(self, f"do_{first.name}")(first)
        return answer

    def do_honest(self, asked: Batch) -> list[bytes]:
        """Answers [shower, track] for each image, in half precision."""
        scores = np.repeat(asked.array, 2, axis=1)
        scores[:, 1::2] += 0.5
        return pack([Batch("scores", asked.meta, scores)], dtype="float16")

    def do_slow(self, asked: Batch) -> list[bytes]:
        time.sleep(0.2)
        return self.do_honest(asked)

    def do_late(self, asked: Batch) -> list[bytes]:
        """The event with an even number takes longer than those after it."""
        time.sleep(0.1 if asked.rses()[0].event % 2 == 0 else 0)
        return self.do_honest(asked)

    def do_crash_once(self, asked: Batch) -> list[bytes]:
        """Dies of event 3, the first time."""
        note = os.environ["LIAR_NOTE"]
        if asked.rses()[0].event == 3 and not os.path.exists(note):
            with open(note, "w"):
                os.kill(os.getpid(), 9)
        return self.do_honest(asked)

    def do_too_few_frames(self, asked: Batch) -> list[bytes]:
        return self.do_honest(asked)[:2]

    def do_no_frames(self, asked: Batch) -> list[bytes]:
        return []

    def do_unknown_dtype(self, asked: Batch) -> list[bytes]:
        return self._array(asked, dtype="complex64")

    def do_wrong_byte_count(self, asked: Batch) -> list[bytes]:
        return self._array(asked, data=zstandard.compress(b"\0" * 7))

    def do_bomb(self, asked: Batch) -> list[bytes]:
        """Says that it is small, and unpacks to 4 GB."""
        zeros = zstandard.ZstdCompressor(write_content_size=False).compressobj()
        data = b"".join(zeros.compress(bytes(1 << 24)) for _ in range(256)) + zeros.flush()
        return self._array(asked, data=data)

    def do_huge(self, asked: Batch) -> list[bytes]:
        """Says that it is large, and is."""
        return self._array(asked, shape=[1, 1 << 10, 1 << 10, 1 << 10])

    def do_other_event(self, asked: Batch) -> list[bytes]:
        run, subrun, event = asked.rses()[0]
        wrong = asked.meta.replace(f":({run},{subrun},{event})", f":({run},{subrun},{event + 1})")
        return self.do_honest(replace(asked, meta=wrong))

    def do_other_meta(self, asked: Batch) -> list[bytes]:
        return self.do_honest(replace(asked, meta=asked.meta.replace("Plane 0", "Plane 9")))

    def do_no_event(self, asked: Batch) -> list[bytes]:
        return self.do_honest(replace(asked, meta="an image"))

    def do_wrong_size(self, asked: Batch) -> list[bytes]:
        return self.do_honest(replace(asked, array=asked.array[:, :, 1:]))

    def do_wrong_number(self, asked: Batch) -> list[bytes]:
        return pack([Batch("scores", asked.meta, asked.array[:, 1:])])

    def do_not_a_number(self, asked: Batch) -> list[bytes]:
        return pack([Batch("scores", asked.meta, asked.array * np.float32(np.nan))])

    def do_twice(self, asked: Batch) -> list[bytes]:
        return self.do_honest(asked) * 2

    def do_bad_name(self, asked: Batch) -> list[bytes]:
        return pack([Batch("../scores", asked.meta, asked.array)])

    def do_other_name(self, asked: Batch) -> list[bytes]:
        """A name of its own for each event."""
        name = f"scores{asked.rses()[0].event}"
        return pack([Batch(name, asked.meta, asked.array)])

    def _array(self, asked: Batch, **changes: object) -> list[bytes]:
        *head, packed = self.do_honest(asked)
        return [*head, msgpack.packb({**msgpack.unpackb(packed), **changes})]

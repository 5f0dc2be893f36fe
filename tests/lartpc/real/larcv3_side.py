"""Runs in a process with the real LArCV3: it reads and writes files as it is asked.

Numbers of an image: rows, cols, size of both, origin of both, projection id. Pixels come from
`as_vector()`: `as_array()` of the PyPI build is one number in every pixel with NumPy 2.
"""

from __future__ import annotations

from typing import Any

import larcv
import numpy as np

from tests.lartpc.real.dumps import Dump, Numbers, Stored
from tests.lartpc.real.jobs import main


def numbers(meta: Any) -> Numbers:
    axes = (0, 1)
    return (
        *(int(meta.number_of_voxels(axis)) for axis in axes),
        *(meta.image_size(axis) for axis in axes),
        *(meta.origin(axis) for axis in axes),
        int(meta.projection_id()),
    )


def stored(tensor: Any) -> Stored:
    given = numbers(tensor.meta())
    flat = np.array(tensor.as_vector(), np.float32)
    return given, flat.reshape(int(given[0]), int(given[1]))


def tensor_of(one: Stored) -> Any:
    (rows, cols, height, width, y, x, plane), pixels = one
    meta = larcv.ImageMeta2D(int(plane), [int(rows), int(cols)], [height, width], [y, x])
    return larcv.Tensor2D(meta, pixels.reshape(-1).tolist())


def read(path: str, images: list[str], others: list[str]) -> Dump:
    """`others`: ["clear"] to forget an entry before the next one is read.

    Not before the first one: `initialize()` has read its number, and it would be forgotten.
    """
    io = larcv.IOManager(larcv.IOManager.kREAD)
    io.add_in_file(path)
    io.initialize()
    dump = Dump([], {name: [] for name in images})
    for entry in range(io.get_n_entries()):
        io.read_entry(entry)
        for name in images:
            event = io.get_data("image2d", name)
            dump.images[name].append([stored(event.tensor(i)) for i in range(event.size())])
        where = io.event_id()
        dump.rse.append([where.run(), where.subrun(), where.event()])
        if "clear" in others:
            io.clear_entry()
    return dump


def write(path: str, dump: Dump) -> None:
    io = larcv.IOManager(larcv.IOManager.kWRITE)
    io.set_out_file(path)
    io.initialize()
    for entry, rse in enumerate(dump.rse):
        io.set_id(*rse)
        for name, entries in dump.images.items():
            event = io.get_data("image2d", name)
            for one in entries[entry]:
                event.append(tensor_of(one))
        io.save_entry()
    io.finalize()


if __name__ == "__main__":
    main(read=read, write=write, stored=stored, image_of=tensor_of, library=larcv)

"""Runs in a process with the real LArCV1: it reads and writes files as it is asked.

Numbers of an image: width, height, rows, cols, origin x, origin y, plane.
Tables: `partroi_PRODUCER`, with [index, mcst_index, [numbers of each box]].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from larcv import larcv

from tests.lartpc.real.dumps import Dump, Numbers, Stored
from tests.lartpc.real.jobs import main


def numbers(meta: Any) -> Numbers:
    corner = meta.tl()
    sizes = (meta.width(), meta.height(), int(meta.rows()), int(meta.cols()))
    return (*sizes, corner.x, corner.y, int(meta.plane()))


def meta_of(given: Numbers) -> Any:
    width, height, rows, cols, x, y, plane = given
    return larcv.ImageMeta(width, height, int(rows), int(cols), x, y, int(plane))


def stored(image: Any) -> Stored:
    meta = image.meta()
    flat = np.array(np.asarray(image.as_vector()), np.float32)
    return numbers(meta), np.ascontiguousarray(flat.reshape(int(meta.cols()), int(meta.rows())).T)


def image_of(one: Stored) -> Any:
    given, pixels = one
    flat = type(larcv.Image2D().as_vector())(pixels.size)
    if pixels.size:
        np.asarray(flat)[:] = pixels.T.reshape(-1)
    return larcv.Image2D(meta_of(given), flat)


def regions(event: Any) -> list[Any]:
    return [
        [int(roi.Index()), int(roi.MCSTIndex()), [list(numbers(box)) for box in roi.BB()]]
        for roi in event.ROIArray()
    ]


def manager(mode: Any) -> Any:
    io = larcv.IOManager(mode)
    io.set_verbosity(larcv.msg.kERROR)
    return io


def read(path: str, images: list[str], others: list[str]) -> Dump:
    io = manager(larcv.IOManager.kREAD)
    io.add_in_file(path)
    io.initialize()
    dump = Dump([], {name: [] for name in images}, {name: [] for name in others})
    for entry in range(io.get_n_entries()):
        io.read_entry(entry)
        rses = set()
        for name in images:
            event = io.get_data(larcv.kProductImage2D, name)
            dump.images[name].append([stored(image) for image in event.Image2DArray()])
            rses.add((int(event.run()), int(event.subrun()), int(event.event())))
        for name in others:
            event = io.get_data(larcv.kProductROI, name.removeprefix("partroi_"))
            dump.tables[name].append(regions(event))
            rses.add((int(event.run()), int(event.subrun()), int(event.event())))
        (rse,) = rses
        dump.rse.append(list(rse))
    io.finalize()
    return dump


def write(path: str, dump: Dump) -> None:
    io = manager(larcv.IOManager.kWRITE)
    io.set_out_file(path)
    io.initialize()
    for entry, rse in enumerate(dump.rse):
        for name, entries in dump.images.items():
            event = io.get_data(larcv.kProductImage2D, name)
            for one in entries[entry]:
                event.Append(image_of(one))
        for name, rows in dump.tables.items():
            event = io.get_data(larcv.kProductROI, name.removeprefix("partroi_"))
            for index, mcst, boxes in rows[entry]:
                roi = larcv.ROI()
                roi.Index(index)
                roi.MCSTIndex(mcst)
                for box in boxes:
                    roi.AppendBB(meta_of(box))
                event.Append(roi)
        io.set_id(*rse)
        io.save_entry()
    io.finalize()


def copy(path: str, source: str) -> None:
    """Copy all products with LArCV's own IOManager."""
    io = manager(larcv.IOManager.kBOTH)
    io.add_in_file(source)
    io.set_out_file(path)
    io.initialize()
    for entry in range(io.get_n_entries()):
        io.read_entry(entry)
        io.save_entry()
    io.finalize()


if __name__ == "__main__":
    main(read=read, write=write, copy=copy, stored=stored, image_of=image_of, library=larcv)

"""Runs in a process with the real LArCV2: it reads and writes files as it is asked.

Numbers of an image: min x, min y, max x, max y, rows, cols, projection id, unit.
Tables: `particle_PRODUCER` with [id, pdg, mcst_index, shape, energy_init, process, [boxes]], and
`bbox2d_PRODUCER` with [box]; a box is [min x, min y, max x, max y, projection id].
`sparse2d_PRODUCER` and `cluster2d_PRODUCER` are only read: [numbers, [[[voxel id, value], ...] of
each instance]].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from larcv import larcv

from tests.lartpc.real.dumps import Dump, Numbers, Stored
from tests.lartpc.real.jobs import main


def box(of: Any) -> list[float]:
    return [of.min_x(), of.min_y(), of.max_x(), of.max_y(), int(of.id())]


def box_of(given: list[float]) -> Any:
    return larcv.BBox2D(*given[:4], int(given[4]))


def numbers(meta: Any) -> Numbers:
    *corners, plane = box(meta)
    return (*corners, int(meta.rows()), int(meta.cols()), plane, int(meta.unit()))


def stored(image: Any) -> Stored:
    meta = image.meta()
    flat = np.array(np.asarray(image.as_vector()), np.float32)
    return numbers(meta), np.ascontiguousarray(flat.reshape(int(meta.cols()), int(meta.rows())).T)


def image_of(one: Stored) -> Any:
    (*corners, rows, cols, plane, unit), pixels = one
    meta = larcv.ImageMeta(*corners, int(rows), int(cols), int(plane), int(unit))
    flat = type(larcv.Image2D().as_vector())(pixels.size)
    if pixels.size:
        np.asarray(flat)[:] = pixels.T.reshape(-1)
    return larcv.Image2D(meta, flat)


def voxels(of: Any) -> list[list[float]]:
    return [[int(voxel.id()), float(voxel.value())] for voxel in of.as_vector()]


def rows_of(kind: str, event: Any) -> list[Any]:
    if kind == "bbox2d":
        return [box(event[i]) for i in range(event.size())]
    if kind == "sparse2d":
        return [[list(numbers(one.meta())), [voxels(one)]] for one in event.as_vector()]
    if kind == "cluster2d":
        return [
            [list(numbers(one.meta())), [voxels(instance) for instance in one.as_vector()]]
            for one in event.as_vector()
        ]
    return [
        [
            *(int(one.id()), int(one.pdg_code()), int(one.mcst_index()), int(one.shape())),
            *(one.energy_init(), str(one.creation_process())),
            [box(corners) for corners in one.boundingbox_2d()],
        ]
        for one in event.as_vector()
    ]


def fill(kind: str, event: Any, rows: list[Any]) -> None:
    if kind == "bbox2d":
        for row in rows:
            event.push_back(box_of(row))
        return
    assert kind == "particle"
    for of_id, pdg, mcst, shape, energy, process, boxes in rows:
        one = larcv.Particle(shape)
        one.id(of_id)
        one.pdg_code(pdg)
        one.mcst_index(mcst)
        one.energy_init(energy)
        one.creation_process(process)
        several = type(one.boundingbox_2d())()
        for row in boxes:
            several.push_back(box_of(row))
        one.boundingbox_2d(several)
        event.append(one)


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
            event = io.get_data("image2d", name)
            dump.images[name].append([stored(image) for image in event.as_vector()])
            rses.add((int(event.run()), int(event.subrun()), int(event.event())))
        for name in others:
            kind, _, producer = name.partition("_")
            event = io.get_data(kind, producer)
            dump.tables[name].append(rows_of(kind, event))
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
            event = io.get_data("image2d", name)
            for one in entries[entry]:
                event.append(image_of(one))
        for name, rows in dump.tables.items():
            kind, _, producer = name.partition("_")
            fill(kind, io.get_data(kind, producer), rows[entry])
        io.set_id(*rse)
        io.save_entry()
    io.finalize()


if __name__ == "__main__":
    main(read=read, write=write, stored=stored, image_of=image_of, library=larcv)

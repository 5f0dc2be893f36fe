"""Measures the speed of files and frames, as ratios to the speed of the libraries in the same run.

`python -m benches.files_and_frames [LARCV1_FILE]` reads a file whose first entry has images of
producer `wire`; without a file it makes a sparse event of MicroBooNE's size. It gives ratios,
because absolute times depend on the machine and its other users as much as on this code.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np

from lartpc.errors import LArTPCError
from lartpc.files.open import open_reader, open_writer
from lartpc.frames import pack, stack, unpack
from lartpc.image import RSE, Event, Image, ImageMeta

ROWS, COLS, PLANES = 1008, 3456, 3
TARGETS = {
    "read: our rate / uproot's decompression alone": (">=", 0.6),
    "frames: our bytes / msgpack + zlib 6": ("<=", 1.0),
    "frames: packing, zlib 6's time / ours": (">=", 5.0),
    "frames: unpacking, zlib 6's time / ours": (">=", 3.0),
    "write: our time / zlib 1 of the same pixels": ("<=", 2.0),
}


class Result(NamedTuple):
    """One measured ratio, and the two figures behind it."""

    name: str
    ratio: float
    detail: str

    @property
    def met(self) -> bool:
        relation, target = TARGETS[self.name]
        return self.ratio >= target if relation == ">=" else self.ratio <= target


def best_s(*jobs: Callable[[], Any], rounds: int) -> list[float]:
    """Return the shortest time of each job. They take turns, so a busy machine slows them all."""
    best = [float("inf")] * len(jobs)
    for _ in range(rounds):
        for i, job in enumerate(jobs):
            start = time.perf_counter()
            job()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def sparse_event(number: int) -> Event:
    """Make straight tracks over three planes: 0.7 % of the pixels, as in a real event."""
    rng = np.random.default_rng(number)
    images = []
    for plane in range(PLANES):
        pixels = np.zeros((ROWS, COLS), np.float32)
        for _ in range(12):
            x = np.linspace(rng.integers(COLS), rng.integers(COLS), 4000).astype(int)
            y = np.linspace(rng.integers(ROWS), rng.integers(ROWS), 4000).astype(int)
            pixels[y, x] = rng.gamma(8, 8, 4000)
        meta = ImageMeta(COLS, ROWS * 6, ROWS, COLS, 0, 8448, plane)
        images.append(Image(meta, pixels))
    return Event(RSE(1, 1, number), {"wire": tuple(images)})


def write_events(path: Path, events: Sequence[Event]) -> None:
    with open_writer(path, force=True) as writer:
        for event in events:
            writer.write(event)


def bench_reading(path: Path, rounds: int) -> Result:
    import uproot

    with uproot.open(path) as file, open_reader(path, tick_order="forward") as all_of_it:
        branch = file["image2d_wire_tree/image2d_wire_branch/_image_v/_image_v._img"]
        reader = all_of_it.again(images=["wire"])
        reader[0]  # opens the file, which uproot has done already
        decompress, ours = best_s(lambda: branch.basket(0), lambda: reader[0], rounds=rounds)
        reader.close()
    megabytes = branch.uncompressed_bytes / branch.num_entries / 1e6
    return Result(
        "read: our rate / uproot's decompression alone",
        decompress / ours,
        f"{megabytes / ours:.0f} and {megabytes / decompress:.0f} MB/s",
    )


def bench_frames(event: Event, rounds: int) -> list[Result]:
    image = event.images["wire"][-1]
    batch = stack("wire", [(event.rse, [image])])
    frames = pack([batch])

    def seed_pack() -> bytes:
        array = batch.array
        head = {"dtype": array.dtype.str, "shape": array.shape}
        return zlib.compress(msgpack.packb({**head, "data": array.tobytes()}), 6)

    def seed_unpack() -> Any:
        return np.frombuffer(msgpack.unpackb(zlib.decompress(theirs))["data"], np.float32)

    theirs = seed_pack()
    jobs = (seed_pack, lambda: pack([batch]), seed_unpack, lambda: unpack(frames))
    their_pack, our_pack, their_unpack, our_unpack = best_s(*jobs, rounds=rounds)
    size = len(frames[2])
    return [
        Result(
            "frames: our bytes / msgpack + zlib 6",
            size / len(theirs),
            f"{size} and {len(theirs)} bytes",
        ),
        Result(
            "frames: packing, zlib 6's time / ours",
            their_pack / our_pack,
            f"{their_pack * 1e3:.1f} and {our_pack * 1e3:.1f} ms",
        ),
        Result(
            "frames: unpacking, zlib 6's time / ours",
            their_unpack / our_unpack,
            f"{their_unpack * 1e3:.1f} and {our_unpack * 1e3:.1f} ms",
        ),
    ]


def bench_writing(directory: Path, events: Sequence[Event]) -> Result:
    """Measure writing a whole file, with allocation and closing, but without ROOT's start."""
    write_events(directory / "warm.root", [sparse_event(0)])
    pixels = [image.pixels for event in events for image in event.images["wire"]]
    flat = [np.ascontiguousarray(array) for array in pixels]
    zlib_1, ours = best_s(
        lambda: [zlib.compress(array.data, 1) for array in flat],
        lambda: write_events(directory / "out.root", events),
        rounds=3,
    )
    return Result(
        "write: our time / zlib 1 of the same pixels",
        ours / zlib_1,
        f"{ours / len(events) * 1e3:.0f} and {zlib_1 / len(events) * 1e3:.0f} ms an event",
    )


def bench(path: Path | None, *, rounds: int = 7, events: int = 8) -> list[Result]:
    """Measure everything. Raises `LibraryMissing` without ROOT."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if path is None:
            path = directory / "in.root"
            write_events(path, [sparse_event(0)])
        with open_reader(path, tick_order="forward", images=["wire"]) as reader:
            event = reader[0]
        return [
            bench_reading(path, rounds),
            *bench_frames(event, rounds),
            bench_writing(directory, [sparse_event(number) for number in range(events)]),
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each ratio with its target. Returns 0 if all are met, and 1 if not or on an error."""
    parser = argparse.ArgumentParser(prog="python -m benches.files_and_frames", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="LArCV1 file with producer wire")
    parser.add_argument("--rounds", type=int, default=7, help="measurements; the best one counts")
    parser.add_argument("--events", type=int, default=8, help="number of events to write")
    options = parser.parse_args(arguments)
    try:
        results = bench(options.file, rounds=options.rounds, events=options.events)
    except LArTPCError as error:
        print(error, file=sys.stderr)
        return 1
    for result in results:
        relation, target = TARGETS[result.name]
        mark = "ok  " if result.met else "MISS"
        print(
            f"{mark} {result.ratio:6.2f}  (want {relation} {target:g})  {result.name}:"
            f" {result.detail}"
        )
    return 0 if all(result.met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""A campaign of twenty LArCV2 files: each score, meta and copied product, to the last bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lartpc import ROI, RSE, Event, Image, ImageMeta, format_of, open_reader, open_writer
from lartpc.crops.chain import threshold
from lartpc.image import INVALID_INDEX, WIRES_AND_TICKS, Corners
from services.planes import PLANES, answer_name
from tests.lartpc.real.dumps import Dump
from tests.support import plane_pools
from tests.support.campaign_files import readers
from tests.support.optional import optional
from tests.support.processes import QUICK, ROOT, Processes, free_port
from tests.support.real_larcv import real_larcv

pytestmark = pytest.mark.slow

FILES = 20
NAMES = [answer_name(plane) for plane in PLANES]


def image(dice: np.random.Generator, plane: int) -> Image:
    """Corners whose difference is rounded, and rows as LArCV2 defines them."""
    low_x, low_y = dice.normal(0, 1e4, 2).tolist()
    high_x, high_y = low_x + 64 / 3, low_y + 1e6 / 7
    meta = ImageMeta(
        *(high_x - low_x, high_y - low_y, 32, 64, low_x, low_y, plane, "forward"),
        corners=Corners(low_x, low_y, high_x, high_y),
        unit=WIRES_AND_TICKS,
    )
    pixels = dice.normal(0, 200, (32, 64)) * (dice.random((32, 64)) < 0.3)
    return Image(meta, pixels.astype(np.float32))


def toy(number: int) -> Event:
    dice = np.random.default_rng(number)
    images = tuple(image(dice, plane) for plane in PLANES)
    regions = tuple(ROI((one.meta,), 0, INVALID_INDEX) for one in images[: number % 4])
    return Event(RSE(8, number // 7, number), {"wire": images}, {"croi": regions})


def scores(one: Image) -> list[tuple[ImageMeta, bytes]]:
    """What the stand-ins answer: ADC / 500 and ADC / 1000."""
    charge = threshold(one.pixels)
    both = (charge / np.float32(500), charge / np.float32(1000))
    kept = [np.where(charge == 0, np.float32(0), scored) for scored in both]
    return [(one.meta, scored.astype(np.float32).tobytes()) for scored in kept]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """The outputs of the campaign."""
    optional("ROOT")
    folder = tmp_path_factory.mktemp("campaign")
    with Processes(folder) as processes:
        yield scored_by_a_campaign(processes, folder)


def scored_by_a_campaign(processes: Processes, folder: Path) -> list[Path]:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(endpoint, *QUICK)
    plane_pools.start(processes, endpoint)
    readers(processes, endpoint)
    (folder / "in").mkdir()
    paths = [folder / "in" / f"f{number:02}.root" for number in range(FILES)]
    for number, path in enumerate(paths):
        with open_writer(path, format="larcv2") as writer:
            writer.write(toy(number))
    command = [sys.executable, "-W", "error", "-m", "clients", "campaign", "start"]
    options = [str(folder / "in"), "-o", str(folder / "out"), "--broker", endpoint]
    options += ["--mode", "whole", "--copy-input"]
    done = subprocess.run(
        [*command, *options, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == FILES
    return [folder / "out" / f"{path.stem}_ssnet.root" for path in paths]


def test_each_meta_and_pixel_of_twenty_outputs_is_right(outputs: list[Path]) -> None:
    for number, output in enumerate(outputs):
        want = toy(number)
        assert format_of(output) == "larcv2"
        with open_reader(
            output, tick_order="forward", images=["wire", *NAMES], rois=["croi"]
        ) as reader:
            [got] = reader
        assert got.rse == want.rse
        for plane, one in zip(PLANES, want.images["wire"], strict=True):
            scored = [(i.meta, i.pixels.tobytes()) for i in got.images[answer_name(plane)]]
            assert scored == scores(one)
        assert plane_pools.pixels(got.images["wire"]) == plane_pools.pixels(want.images["wire"])
        edges = [[box.corners for box in roi.boxes] for roi in got.rois["croi"]]
        assert edges == [[box.corners for box in roi.boxes] for roi in want.rois["croi"]]


def test_the_real_larcv2_reads_the_same_scores(outputs: list[Path], tmp_path: Path) -> None:
    larcv2 = real_larcv("larcv2")
    dumps = [tmp_path / f"{path.stem}.npz" for path in outputs]
    larcv2.run(
        *(
            {"read": str(path), "dump": str(dump), "images": NAMES, "others": []}
            for path, dump in zip(outputs, dumps, strict=True)
        )
    )
    for number, dump in enumerate(map(Dump.load, dumps)):
        want = toy(number)
        assert dump.rse == [list(want.rse)]
        for name, one in zip(NAMES, want.images["wire"], strict=True):
            meta = one.meta
            assert meta.corners is not None
            numbers = (*meta.corners, meta.rows, meta.cols, meta.plane, meta.unit)
            [stored] = dump.images[name]
            assert [(n, p.astype(np.float32).tobytes()) for n, p in stored] == [
                (numbers, scored) for _, scored in scores(one)
            ]

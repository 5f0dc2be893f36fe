"""Pools of plane workers for tests: stand-ins that answer ADC / 500 and ADC / 1000."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benches.stand_ins import VARIABLE
from lartpc import RSE, Event, Image, open_reader, open_writer
from lartpc.simulation import toy
from lartpc.simulation.chamber import Chamber
from mdp import Client
from services.planes import PLANES, service_name
from tests.support.processes import QUICK, Process, Processes, wait_for_workers

SETTINGS = toy.ToySettings(chamber=Chamber(rows=160, cols=192), roi_pixels=64)


def start(
    processes: Processes,
    endpoint: str,
    *,
    planes: Sequence[int] = PLANES,
    workers: int = 1,
    there: int = 0,
    seconds: float = 0.0,
    target: str = "benches.stand_ins:StandInWorker",
) -> dict[int, Process]:
    """A pool for each plane, ready, beside those workers that are there; returns their hosts."""
    hosts = {}
    for plane in planes:
        os.environ[VARIABLE] = f"{plane} {seconds}"  # what is started now inherits it
        hosts[plane] = processes.worker(
            endpoint, service_name(plane), target, "-n", str(workers), *QUICK
        )
    with Client(endpoint) as client:
        for plane in planes:
            wait_for_workers(client, service_name(plane), there + workers)
    return hosts


def toys(path: Path, count: int, *, seed: int = 3, rois: bool = True) -> list[Event]:
    """Small toy events, some of them empty, in a file."""
    events = [toy.make(k, seed=seed, settings=SETTINGS).event for k in range(count)]
    for number in range(4, count, 5):
        rse = events[number].rse
        events[number] = Event(rse, {"wire": (), "segment": ()}, {"croi": ()})
    if not rois:
        events = [replace(event, rois={}) for event in events]
    with open_writer(path) as writer:
        for event in events:
            writer.write(event)
    return events


def read(path: Path) -> list[Event]:
    with open_reader(path, tick_order="backward") as reader:
        return list(reader)


def pixels(images: Sequence[Image]) -> list[tuple[bytes, object]]:
    """What tells two lists of images apart, to the bit."""
    return [(image.pixels.tobytes(), image.meta) for image in images]


def same(one: Sequence[Event], other: Sequence[Event]) -> bool:
    """Whether all images of all events are equal to the bit, under the same names and metas."""

    def all_of(events: Sequence[Event]) -> list[tuple[RSE, dict[str, object]]]:
        return [
            (event.rse, {name: pixels(images) for name, images in event.images.items()})
            for event in events
        ]

    return all_of(one) == all_of(other)

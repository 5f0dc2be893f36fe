"""The real LArCV1 reads what we write, and we read what it writes, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lartpc import Event, open_reader, open_writer
from lartpc.files.parts import PartFiles
from tests.lartpc.real.dumps import Dump, check_equal
from tests.lartpc.real.events import dump_of, random_events
from tests.support.images import same
from tests.support.real_larcv import RealLArCV

pytestmark = pytest.mark.slow

PRODUCERS = ("wire", "uburn_plane2", "empty")
EVENTS = [
    Event(one.rse, {**one.images, "empty": ()}, one.rois)
    for one in random_events(1, 12, order="backward", producers=PRODUCERS[:2], rois=True)
]
CHOSEN = [7, 0, 3, 3, 11, 4]
"""Regions and images become more and fewer from one of these entries to the next."""


def write(path: Path, events: Sequence[Event], **settings: Any) -> Path:
    with open_writer(path, **settings) as writer:
        for one in events:
            writer.write(one)
    return path


def copied(path: Path, chosen: Sequence[int]) -> list[Event]:
    """Write an image for each chosen event of an input, and copy its other products."""
    source = write(path.with_suffix(".in.root"), EVENTS)
    events = []
    with (
        open_reader(source, tick_order="backward", rois=["croi"]) as reader,
        open_writer(path, copy_input=reader) as writer,
    ):
        for entry in chosen:
            score = {"score": EVENTS[entry].images["wire"][:1]}
            writer.write(Event(reader.rse(entry), score), entry=entry)
            merged = {**EVENTS[entry].images, **score}
            events.append(Event(EVENTS[entry].rse, merged, EVENTS[entry].rois))
    return events


def joined(path: Path) -> list[Event]:
    """Write three parts, and join them while the input's other products are copied."""
    source = write(path.with_suffix(".in.root"), EVENTS)
    events: list[Event] = []
    with open_reader(source, tick_order="backward", rois=["croi"]) as reader:
        files = PartFiles(
            path, format="larcv1", force=False, inputs=(), images=["score"], copy_input=reader
        )
        parts = [path.with_suffix(f".{number}.root") for number in range(3)]
        for number, part in enumerate(parts):
            with files.open(part) as writer:
                for entry in CHOSEN[number * 2 :][:2]:
                    score = {"score": EVENTS[entry].images["wire"][:1]}
                    writer.write(Event(EVENTS[entry].rse, score), entry=entry)
                    merged = {**EVENTS[entry].images, **score}
                    events.append(Event(EVENTS[entry].rse, merged, EVENTS[entry].rois))
        with files.join(path, parts, CHOSEN) as writer:
            writer.close()
    return events


def plain(path: Path) -> list[Event]:
    write(path, EVENTS)
    return EVENTS


def one_event(path: Path) -> list[Event]:
    write(path, EVENTS[:1])
    return EVENTS[:1]


def without_images(path: Path) -> list[Event]:
    events = [Event(one.rse, {"wire": ()}, {"croi": ()}) for one in EVENTS]
    write(path, events)
    return events


def larger(path: Path) -> list[Event]:
    events = random_events(2, 60, order="backward", producers=["a_b"], rois=True)
    write(path, events)
    return events


KINDS: dict[str, Callable[[Path], list[Event]]] = {
    "plain": plain,
    "one_event": one_event,
    "without_images": without_images,
    "sixty_events": larger,
    "copied": lambda path: copied(path, range(len(EVENTS))),
    "copied_chosen": lambda path: copied(path, CHOSEN),
    "joined": joined,
}


def read_job(path: Path, events: Sequence[Event]) -> dict[str, Any]:
    others = [f"partroi_{name}" for name in events[0].rois]
    dump = str(path.with_suffix(".npz"))
    return {"read": str(path), "images": list(events[0].images), "others": others, "dump": dump}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("larcv1")


@pytest.fixture(scope="module")
def written(folder: Path) -> dict[str, list[Event]]:
    """Files of ours, one of each kind, and the events in them."""
    return {kind: make(folder / f"{kind}.root") for kind, make in KINDS.items()}


READ_HERE = """
from lartpc import open_reader
from tests.lartpc.real.events import dump_of
with open_reader({path!r}, tick_order="backward", rois=["croi"]) as reader:
    dump_of(reader, "larcv1").save(__import__("pathlib").Path({dump!r}))
"""
WRITE_HERE = """
from lartpc import open_reader, open_writer
with (
    open_reader({source!r}, tick_order="backward", rois=["croi"]) as reader,
    open_writer({target!r}) as writer,
):
    for event in reader:
        writer.write(event)
"""
THEIRS = range(10, 14)
"""The seeds of files that the real LArCV1 writes."""


def their_events(seed: int) -> list[Event]:
    return random_events(seed, 15, order="backward", producers=PRODUCERS[:2], rois=True)


@pytest.fixture(scope="module")
def done(larcv1: RealLArCV, folder: Path, written: dict[str, list[Event]]) -> Path:
    """The folder in which one process of LArCV1 has done all its jobs."""
    jobs: list[dict[str, Any]] = []
    for kind, events in written.items():
        path, copy = folder / f"{kind}.root", folder / f"{kind}.copy.root"
        jobs += [
            read_job(path, events),
            {"copy": str(copy), "source": str(path)},
            read_job(copy, events),
        ]
    for seed in THEIRS:
        dump = folder / f"{seed}.npz"
        dump_of(their_events(seed), "larcv1").save(dump)
        jobs.append({"write": str(folder / f"{seed}.root"), "dump": str(dump)})
        objects = {"dump": str(dump), "errors": str(folder / f"{seed}.objects")}
        jobs.append({"objects": ("backward", "forward")[seed % 2], **objects})
    of_us = READ_HERE.format(path=str(folder / "plain.root"), dump=str(folder / "here.npz"))
    jobs.append({"run": of_us, "errors": str(folder / "here")})
    source, target = folder / "plain.root", folder / "written_here.root"
    of_us = WRITE_HERE.format(source=str(source), target=str(target))
    jobs.append({"run": of_us, "errors": str(folder / "written_here")})
    jobs.append(read_job(target, EVENTS))
    jobs.append(read_job(folder / "before.root", EVENTS))
    before = WRITE_HERE.format(source=str(source), target=str(folder / "before.root"))
    larcv1.run(*jobs, before=before)
    return folder


@pytest.mark.parametrize("copy", ["", ".copy"], ids=["ours", "its_copy"])
@pytest.mark.parametrize("kind", KINDS)
def test_larcv1_reads_our_files_and_copies_them(
    kind: str, copy: str, done: Path, written: dict[str, list[Event]]
) -> None:
    check_equal(Dump.load(done / f"{kind}{copy}.npz"), dump_of(written[kind], "larcv1"))


@pytest.mark.parametrize("seed", THEIRS)
def test_we_read_the_files_of_larcv1(seed: int, done: Path) -> None:
    with open_reader(done / f"{seed}.root", tick_order="backward", rois=["croi"]) as reader:
        events = [
            Event(one.rse, {name: one.images[name] for name in PRODUCERS[:2]}, one.rois)
            for one in reader
        ]
    wanted = their_events(seed)
    assert len(events) == len(wanted)
    assert all(map(same, events, wanted))


@pytest.mark.parametrize("seed", THEIRS)
def test_images_of_larcv1_in_memory_become_ours_and_back(seed: int, done: Path) -> None:
    assert (done / f"{seed}.objects").read_text() == ""


def test_we_read_in_a_process_that_has_loaded_larcv1(
    done: Path, written: dict[str, list[Event]]
) -> None:
    assert (done / "here").read_text() == ""
    check_equal(Dump.load(done / "here.npz"), dump_of(written["plain"], "larcv1"))


def test_we_write_in_a_process_that_has_loaded_larcv1_and_it_reads_that(done: Path) -> None:
    assert (done / "written_here").read_text() == ""
    check_equal(Dump.load(done / "written_here.npz"), dump_of(EVENTS, "larcv1"))


def test_larcv1_can_be_loaded_after_we_wrote(done: Path) -> None:
    check_equal(Dump.load(done / "before.npz"), dump_of(EVENTS, "larcv1"))

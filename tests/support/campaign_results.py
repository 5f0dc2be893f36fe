"""What a campaign made of its inputs, and what is wrong with it. For tests of campaigns."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from clients.campaign.records.reading import reading
from clients.campaign.records.rows import File, NoCampaign
from clients.campaign.records.snapshot import catalogue_file
from tests.support.campaign_inputs import Alone, Inputs, differences

OWN = ".campaign"


def catalogue_of(folder: Path) -> list[File]:
    """Return the rows of the catalogue, in its order."""
    with reading(folder) as catalogue:
        return list(catalogue.files())


def finals(folder: Path) -> dict[Path, tuple[int, ...]]:
    """Return inode, bytes and modification time of each file that is at its final name."""
    found: dict[Path, tuple[int, ...]] = {}
    for path in folder.rglob("*"):
        if OWN not in path.parts and path.is_file():
            status = path.stat()
            found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def corrupt(folder: Path) -> str:
    """Say what SQLite finds wrong with a copy of the catalogue; empty if nothing."""
    try:
        file = catalogue_file(folder)
    except NoCampaign:
        return ""
    with tempfile.TemporaryDirectory() as name:
        for path in file.parent.glob(f"{file.name}*"):
            shutil.copy(path, name)
        with closing(sqlite3.connect(Path(name, file.name))) as connection:
            try:
                [[text]] = connection.execute("PRAGMA integrity_check").fetchall()
            except sqlite3.DatabaseError as error:
                text = str(error)
    return "" if text == "ok" else f"{file}: {text}"


def complaints_of(
    rows: Sequence[File], inputs: Inputs, expected: Mapping[Path, Alone], folder: Path
) -> list[str]:
    """Compare a campaign that is done with what each of its inputs should have become."""
    found = [f"{path}: {n} rows" for path, n in Counter(row.path for row in rows).items() if n > 1]
    states = {Path(row.path): row for row in rows}
    scored = {path: folder / row.output for path, row in states.items() if row.state == "done"}
    for copy, original in inputs.copies.items():
        pair = {states[path].state for path in (copy, original) if path in states}
        if pair != {"done", "repeated"}:
            found.append(f"{copy} and {original} have one content, their states are {pair}")
        if copy in scored:
            scored[original] = scored.pop(copy)
    found += differences(dict(expected), scored)
    for path, kind in inputs.damaged.items():
        row = states.get(path)
        if row is None or row.state != "failed" or not row.reason:
            found.append(f"{path} ({kind}): want a failed file with its reason, got {row}")
    wanted = {*inputs.good, *inputs.damaged, *inputs.copies}
    found += [f"{path}: it was not given" for path in states if path not in wanted]
    found += [f"{path}: it is not in the catalogue" for path in wanted - set(states)]
    entries = sum(len(expected[path].failed) for path in inputs.good)
    if entries != (got := sum(row.failed_events for row in rows)):
        found.append(f"want {entries} failed events in the catalogue, got {got}")
    return found + _left_over(folder, states, scored)


def _left_over(folder: Path, states: Mapping[Path, File], scored: Mapping[Path, Path]) -> list[str]:
    names = {folder / row.output for row in states.values() if row.state == "done"}
    names |= {path.with_name(f"{path.name}.failed.json") for path in names}
    names.add(folder / "report.html")
    found = [f"{path}: it is no output" for path in finals(folder) if path not in names]
    work = folder / OWN / "work"
    if work.exists():
        found += [f"{path}: it was left" for path in work.iterdir()]
    return found

"""Campaigns with a given history, written to the catalogue without a driver."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.campaign.plan import CampaignSettings, ScoringOptions
from clients.campaign.records.catalogue import Catalogue
from clients.campaign.records.rows import New, Scored, Unscored

START = 1_795_860_000.0
"""When the first try began, Unix time."""
ILL = "n7"
"""A host that fails 40 % of its tries, and does a twentieth of the work."""
SLOW = "n9"
"""A host that takes 2.5 times as long for an event."""
NETWORK = {
    "engine": "onnxruntime 1.20.0 CPUExecutionProvider",
    "network": "1f" * 32,
    "weights": "9a" * 32,
    "threshold_adc": 10.0,
    "dtype": "float16",
}


@dataclass
class Made:
    """What was written."""

    folder: Path
    failed: int = 0
    lossy: int = 0


def make(
    folder: Path,
    *,
    files: int,
    done: float = 1.0,
    seed: int = 1,
    ends_at: float | None = None,
    name: str = "run{:06d}.root",
) -> Made:
    """Write a campaign of files of about 100 events that went on for a while.

    done: the share, 0 to 1, of the files that were tried. ends_at: when the last try ended.
    """
    chance = random.Random(seed)
    hosts = [f"n{k}" for k in range(1, 21)]
    weights = [0.3 if host == ILL else 1.0 for host in hosts]
    made = Made(folder)
    tried = round(files * done)
    settings = CampaignSettings(options=ScoringOptions(copy_input=True), name="{stem}_ssnet.root")
    with Catalogue.create_or_open(folder, settings, 1) as catalogue:
        inputs = [
            New(f"/data/july/{k // 1000:03d}/{name.format(k)}", 90_000_000 + k, 1, f"out{k}.root")
            for k in range(files)
        ]
        numbers = catalogue.add(inputs)
        began = [START + 8.0 * k for k in range(tried)]
        shift = 0.0 if ends_at is None else ends_at - (START + 8.0 * tried + 120.0)
        scored, unscored = [], []
        for number, began_at in zip(numbers[:tried], began, strict=True):
            host = chance.choices(hosts, weights)[0]
            at = began_at + shift
            if host == ILL and chance.random() < 0.4:
                unscored.append(_failed(number, at, host, chance, again=chance.random() < 0.7))
                if unscored[-1].again:
                    scored.append(_scored(number, at + 60.0, "n3", chance))
                continue
            if chance.random() < 0.004:
                unscored.append(_bad(number, at, host, inputs[number - numbers[0]].path, chance))
                continue
            scored.append(_scored(number, at, host, chance))
        catalogue.failed(unscored)
        catalogue.publishing(scored)
        catalogue.done(one.number for one in scored)
        catalogue.set_networks({str(plane): NETWORK for plane in range(3)})
    finished = {one.number for one in scored}
    made.failed = len({one.number for one in unscored} - finished)
    made.lossy = sum(one.failed_events > 0 for one in scored)
    return made


def _scored(number: int, at: float, host: str, chance: random.Random) -> Scored:
    events = chance.randint(60, 140)
    event_s = chance.lognormvariate(0.0, 0.15) * (2.5 if host == SLOW else 1.0)
    event_s *= 8.0 if chance.random() < 0.0005 else 1.0
    lost = chance.choice((1, 2, 3, 17)) if chance.random() < 0.01 else 0
    failures = tuple(_event_failure(entry, number, chance) for entry in range(lost))
    return Scored(
        number=number,
        token=f"t{number}",
        bytes=90_000_000,
        mtime_ns=1,
        sha256=f"{number:064x}",
        out_bytes=4_000_000,
        out_sha256=f"{number:064x}",
        entries=events,
        events=events,
        failed_events=lost,
        crops=9 * events,
        seconds=events * event_s,
        began_at=at,
        ended_at=at + events * event_s,
        host=host,
        reader=f"{host}:{1000 + number % 8}",
        job=f"8812_{number % 8}",
        tick_order="backward",
        mode="croi",
        failures=failures,
    )


def _event_failure(entry: int, number: int, chance: random.Random) -> dict[str, Any]:
    host = chance.choices(("g1", "g2", "g3"), (1, 1, 12))[0]
    return {
        "entry": entry,
        "where": f"run{number}.root entry {entry}",
        "run": 6000 + number,
        "subrun": 1,
        "event": entry,
        "plane": chance.randrange(3),
        "crop": 0,
        "code": 500,
        "reason": f"the handler raised: CUDA error 719 at 0x{chance.randrange(1 << 40):010x}",
        "worker": f"{host}:77",
        "host": host,
    }


def _failed(number: int, at: float, host: str, chance: random.Random, *, again: bool) -> Unscored:
    used = chance.randrange(90, 100)
    reason = f"cannot write /scratch/ssnet-100-{number:x}/out.root: no space left ({used} % used)"
    if chance.random() < 0.2:
        reason = f"no broker answered for {chance.randrange(30, 90)} s"
    kind = "service" if "broker" in reason else "write"
    return Unscored(
        number=number,
        kind=kind,
        reason=reason,
        again=again,
        seconds=40.0,
        began_at=at,
        ended_at=at + 40.0,
        host=host,
        reader=f"{host}:1000",
        job="8812_7",
    )


def _bad(number: int, at: float, host: str, path: str, chance: random.Random) -> Unscored:
    reasons = (
        f"{path}: the file ends after {chance.randrange(1 << 20)} bytes",
        f"{path}: want a tree image2d_wire_tree, got none",
    )
    return Unscored(
        number=number,
        kind="input",
        reason=chance.choice(reasons),
        seconds=0.4,
        began_at=at,
        ended_at=at + 0.4,
        host=host,
        reader=f"{host}:1000",
        job="8812_7",
    )


def note(folder: Path, number: int, **values: Any) -> None:
    """Write the note of a reader that scores a file."""
    attempt = folder / ".campaign" / "work" / str(number) / f"token{number}"
    attempt.mkdir(parents=True, exist_ok=True)
    usual = {"host": "n1", "pid": 4000 + number, "job": "8812_1", "number": number}
    (attempt / "progress.json").write_text(json.dumps(usual | values))

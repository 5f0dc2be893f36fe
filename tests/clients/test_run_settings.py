"""Which settings of a production run decide its output: with others, no run is resumed."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from clients.files.provenance import Provenance
from clients.scoring.canary.crop_share import Canary
from clients.scoring.job import ScoringJob
from clients.scoring.output.run_settings import run_settings
from lartpc import open_reader
from lartpc.crops import chain
from mdp import Heartbeats
from tests.support import plane_pools

WITHOUT_EFFECT: dict[str, Any] = {
    # where the work is done, and how
    "output": Path("other.root"),
    "broker": "tcp://127.0.0.1:1",
    "timeout_s": 1.0,
    "tries": 1,
    "window": 1,
    "window_bytes": 1,
    "wait_s": 1.0,
    "waits": False,
    "heartbeats": Heartbeats(9.0, 9),
    # what is written besides the output
    "command": ("other",),
    "ledger": Path("other.ledger"),
    "part_s": 1.0,
    "shadow": Canary("next", 0.5, Path("other.canary")),
    # what happens with failed events, bad entries and earlier outputs
    "fresh": True,
    "force": True,
    "retry_failed": True,
    "strict": True,
    "max_failed": 0.5,
    "bad_input": "fail",
    "skip_others": True,
    "repeat_inputs": True,
    # how a setting below was found
    "mode_taken": True,
    "trust_tick_order": True,
    # the range of entries is given to `run_settings` beside the job
    "start": 1,
    "end": 1,
}
"""Fields that do not change the entries and scores of an output, each with another value."""
WITH_EFFECT: dict[str, Any] = {
    "mode": chain.Tiles(64, 16, 32),
    "producer": "other",
    "planes": (0, 2),
    "low_adc": 12.0,
    "high_adc": 400.0,
    "copy_input": True,
    "tick_order": "forward",
    "format": "larcv2",
}
CHANGES = {**WITHOUT_EFFECT, **WITH_EFFECT}


def test_every_field_of_a_job_is_known_to_decide_the_output_or_not() -> None:
    assert {field.name for field in fields(ScoringJob)} == {"inputs", *CHANGES}


@pytest.mark.parametrize("name", CHANGES)
def test_a_field_changes_the_settings_of_the_run_if_it_changes_the_output(
    name: str, tmp_path: Path
) -> None:
    source = tmp_path / "in.h5"
    plane_pools.toys(source, 1, rois=False)
    job = ScoringJob(inputs=(source,), output=tmp_path / "out.h5")
    other = replace(job, **{name: CHANGES[name]})
    with open_reader(source, tick_order="backward") as reader:
        settings = []
        for one in (job, other):
            with Provenance(one, "test") as provenance:
                settings.append(run_settings(one, reader, range(1), provenance))
    assert (settings[0] != settings[1]) == (name in WITH_EFFECT)

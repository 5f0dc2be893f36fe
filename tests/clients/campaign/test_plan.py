"""What a campaign is: its settings survive JSON, and odd ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.campaign.plan import CampaignSettings, ScoringOptions, differences
from clients.scoring.job import ScoringJob
from lartpc.crops import chain
from mdp import Heartbeats, SettingsError

OPTIONS = ScoringOptions(
    mode="tiles", planes=(2, 0), size=256, wait_s=5.0, ledger=True, heartbeat_s=0.5, max_failed=1
)
SETTINGS = CampaignSettings(
    options=OPTIONS, name="{stem}.h5", merge_to=10, scratch="/tmp", watch="x"
)


@pytest.mark.parametrize("settings", [CampaignSettings(), SETTINGS])
def test_settings_survive_json(settings: CampaignSettings) -> None:
    text = json.dumps(settings.as_dict())
    assert CampaignSettings.from_dict(json.loads(text)) == settings


def test_absent_options_have_their_defaults() -> None:
    assert ScoringOptions.from_dict({}) == ScoringOptions()
    assert CampaignSettings.from_dict({}) == CampaignSettings()


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {"mod": "croi"},
        {"mode": "circles"},
        {"mode": 3},
        {"planes": []},
        {"planes": [0, "1"]},
        {"planes": [1, 1]},
        {"size": 0},
        {"size": 1.5},
        {"size": True},
        {"strict": 1},
        {"max_failed": 2},
        {"low_adc": float("nan")},
        {"low_adc": 600.0},
        {"timeout_s": 0},
        {"wait_s": "5"},
        {"rois": 7},
        {"bad_input": "ignore"},
    ],
)
def test_odd_options_are_refused(values: Any) -> None:
    with pytest.raises(SettingsError):
        ScoringOptions.from_dict(values)
    with pytest.raises(SettingsError):
        CampaignSettings.from_dict({"options": values})


@pytest.mark.parametrize(
    "values", ["x", {"merge_to": -1}, {"file_tries": 0}, {"settle_s": -1}, {"settle_s": None}]
)
def test_odd_settings_are_refused(values: Any) -> None:
    with pytest.raises(SettingsError):
        CampaignSettings.from_dict(values)


def test_a_file_is_scored_as_ssnet_run_does_but_a_bad_entry_costs_only_itself() -> None:
    source, target = Path("in.root"), Path("out.root")
    usual = ScoringJob(inputs=(source,), output=target, bad_input="fail", broker="tcp://b:1")
    assert replace(ScoringOptions().job(source, target, "tcp://b:1"), mode=usual.mode) == usual


def test_a_job_has_the_options_and_what_the_caller_replaces() -> None:
    job = OPTIONS.job(Path("in.root"), Path("out.root"), "@contact", window=2, force=True)
    assert job.mode == chain.Tiles(size=256, overlap=64, divisor=1)
    assert (job.planes, job.wait_s, job.heartbeats) == ((0, 2), 5.0, Heartbeats(0.5, 3))
    assert (job.window, job.force, job.broker) == (2, True, "@contact")
    assert job.ledger == Path("out.root.ledger")
    assert ScoringOptions(rois="r", size=64).chain_mode() == chain.Croi("r", 64)
    assert ScoringOptions(mode="whole").chain_mode() == chain.Whole(divisor=1)


def test_only_options_that_change_scores_or_names_must_stay() -> None:
    begun = CampaignSettings()
    harmless = replace(ScoringOptions(), tries=9, window=1, timeout_s=5.0, bad_input="stop")
    assert differences(begun, replace(begun, options=harmless, scratch="/tmp", file_tries=5)) == []
    other = replace(ScoringOptions(), low_adc=5.0, planes=(0, 2), rois="mine")
    found = differences(begun, replace(begun, options=other, name="{stem}.root"))
    assert found == [
        "--name: {folder}/{stem}_ssnet{suffix} before, {stem}.root now",
        "--rois: none before, mine now",
        "--planes: 0,1,2 before, 0,2 now",
        "--threshold: 10.0 before, 5.0 now",
    ]

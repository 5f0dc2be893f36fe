"""One grammar of options over all commands of `mdp` and `ssnet`; defaults that agree."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from mdp import BrokerSettings, ClientSettings, Heartbeats, MDPError, SettingsError
from mdp.commands.command_line import PANELS
from tests.support.option_tree import APPS, Option, all_options, commands, tables
from tests.support.optional import optional

OPTIONS = all_options()
PAGE = Path(__file__).parent.parent / "docs" / "options.md"
EACH = pytest.mark.parametrize(
    "option", OPTIONS, ids=[f"{o.program} {o.command} {o.long}" for o in OPTIONS]
)

SAME_WORD = {
    "--broker": "pool start also takes here and job",
    "--job": "pool logs shows the log of a job, retire ends its workers",
    "--failed": "pool logs shows jobs, campaign list shows files",
    "--idle": "with --adapt, a pool passes it to its workers",
    "--device": "the workers of planes can use all visible GPUs",
    "--output": "what a command writes is a file, a folder or a picture: its help says which",
    "--window": "counts what a command sends: requests, events or batches",
    "--workers": "bench starts echo workers of its own",
}
"""Options whose help differs between commands, and why."""
SEVERAL = {
    "--producer": "simple and display send or draw the images of several producers",
    "--labels": "display draws the labels of several producers",
    "--rois": "display draws the regions of several producers",
    "--workers": "bench measures several numbers of workers in turn, separated by commas",
}
"""Options that take several values in some commands only, and why."""
PLURALS = {
    "--service": "--services: the patterns that a worker's key may serve",
    "--epoch": "the first epoch of a feed; --epochs: how many to train",
    "--gpu": "the number of one GPU; --gpus: how many each job of a pool has",
    "--event": "an event by its number; --events: how many toys to make",
    "--roi": "the number of one region; --rois: the producer of all",
    "--size": "pixels of a crop; --sizes: bytes of a request",
    "--window": "one number; --windows: several to measure with, in turn",
}


def by_name() -> dict[str, list[Option]]:
    names: dict[str, list[Option]] = defaultdict(list)
    for option in OPTIONS:
        names[option.long].append(option)
    return names


def test_there_is_something_to_check() -> None:
    assert len(OPTIONS) > 150
    assert {"worker planes", "worker batch-train", "worker dummy"} <= {o.command for o in OPTIONS}
    assert len(by_name()["--broker"]) >= 8


@pytest.mark.parametrize("name", sorted(by_name()))
def test_a_long_name_has_one_meaning_in_all_commands(name: str) -> None:
    options = by_name()[name]
    assert len({option.panel for option in options}) == 1
    assert len({option.names for option in options}) == 1
    if name not in SEVERAL:
        assert len({(option.kind.__name__, option.repeatable) for option in options}) == 1
    if name not in SAME_WORD:
        assert len({option.meaning for option in options}) == 1


def test_workers_are_workers_in_all_commands() -> None:
    meanings = {option.meaning for option in by_name()["--workers"]}
    assert all("orkers to start" in meaning for meaning in meanings)
    assert {o.command for o in by_name()["--workers"] if o.kind is not int} == {"bench"}


def test_a_short_name_belongs_to_one_long_name() -> None:
    longs: dict[str, set[str]] = defaultdict(set)
    for option in OPTIONS:
        for short in option.names[1:]:
            longs[short].add(option.long)
    assert {short: names for short, names in longs.items() if len(names) > 1} == {}
    assert longs["-n"] == {"--workers"}
    assert longs["-p"] == {"--producer"}


def test_a_plural_beside_a_singular_is_another_thing() -> None:
    names = {option.long for option in OPTIONS}
    assert {name: PLURALS.get(name) for name in names if f"{name}s" in names} == PLURALS


@EACH
def test_every_option_has_a_sentence_and_a_panel(option: Option) -> None:
    assert option.panel in PANELS
    assert re.match(r"[A-Z].*\.$", option.help), option.help
    first = option.help.split()[0]
    assert first not in {"Of", "Which.", "The"}, option.help


@pytest.mark.parametrize("program", APPS)
def test_every_command_can_be_quiet_and_verbose(program: str) -> None:
    for command, _ in commands(APPS[program]):
        names = {o.long for o in OPTIONS if (o.program, o.command) == (program, command)}
        assert names >= {"--quiet", "--verbose"}, command


def test_the_page_has_the_table_of_all_options() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `-")]
    current = [line for line in tables().splitlines() if line.startswith("| `-")]
    assert rows == current, "python -m tests.support.option_tree prints the tables"


# Defaults.

JOBS = {
    "run": "clients.scoring.job:ScoringJob",
    "simple": "clients.simple.simple_client:SimpleJob",
    "demo": "clients.local.demonstration:Demo",
    "toy": "lartpc.simulation.toy:ToySettings",
    "check": "clients.check.provenance_checks:ScoreSettings",
    "worker planes": "services.ssnet:PlaneSettings",
    "campaign start": "clients.campaign.plan:ScoringOptions",
    "worker batch-train": "services.training_files:TrainingSettings",
}
"""The settings that a command's options become."""
ALSO = [
    ("campaign start", "clients.campaign.plan:CampaignSettings"),
    ("campaign start", "clients.campaign.driving.services:Services"),
    ("worker planes", "clients.local.plane_pool:PlanePool"),
    ("worker dummy", "clients.local.serving:DummyPool"),
    ("batches", "services.training_files:TrainingSettings"),
    ("batches", "clients.training.batch_feed:Feed"),
    ("batches", "lartpc.training.batches:Recipe"),
    ("train", "services.training_files:TrainingSettings"),
    ("run", "lartpc.crops.chain:Tiles"),
    ("run", "lartpc.crops.chain:Croi"),
    ("toy", "lartpc.simulation.chamber:Chamber"),
]
TORCH = [
    ("train", "clients.training.training_run:TrainingJob"),
    ("train", "clients.training.trainer:Training"),
]
FIELDS = {
    "part_s": "checkpoint_seconds",
    "checkpoint_s": "checkpoint_seconds",
    "low_adc": "threshold",
    "threshold_adc": "threshold",
    "high_adc": "ceiling",
    "timeout_s": "timeout",
    "wait_s": "wait",
    "image": "producer",
    "label": "labels",
    "batch": "batch_size",
    "interval_s": "heartbeat",
    "expiry_s": "expiry",
    "drain_s": "drain",
    "settle_s": "settle",
    "watch": "watch_folder",
}
"""Options that are not named as their fields."""
DIFFER = {
    ("campaign start", "watch_folder"): "None: empty",
    ("run", "producer"): "None: wire, or the only one that the file has",
    ("run", "mode"): "None: croi if the file has ROIs",
    ("run", "rois"): "None: croi, or the only ones that the file has",
    ("run", "ledger"): "a flag: the field is the file that it names",
    **{("campaign start", name): "as in run" for name in ("mode", "producer", "rois", "planes")},
    ("campaign start", "broker"): "empty: nobody was asked yet",
    ("campaign start", "merge_to"): "text: None is 0 bytes",
    ("campaign start", "network"): "None: empty",
    ("check", "mode"): "None: as the run takes it",
    ("check", "producer"): "None: as the run takes it",
    ("run", "planes"): "text",
    ("check", "planes"): "text",
    ("train", "planes"): "text",
    ("batches", "planes"): "text",
    ("worker planes", "planes"): "text",
    ("simple", "seed"): "None without --random",
    ("train", "validate"): "None: none",
    ("simple", "producer"): "None: all",
    ("demo", "output"): "a folder's name",
    ("train", "threads"): "0 is the number of cores",
    ("batches", "epochs"): "without end",
}
"""Options whose default is not their field's, and why."""


def settings_named(text: str) -> Any:
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


def compared(command: str, settings: Any) -> dict[str, tuple[Any, Any]]:
    """(of the option, of the field) by field: the defaults of those that a command shares."""
    options = {o.field: o for o in OPTIONS if (o.program, o.command) == ("ssnet", command)}
    pairs = {}
    for field in dataclasses.fields(settings):
        option = options.get(FIELDS.get(field.name, field.name))
        if option is None or not option.has_default or (command, option.field) in DIFFER:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is not dataclasses.MISSING:
            value = option.default
            pairs[field.name] = (value.value if isinstance(value, enum.Enum) else value, default)
    return pairs


@pytest.mark.parametrize(("command", "settings"), [*JOBS.items(), *ALSO])
def test_the_defaults_of_options_are_those_of_the_settings(command: str, settings: str) -> None:
    optional("h5py")
    pairs = compared(command, settings_named(settings))
    assert pairs
    assert {name: pair for name, pair in pairs.items() if pair[0] != pair[1]} == {}


@pytest.mark.torch
@pytest.mark.parametrize(("command", "settings"), TORCH)
def test_the_defaults_of_a_training_are_those_of_its_settings(command: str, settings: str) -> None:
    optional("torch")
    test_the_defaults_of_options_are_those_of_the_settings(command, settings)


def test_the_cache_and_the_defaults_of_mdp_are_those_of_the_settings() -> None:
    optional("h5py")
    from services.training_files import TrainingSettings

    defaults = {(o.command, o.field): o.default for o in OPTIONS}
    for command in ("batches", "train", "worker batch-train"):
        assert defaults[command, "cache"] << 20 == TrainingSettings.cache_bytes
    for command, field in (("run", "heartbeat"), ("broker", "heartbeat"), ("worker", "heartbeat")):
        assert defaults[command, field] == Heartbeats().interval_s
        assert defaults[command, "liveness"] == Heartbeats().liveness
    broker = BrokerSettings()
    for name in ("max_attempts", "max_lost", "max_queue"):
        assert defaults["broker", name] == getattr(broker, name)
    assert defaults["broker", "expiry"] == broker.expiry_s
    assert defaults["broker", "drain"] == broker.drain_s
    assert defaults["call", "tries"] == ClientSettings().tries


# Exit codes.


def test_each_class_of_errors_has_its_exit_code() -> None:
    from lartpc import errors as lartpc

    assert {MDPError.exit_code, lartpc.LArTPCError.exit_code} == {1}
    assert {SettingsError.exit_code, lartpc.ParameterError.exit_code} == {2}
    assert lartpc.TickOrderError.exit_code == 2

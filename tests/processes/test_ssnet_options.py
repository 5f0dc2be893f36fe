"""Options of `ssnet`: a number out of its range names the option; some planes only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clients.cli import app, main
from lartpc import producers
from lartpc.files import provenance
from tests.support.commands_of_mdp import mdp
from tests.support.misuse import misused
from tests.support.option_tree import numeric_options
from tests.support.optional import optional

ARGUMENTS = {
    "batches": ["no.root"],
    **{f"campaign {name}": ["no"] for name in ("cancel", "check", "list", "report")},
    "campaign merge": ["no", "-o", "no.root"],
    "campaign retry": ["no"],
    "campaign start": ["no.root", "-o", "no"],
    "campaign status": ["no", "--watch"],
    **{f"canary {name}": ["--pool", "no"] for name in ("drop", "promote", "report", "status")},
    "canary start": ["no", "--pool", "no"],
    "check": ["no.root", "out.root"],
    "dashboard": [],
    "demo": ["-o", "no"],
    "display": ["no.root", "-o", "no.png"],
    "files": ["no.root"],
    "ledger": ["no.ledger"],
    **{f"pool {name}": ["no"] for name in ("doctor", "logs", "script", "stop")},
    "pool scale": ["no", "--adapt", "0:1"],
    "pool start": ["no"],
    "pool status": ["no", "--watch"],
    "run": ["no.root", "-o", "out.root"],
    "simple": ["no.root", "-o", "out.root", "-s", "dummy"],
    "toy": ["-o", "out.root"],
    "train": ["no.root", "-o", "no"],
    "worker batch-train": ["no.root"],
    "worker dummy": [],
    "worker files": [],
    "worker planes": [],
}
SIGNED = {("display", "--entry")}


def bad_numbers() -> list[tuple[str, str, str]]:
    return [
        (command, option, value)
        for command, option, kind in numeric_options(app)
        for value in (["-1", "nan"] if kind is float else ["-1"])
        if (command, option) not in SIGNED
    ]


def test_all_numeric_options_are_tried() -> None:
    tried = {(command, option) for command, option, _ in bad_numbers()}
    assert tried >= {("run", "--heartbeat"), ("run", "--overlap"), ("train", "--rate")}
    assert len(tried) > 50


@pytest.mark.parametrize(("command", "option", "value"), bad_numbers())
def test_a_number_out_of_range_names_its_option(
    command: str,
    option: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = (*command.split(), *ARGUMENTS[command], f"{option}={value}")
    assert option in misused(main, *words, monkeypatch=monkeypatch, capsys=capsys)


def test_one_plane_is_scored_alone_and_checked(tmp_path: Path) -> None:
    optional("ROOT")
    toy, output = tmp_path / "toy.root", tmp_path / "out.root"
    mdp("toy", "--events", 2, "--rows", 64, "--cols", 64, "-o", toy, module="clients")
    mdp(*("run", toy, "-o", output, "--local", "--size", 64, "--planes", 2), module="clients")
    assert producers(output) == ("uburn_plane2",)
    (text,) = provenance.read(output)
    record = json.loads(text)
    assert record["settings"]["planes"] == [2]
    assert list(record["services"]) == ["ssnet-plane2"]
    assert "FAILED" not in mdp("check", toy, output, module="clients").stdout
    done = mdp("run", toy, "-o", output, "--size", 64, "--planes", "100", module="clients", code=2)
    assert "want planes from 0 to 99, as in 0-5, got '100'" in done.stderr

"""What outputs say of who made them: written by real runs, read back, shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients.cli import app
from clients.files import checksums
from clients.files.provenance import Input, Record, mode_of, mode_settings
from clients.scoring import score
from clients.scoring.job import ScoringJob
from clients.simple import simple_client
from lartpc import ReadError
from lartpc.crops import chain
from lartpc.files import provenance
from mdp import SettingsError
from services.planes import Origin
from tests.support import plane_pools, simple_files
from tests.support.processes import QUICK, Processes, free_port

NOW = "2026-01-02T03:04:05+00:00"
RECORD = Record(
    made_by="ssnet run",
    software="ssnetserver 1",
    command=("ssnet", "run", "in.root"),
    host="node7",
    broker="tcp://head:5555",
    began_at=NOW,
    ended_at=NOW,
    inputs=(),
    tick_order="forward",
    start=0,
    end=2,
    events=2,
    settings={"mode": {"name": "whole", "divisor": 32}},
    services={"ssnet-plane0": (Origin("onnx", "11", "22", 10.0),)},
)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with a stand-in for each plane."""
    with Processes(tmp_path_factory.mktemp("pools")) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint, *QUICK)
        plane_pools.start(processes, endpoint)
        yield endpoint


def record_of(path: Path) -> Record:
    (text,) = provenance.read(path)
    return Record.unpack(text)


# Stamps.


def test_a_small_files_checksum_is_what_sha256sum_prints(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    path = tmp_path / "small"
    path.write_bytes(content)
    want = (256_000, hashlib.sha256(content).hexdigest(), "all")
    assert checksums.checksum(path) == want


def test_a_large_file_is_hashed_at_its_ends_and_evenly_between() -> None:
    size = 20 << 30
    blocks = checksums.blocks(size)
    assert len(blocks) == 16
    assert blocks[0] == (0, 1 << 20)
    assert sum(blocks[-1]) == size
    gaps = {second[0] - first[0] for first, second in pairwise(blocks)}
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("at", [0, 5, (17 << 20) - 1])
def test_a_change_at_either_end_or_of_the_size_changes_the_checksum(
    tmp_path: Path, at: int
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(17 << 20))
    original = checksums.checksum(path)
    assert original.hashed == "16 blocks of 1 MiB"
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    after = checksums.checksum(path)
    path.write_bytes(bytes((17 << 20) + 1))
    assert len({original, after, checksums.checksum(path)}) == 3


def test_a_file_that_is_not_there_has_no_checksum(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"cannot read .*nothing: No such file"):
        checksums.checksum(tmp_path / "nothing")


# Records.


def test_a_record_comes_back_as_it_was() -> None:
    inputs = (ssnet_input("a.root"), ssnet_input("b.root"))
    record = replace(RECORD, inputs=inputs)
    assert Record.unpack(record.pack()) == record


def ssnet_input(path: str) -> Input:
    return Input(path, 7, checksums.FileChecksum(100, "ab" * 32, "all"))


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"format": 2}', '{"format": 1, "more": 1}']
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ReadError, match="want a record of provenance"):
        Record.unpack(text)


@pytest.mark.parametrize(
    "mode", [chain.Croi("roi", 64, 0.25), chain.Tiles(64, 16, 32), chain.Whole(16)]
)
def test_a_mode_comes_back_as_it_was(mode: chain.Mode) -> None:
    assert mode_of(json.loads(json.dumps(mode_settings(mode)))) == mode


@pytest.mark.parametrize("settings", [{}, {"name": "half"}, {"name": "whole", "size": 3}])
def test_what_is_no_mode_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ReadError, match="want a mode"):
        mode_of(settings)


# What runs write.


def test_a_run_says_what_made_its_output(endpoint: str, tmp_path: Path) -> None:
    inputs = (tmp_path / "a.root", tmp_path / "b.root")
    for path in inputs:
        plane_pools.toys(path, 4)
    job = ScoringJob(
        inputs=inputs,
        output=tmp_path / "out.root",
        broker=endpoint,
        mode=chain.Tiles(64, 16, 8),
        low_adc=12.0,
        start=1,
        end=6,
        command=("ssnet", "run", "a b.root"),
    )
    score.score(job)
    record = record_of(job.output)
    assert (record.made_by, record.command, record.broker) == ("ssnet run", job.command, endpoint)
    assert (record.start, record.end, record.events, record.tick_order) == (1, 6, 5, "backward")
    assert [Path(item.path) for item in record.inputs] == list(inputs)
    assert [item.entries for item in record.inputs] == [4, 4]
    for item in record.inputs:
        content = Path(item.path).read_bytes()
        assert item.checksum == (len(content), hashlib.sha256(content).hexdigest(), "all")
    assert mode_of(record.settings["mode"]) == job.mode
    assert record.settings["threshold_adc"] == 12.0
    assert record.settings["ceiling_adc"] == 500.0
    assert record.settings["producer"] == "wire"
    assert record.services == {
        f"ssnet-plane{plane}": (
            Origin("stand-in", f"stand-in for plane {plane}", "", 10.0, "float32"),
        )
        for plane in range(3)
    }
    assert NOW < record.began_at <= record.ended_at


def test_simple_says_what_is_known_there(endpoint: str, tmp_path: Path) -> None:
    source = simple_files.write(tmp_path / "in.h5", simple_files.events(3, ["wire"]))
    (processes := Processes(tmp_path)).worker(endpoint, "echo", "mdp.echo:Echo")
    with processes:
        plan = simple_client.SimpleJob(
            inputs=(source,), output=tmp_path / "out.h5", service="echo", broker=endpoint, seed=3
        )
        simple_client.process_files(plan)
    record = record_of(plan.output)
    assert (record.made_by, record.events) == ("ssnet simple", 3)
    assert record.services == {"echo": ()}
    assert record.settings["seed"] == 3
    assert record.settings["producers"] == ["wire"]


def test_simple_says_which_network_answered_where_answers_say_it(
    endpoint: str, tmp_path: Path
) -> None:
    (event,) = plane_pools.toys(tmp_path / "in.root", 1)
    simple_files.write(
        tmp_path / "one.h5", [replace(event, images={"wire": event.images["wire"][:1]}, rois={})]
    )
    plan = simple_client.SimpleJob(
        inputs=(tmp_path / "one.h5",),
        output=tmp_path / "out.h5",
        service="ssnet-plane0",
        broker=endpoint,
    )
    simple_client.process_files(plan)
    origin = Origin("stand-in", "stand-in for plane 0", "", 10.0, "float32")
    assert record_of(plan.output).services == {"ssnet-plane0": (origin,)}


# What `ssnet files` shows.


@pytest.fixture
def two_records(tmp_path: Path) -> Path:
    path = simple_files.write(tmp_path / "in.h5", simple_files.events(3, ["wire"]))
    provenance.append(path, [RECORD.pack(), "somebody else's [bold]text[/]"])
    return path


def test_files_shows_who_made_a_file(two_records: Path) -> None:
    done = CliRunner().invoke(app, ["files", str(two_records)])
    assert done.exit_code == 0
    assert "image2d_wire" in done.stdout
    for text in ("ssnet run", "node7", NOW, "22", "somebody else's [bold]text[/]"):
        assert text in done.stdout


def test_files_shows_a_sum_of_many_in_a_row_for_each_way_of_making(tmp_path: Path) -> None:
    path = simple_files.write(tmp_path / "in.h5", simple_files.events(3, ["wire"]))
    (origin,) = RECORD.services["ssnet-plane0"]
    other = {"ssnet-plane0": (replace(origin, weights="77aa01" + 58 * "0"),)}
    many = [replace(RECORD, host=f"node{k % 20}") for k in range(2000)]
    many[7] = replace(many[7], settings={**RECORD.settings, "failed_events": 3})
    odd = replace(RECORD, services=other, host="node5")
    provenance.append(path, [item.pack() for item in (*many, odd)] + ["mine", "mine"])
    done = CliRunner().invoke(app, ["files", str(path)])
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(str(path))]
    _, _, run, odd_one, text = rows  # after the product and where it lies
    assert run[1:6] == ["ssnet", "run", "2000", "20", "hosts"]
    assert run[-1] == str(2000 * RECORD.events)
    assert odd_one[1:5] == ["ssnet", "run", "1", "node5"]
    assert "77aa0100" in odd_one
    assert text[1:] == ["mine", "2"]


def test_files_shows_all_of_it_when_asked(two_records: Path) -> None:
    done = CliRunner().invoke(app, ["files", "--provenance", str(two_records)])
    for text in ("1 of 2", "2 of 2", "ssnet run in.root", "tcp://head:5555", "[bold]text[/]"):
        assert text in done.stdout
    assert "image2d_wire" not in done.stdout


def test_files_gives_json_to_programs(two_records: Path) -> None:
    done = CliRunner().invoke(app, ["files", "--json", str(two_records)])
    (file,) = json.loads(done.stdout)["files"]
    assert file["file"] == str(two_records)
    assert file["products"][0]["producer"] == "wire"
    assert file["products"][0]["entries"] == 3
    assert file["provenance"] == [
        json.loads(RECORD.pack()),
        "somebody else's [bold]text[/]",
    ]


def test_json_and_a_table_at_once_are_refused(two_records: Path) -> None:
    done = CliRunner().invoke(app, ["files", "--json", "--provenance", str(two_records)])
    assert isinstance(done.exception, SettingsError)
    assert "--provenance" in str(done.exception)

"""One failing request is found by its id in the logs of client, broker and worker."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest

from mdp import Client, ServiceError
from tests.support.commands_of_mdp import mdp
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    free_port,
    until,
    wait_for_workers,
)

HANDLERS = "tests.faults.handlers:Obedient"


class Site:
    """A broker and a worker, each with a log file."""

    def __init__(self, processes: Processes, folder: Path, *options: str) -> None:
        self.folder = folder
        self.address = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(self.address, *QUICK, *self.log("broker", *options))
        processes.worker(
            self.address, "echo", HANDLERS, *QUICK, *self.log("worker-{host}", *options)
        )
        with Client(self.address, QUICK_CLIENT) as client:
            wait_for_workers(client, "echo", 1)

    def log(self, name: str, *options: str) -> tuple[str, ...]:
        return ("--log-file", str(self.folder / f"{name}.log"), *options)

    def everywhere(self, text: str) -> dict[str, list[str]]:
        """Wait until this text is in the logs of client, broker and worker; return its lines."""
        until(lambda: len(self.grep(text)) == 3, f"{text} is in all three logs")
        return self.grep(text)

    def grep(self, text: str) -> dict[str, list[str]]:
        """The lines with this text, by the name of the log: `grep TEXT *.log`."""
        found = {}
        for path in self.folder.glob("*.log"):
            lines = [line for line in path.read_text().splitlines() if text in line]
            found[path.name.partition("-")[0].removesuffix(".log")] = lines
        return {name: lines for name, lines in found.items() if lines}


def test_grep_finds_a_failed_request_in_all_three_logs(
    processes: Processes, tmp_path: Path
) -> None:
    site = Site(processes, tmp_path / "logs")
    ordinary = ("call", "echo", "reverse", "abc", "--broker", site.address)
    mdp(*ordinary, *site.log("client"))
    done = mdp(
        *("call", "echo", "raise", "the reason", "--broker", site.address, *site.log("client")),
        code=1,
    )
    [request] = re.findall(r"\brequest ([0-9a-f]{16})\b", done.stderr)
    assert "LookupError: the reason" in done.stderr
    found = site.everywhere(request)
    assert set(found) == {"client", "broker", "worker"}
    assert any("answered with error 500" in line for line in found["broker"])
    assert any("handle() failed" in line for line in found["worker"])
    assert any("the reason" in line for line in found["client"])


def test_the_lines_are_json_and_name_the_request(processes: Processes, tmp_path: Path) -> None:
    site = Site(processes, tmp_path / "logs", "--log-json", "--log-level", "debug")
    options = site.log("client", "--log-json")
    done = mdp("call", "echo", "raise", "no", "--broker", site.address, *options, code=1)
    [request] = re.findall(r"\brequest ([0-9a-f]{16})\b", done.stderr)
    found = site.everywhere(request)
    objects = [json.loads(line) for lines in found.values() for line in lines]
    assert {one["request"] for one in objects} == {request}
    pids = {name: {json.loads(line)["pid"] for line in lines} for name, lines in found.items()}
    assert not pids["client"] & pids["broker"]
    assert len(pids["worker"]) == 2, "the host and its child"


def test_many_requests_on_the_same_lanes_have_different_ids(
    processes: Processes, tmp_path: Path
) -> None:
    site = Site(processes, tmp_path / "logs", "--log-level", "debug")
    with Client(site.address, QUICK_CLIENT) as client:
        errors = []
        for number in range(12):  # one after the other, so that a lane is used again
            with pytest.raises(ServiceError) as raised:
                client.request("echo", [b"raise", b"number %d" % number])
            errors.append(raised.value)
    ids = [error.request for error in errors]
    assert len(set(ids)) == 12
    for number, (request, error) in enumerate(zip(ids, errors, strict=True)):
        assert f"request {request}" in str(error)
        until(functools.partial(_failed_at_worker, site, request), f"number {number} is logged")


def _failed_at_worker(site: Site, request: str) -> bool:
    return any("handle() failed" in line for line in site.grep(request).get("worker", []))


def test_an_error_before_the_log_is_set_up_is_still_said_and_json_errors_are_json() -> None:
    done = mdp("call", "echo", "x", "--log-level", "loud", code=2)
    assert "want --log-level debug, info, warning, error, got 'loud'" in done.stderr
    port = free_port()
    options = ("--log-json", "--timeout", "0.3", "--tries", "1")
    done = mdp("call", "echo", "x", "--broker", f"tcp://127.0.0.1:{port}", *options, code=1)
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["level"] == "error"
    assert last["message"].startswith("mdp: ")

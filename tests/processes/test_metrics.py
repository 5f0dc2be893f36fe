"""`mdp metrics` beside real brokers and workers: figures, health, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mdp import Client, ServiceError
from services import extras
from tests.support.commands_of_mdp import mdp
from tests.support.optional import optional
from tests.support.processes import (
    QUICK,
    ROOT,
    Process,
    Processes,
    children,
    free_port,
    until,
    wait_for_workers,
)

DEPLOY = ROOT / "docs" / "deploy"
NAME = re.compile(r"\b(?:mdp|node)_[a-z0-9_]+|\bup\b")
TIMES = ("waiting", "serving")
Samples = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture
def listen() -> str:
    return f"127.0.0.1:{free_port()}"


def start(processes: Processes, broker: str, listen: str, *options: str) -> Process:
    """`mdp metrics`, listening already."""
    optional("prometheus_client")
    process = processes.python(
        "-m", "mdp", "metrics", "--broker", broker, "--listen", listen, *options
    )
    process.wait_until_it_says("/metrics has the figures of")
    return process


def get(listen: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{listen}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(listen: str) -> Samples:
    """Read /metrics with the parser of prometheus_client."""
    parser = optional("prometheus_client.parser")
    status, text = get(listen, "/metrics")
    assert status == 200
    samples: Samples = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    keys = [(name, *sorted(labels.items())) for name, rows in samples.items() for labels, _ in rows]
    assert len(keys) == len(set(keys)), "a series twice"
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric's series with these labels; there is at least one."""
    rows = [v for row, v in samples[name] if labels.items() <= row.items()]
    assert rows, (name, labels, samples[name])
    return sum(rows)


# Figures.


def test_the_figures_are_those_of_the_broker(
    processes: Processes, endpoint: str, listen: str
) -> None:
    processes.broker(endpoint)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", "-n", "2")
    start(processes, endpoint, listen, "--need", "echo")
    with Client(endpoint) as client:
        wait_for_workers(client, "echo", 2)
        for _ in range(30):
            client.request("echo", [b"x" * 1000])
        until(lambda: value(scrape(listen), "mdp_service_answered_total") == 30, "a new scrape")
        samples = scrape(listen)
        services = json.loads(mdp("services", "-b", endpoint, "--json").stdout)["services"]
    row = services["echo"]
    echo = {"service": "echo"}
    assert value(samples, "mdp_broker_up") == 1
    assert value(samples, "mdp_service_answered_total", **echo) == row["answered"] == 30
    assert value(samples, "mdp_service_workers", **echo, state="idle") == row["idle"] == 2
    assert value(samples, "mdp_service_workers", **echo, state="busy") == 0
    assert value(samples, "mdp_service_queued_requests", **echo) == 0
    assert value(samples, "mdp_service_failed_total", **echo) == 0
    assert value(samples, "mdp_service_ready", **echo) == 1
    for name in TIMES:
        whole = f"mdp_service_{name}_seconds"
        assert value(samples, f"{whole}_count", **echo) == 30
        assert value(samples, f"{whole}_bucket", **echo, le="+Inf") == 30
    assert 0 < value(samples, "mdp_service_serving_seconds_sum") < 30
    assert value(samples, "mdp_worker_answered_total", **echo) == 30
    assert len(samples["mdp_worker_answered_total"]) == 2
    assert value(samples, "mdp_broker_requests_accepted_total") == 30
    # each body comes in and goes out twice
    assert value(samples, "mdp_broker_received_bytes_total") == 60_000
    assert 60_000 < value(samples, "mdp_broker_sent_bytes_total") < 120_000
    assert 1 << 20 < value(samples, "mdp_broker_resident_memory_bytes") < 1 << 30


def test_workers_that_are_gone_leave_the_scrape_and_restarts_are_shown(
    processes: Processes, endpoint: str, listen: str
) -> None:
    processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    start(processes, endpoint, listen)
    with Client(endpoint) as client:
        wait_for_workers(client, "echo", 1)
        [child] = children(worker)
        os.kill(child, signal.SIGKILL)

        def restarted() -> bool:
            rows = scrape(listen).get("mdp_worker_child_restarts", [])
            return [restarts for _, restarts in rows] == [1]

        until(restarted, "the worker is back")
        worker.kill()
        until(lambda: "mdp_worker_answered_total" not in scrape(listen), "it is gone")
        assert value(scrape(listen), "mdp_service_workers", service="echo") == 0


def test_several_scrapes_at_once_ask_the_broker_once_a_second(
    processes: Processes, endpoint: str, listen: str
) -> None:
    processes.broker(endpoint)
    start(processes, endpoint, listen)
    answers = {value(scrape(listen), "mdp_broker_sent_bytes_total") for _ in range(20)}
    assert len(answers) <= 10  # 20 scrapes take less than 10 s


# No broker.


def test_without_a_broker_only_up_is_there_and_it_comes_back_by_itself(
    processes: Processes, endpoint: str, listen: str
) -> None:
    exporter = start(processes, endpoint, listen, "--timeout", "0.5", "--need", "echo")
    assert scrape(listen) == {"mdp_broker_up": [({}, 0.0)]}
    status, reason = get(listen, "/healthz")
    assert status == 503
    assert "no broker answers" in reason
    assert reason.count("\n") == 1
    broker = processes.broker(endpoint)
    until(lambda: get(listen, "/healthz") == (200, "ok\n"), "the broker answers")
    assert get(listen, "/readyz") == (503, "no worker for echo\n")
    assert value(scrape(listen), "mdp_service_ready", service="echo") == 0
    processes.worker(endpoint, "echo", "mdp.echo:Echo")
    until(lambda: get(listen, "/readyz") == (200, "ok\n"), "the worker serves")
    broker.kill()
    until(lambda: scrape(listen) == {"mdp_broker_up": [({}, 0.0)]}, "nothing old is shown")
    assert "Traceback" not in exporter.stderr
    assert exporter.stderr.count("WARNING") == 2  # silent at first, and again


def test_other_paths_are_not_found(processes: Processes, endpoint: str, listen: str) -> None:
    start(processes, endpoint, listen)
    assert get(listen, "/metrics/x")[0] == 404
    assert get(listen, "/")[0] == 200


# Keys.


def test_with_the_key_of_a_client_the_figures_of_peers_are_missing_and_it_says_so_once(
    processes: Processes, tmp_path: Path, listen: str
) -> None:
    file, published = tmp_path / "broker.json", tmp_path / "published.json"
    processes.python(
        *("-m", "mdp", "broker", "--bind", "tcp://127.0.0.1:0", "--keys"),
        *("--contact", str(file), "--publish", str(published)),
    )
    until(lambda: file.exists() and published.exists(), "the broker serves")
    for name, role in (("bob", "client"), ("op", "operator")):
        made = tmp_path / f"{name}.json"
        mdp("keys", "new", name, "--role", role, "--contact", file, "-o", made)
    bob = start(processes, f"@{tmp_path / 'bob.json'}", listen)
    until(lambda: get(listen, "/healthz")[0] == 200, "the broker answers")
    assert value(scrape(listen), "mdp_broker_up") == 1
    assert "mdp_clients_unnamed" not in scrape(listen)
    until(lambda: scrape(listen) and "operator" in bob.stderr, "it says what is missing")
    scrape(listen)
    assert len([line for line in bob.stderr.splitlines() if "operator" in line]) == 1
    other = f"127.0.0.1:{free_port()}"
    start(processes, f"@{tmp_path / 'op.json'}", other)
    until(lambda: "mdp_clients_unnamed" in scrape(other), "an operator gets all figures")


# Start and end.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_served", [True, False])
def test_it_ends_at_once_with_0_and_leaves_nothing(
    processes: Processes, endpoint: str, listen: str, number: signal.Signals, *, is_served: bool
) -> None:
    if is_served:
        processes.broker(endpoint)
    exporter = start(processes, endpoint, listen)
    scrape(listen)
    exporter.send(number)
    assert exporter.exit_code(within_s=10) == 0
    exporter.wait_until_nothing_is_left()
    assert "Traceback" not in exporter.stderr


@pytest.mark.parametrize("text", ["9555", "127.0.0.1", "127.0.0.1:99999", "http://127.0.0.1:1"])
def test_a_bad_address_names_its_option(text: str) -> None:
    optional("prometheus_client")
    done = mdp("metrics", "--listen", text, code=2)
    assert re.search(r"want --listen as HOST:PORT, .* got '", done.stderr)


def test_a_port_in_use_is_one_line(processes: Processes, endpoint: str, listen: str) -> None:
    start(processes, endpoint, listen)
    [line] = mdp("metrics", "--listen", listen, code=1).stderr.splitlines()
    assert f"cannot listen at {listen} (--listen)" in line


def test_without_the_library_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text(
        "raise ModuleNotFoundError('No module', name='prometheus_client')"
    )
    [line] = mdp("metrics", code=1, PYTHONPATH=str(tmp_path)).stderr.splitlines()
    assert "extra [metrics]" in line
    [requirement] = re.findall(r"pip install '(.*)'", line)
    assert requirement in list(extras.requirements("metrics"))


# docs/deploy.


def expressions(value: Any) -> Iterable[str]:
    """Every PromQL expression in a board or a file of rules."""
    if isinstance(value, dict):
        for key, inside in value.items():
            if key in ("expr", "query") and isinstance(inside, str):
                yield inside
            else:
                yield from expressions(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from expressions(inside)


def metrics_in(text: str) -> set[str]:
    """The metrics that an expression names, without labels, `by (...)` and strings."""
    bare = re.sub(r"\"[^\"]*\"|\{[^}]*\}|\b(?:by|on) \([^)]*\)", " ", text)
    return set(NAME.findall(bare))


def of_board() -> set[str]:
    board = json.loads((DEPLOY / "grafana-board.json").read_text())
    return {name for text in expressions(board) for name in metrics_in(text)}


def of_rules() -> set[str]:
    lines = (DEPLOY / "prometheus-alerts.yml").read_text().splitlines()
    kept = [line for line in lines if not re.match(r"\s*(#|summary:|- alert:|severity:)", line)]
    return metrics_in("\n".join(kept))


def test_board_and_rules_name_only_metrics_that_exist(
    processes: Processes, endpoint: str, listen: str
) -> None:
    processes.broker(endpoint)
    processes.worker(endpoint, "echo", "mdp.echo:Echo")
    start(processes, endpoint, listen, "--need", "echo")
    with Client(endpoint) as client:
        client.request("echo", [b"x"])
        until(lambda: "mdp_client_waiting_requests" in scrape(listen), "the client is known")
        names = set(scrape(listen))
    board, rules = of_board(), of_rules()
    assert len(board) > 25
    assert len(rules) > 10
    of_node_exporter = {"node_filesystem_avail_bytes", "node_filesystem_size_bytes"}
    assert (board | rules) - names <= {"up", *of_node_exporter}
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"\b(mdp_[a-z_]+)\b", page)) <= names


def test_an_unknown_report_of_the_broker_is_an_error_of_the_client(
    processes: Processes, endpoint: str
) -> None:
    processes.broker(endpoint)
    with Client(endpoint) as client, pytest.raises(ServiceError, match="does not know it"):
        client.management("metric")

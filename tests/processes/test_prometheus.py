"""The files of docs/deploy and the figures of `mdp metrics`, with a real Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mdp import Client
from tests.support.optional import excluded, missing, optional
from tests.support.processes import ROOT, Process, Processes, free_port, until

DEPLOY = ROOT / "docs" / "deploy"
RULES = DEPLOY / "prometheus-alerts.yml"
PLANE1 = {"instance": "i", "service": "ssnet-plane1"}


@pytest.fixture(autouse=True)
def prometheus() -> None:
    optional("prometheus_client")
    programs = ("prometheus", "promtool")
    if "Prometheus" in excluded or not all(map(shutil.which, programs)):
        missing("Prometheus", "needs Prometheus")


def promtool(*arguments: object, text: str = "") -> str:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def exporter(processes: Processes, endpoint: str, *options: str) -> tuple[Process, str]:
    listen = f"127.0.0.1:{free_port()}"
    process = processes.python(
        *("-m", "mdp", "metrics", "--broker", endpoint, "--listen", listen, *options)
    )
    process.wait_until_it_says("/metrics has the figures of")
    return process, listen


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def test_promtool_finds_nothing_wrong(processes: Processes, endpoint: str) -> None:
    assert "8 rules found" in promtool("check", "rules", RULES)
    promtool("check", "config", DEPLOY / "prometheus.yml")
    processes.broker(endpoint)
    processes.worker(endpoint, "echo", "mdp.echo:Echo")
    _, listen = exporter(processes, endpoint, "--need", "echo")
    with Client(endpoint) as client:
        client.request("echo", [b"x"])
        until(lambda: "mdp_client_" in fetched(f"http://{listen}/metrics"), "all metrics are there")
        assert promtool("check", "metrics", text=fetched(f"http://{listen}/metrics")) == ""


# Alerts, with made-up series in simulated time. `a+bxN` is a, a+b, ... , a+N*b, one a minute.


def alert_test(
    name: str, series: dict[str, str], *, fires_at: str, quiet_at: str, **labels: str
) -> dict[str, Any]:
    """A test of `promtool test rules`: the alert fires at one time, and does not at another."""
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
                "eval_time": fires_at,
                "exp_samples": [{"labels": "{}", "value": 1}],
            },
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
                "eval_time": quiet_at,
                "exp_samples": [],
            },
        ],
    }


ALERTS = [
    alert_test(
        "MdpBrokerUnreachable",
        {'mdp_broker_up{job="mdp"}': "1x4 0x5"},
        fires_at="7m",
        quiet_at="5m",
    ),
    alert_test("MdpBrokerUnreachable", {'up{job="mdp"}': "1x4 0x5"}, fires_at="7m", quiet_at="5m"),
    alert_test(
        "MdpServiceWithoutWorkers",
        {'mdp_service_ready{service="a"}': "1x4 0x5", 'mdp_service_ready{service="b"}': "1x10"},
        fires_at="7m",
        quiet_at="5m",
    ),
    alert_test(
        "MdpQueueGrows",
        {
            'mdp_service_queued_requests{service="a"}': "0+100x30",
            'mdp_service_oldest_queued_seconds{service="a"}': "0+50x30",
            'mdp_service_queued_requests{service="full"}': "1000x30",  # full, and does not grow
            'mdp_service_oldest_queued_seconds{service="full"}': "500x30",
        },
        fires_at="10m",
        quiet_at="3m",
    ),
    alert_test(
        "MdpRequestsFail",
        {
            'mdp_service_answered_total{service="a"}': "0+100x30",
            'mdp_service_failed_total{service="a",code="500"}': "0x10 0+2x20",
            'mdp_service_answered_total{service="b"}': "0+100x30",
            'mdp_service_failed_total{service="b",code="503"}': "0+50x30",
        },
        fires_at="20m",
        quiet_at="9m",
    ),
    alert_test(
        "MdpRequestsFail",  # of a service that answers nothing
        {
            'mdp_service_answered_total{service="a"}': "0x30",
            'mdp_service_failed_total{service="a",code="404"}': "0x10 0+1x20",
        },
        fires_at="20m",
        quiet_at="9m",
    ),
    alert_test(
        "MdpWorkersDie",
        {"mdp_broker_workers_died_total": "0x10 0+1x10 11x30"},
        fires_at="18m",
        quiet_at="9m",
    ),
    alert_test(
        "MdpBrokerBusy",
        {"mdp_broker_loop_cpu_seconds_total": "0+30x20 600+57x30"},
        fires_at="45m",
        quiet_at="19m",
    ),
    alert_test(
        "MdpBrokerFull",
        {
            "mdp_broker_request_bytes": "0x5 900x20",
            "mdp_broker_max_request_bytes": "1000x25",
            "mdp_broker_open_files": "10x25",
            "mdp_broker_max_open_files": "1000x25",
        },
        fires_at="8m",
        quiet_at="4m",
    ),
    alert_test(
        "MdpDiskFull",
        {
            'node_filesystem_avail_bytes{mountpoint="/data",fstype="ext4"}': "500x5 40x20",
            'node_filesystem_size_bytes{mountpoint="/data",fstype="ext4"}': "1000x25",
            'node_filesystem_avail_bytes{mountpoint="/run",fstype="tmpfs"}': "0x25",
            'node_filesystem_size_bytes{mountpoint="/run",fstype="tmpfs"}': "1000x25",
        },
        fires_at="12m",
        quiet_at="5m",
    ),
]


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    names = {line.split()[-1] for line in RULES.read_text().splitlines() if "- alert:" in line}
    tests = [json.dumps(test) for test in ALERTS]
    assert {name for name in names if any(name in test for test in tests)} == names
    file = tmp_path / "alerts_test.yml"  # JSON is YAML
    plan = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": ALERTS}
    file.write_text(json.dumps(plan))
    promtool("test", "rules", file)


# A real Prometheus.


def test_prometheus_counts_what_a_client_was_answered(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint)
    worker = processes.worker(endpoint, "echo", "mdp.echo:Echo")
    _, listen = exporter(processes, endpoint, "--need", "echo")
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "mdp", "static_configs": [{"targets": [listen]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    log = (tmp_path / "prometheus.log").open("wb")
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=log,
    )

    def asked(expression: str) -> float | None:
        url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(expression)}"
        try:
            rows = json.loads(fetched(url))["data"]["result"]
        except OSError:
            return None
        return float(rows[0]["value"][1]) if rows else None

    try:
        until(lambda: asked("mdp_broker_up") == 1, "the first scrape", within_s=60)
        with Client(endpoint) as client:
            for _ in range(500):
                client.request("echo", [b"x"])
        until(lambda: asked("mdp_service_answered_total") == 500, "it has counted all")
        until(lambda: asked("mdp_service_serving_seconds_count") == 500, "and their times")
        worker.kill()
        pending = 'ALERTS{alertname="MdpServiceWithoutWorkers",service="echo"}'
        until(lambda: asked(pending) == 1, "the alert is pending")
    finally:
        server.terminate()
        server.wait(30)
        log.close()

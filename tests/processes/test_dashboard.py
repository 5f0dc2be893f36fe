"""`ssnet dashboard` in a real browser, beside a broker, workers and a campaign."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgpack
import pytest

from mdp import Cancelled, Client
from tests.processes import test_metrics
from tests.support.browser import Browser
from tests.support.commands_of_mdp import mdp
from tests.support.optional import optional
from tests.support.processes import (
    QUICK,
    Process,
    Processes,
    children,
    free_port,
    until,
    wait_for_workers,
)
from tests.support.raw_peer import RawPeer

TOKEN = "a-token-of-the-tests"
SCRIPT = "<script>window.hacked = 1</script>"
IMAGE = "<img src=x onerror='window.hacked=2'>"
_SHOWN = "return document.body.dataset.number !== undefined"


@dataclass
class Site:
    """What the tests of this file share."""

    endpoint: str
    listen: str
    metrics: str
    folder: Path
    broker: Process
    dashboard: Process
    browser: Browser

    @property
    def url(self) -> str:
        return f"http://{self.listen}/?token={TOKEN}"


class ForeignWorker:
    """A worker whose service and host have HTML in their names; it lives until `close`."""

    def __init__(self, endpoint: str) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, args=(endpoint,))
        self._thread.start()

    def _live(self, endpoint: str) -> None:
        facts = msgpack.packb({"host": IMAGE, "pid": 7, "job": IMAGE})
        with RawPeer(endpoint, b"foreign") as peer:
            peer.ask(b"mmi.fingerprint", SCRIPT.encode(), b"", facts)
            peer.receive()
            peer.ready(SCRIPT.encode())
            while not self._over.wait(0.1):
                peer.send(b"MDPW02", b"\x05")
            peer.disconnect()

    def close(self) -> None:
        self._over.set()
        self._thread.join()


def start(processes: Processes, broker: str, listen: str, *options: str, token: Path) -> Process:
    """`ssnet dashboard`, answering already."""
    optional("bokeh")
    token.write_text(TOKEN)
    token.chmod(0o600)
    command = ("-m", "clients", "dashboard", "--broker", broker, "--listen", listen)
    process = processes.python(*command, "--token-file", str(token), *options)

    def answers() -> bool:
        assert process.popen.poll() is None, process.stderr
        try:
            return get(listen, "/")[0] == 403
        except OSError:
            return False

    until(answers, "the dashboard answers")
    return process


def get(listen: str, path: str, **headers: str) -> tuple[int, str]:
    """The status and the text; headers: with _ for -."""
    connection = http.client.HTTPConnection(listen, timeout=30)
    try:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        if answer.status == 101:
            return 101, ""
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A campaign goes on when the browser opens the page."""
    optional("bokeh")
    optional("h5py")
    optional("onnxruntime")
    folder = tmp_path_factory.mktemp("site")
    browser = Browser(folder / "profile")
    endpoint, listen = (f"{kind}127.0.0.1:{free_port()}" for kind in ("tcp://", ""))
    with Processes(folder) as processes:
        try:
            for seed in range(1, 5):
                toy = ("toy", "--events", "16", "--rows", "64", "--cols", "64", "--seed", str(seed))
                mdp(*toy, "-o", folder / f"in{seed}.h5", module="clients")
            broker = processes.broker(endpoint, *QUICK)
            command = ("-m", "clients", "worker")
            processes.python(*command, "planes", "--broker", endpoint, *QUICK)
            processes.python(*command, "files", "--broker", endpoint, *QUICK)
            echo = processes.worker(endpoint, "echo", "mdp.echo:Echo", "-n", "2", *QUICK)
            metrics = f"127.0.0.1:{free_port()}"
            test_metrics.start(processes, endpoint, metrics)
            options = ("--campaign", str(folder / "out"))
            token = folder / "token"
            dashboard = start(processes, endpoint, listen, *options, token=token)
            with Client(endpoint) as client:
                for service in ("ssnet-plane0", "ssnet-plane1", "ssnet-plane2", "ssnet-files"):
                    wait_for_workers(client, service, 1)
                wait_for_workers(client, "echo", 2)
                for _ in range(5):
                    client.request("echo", [b"x"])
            shared = Site(endpoint, listen, metrics, folder, broker, dashboard, browser)
            browser.open(shared.url)
            until(lambda: browser.run(_SHOWN), "the page shows figures")
            goes_on(processes, shared)
            echo.kill()
            yield shared
        finally:
            browser.close()


def goes_on(processes: Processes, site: Site) -> None:
    """A campaign runs while the page is open, and ends."""
    inputs = [str(site.folder / f"in{seed}.h5") for seed in range(1, 5)]
    words = ("--broker", site.endpoint, "--size", "32", "--overlap", "8", *QUICK)
    command = ("-m", "clients", "campaign", "start", *inputs, "-o", str(site.folder / "out"))
    campaign = processes.python(*command, *words)
    busy = (
        "return [...state.segments.values()].some((one) => one.what === 'busy' && state.lanes.some("
        "(lane) => lane.number === one.lane && lane.service === 'ssnet-files'))"
    )
    until(lambda: site.browser.run(busy), "the lane of the reader is busy")
    assert campaign.exit_code(within_s=60.0) == 0


def figure(site: Site, service: str, name: str) -> str:
    script = (
        "const row = [...document.querySelectorAll('#services tbody tr')].find((one) =>"
        " one.dataset.row === arguments[0]); return row ?"
        " row.querySelector(`[data-figure=${arguments[1]}]`).textContent : ''"
    )
    return str(site.browser.run(script, service, name)).replace(",", "")


# Figures.


def test_the_figures_are_those_of_mdp_services_and_of_the_metrics(site: Site) -> None:
    """Nothing is asked of the workers now, so all three must be equal."""
    until(lambda: figure(site, "echo", "idle") == "0", "the killed workers are gone")
    until(lambda: figure(site, "ssnet-files", "busy") == "0", "the reader is idle")
    services = json.loads(mdp("services", "-b", site.endpoint, "--json").stdout)["services"]
    assert services["ssnet-files"]["answered"] == 4
    answered = services["ssnet-plane0"]["answered"]
    assert answered > 4
    assert services["echo"]["answered"] == 5
    until(
        lambda: figure(site, "ssnet-plane0", "answered") == str(answered),
        "the page has the last answers",
    )
    samples = test_metrics.scrape(site.metrics)
    for name, row in services.items():
        for key in ("queued", "busy", "idle", "retired", "answered"):
            assert figure(site, name, key) == str(row[key]), (name, key)
        for key in ("answered", "failed"):
            scraped = test_metrics.value(samples, f"mdp_service_{key}_total", service=name)
            assert figure(site, name, key) == f"{scraped:g}", (name, key)
        for state in ("idle", "busy", "retired"):
            wanted = {"service": name, "state": state}
            scraped = test_metrics.value(samples, "mdp_service_workers", **wanted)
            assert figure(site, name, state) == f"{scraped:g}", (name, state)
    queued = sum(row["queued"] for row in services.values())
    assert site.browser.text("#tile-queued") == str(queued)


def test_a_killed_worker_is_lost_in_its_lane_and_a_plane_is_idle(site: Site) -> None:
    script = (
        "return state.lanes.filter((lane) => lane.service === arguments[0]).map((lane) =>"
        " [...state.segments.values()].filter((one) => one.lane === lane.number && !one.end)"
        ".map((one) => one.what).join())"
    )
    until(lambda: site.browser.run(script, "echo") == ["lost", "lost"], "both lanes are lost")
    assert site.browser.run(script, "ssnet-plane1") == ["idle"]


def test_the_campaign_is_shown_as_its_status_says(site: Site) -> None:
    until(lambda: "complete" in site.browser.text("#work .name"), "the campaign is complete")
    out = site.folder / "out"
    status = json.loads(mdp("campaign", "status", out, "--json", module="clients").stdout)
    line = site.browser.text("#work .dim")
    assert status["files"]["done"] == 4
    assert line.startswith("4 of 4 files done")
    assert f"{status['events']['scored']} events" in line


def test_the_last_event_is_a_picture(site: Site) -> None:
    optional("matplotlib")
    width = "const image = document.getElementById('picture'); return image.naturalWidth"
    until(lambda: site.browser.run(width) > 300, "the picture is there", within_s=60.0)
    assert "_ssnet.h5, entry " in site.browser.text("#picture-title")


# Orders.


def test_a_button_asks_once_and_then_pauses(site: Site) -> None:
    def paused() -> bool:
        with Client(site.endpoint) as client:
            return bool(client.services()["ssnet-plane0"].get("paused"))

    def press(selector: str) -> None:
        site.browser.find(selector).click()

    def question() -> str:
        return str(site.browser.run("return asked && ask_is_open() ? asked.order : ''"))

    site.browser.run("window.ask_is_open = () => document.getElementById('ask').open")
    button = "tr[data-row=ssnet-plane0] button"
    press(button)
    assert question() == "pause"
    press("#no")
    assert not paused()
    press(button)
    press("#yes")
    until(paused, "ssnet-plane0 is paused")
    until(lambda: "is paused" in site.browser.text("#outcome"), "the outcome is shown")
    until(lambda: "plane 0 is paused" in site.browser.text("#headline"), "the headline says it")
    assert "ssnet-plane0" in site.broker.stderr
    until(lambda: site.browser.text(button) == "Resume", "the button resumes")
    press(button)
    press("#yes")
    until(lambda: not paused(), "ssnet-plane0 goes on")


def test_without_an_operators_key_the_buttons_are_disabled(
    site: Site, processes: Processes, tmp_path: Path
) -> None:
    listen, file, made = f"127.0.0.1:{free_port()}", tmp_path / "a.json", tmp_path / "bob.json"
    processes.python(
        *("-m", "mdp", "broker", "--bind", "tcp://127.0.0.1:0", "--contact", str(file), *QUICK),
        *("--keys", "--publish", str(tmp_path / "published.json")),
    )
    until(file.exists, "the broker serves")
    mdp("keys", "new", "bob", "--role", "client", "--contact", file, "-o", made)
    processes.worker(f"@{file}", "echo", "mdp.echo:Echo", *QUICK)
    start(processes, f"@{made}", listen, token=tmp_path / "token")
    site.browser.open(f"http://{listen}/?token={TOKEN}")
    row = "tr[data-row=echo] button"
    until(lambda: site.browser.text(row) == "Pause", "the service is shown")
    assert not site.browser.find(row).is_enabled()
    assert not site.browser.find("#retire").is_enabled()
    assert "--role operator" in site.browser.text("#no-orders")
    site.browser.open(site.url)
    until(lambda: site.browser.run(_SHOWN), "the page shows figures")


def test_a_run_is_cancelled_and_a_worker_retired_by_their_buttons(
    site: Site, processes: Processes, tmp_path: Path
) -> None:
    endpoint, listen = (f"{kind}127.0.0.1:{free_port()}" for kind in ("tcp://", ""))
    processes.broker(endpoint, *QUICK)
    host = processes.worker(endpoint, "long", "tests.faults.handlers:Obedient", *QUICK)
    start(processes, endpoint, listen, token=tmp_path / "token")
    note, release = (os.fsencode(tmp_path / name) for name in ("note", "release"))
    with Client(endpoint) as client:
        wait_for_workers(client, "long", 1)
        client.tell_progress(3, 12, output="out.root")
        future = client.submit("long", [b"wait_for", b"", note, release])
        site.browser.open(f"http://{listen}/?token={TOKEN}")
        cancel = "button[data-order=abort]"
        until(lambda: "3 of 12 events" in site.browser.text("#work"), "the run is shown")
        site.browser.find(cancel).click()
        assert not future.done()
        site.browser.find("#yes").click()
        with pytest.raises(Cancelled):
            future.result(timeout=60)
        (tmp_path / "release").touch()
        until(lambda: site.browser.find("#retire").is_enabled(), "the worker may be retired")
        site.browser.find("#retire").click()
        site.browser.find("#yes").click()
        assert host.exit_code(within_s=60.0) == 0
    site.browser.open(site.url)
    until(lambda: site.browser.run(_SHOWN), "the page shows figures")


# Names from peers, and other hosts.


def test_html_in_names_of_services_and_hosts_is_only_text(site: Site) -> None:
    foreign = ForeignWorker(site.endpoint)
    try:
        until(lambda: SCRIPT in site.browser.text("#services"), "the service is shown")
        until(lambda: IMAGE in site.browser.text("#worker"), "the host is shown")
        assert site.browser.run("return window.hacked === undefined")
        assert site.browser.run("return document.querySelectorAll('#services script').length") == 0
        assert site.browser.run("return document.querySelectorAll('img').length") == 1
        assert site.browser.run("return document.scripts.length") == 4
    finally:
        foreign.close()


def test_the_browser_asks_no_other_host_and_has_no_error(site: Site) -> None:
    asked = site.browser.note_requests()
    assert f"ws://{site.listen}/live" in asked
    hosts = {url.split("/")[2] for url in asked if url.startswith(("http", "ws"))}
    assert {host.split(":")[0] for host in hosts} == {"127.0.0.1"}
    assert site.browser.errors() == []


# The token.


@pytest.mark.parametrize(
    "path", ["/", "/charts", "/picture", "/page/dashboard.js", "/bokeh/bokeh.min.js"]
)
def test_without_the_token_everything_is_refused(site: Site, path: str) -> None:
    for query in ("", "?token=", "?token=wrong"):
        status, text = get(site.listen, path + query)
        assert status == 403
        assert "token" in text
    assert get(site.listen, f"{path}?token={TOKEN}")[0] in (200, 302, 404)


def test_a_foreign_name_of_this_host_is_refused_and_another_port_is_not(site: Site) -> None:
    """`ssh -L` gives the browser another port."""
    path = f"/charts?token={TOKEN}"
    assert get(site.listen, path, Host="localhost:9999")[0] == 200
    assert get(site.listen, path, Host="evil.example:8787")[0] == 403


def test_only_pages_of_this_server_get_figures_and_send_orders(site: Site) -> None:
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Host": "localhost:9999",
    }
    path = f"/live?token={TOKEN}"
    assert get(site.listen, path, Origin="http://localhost:9999", **upgrade)[0] == 101
    assert get(site.listen, path, Origin="http://evil.example", **upgrade)[0] == 403
    assert get(site.listen, "/live", Origin="http://localhost:9999", **upgrade)[0] == 403
    order = json.dumps({"order": "pause", "name": "ssnet-plane1"})
    for headers in ({}, {"Origin": "http://evil.example"}):
        connection = http.client.HTTPConnection(site.listen, timeout=30)
        connection.request("POST", f"/order?token={TOKEN}", order, headers)
        assert connection.getresponse().status == 403
        connection.close()
    with Client(site.endpoint) as client:
        assert not client.services()["ssnet-plane1"].get("paused")


# The end.


def test_figures_stay_when_the_broker_is_silent_and_ctrl_c_ends_the_dashboard(site: Site) -> None:
    answered = figure(site, "ssnet-plane0", "answered")
    os.kill(site.broker.pid, signal.SIGSTOP)
    try:
        until(lambda: "no answer" in site.browser.text("#headline"), "the headline says it")
        assert "no answer since" in site.browser.text("#silent")
        assert figure(site, "ssnet-plane0", "answered") == answered
        assert not site.browser.find("tr[data-row=ssnet-plane0] button").is_enabled()
    finally:
        os.kill(site.broker.pid, signal.SIGCONT)
    until(lambda: "no answer" not in site.browser.text("#headline"), "the broker answers again")
    site.dashboard.send_group(signal.SIGINT)
    assert site.dashboard.exit_code() == 130
    site.dashboard.wait_until_nothing_is_left()
    assert "Traceback" not in site.dashboard.stderr
    assert children(site.dashboard) == []

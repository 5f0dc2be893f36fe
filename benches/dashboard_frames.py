"""How fluent `ssnet dashboard` is with many workers; what it and `mdp metrics` cost the broker.

Stand-in workers are raw sockets in this process: each holds a request or none, changing at random.
Without them, with scrapes, with a page and with both, in turn, in the same run, the CPU time of the
broker is compared. `mdp metrics` is scraped each second, which is the most that it asks the broker.
The page is shown by Debian's Chromium, headless and without a GPU, which counts frames for some
seconds.

    python -m benches.dashboard_frames --workers 500 --seconds 10
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import zmq

from mdp import Client, MDPError
from mdp.sockets import clock

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-unsafe-swiftshader", "--window-size=1600,1200"),
)
_COUNT = """
const [seconds, done] = arguments, times = [], began = performance.now();
(function next(now) {
  if (now) times.push(now);
  if (performance.now() - began < 1000 * seconds) requestAnimationFrame(next); else done(times);
})();
"""
_TOKEN = "token-of-the-benchmark"


def stand_ins(endpoint: str, count: int, over: threading.Event) -> None:
    """Be so many workers of five services; answer each request after 0.2 to 3 s."""
    context = zmq.Context()
    poller, due = zmq.Poller(), list[tuple[float, Any, list[bytes]]]()
    sockets = []
    for k in range(count):
        socket = context.socket(zmq.DEALER)
        socket.linger, socket.routing_id = 0, f"stand-in-{k}".encode()
        socket.connect(endpoint)
        socket.send_multipart([b"MDPW02", b"\x01", b"stand-in-%d" % (k % 5)])
        poller.register(socket, zmq.POLLIN)
        sockets.append(socket)
    beat_at = clock() + 2.0
    while not over.is_set():
        for socket, _ in poller.poll(50):
            frames = socket.recv_multipart()
            if len(frames) > 2 and frames[1] == b"\x02":  # REQUEST
                due.append((clock() + random.uniform(0.2, 3.0), socket, frames[2:4]))
        now = clock()
        for _, socket, client in [one for one in due if one[0] <= now]:
            socket.send_multipart([b"MDPW02", b"\x04", *client, b"done"])
        due = [one for one in due if one[0] > now]
        if now >= beat_at:
            beat_at = now + 2.0
            for socket in sockets:
                socket.send_multipart([b"MDPW02", b"\x05"])
    context.destroy(linger=0)


def requests(endpoint: str, count: int, over: threading.Event) -> None:
    """Keep about two thirds of the workers busy."""
    with Client(endpoint) as client:
        waiting: list[Any] = []
        while not over.wait(0.05):
            waiting = [one for one in waiting if not one.done()]
            while len(waiting) < 2 * count // 3:
                service = f"stand-in-{random.randrange(5)}"
                waiting.append(client.submit(service, [b"x"], timeout_s=60.0))


def cpu_s(endpoint: str) -> float:
    with Client(endpoint) as client:
        return float(client.management("metrics")["process"]["cpu_s"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=500, help="stand-in workers (500)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (10)")
    parser.add_argument("--port", type=int, default=28_700, help="the first of three ports (28700)")
    options = parser.parse_args()
    endpoint, listen = f"tcp://127.0.0.1:{options.port}", f"127.0.0.1:{options.port + 1}"
    over = threading.Event()
    started: list[subprocess.Popen[bytes]] = []
    threads = [
        threading.Thread(target=work, args=(endpoint, options.workers, over))
        for work in (stand_ins, requests)
    ]
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder, "token")
        token.write_text(_TOKEN)
        token.chmod(0o600)
        module = [sys.executable, "-m"]
        try:
            started.append(subprocess.Popen([*module, "mdp", "broker", "--bind", endpoint, "-q"]))
            _wait(endpoint)
            for thread in threads:
                thread.start()
            show = ["clients", "dashboard", "--broker", endpoint, "--listen", listen]
            started.append(
                subprocess.Popen(
                    [*module, *show, "--token-file", str(token), "-q"], stdout=subprocess.DEVNULL
                )
            )
            scraped = f"127.0.0.1:{options.port + 2}"
            export = ["mdp", "metrics", "--broker", endpoint, "--listen", scraped, "-q"]
            started.append(subprocess.Popen([*module, *export]))
            time.sleep(8.0)
            page, metrics = f"http://{listen}/?token={_TOKEN}", f"http://{scraped}/metrics"
            measure(endpoint, page, metrics, folder, options.seconds)
        finally:
            over.set()
            for process in reversed(started):
                process.terminate()
                process.wait()
            for thread in threads:
                if thread.is_alive():
                    thread.join()


class Scrapes:
    """Scrapes of `mdp metrics`, one a second, while the block runs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            with urllib.request.urlopen(self._url, timeout=10) as answer:
                answer.read()


def measure(endpoint: str, page: str, metrics: str, folder: str, seconds: float) -> None:
    """Print frames and CPU time in each of the four states, twice."""
    from selenium import webdriver

    flags = webdriver.ChromeOptions()
    for flag in (*_FLAGS, f"--user-data-dir={folder}/profile"):
        flags.add_argument(flag)
    flags.binary_location = "/usr/bin/chromium"
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    driver: Any = webdriver.Chrome(options=flags, service=service)
    driver.set_script_timeout(seconds + 60.0)
    try:
        for is_shown, is_scraped in [
            (False, False),
            (False, True),
            (True, False),
            (True, True),
        ] * 2:
            driver.get(page if is_shown else "about:blank")
            with Scrapes(metrics) if is_scraped else contextlib.nullcontext():
                time.sleep(5.0)
                before, began = cpu_s(endpoint), clock()
                times = driver.execute_async_script(_COUNT, seconds)
                share = (cpu_s(endpoint) - before) / (clock() - began)
            longest = max(b - a for a, b in itertools.pairwise(times))
            rate = (len(times) - 1) / (times[-1] - times[0]) * 1000
            shown, scraped = "a page" if is_shown else "no page", "" if is_scraped else "not "
            what = f"{shown}, {scraped}scraped"
            frames = f"{rate:.1f} frames/s, longest {longest:.0f} ms"
            print(f"{what}: {frames}, broker {share:.3f} of a core", flush=True)
        drawn = driver.execute_script("return [state.lanes.length, state.segments.size]")
        print(f"lanes and segments: {drawn}")
    finally:
        driver.quit()


def _wait(endpoint: str) -> None:
    for _ in range(100):
        try:
            with Client(endpoint) as client:
                client.management("broker", timeout_s=0.5)
                return
        except MDPError:
            time.sleep(0.1)
    raise SystemExit(f"no broker answers at {endpoint}")


if __name__ == "__main__":
    main()

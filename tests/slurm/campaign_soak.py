"""Runs a campaign of 300 files on a real Slurm while everything that takes part is killed.

`python -m tests.slurm.campaign_soak --minutes 15 --seed 1`. The pool has two readers and quick
stand-in networks. Every few seconds one fault comes: a reader, a worker, the driver or the broker
is killed, a node crashes, the controller stops, a reader or the driver is stopped for longer than
it may be silent and then continued. Exit code 0 if afterwards

- each good file has one output, equal to the bit to that of `ssnet run` alone, and no output was
  changed once it was there;
- each damaged file and each bad entry is named with its reason;
- an input that was given twice was scored once;
- `campaign check` finds nothing but the failed files, and `merge` gives one file that `ssnet check`
  passes;
- nothing is left of the attempts, and no command failed on the way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benches.stand_ins import VARIABLE as STAND_IN
from mdp.pool.launcher import Resources
from mdp.pool.pool_folder import PoolFolder
from mdp.pool.pool_settings import Kind, PoolSettings
from mdp.system import contact
from mdp.system.broker_report import broker_reports
from services.planes import PLANES, service_name
from tests.slurm.slurm_site import Site
from tests.support import campaign_inputs, plane_pools, tether
from tests.support.campaign_inputs import Alone, Inputs
from tests.support.campaign_results import catalogue_of, complaints_of, corrupt, finals
from tests.support.processes import Processes, free_port, until

FILES_SERVICE = "ssnet-files"
WORKERS, READERS = 2, 2
TARGET = "tests.support.honest_planes:Plausible"
WALLTIME_S = 300.0
SHARE = 0.95  # of the minutes that an undisturbed campaign would take
STOPPED_S = 8.0  # longer than the liveness, 3 x 1 s
ASLEEP_S = 75.0  # longer than a lease without a beat
NODE_IS_DOWN_S = 15.0
CONTROLLER_IS_DOWN_S = 20.0
LOOK_S = 2.0
STATUS_EVERY = 5  # looks
END_S = 1200.0
FOUND = ("outputs", "inputs", "changed", "unchecked", "merged", "repeated")  # by `campaign check`


@dataclass
class Soak:
    """One campaign and its faults."""

    site: Site
    pool: PoolFolder
    inputs: Inputs
    dice: random.Random
    expected: dict[Path, Alone] = field(default_factory=dict)
    driver: subprocess.Popen[bytes] | None = None
    ends: Counter[int] = field(default_factory=Counter)
    """How drivers ended, by exit code."""
    faults: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    seen: dict[Path, tuple[int, ...]] = field(default_factory=dict)
    """The outputs that were there once: inode, bytes, modification time."""
    held: threading.Lock = field(default_factory=threading.Lock)
    """Held while a fault has stopped the driver, so that no other is started meanwhile."""
    is_over: threading.Event = field(default_factory=threading.Event)
    is_done: threading.Event = field(default_factory=threading.Event)
    statuses: list[float] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.site.folder / "out"

    @property
    def list_file(self) -> Path:
        return self.site.folder / "inputs.txt"

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def complain(self, text: str) -> None:
        self.complaints.append(text)
        self.say(f"!!! {text}")

    # The driver.

    def start_command(self) -> list[str]:
        words = ("start", f"@{self.list_file}", "-o", str(self.folder), "--pool")
        options = ("--name", campaign_inputs.NAME, *campaign_inputs.TILES)
        return campaign(*words, str(self.pool.path), *options)

    def start_driver(self) -> subprocess.Popen[bytes]:
        return self.site.start(*self.start_command())

    def drive(self) -> None:
        """Start the driver again until it says that the campaign is done."""
        while not self.is_done.is_set():
            with self.held:
                self.driver = driver = self.start_driver()
            code = driver.wait()
            self.ends[code] += 1
            if code in (0, 3):
                self.say(f"a driver ended with code {code}: the campaign is done")
                self.is_done.set()
            elif code not in (-signal.SIGKILL, -signal.SIGTERM, 130, 143):
                with self.held:
                    text = self._log_of(driver)
                if "driven by" not in text and "taken over by" not in text:
                    self.complain(f"a driver ended with code {code}: {text}")
                time.sleep(5.0)
                if self.ends[code] > 5:
                    self.is_done.set()

    def _log_of(self, process: subprocess.Popen[bytes]) -> str:
        path = self.site.folder / "logs" / f"process{self.site._started.index(process)}.log"
        return path.read_text(errors="replace")[-1500:]

    def watch(self) -> None:
        """See that outputs stay as they are, and that `status` answers."""
        looks = 0
        while not self.is_done.wait(LOOK_S):
            now = finals(self.folder)
            for path, was in self.seen.items():
                if now.get(path) != was:
                    self.complain(f"{path} was {was}, is now {now.get(path)}")
            self.seen = now
            looks += 1
            if looks % STATUS_EVERY == 0 and (self.folder / ".campaign").exists():
                self._look()

    def _look(self) -> None:
        began_at = time.monotonic()
        done = self._run("status", str(self.folder))
        self.statuses.append(time.monotonic() - began_at)
        undriven = done.returncode == 1 and "nobody" in done.stdout
        if (done.returncode and not undriven) or "Traceback" in done.stderr:
            self.complain(f"status: code {done.returncode}\n{done.stdout}{done.stderr}")

    def _run(self, *words: str, within_s: float = 600.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            campaign(*words),
            env=self.site.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    # What is done to it.

    def run(self, seconds: float, every_s: float) -> None:
        tasks = [self.drive, self.watch]
        threads = [threading.Thread(target=self._guarded, args=(task,)) for task in tasks]
        for thread in threads:
            thread.start()
        end_at = time.monotonic() + seconds
        kinds = self._faults()
        try:
            until(lambda: (self.folder / ".campaign").exists(), "the campaign has begun")
            while time.monotonic() < end_at:
                if self.is_done.wait(self.dice.uniform(0.5, 1.5) * every_s):
                    break
                [name] = self.dice.choices(list(kinds), [w for w, _ in kinds.values()])
                self.say(f"fault: {name}")
                self.faults[name] += 1
                kinds[name][1]()
            self.is_over.set()
            self.say("no more faults")
            if not self.is_done.wait(END_S):
                self.complain(f"the campaign is not done after {END_S:g} s without faults")
        finally:
            self.is_over.set()
            self.is_done.set()
            if self.driver is not None:
                self.driver.kill()
            for thread in threads:
                thread.join(60.0)

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self.complain(f"{task.__name__}: {type(error).__name__}: {error}")
            self.is_done.set()

    def _faults(self) -> dict[str, tuple[int, Callable[[], None]]]:
        """By name: how often, relative to the others, and what."""
        return {
            "a reader is killed": (6, lambda: self._kill_of("readers")),
            "a worker is killed": (4, lambda: self._kill_of(f"plane{self.dice.choice(PLANES)}")),
            "the driver is killed": (6, lambda: self._signal_driver(signal.SIGKILL)),
            "the driver gets SIGTERM": (2, lambda: self._signal_driver(signal.SIGTERM)),
            "the driver gets Ctrl-C": (1, lambda: self._signal_driver(signal.SIGINT)),
            "the broker is killed": (3, self._kill_broker),
            "the broker moves": (1, self._move_broker),
            "a reader is stopped and continued": (4, self._stop_reader),
            "a second driver is refused": (1, self._second_driver),
            "the driver sleeps while another takes over": (1, self._driver_sleeps),
            "a job is requeued": (1, self._requeue),
            "a node crashes": (1, self._crash),
            "the controller stops": (1, self._stop_controller),
        }

    def _of(self, key: str) -> list[int]:
        """The processes of the jobs of a kind that run Python."""
        name = f"SLURM_JOB_NAME={self.pool.name}.{key}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_its = name in (entry / "environ").read_bytes().split(b"\0")
                if is_its and b"python" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def _kill_of(self, key: str) -> None:
        if pids := self._of(key):
            self._send(self.dice.choice(pids), signal.SIGKILL)

    def _send(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _signal_driver(self, number: signal.Signals) -> None:
        if self.driver is not None:
            self._send(self.driver.pid, number)

    def _broker(self) -> int | None:
        with contextlib.suppress(contact.NoContact):
            return contact.read(self.pool.contact_file).pid
        return None

    def _kill_broker(self) -> None:
        if pid := self._broker():
            self._send(pid, signal.SIGKILL)

    def _move_broker(self) -> None:
        before = contact.read(self.pool.contact_file)
        file = str(self.pool.contact_file)
        bind = ("--bind", "tcp://0.0.0.0:0", "--public")
        self.site.start("mdp", "broker", "--supervise", "--contact", file, "--take-over", *bind)
        until(lambda: contact.read(self.pool.contact_file) != before, "another broker has it")

    def _stop_reader(self) -> None:
        """All processes of one reader, so that it comes back late and goes on where it was."""
        pids = self._of("readers")
        if not pids:
            return
        group = os.getsid(self.dice.choice(pids))
        pids = [pid for pid in pids if _session(pid) == group]
        for pid in pids:
            self._send(pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        for pid in pids:
            self._send(pid, signal.SIGCONT)

    def _second_driver(self) -> None:
        with self.held:
            driver = self.driver
            time.sleep(3.0)
            if driver is None or driver.poll() is not None or self.is_done.is_set():
                return
            second = self.start_driver()
            code = second.wait(60)
            text = self._log_of(second)
            if driver.poll() is None and (code != 1 or str(driver.pid) not in text):
                self.complain(f"a second driver beside {driver.pid}: code {code}: {text}")

    def _driver_sleeps(self) -> None:
        """The first driver wakes up while the second one drives: it ends, and changes nothing."""
        with self.held:
            first = self.driver
            time.sleep(3.0)
            if first is None or first.poll() is not None or self.is_done.is_set():
                return
            self._send(first.pid, signal.SIGSTOP)
            second = self.start_driver()
            time.sleep(ASLEEP_S + 10.0)
            self._send(first.pid, signal.SIGCONT)
            if second.poll() not in (None, 0, 3):
                self.complain(f"it did not take over: {self._log_of(second)}")
                return
            try:
                code = first.wait(30)
            except subprocess.TimeoutExpired:
                self.complain("two drivers: the first one goes on after it was asleep")
                first.kill()
            else:
                self.say(f"the driver that was asleep ended with {code}: {self._log_of(first)}")
            if second.poll() is None:
                second.send_signal(signal.SIGKILL)  # the next one is watched again
            second.wait()

    def _requeue(self) -> None:
        if rows := self._running():
            self.site.run("scontrol", "requeue", self.dice.choice(rows)[0])

    def _running(self) -> list[list[str]]:
        rows = self.site.squeue("%i %T %N")
        return [row for row in rows if row[1] == "RUNNING"]

    def _crash(self) -> None:
        if rows := self._running():
            node = self.dice.choice(sorted({row[2] for row in rows}))
            self.site.crash(node, noticed=False)
            time.sleep(NODE_IS_DOWN_S)
            self.site.boot(node)

    def _stop_controller(self) -> None:
        self.site.do("controller", "stop")
        time.sleep(CONTROLLER_IS_DOWN_S)
        self.site.do("controller", "start")

    # What is expected of it.

    def check(self) -> None:
        rows = catalogue_of(self.folder)
        for text in complaints_of(rows, self.inputs, self.expected, self.folder):
            self.complain(text)
        if text := corrupt(self.folder):
            self.complain(text)
        failed = sum(row.state == "failed" for row in rows)
        want = {"failed": failed, "waiting": 0, "stopped": "", **{name: [] for name in FOUND}}
        text = self._check_command(
            "check", str(self.folder), "--pool", str(self.pool.path), "--json", code=int(failed > 0)
        )
        with contextlib.suppress(ValueError):
            found = json.loads(text)
            if any(found[name] != value for name, value in want.items()):
                self.complain(f"check: want {want}, got {found}")
        merged = self.site.folder / "merged.root"
        self._check_command("merge", str(self.folder), "-o", str(merged), "--partial")
        if not merged.exists():
            return
        paths = [row.path for row in rows if row.state == "done"]
        done = subprocess.run(
            [*ssnet("check", *paths, str(merged)), "--allow-failed"],
            env=self.site.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout)
        if done.returncode:
            self.complain(f"ssnet check of the merged file: {done.returncode}\n{done.stderr}")

    def _check_command(self, *words: str, code: int = 0) -> str:
        began_at = time.monotonic()
        done = self._run(*words)
        spent_s = time.monotonic() - began_at
        print(f"campaign {words[0]}: code {done.returncode} after {spent_s:.1f} s")
        print(done.stdout[-3000:])
        if done.returncode != code:
            self.complain(f"{words[0]}: code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def _session(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid)
    return -1


def ssnet(*words: str) -> list[str]:
    return [sys.executable, "-m", "clients", *words]


def campaign(*words: str) -> list[str]:
    return ssnet("campaign", *words)


# Before the faults.


def expect(soak: Soak) -> None:
    """Score each good file alone, with the same stand-ins."""
    began_at = time.monotonic()
    with Processes(soak.site.folder) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint)
        plane_pools.start(processes, endpoint, target=TARGET)
        folder = soak.site.folder / "alone"
        with contextlib.redirect_stdout(None):
            soak.expected = campaign_inputs.alone(soak.inputs.good, folder, endpoint)
        for process in processes.started:
            process.kill()
        processes.started.clear()  # their logs are of no interest
    soak.say(f"{len(soak.expected)} files alone: {time.monotonic() - began_at:.0f} s")


def start_pool(soak: Soak, crop_s: float) -> None:
    kinds = [
        Kind(
            f"plane{plane}",
            {service_name(plane): 1},
            ("mdp", "worker", service_name(plane), TARGET),
        )
        for plane in PLANES
    ]
    kinds.append(Kind("readers", {FILES_SERVICE: 1}, ("ssnet", "worker", "files")))
    want = {service_name(plane): WORKERS for plane in PLANES} | {FILES_SERVICE: READERS}
    settings = PoolSettings(
        kinds=tuple(kinds),
        want=want,
        setup=(f'export {STAND_IN}="${{SLURM_JOB_NAME##*plane}} {crop_s}"',),
        python=sys.executable,
        directory=str(Path(__file__).resolve().parents[2]),
        resources=Resources(time_s=WALLTIME_S, cpus=1, mem="100M"),
    )
    soak.pool.create()
    soak.pool.write_settings(settings)
    print(soak.site.run("ssnet", "pool", "start", str(soak.pool.path)))

    def is_ready() -> bool:
        rows = None
        with contextlib.suppress(contact.NoContact):
            broker = contact.read(soak.pool.contact_file)
            reports = broker_reports(broker.address, [b"mmi.services"], broker.keys, timeout_s=2.0)
            rows = reports[0] if reports else {}
        return all((rows or {}).get(name, {}).get("workers") == n for name, n in want.items())

    until(is_ready, "the pool has its workers and readers", within_s=120.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--every", type=float, default=8.0, help="mean seconds between two faults")
    parser.add_argument("--keep", type=Path, help="folder for the logs")
    asked = parser.parse_args()
    tether.hold()
    with Site(nodes=4, cpus=4) as site:
        inputs = campaign_inputs.make(
            site.folder / "in", asked.files, seed=asked.seed, damaged=5, bad_entries=10, twice=3
        )
        soak = Soak(site, PoolFolder(site.folder / "july"), inputs, random.Random(asked.seed))
        soak.list_file.write_text("\n".join(["# all inputs", *inputs.words]) + "\n")
        crops = inputs.events * campaign_inputs.CROPS  # of one plane
        crop_s = SHARE * asked.minutes * 60.0 * WORKERS / crops
        soak.say(f"{asked.files} files, {inputs.events} events; {crop_s:.3f} s for a crop")
        try:
            expect(soak)
            start_pool(soak, crop_s)
            began_at = time.monotonic()
            soak.run(asked.minutes * 60.0, asked.every)
            soak.say(f"the campaign took {time.monotonic() - began_at:.0f} s")
            soak.check()
            print(site.run("ssnet", "pool", "stop", str(soak.pool.path), within_s=180.0))
        finally:
            if asked.keep:
                keep(soak, asked.keep)
    print(f"faults: {dict(soak.faults)}\nends of drivers, by code: {dict(soak.ends)}")
    if soak.statuses:
        print(f"status took {max(soak.statuses):.1f} s at most, {len(soak.statuses)} times")
    print(f"seed {asked.seed}: {len(soak.complaints)} complaints")
    for text in soak.complaints:
        print(f"!!! {text}")
    sys.exit(1 if soak.complaints else 0)


def keep(soak: Soak, folder: Path) -> None:
    for path in (soak.pool.path, soak.site.folder / "logs", soak.folder / ".campaign"):
        if path.exists():
            shutil.copytree(path, folder / path.name, dirs_exist_ok=True, symlinks=True)


if __name__ == "__main__":
    main()

"""The fault suite: hurts a small site by a seeded plan, and sees that no event is lost or changed.

`make soak MINUTES=30 SEED=1 EVERY=2`, or `python -m tests.faults.soak --help`. Exit code 0 if
every output equals the undisturbed one to the bit and nothing is left behind.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgpack

from clients.flow.signals import uninterrupted
from clients.terminal import screen
from lartpc.files.root_writing.writer_process import end_writers
from mdp import Client, ClientSettings, Heartbeats, MDPError
from mdp.system.interrupts import interrupted_by_signals
from services.planes import service_name
from tests.faults.disk import enter_namespace, open_disk
from tests.faults.lives import Lives
from tests.faults.outcome import Outcome, tables
from tests.faults.plan import HOSTS, PLANES, Fault, Kind, Part, plan, sorts_named
from tests.faults.probe import Probe
from tests.faults.recovery import BROKER_DIED, Recovery, Restarts
from tests.faults.site import Site
from tests.faults.supervision import Missed
from tests.support import keys, plane_pools
from tests.support.processes import marked, until, wait_for_workers

_MARK = "SSNET_SOAK"
_TURN_S = 0.01
_ASK_BROKER_S = 0.1
_SAY_S = 10.0
_PATIENCE_S = 180.0
_ENOUGH = 30  # complaints
_HANG_S = 30.0  # until the last handler that hangs is killed, or its host would have done it
_ALONE = 3  # brokers that are killed at the end, with nothing else going wrong


class Stuck(Exception):
    """What should have come does not."""


@dataclass(frozen=True)
class Settings:
    """How long, how often, with which dice."""

    seconds: float
    every_s: float
    """Between two faults, on average."""
    seed: int
    events: int
    """Of one round of the client."""
    heartbeats: Heartbeats
    only: str
    """In the names of the faults that happen."""
    verbose: bool

    def plan(self) -> list[Fault]:
        return plan(
            self.seed,
            seconds=self.seconds,
            every_s=self.every_s,
            heartbeats=self.heartbeats,
            sorts=sorts_named(self.only),
        )


class Soak:
    """One run of the suite."""

    def __init__(self, settings: Settings, site: Site, client: Client, direct: Client) -> None:
        self.lives = Lives()
        self.recovery = Recovery()
        self.restarts = Restarts()
        self.probe = Probe(client)
        self.missed = 0
        self.handlers_left = 0
        """Handlers that hang, or workers that hold a request, when nobody asks any more."""
        self._settings = settings
        self._site = site
        self._direct = direct  # asks the broker past all networks
        self._asked: Future[list[bytes]] | None = None
        self._began_at = time.monotonic()
        self._ask_at = 0.0
        self._say_at = self._began_at + _SAY_S
        self._said: set[str] = set()  # of the complaints
        self._complaints: list[str] = []
        self._mends: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._pause = threading.Event()

    def run(self) -> None:
        """Carry out the plan, then let all come to its end; Ctrl-C ends the plan before."""
        try:
            try:
                with interrupted_by_signals():
                    self._hurt_by_plan()
            except KeyboardInterrupt:
                print("the plan ends here; what is under way comes to its end", flush=True)
            self._kill_brokers_alone()
            self._end()
        except Stuck as error:
            self._complaints.append(str(error))
            self._site.rounds.kill()
        self._mend(math.inf)
        self._site.rounds.finish()

    def _hurt_by_plan(self) -> None:
        faults = deque(self._settings.plan())
        end_at = self._began_at + self._settings.seconds
        while (now := time.monotonic()) < end_at:
            while faults and self._began_at + faults[0].at_s <= now:
                self._hurt(faults.popleft())
            self._turn(more=True)

    def _kill_brokers_alone(self) -> None:
        """As often as the limit of a broker's restart needs it: while nothing else is wrong."""
        death = Fault(0, 0.0, Kind.kill, Part.broker, None, None, 0.0)
        rest_s = 2 * self._settings.heartbeats.silence_s
        for _ in range(_ALONE):
            calm_since = math.inf

            def calm() -> bool:
                nonlocal calm_since
                now = time.monotonic()
                hurt = self.recovery.waiting or self._mends
                calm_since = math.inf if hurt else min(calm_since, now)
                return now > calm_since + rest_s

            self._go_on_until(calm, "all faults are recovered from", more=True)
            self._hurt(death)

    def _end(self) -> None:
        rounds = self._site.rounds

        def over() -> bool:
            self.probe.resting = rounds.idle and not self.recovery.waiting
            return self.probe.resting and not self.probe.open

        self._go_on_until(over, "the last round is over and each question answered", more=False)
        self._take(self._direct.management("broker"))
        self._mend(math.inf)
        give_up_at = time.monotonic() + _HANG_S
        while (left := self._at_work()) and time.monotonic() < give_up_at:
            self._turn(more=False)
        self.handlers_left = left

    def _at_work(self) -> int:
        """How many handlers hang, and how many requests the broker holds."""
        try:
            rows = self._direct.services().values()
        except MDPError:
            return 1
        held = sum(row["busy"] + row["queued"] for row in rows)
        return held + len(self._site.hanging())

    def _go_on_until(self, condition: Callable[[], bool], what: str, *, more: bool) -> None:
        give_up_at = time.monotonic() + _PATIENCE_S
        while not condition():
            if time.monotonic() > give_up_at:
                raise Stuck(f"waited {_PATIENCE_S:g} s until {what}")
            self._turn(more=more)

    def complain(self, text: str) -> None:
        self._complaints.append(text)

    @property
    def complaints(self) -> list[str]:
        matches = [text for member in self._site.members for text in member.complaints]
        return [*self._complaints, *matches, *self._site.rounds.complaints, *self.probe.complaints]

    def _mend(self, now: float) -> None:
        while self._mends and self._mends[0][0] <= now:
            heapq.heappop(self._mends)[2]()

    def _turn(self, *, more: bool) -> None:
        now = time.monotonic()
        self._mend(now)
        self._site.look(now, more=more)
        for heard in self.probe.look(now):
            self.recovery.answer(heard.plane, asked_at=heard.asked_at, now=heard.at)
            self.restarts.answer(heard.at)
        self._ask_broker(now)
        self._say(now)
        self._pause.wait(_TURN_S)

    def _hurt(self, fault: Fault) -> None:
        now = time.monotonic()
        if self._settings.verbose:
            print(fault, flush=True)
        try:
            mend = self._site.hurt(fault)
        except Missed:
            self.missed += 1
            return
        self.recovery.fault(fault, now)
        if (fault.kind, fault.part) == BROKER_DIED:
            self.restarts.death(now)
        if mend is not None:
            heapq.heappush(self._mends, (now + fault.length_s, next(self._numbers), mend))

    def _ask_broker(self, now: float) -> None:
        if self._asked is not None and self._asked.done():
            asked, self._asked = self._asked, None
            if asked.exception() is None:
                self._take(msgpack.unpackb(asked.result()[1]))
        if self._asked is None and now >= self._ask_at:
            self._ask_at = now + _ASK_BROKER_S
            self._asked = self._direct.submit("mmi.broker", [])

    def _take(self, report: dict[str, object]) -> None:
        if self.lives.take(report) and len(self.lives) > 1:
            started_at = report["started_at"]
            assert isinstance(started_at, float)
            self.restarts.broker(time.monotonic() - (time.time() - started_at))

    def _say(self, now: float) -> None:
        complaints = self.complaints
        for text in complaints:
            if text not in self._said:
                print(f"!!! {text}", flush=True)
        self._said.update(complaints)
        if len(complaints) >= _ENOUGH:
            raise Stuck("it ends here: so much is wrong")
        if now < self._say_at:
            return
        self._say_at = now + _SAY_S
        tally, counted = self._site.rounds.tally, self.lives.total
        faults = sum(self.recovery.faults.values())
        print(
            f"{now - self._began_at:7.0f} s  {faults} faults, {tally.rounds} rounds,"
            f" {counted['answered']} answers, {counted['requeued']} requeued,"
            f" {tally.restarts} clients started again, {tally.unequal} outputs unequal,"
            f" {len(complaints)} complaints",
            flush=True,
        )


def soak(settings: Settings, folder: Path) -> Outcome:
    """Do it in this folder, which holds what is wrong afterwards."""
    mark = os.environ[_MARK] = uuid.uuid4().hex
    scratch = folder / "scratch"
    scratch.mkdir()
    os.environ["TMPDIR"] = str(scratch)  # of all that is started
    key_folder = folder / "keys"
    key_folder.mkdir()
    keys.use(key_folder)
    source = folder / "in.root"
    plane_pools.toys(source, settings.events)
    patient = ClientSettings(heartbeats=settings.heartbeats, timeout_s=120.0, tries=3)
    brief = ClientSettings(heartbeats=settings.heartbeats, timeout_s=1.0, tries=1)
    with ExitStack() as stack:
        with uninterrupted():
            disk = open_disk(folder / "disk")
            stack.callback(disk.close)
            site = Site(folder, disk, source, settings.heartbeats)
            stack.callback(site.kill)
        with (
            Client(site.client_link.endpoint, patient) as client,
            Client(site.endpoint, brief) as direct,
        ):
            until(lambda: _serves(direct), "the broker serves")
            for plane in PLANES:
                wait_for_workers(direct, service_name(plane), HOSTS)
            site.rounds.run_calmly(disk.folder)
            result = Soak(settings, site, client, direct)
            result.run()
        site.leave()
        if files := sorted(path.name for path in scratch.iterdir()):
            result.complain(f"left in TMPDIR: {', '.join(files)}")
        left = _left(mark)
    return Outcome(
        how_filled=disk.how,
        faults=result.recovery.faults,
        missed=result.missed,
        times_s=result.recovery.times_s,
        restarts=result.restarts.all,
        alone=result.restarts.undisturbed(
            result.recovery.troubles, before_s=settings.heartbeats.silence_s
        ),
        heartbeats=settings.heartbeats,
        brokers=len(result.lives),
        counted=result.lives.total,
        tally=site.rounds.tally,
        asked=result.probe.asked,
        answered=result.probe.answered,
        handlers_left=result.handlers_left,
        processes_left=left,
        complaints=result.complaints,
    )


def _serves(direct: Client) -> bool:
    try:
        direct.management("broker", timeout_s=0.5)
    except MDPError:
        return False
    return True


def _left(mark: str) -> int:
    """How many processes do not end, after some time to do so."""
    end_writers()  # this process has written the inputs

    def others() -> set[int]:
        return marked(_MARK, mark) - {os.getpid()}

    try:
        until(lambda: not others(), "no process is left", within_s=10)
    except AssertionError:
        return len(others())
    return 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=30.0, help="how long")
    length.add_argument("--seconds", type=float, help="how long")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between faults, average")
    parser.add_argument("--seed", type=int, default=1, help="of the plan")
    parser.add_argument("--events", type=int, default=200, help="of one round of the client")
    parser.add_argument("--heartbeat", type=float, default=0.2, help="seconds")
    parser.add_argument("--liveness", type=int, default=3, help="heartbeats")
    parser.add_argument("--only", default="", help="faults in whose names this is: 'kill -9'")
    parser.add_argument("--plan", action="store_true", help="show the plan, and do nothing")
    parser.add_argument("--verbose", action="store_true", help="say each fault when it happens")
    options = parser.parse_args(argv)
    if not sorts_named(options.only):
        parser.error(
            f"want --only in the name of a fault (docs/reliability.md), got {options.only!r}"
        )
    return options


def main(argv: list[str]) -> int:
    options = _arguments(argv)
    settings = Settings(
        seconds=options.minutes * 60 if options.seconds is None else options.seconds,
        every_s=options.every,
        seed=options.seed,
        events=options.events,
        heartbeats=Heartbeats(options.heartbeat, options.liveness),
        only=options.only,
        verbose=options.verbose,
    )
    if options.plan:
        for fault in settings.plan():
            print(fault)
        return 0
    enter_namespace(["-m", "tests.faults.soak", *argv])
    folder = Path(tempfile.mkdtemp(prefix="ssnet-soak-"))
    try:
        with interrupted_by_signals():
            print(f"{settings}, in {folder}", flush=True)
            outcome = soak(settings, folder)
    except KeyboardInterrupt:
        print("stopped before its end: there is nothing to say", flush=True)
        shutil.rmtree(folder)
        return 130
    screen.show(*tables(outcome))
    for text in outcome.findings:
        print(f"!!! {text}")
    print("good" if outcome.good else f"NOT GOOD; see {folder}")
    if outcome.good:
        shutil.rmtree(folder)
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

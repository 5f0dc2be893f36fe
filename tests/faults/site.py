"""A small site to be hurt: a broker, two workers a plane, a client, and networks in between."""

from __future__ import annotations

import functools
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benches import stand_ins
from mdp import Heartbeats
from mdp.sockets.link import Link
from services.planes import service_name
from tests.faults import slow_workers
from tests.faults.disk import Disk
from tests.faults.plan import HOSTS, PLANES, Fault, Kind, Part
from tests.faults.rounds import Rounds
from tests.faults.supervision import Member, Mend, Missed, Signals, starve, stop, stutter
from tests.support import keys
from tests.support.processes import Process, children, free_port

_SECONDS = 0.03  # a crop
_SLOW_S = 0.3  # more, for each, while a plane is slow
_LIMIT_S = 4.0  # the broker's time limit: longer than a crop takes whatever happens to its worker
_IDLE = {Part.client_link: 1.25, Part.worker_link: 0.5}  # heartbeats until it is forgotten
"""Longer than the client's heartbeats are apart, which go on; those of workers do not."""


class Site:
    """What runs, and what can be done to it."""

    def __init__(self, folder: Path, disk: Disk, source: Path, heartbeats: Heartbeats) -> None:
        self.broker_port = free_port()
        self.endpoint = f"tcp://127.0.0.1:{self.broker_port}"
        """The broker's own, past all networks."""
        self.disk = disk
        self.heartbeats = heartbeats
        self._folder = folder
        self._numbers = iter(range(1 << 62))
        self._rogues: list[Process] = []
        self._stack = ExitStack()
        self._hurt: dict[Kind, Callable[[Fault], Mend | None]] = {
            Kind.kill: self._kill,
            Kind.stop: self._stop,
            Kind.stop_long: self._stop,
            Kind.stutter: lambda fault: stutter(self._pid(fault)),
            Kind.slow: self._slow,
            Kind.fill: self._fill,
            Kind.drop: lambda fault: self._link(fault).drop(),
            Kind.refuse: lambda fault: self._link(fault).refuse(),
            Kind.delay: lambda fault: self._link(fault).delay(fault.length_s),
            Kind.silence: lambda fault: self._link(fault).silence(),
            Kind.silence_long: lambda fault: self._link(fault).silence(),
            Kind.half_open: lambda fault: self._link(fault).half_open(),
            Kind.void: lambda fault: self._link(fault).void(),
            Kind.replay: self._replay,
            Kind.nat: self._forget,
            Kind.hang: self._hang,
            Kind.full_window: lambda fault: self._let_loose("full-window", fault),
            Kind.flood: lambda fault: self._let_loose("flood", fault),
            Kind.descriptors: self._starve,
        }
        self.client_link = self._new_link()
        self._worker_links = {plane: self._new_link() for plane in PLANES}
        self.broker = Member("the broker", self._start_broker)
        self._hosts = {
            (plane, host): Member(
                f"worker {plane}.{host}", functools.partial(self._start_host, plane)
            )
            for plane in PLANES
            for host in range(HOSTS)
        }
        self.rounds = Rounds(self._start_client, source, keep=folder)

    @property
    def members(self) -> list[Member]:
        """All but the client."""
        return [self.broker, *self._hosts.values()]

    def look(self, now: float, *, more: bool) -> None:
        """Start what has died, and the next round if there are to be `more`."""
        for member in self.members:
            member.look(now)
        self.rounds.look(now, self.disk.folder, more=more)

    def hurt(self, fault: Fault) -> Mend | None:
        """Do it; gives what mends it, if it has to be mended. Raises `Missed`."""
        return self._hurt[fault.kind](fault)

    def hanging(self) -> set[int]:
        """The processes that live and in which a handler hangs."""
        alive = {pid for member in self.members for pid in member.process.alive()}
        return slow_workers.hung(self._folder) & alive

    def leave(self) -> None:
        """End everything in order: workers first."""
        for member in reversed(self.members):
            member.leave()
        self._stack.close()

    def kill(self) -> None:
        """End everything at once."""
        running = [member.process for member in self.members]
        if self.rounds.process is not None:
            running.append(self.rounds.process)
        running += self._rogues
        for process in running:
            process.kill()
        self._stack.close()

    # What runs.

    def _new_link(self) -> Link:
        return self._stack.enter_context(Link(f"tcp://127.0.0.1:{free_port()}", self.endpoint))

    def _process(self, *arguments: str) -> Process:
        return Process(
            [sys.executable, "-W", "error", "-m", *arguments],
            self._folder / f"{next(self._numbers)}.stderr",
        )

    @property
    def _pulse_options(self) -> list[str]:
        return [
            "--heartbeat",
            str(self.heartbeats.interval_s),
            "--liveness",
            str(self.heartbeats.liveness),
        ]

    def _start_broker(self) -> Process:
        secured = keys.broker_options(self.endpoint)
        limits = [
            text
            for plane in PLANES
            for text in ("--time-limit", f"{service_name(plane)}={_LIMIT_S:g}")
        ]
        return self._process(
            "mdp", "broker", "--bind", self.endpoint, *secured, *self._pulse_options, *limits
        )

    def _start_host(self, plane: int) -> Process:
        os.environ[stand_ins.VARIABLE] = f"{plane} {_SECONDS}"  # it inherits them
        os.environ[slow_workers.VARIABLE] = str(self._folder)
        target = "tests.faults.slow_workers:Worker"
        options = ("--broker", self._worker_links[plane].endpoint, *self._pulse_options)
        return self._process("mdp", "worker", service_name(plane), target, *options)

    def _start_client(self, options: Sequence[str]) -> Process:
        network = ("--broker", self.client_link.endpoint, *self._pulse_options)
        patience = ("--wait", "120", "--checkpoint-seconds", "1")
        return self._process("clients", "run", *options, *network, *patience)

    # What can be done to it.

    def _member(self, fault: Fault) -> Member:
        if fault.part is Part.broker:
            return self.broker
        assert fault.plane is not None
        assert fault.host is not None
        return self._hosts[fault.plane, fault.host]

    def _link(self, fault: Fault) -> Link:
        if fault.part is Part.client_link:
            return self.client_link
        assert fault.plane is not None
        return self._worker_links[fault.plane]

    def _pid(self, fault: Fault) -> int:
        """Of the process that is meant."""
        client = self.rounds.process
        process = client if fault.part is Part.client else self._member(fault).process
        if process is None or process.popen.poll() is not None:
            raise Missed
        if fault.part is not Part.child:
            return process.pid
        for pid in children(process):
            return pid
        raise Missed

    def _kill(self, fault: Fault) -> None:
        pid = self._pid(fault)
        if fault.part is Part.client:
            self.rounds.kill()
        elif fault.part is Part.child:
            signals = Signals(pid)
            signals.send(signal.SIGKILL)
            signals.close()
        else:
            self._member(fault).kill()

    def _stop(self, fault: Fault) -> Mend:
        return stop(self._pid(fault))

    def _replay(self, fault: Fault) -> Mend:
        return self._link(fault).replay(random.Random(fault.number).random())

    def _slow(self, fault: Fault) -> Mend:
        assert fault.plane is not None
        brake = slow_workers.brake(self._folder, fault.plane)
        new = brake.with_suffix(".new")
        new.write_text(str(_SLOW_S))
        new.replace(brake)
        return lambda: brake.unlink(missing_ok=True)

    def _forget(self, fault: Fault) -> Mend:
        return self._link(fault).forget_idle(_IDLE[fault.part] * self.heartbeats.interval_s)

    def _hang(self, fault: Fault) -> Mend:
        snare = slow_workers.snare(self._folder, self._pid(fault))
        snare.touch()
        return lambda: snare.unlink(missing_ok=True)

    def _starve(self, fault: Fault) -> Mend:
        feed = starve(self._pid(fault))
        if fault.part is Part.client:
            self.rounds.excuse()
        return feed

    def _let_loose(self, how: str, fault: Fault) -> Mend:
        """Start a peer that does harm; it is killed when this is mended."""
        assert fault.plane is not None
        service = service_name(fault.plane)
        rogue = self._process("tests.faults.rogues", how, self.endpoint, service)
        self._rogues.append(rogue)

        def end() -> None:
            self._rogues.remove(rogue)
            rogue.kill()
            rogue.stderr_path.unlink()

        return end

    def _fill(self, fault: Fault) -> Mend:
        make_room = self.disk.fill(self._pid(replace(fault, part=Part.client)))
        self.rounds.fill_disk()

        def mend() -> None:
            make_room()
            self.rounds.disk_has_room()

        return mend

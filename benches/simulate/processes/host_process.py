"""One life of a worker's host and its children, driven as `mdp.worker.worker_loop` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mdp.wire import Frame, Frames, worker_name
from mdp.worker import host, session

from .. import cores
from ..connections import Connection, Dealer
from ..readable import readable
from ..timeline import Action
from .process import Process, Surroundings


class HostProcess(Process[host.Host]):
    """One life of a worker's host, with its child."""

    def __init__(self, site: Surroundings, name: str, place: int, service: bytes) -> None:
        super().__init__(site, name, place)
        self.service = service
        self.fingerprint = site.fingerprint(place)
        self.core = cores.new_host(service, site.settings.worker, site.names, name=name)
        self.dealer: Dealer | None = None
        self.child = 0  # number of the child's life; 0: there is none
        self.computing: int | None = None  # the request that the child computes
        self._children = 0

    def start(self) -> None:
        self.take(lambda: None)

    # What arrives.

    def arrived(self, connection: Connection, frames: Frames) -> None:
        self.take(self._receive, connection, frames)

    def _receive(self, connection: Connection, frames: Frames) -> None:
        connection.unread -= 1
        if connection.dealer is self.dealer:
            if self.timeline.traced:
                self.note(f"<- {readable(frames)}")
            self.carry_out(self.core.receive(frames, self.now()))

    def disconnected(self, dealer: Dealer) -> None:
        if self.timeline.traced:
            self.note("the connection was lost")
        self.take(self._disconnected, dealer)

    def _disconnected(self, dealer: Dealer) -> None:
        if dealer is self.dealer:
            self.carry_out(self.core.disconnected(self.now()))

    def turn_of(self, entry: tuple[Action, tuple[Any, ...]]) -> int:
        """First the messages of the broker, then the end of its connection, then the child's."""
        return {self._receive: 0, self._disconnected: 1}.get(entry[0], 2)

    def tick(self) -> None:
        self.carry_out(self.core.tick(self.now()))
        if self.core.ended:
            self.kill()

    def carry_out(self, steps: Sequence[host.Step]) -> None:
        for step in steps:
            if self.timeline.traced:
                self.note(readable(step))
            if isinstance(step, session.Send):
                assert self.dealer is not None
                self.site.network.send_up(self.dealer, step.frames)
            elif isinstance(step, host.Work):
                self._work(step.number, step.body)
            elif isinstance(step, session.Open):
                self._open()
            elif isinstance(step, session.Close):
                self._close()
            elif isinstance(step, host.StartChild):
                self._start_child()
            else:
                self.kill_child("was killed")

    def _open(self) -> None:
        name = worker_name(self.site.names.randbytes(15))
        self.site.named(name, self.name)
        self.dealer = self.site.network.open(name, self.place, self)

    def _close(self) -> None:
        if self.dealer is not None:
            self.site.network.close(self.dealer)
            self.dealer = None

    # The child. Its messages, and its death, reach the host as events.

    def _start_child(self) -> None:
        self._children += 1
        self.child = self._children
        self.computing = None
        setup_s = self.site.settings.setup_s
        if self.site.setup_fails(self):
            self.timeline.after(setup_s, self._fail_setup, self.child)
        else:
            self.timeline.after(setup_s, self._child_is_ready, self.child)

    def _fail_setup(self, child: int) -> None:
        if child == self.child:
            self.take(self._setup_failed, child)
            self.kill_child("exited with code 1")

    def _setup_failed(self, child: int) -> None:
        if child == self.child:
            self.carry_out(self.core.setup_failed("no GPU", self.now()))

    def _child_is_ready(self, child: int) -> None:
        if child == self.child:
            self.take(self._ready, child)

    def _ready(self, child: int) -> None:
        if child == self.child:
            self.carry_out(self.core.ready(self.now(), self.fingerprint, regular=True))

    def _work(self, number: int, body: Frames) -> None:
        frame = body[0]
        assert isinstance(frame, bytes)
        request = self.computing = int.from_bytes(frame, "big")
        self.site.calls.computing(request)
        task, child, after = self.site.task(request), self.child, self.timeline.after
        if task.crashes:
            after(task.serve_s, self._die, child, "crashed")
        for part in range(task.parts):
            at = task.serve_s * (part + 1) / (task.parts + 1)
            after(at, self._answer, child, number, [b"part", frame, b"%d" % part], False)
        if not (task.crashes or task.hangs):
            after(task.serve_s, self._answer, child, number, [b"answer", frame], True)

    def _answer(self, child: int, number: int, body: list[Frame], final: bool) -> None:
        if child == self.child and self.computing is not None:
            if final:
                self.computing = None
            self.take(self._answered, child, number, body, final)

    def _answered(self, child: int, number: int, body: list[Frame], final: bool) -> None:
        if child == self.child:
            self.carry_out(self.core.answered(number, body, final=final, now=self.now()))

    def kill_child(self, how: str) -> None:
        """Let the child die soon; answers that it has sent by then still count."""
        if self.child:
            self.timeline.after(0.005, self._die, self.child, how)

    def _die(self, child: int, how: str) -> None:
        if child == self.child:
            self.computing = None
            self.take(self._died, child, how)

    def _died(self, child: int, how: str) -> None:
        if child == self.child:
            self.child = 0
            if self.timeline.traced:
                self.note(f"the child {how}")
            self.carry_out(self.core.died(how, self.now()))

    # Signals.

    def drain(self) -> None:
        """SIGTERM: as a batch system sends it before the end of a job."""
        self.take(lambda: self.carry_out(self.core.drain(self.now())))

    def stop(self) -> None:
        self.take(lambda: self.carry_out(self.core.stop(self.now())))

    def kill(self, *, silently: bool = False) -> None:
        """End at once; `silently`: with the machine, so that the broker is not told."""
        if self.alive:
            self.alive = False
            self.child = 0
            if self.dealer is not None:
                self.site.network.close(self.dealer, silently=silently)
            self.site.ended(self)

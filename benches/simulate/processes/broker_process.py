"""One life of a broker on simulated time, driven as `mdp.broker.broker_loop` does."""

from __future__ import annotations

import math

from mdp.broker.broker import Broker
from mdp.wire import Frames

from .. import cores
from ..connections import Connection
from ..invariants import BrokerWatch
from ..readable import readable
from .process import Process, Surroundings


class BrokerProcess(Process[Broker]):
    """One life of the broker."""

    def __init__(self, site: Surroundings, name: str) -> None:
        super().__init__(site, name, 0)
        self.core = cores.new_broker(site.settings.broker, self.now(), site.names)
        self.watch = BrokerWatch(
            self.core, site.calls, fairness_sample=site.settings.fairness_sample
        )
        self.router = site.network.bind(self)
        self._give_up_at = math.inf

    def arrived(self, connection: Connection, frames: Frames) -> None:
        self.take(self._receive, connection.dealer.name, frames)

    def _receive(self, peer: bytes, frames: Frames) -> None:
        if self.timeline.traced:
            self.note(f"<- {self.site.name_of(peer)}: {readable(frames)}")
        now = self.now()
        self.watch.received(peer, frames)
        self._deliver(self.core.receive([peer, *frames], now), now)

    def _deliver(self, messages: list[Frames], now: float) -> None:
        watch, network, router = self.watch.sent, self.site.network, self.router
        for frames in messages:
            peer = frames[0]
            assert isinstance(peer, bytes)
            if self.timeline.traced:
                self.note(f"-> {self.site.name_of(peer)}: {readable(frames[1:])}")
            watch(peer, frames)
            is_sent = network.send_down(router, peer, frames[1:])
            if not is_sent:
                if self.timeline.traced:
                    self.note(f"{self.site.name_of(peer)} is unreachable")
                self.watch.unreachable(peer)
                messages += self.core.unreachable(peer, now)

    def tick(self) -> None:
        now = self.now()
        self._deliver(self.core.tick(now), now)
        if self.core.draining and (not self.core.held or now >= self._give_up_at):
            self.stop()

    def drain(self) -> None:
        """SIGTERM: answer what is held, refuse the rest, then end."""
        if not self.core.draining:
            now = self.now()
            self._give_up_at = now + self.core.settings.drain_s
            self._deliver(self.core.drain(now), now)
            self.timeline.after(self.core.settings.drain_s + 1.0, self.take, lambda: None)

    def stop(self) -> None:
        now = self.now()
        self._deliver(self.core.close(now), now)
        self.kill()

    def kill(self) -> None:
        """End at once, as by SIGKILL."""
        if self.alive:
            self.alive = False
            self.site.network.unbind(self.router)
            self.site.ended(self)

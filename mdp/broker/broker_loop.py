"""Run a broker core on its socket: poll until the deadline, receive, tick, send."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable

from .. import addresses
from ..settings import BrokerSettings
from ..sockets import Poll, Router, Wakeup, clock, new_context, unix_time
from ..unread import Unread
from ..wire import Frames
from .broker import Broker
from .throttle import Throttle

log = logging.getLogger(__name__)

_BATCH = 64  # messages between two readings of the clock
_BUSY = 0.25  # heartbeat intervals: heartbeats must not wait longer for a busy socket


def serve_broker(endpoints: Iterable[str], settings: BrokerSettings, stop: Wakeup) -> None:
    """Run a broker on these endpoints until `stop` wakes the loop.

    Requests that are held are answered first.

    A second wake-up ends it at once. Raises `MDPError` for an endpoint that cannot be bound.
    """
    parsed = [addresses.parse(endpoint, bind=True) for endpoint in endpoints]
    context = new_context()
    try:
        router = Router(
            context,
            parsed,
            max_frame_bytes=settings.max_queue_bytes,
            unread=Unread(max_peer_bytes=settings.max_queue_bytes, max_bytes=settings.max_bytes),
            heartbeats=settings.heartbeats,
        )
        try:
            log.info("serving at %s", ", ".join(router.endpoints))
            time = RunningTime(settings.heartbeats.interval_s)
            instance, started_at = os.urandom(8), unix_time()
            broker = Broker(settings, time.now(), instance=instance, started_at=started_at)
            run_broker(broker, router, stop, time)
        finally:
            router.close()
    finally:
        context.term()
    log.info("stopped: %s", broker.counters)


class RunningTime:
    """The time while this process runs: it stands still while the process is stopped.

    When a stopped process goes on (SIGCONT, swap, a virtual machine that was moved), the messages
    that have come meanwhile are still in the kernel. Without this, the broker would count living
    workers and clients as silent.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._expected = clock()
        self._stopped_s = 0.0
        self._throttle = Throttle(log)

    def now(self) -> float:
        late_s = clock() - self._expected
        if late_s > self._interval_s / 2:
            self._stopped_s += late_s
            line = "this process was stopped for %.1f s, or had no CPU"
            self._throttle.warning(self._expected, line, late_s)
        self._expected += late_s
        return self._expected - self._stopped_s

    def wait(self, poll: Poll, until: float) -> None:
        """Wait until a message comes, at most for an interval, so that a stop is noticed."""
        latest = min(until + self._stopped_s, self._expected + self._interval_s)
        poll.wait(latest)
        self._expected = max(self._expected, min(latest, clock()))


def run_broker(broker: Broker, router: Router, stop: Wakeup, time: RunningTime) -> None:
    poll = Poll(router, stop)
    give_up_at = math.inf
    while True:
        time.wait(poll, min(broker.deadline(), give_up_at))
        _route(broker, router, time)
        now = time.now()
        _deliver(broker, router, broker.tick(now), now)  # every turn: heartbeats must not starve
        if stop.count and not broker.draining:
            give_up_at = now + broker.settings.drain_s
            _deliver(broker, router, broker.drain(now), now)
        if stop.count:
            stop.clear()
        if broker.draining and (not broker.held or now >= give_up_at or stop.count > 1):
            break
    _deliver(broker, router, broker.close(now), now)


def _route(broker: Broker, router: Router, time: RunningTime) -> None:
    """Receive the messages that have arrived, and send the broker's answers.

    This comes before `tick`: after a pause of this process (swapping, say) the heartbeats that wait
    in the socket must be received before a worker is declared silent.
    """
    until = time.now() + _BUSY * broker.settings.heartbeats.interval_s
    while (now := time.now()) < until:
        for _ in range(_BATCH):
            message = router.receive()
            if message is None:
                return
            _deliver(broker, router, broker.receive(message, now), now)


def _deliver(broker: Broker, router: Router, messages: list[Frames], now: float) -> None:
    for frames in messages:
        if not router.send(frames):
            peer = frames[0]
            assert isinstance(peer, bytes)
            messages += broker.unreachable(peer, now)

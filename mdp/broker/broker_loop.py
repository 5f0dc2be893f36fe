"""Run a broker core on its socket: poll until the deadline, receive, tick, send."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..keys.key_folder import SITE, KeyFolder, Start
from ..keys.key_ring import KeyRing
from ..keys.rights import EVERYTHING
from ..settings import BrokerSettings
from ..sockets import Gate, Poll, Router, Unread, Wakeup, addresses, clock, new_context, unix_time
from ..system.contact import Contact, host_name, user_name
from ..system.loop_meter import LoopMeter
from ..system.private_files import make_folder_of
from ..wire import Frames
from .broker import Broker
from .contact_keeper import ContactKeeper
from .guard import Guard
from .throttle import Throttle

log = logging.getLogger(__name__)

_BATCH = 64  # messages between two readings of the clock
_END_S, _END_SHARE = 10.0, 0.1  # a broker whose time ends drains for so long, or share of it
_BUSY = 0.25  # heartbeat intervals: heartbeats must not wait longer for a busy socket


@dataclass(frozen=True)
class Serving:
    """How long a broker serves, and which file says where it is."""

    contact: str | None = None
    """The path of the contact file; None: there is none."""
    advertise: str | None = None
    """The host in the contact file; None: that of the endpoint, or this machine's name."""
    job: str = ""
    """The batch job that this broker runs in."""
    replaces: str | None = None
    """The instance that the file may name although that broker is alive."""
    keys: bool = False
    """Peers need keys: those of `KeyFolder(contact)`. Needs a contact file."""
    publish: str | None = None
    """The path of a second file, which everybody may read: for people with keys of their own."""
    command: str = ""
    """The command line that started the broker, for `mdp keys rotate`."""
    insecure: bool = False
    """The broker has no keys, although it should: the log repeats it."""
    ends_at: float = math.inf
    """Unix time, at which the machine or the batch job ends: the broker has ended by then."""


def serve_broker(
    endpoints: Iterable[str],
    settings: BrokerSettings,
    stop: Wakeup,
    serving: Serving = Serving(),
) -> None:
    """Run a broker on these endpoints until `stop` wakes the loop.

    Requests that are held are answered first.

    A second wake-up ends it at once. Raises `MDPError` for an endpoint that cannot be bound, and
    for a contact file that cannot be written or is that of another living broker.
    """
    parsed = [addresses.parse(endpoint, bind=True) for endpoint in endpoints]
    folder, ring, pair = None, None, {}
    if serving.contact is not None:
        make_folder_of(Path(serving.contact))
    if serving.keys and serving.contact is not None:
        folder = KeyFolder(serving.contact)
        folder.prepare()
        pair = folder.pair("broker")  # read once: `mdp keys rotate` may replace it
        ring = KeyRing(folder)
        folder.note_start(Start(serving.publish or "", serving.command, os.getcwd()))
    context = new_context()
    try:
        gate = None
        if ring is not None:
            gate = Gate(context, pair["secret"], ring.find)
        router = Router(
            context,
            parsed,
            max_frame_bytes=settings.max_queue_bytes,
            unread=Unread(max_peer_bytes=settings.max_queue_bytes, max_bytes=settings.max_bytes),
            heartbeats=settings.heartbeats,
            gate=gate,
            everybody=EVERYTHING,
        )
        try:
            time = RunningTime(settings.heartbeats.interval_s)
            meter = LoopMeter()
            broker = Broker(
                settings,
                time.now(),
                instance=os.urandom(8),
                started_at=unix_time(),
                user=user_name(),
                host=host_name(),
                process=functools.partial(_process_figures, meter, router, time),
            )
            log.info("serving at %s", ", ".join(router.endpoints))
            if folder is not None:
                log.info("with keys: those of the peers are in %s", folder.known)
            guard = Guard(gate, ring, insecure=serving.insecure)
            keeper = _keeper(serving, broker, router, folder, pair.get("public", ""))
            with contextlib.ExitStack() as stack:
                for thread in (ring, keeper):
                    if thread is not None:
                        stack.enter_context(thread)
                ends_at = serving.ends_at
                run_broker(broker, router, stop, time, keeper, guard, meter, ends_at=ends_at)
        finally:
            router.close()
    finally:
        context.term()
    log.info("stopped: %s", broker.counters)


def _process_figures(meter: LoopMeter, router: Router, time: RunningTime) -> dict[str, float]:
    return {
        **meter.report(),
        "sent_bytes": router.sent_bytes,
        "stopped_s": time.stopped_s,
    }


def _keeper(
    serving: Serving, broker: Broker, router: Router, folder: KeyFolder | None, broker_key: str
) -> ContactKeeper | None:
    if serving.contact is None:
        return None
    site = {} if folder is None else folder.pair("site")
    contact = Contact(
        addresses.advertised(router.endpoints, host_name(), serving.advertise),
        broker.instance.hex(),
        broker.host,
        os.getpid(),
        broker.user,
        serving.job,
        broker.started_at,
        broker_key,
        site.get("public", ""),
        site.get("secret", ""),
        "" if folder is None else SITE,
    )
    return ContactKeeper(
        serving.contact, contact, replaces=serving.replaces, publish=serving.publish
    )


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

    @property
    def stopped_s(self) -> float:
        """The time for which the process was stopped since its start."""
        return self._stopped_s

    def now(self) -> float:
        late_s = clock() - self._expected
        if late_s > self._interval_s / 2:
            self._stopped_s += late_s
            line = "this process was stopped for %.1f s, or had no CPU"
            self._throttle.warning(self._expected, line, late_s)
        self._expected += late_s
        return self._expected - self._stopped_s

    def wait(self, poll: Poll, until: float) -> Collection[object]:
        """Wait until a message comes, at most for an interval, so that a stop is noticed.

        Returns the handles that are ready.
        """
        latest = min(until + self._stopped_s, self._expected + self._interval_s)
        ready = poll.wait(latest)
        self._expected = max(self._expected, min(latest, clock()))
        return ready


def run_broker(
    broker: Broker,
    router: Router,
    stop: Wakeup,
    time: RunningTime,
    keeper: ContactKeeper | None,
    guard: Guard,
    meter: LoopMeter,
    *,
    ends_at: float = math.inf,
) -> None:
    """Run the loop until it is stopped, its time ends, or another broker has its contact file."""
    poll = Poll(router, stop)
    guard.watch(poll)
    give_up_at = math.inf
    drains_at = _drains_at(ends_at, broker.settings.drain_s)
    look_at = -math.inf
    while True:
        due_at = broker.deadline()
        ready = time.wait(poll, min(due_at, give_up_at))
        now = time.now()
        _deliver(broker, router, guard.work(broker, ready, now), now)
        _route(broker, router, time)
        now = time.now()
        meter.note(now - due_at, now)
        _deliver(broker, router, broker.tick(now), now)  # every turn: heartbeats must not starve
        is_ordered = broker.orders.drained_by is not None
        if (stop.count or is_ordered or now >= look_at) and not broker.draining:
            look_at = now + broker.settings.heartbeats.interval_s
            if why := _why_over(stop, keeper, drains_at, broker.orders.drained_by):
                log.info("%s", why)
                left_s = max(0.0, ends_at - unix_time() - 1.0)
                give_up_at = now + min(broker.settings.drain_s, left_s)
                _deliver(broker, router, broker.drain(now), now)
        if broker.draining and keeper is not None:
            _deliver(broker, router, broker.release(now), now)
        if stop.count:
            stop.clear()
        if broker.draining and (not broker.held or now >= give_up_at or stop.count > 1):
            break
    _deliver(broker, router, broker.close(now), now)


def _drains_at(ends_at: float, drain_s: float) -> float:
    """Return when a broker begins to drain, in Unix time, so that it has ended at `ends_at`."""
    left_s = ends_at - unix_time()
    return ends_at - min(drain_s, max(_END_S, _END_SHARE * left_s))


def _why_over(
    stop: Wakeup, keeper: ContactKeeper | None, drains_at: float, drained_by: str | None
) -> str:
    """Return why the broker has to end; empty if it goes on."""
    if stop.count:
        return "stopped by a signal"
    if drained_by is not None:
        return f"drained by {drained_by}"
    if keeper is not None and keeper.is_replaced:
        return "handing over to the broker that the contact file names"
    if drains_at < math.inf and unix_time() >= drains_at:
        return "its time (--until) ends"
    return ""


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
            _deliver(broker, router, broker.receive(message, now, router.owner), now)


def _deliver(broker: Broker, router: Router, messages: list[Frames], now: float) -> None:
    for frames in messages:
        if not router.send(frames):
            peer = frames[0]
            assert isinstance(peer, bytes)
            messages += broker.unreachable(peer, now)

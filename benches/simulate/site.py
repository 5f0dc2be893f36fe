"""A simulated site: brokers one after another, hosts, clients, what they ask, and how it ends.

The site works while faults happen. At `quiet_at` the last fault is over, and everything that is
down is started again. After `settle_s` each client asks each service once more; these requests must
all be answered within `patience_s`. When every call has ended, nothing may be left in any core.
"""

from __future__ import annotations

import itertools
from random import Random
from typing import Any, NamedTuple

from mdp.wire import Frame
from mdp.worker.host import Child

from .calls import Calls, End, Violation
from .network import Network
from .processes.broker_process import BrokerProcess
from .processes.client_process import ClientProcess
from .processes.foreign_client import ForeignClient
from .processes.host_process import HostProcess
from .processes.process import Process, Task
from .sizes import SiteSettings
from .timeline import Timeline

_ONE_BY_ONE = 60  # requests of a client that asks them one by one
_BACK_S = 8.0  # within this time a worker that could serve finds a broker: silence, then a wait
_GOLDEN = 0.6180339887498949


class Habit(NamedTuple):
    """How a client asks: how many requests at a time, and how long it waits after an answer."""

    window: int
    think_s: float
    interactive: bool


class Site:
    """All processes of one run. The same seed and settings give the same run, event by event."""

    def __init__(self, seed: int, settings: SiteSettings, *, traced: bool = False) -> None:
        self.settings = settings
        self.timeline = Timeline(traced=traced)
        self.names = Random(f"names {seed}")
        self.network = Network(self.timeline, Random(f"network {seed}"), settings.network)
        self.calls = Calls()
        self.hosts: list[HostProcess] = []
        self.clients: list[ClientProcess] = []
        self.foreign: list[ForeignClient] = []
        self.is_quiet = False
        self.crashing: set[int] = set()  # requests that crash their worker
        self.hanging: dict[int, int] = {}  # requests that hang, and how often
        self.failing: dict[int, int] = {}  # places where `setup()` fails, and how often
        self.large: set[int] = set()  # requests that are larger than the broker takes
        self.no_descriptors: dict[int, float] = {}  # places, and until when
        self.odd_networks: set[int] = set()  # places whose worker has another fingerprint
        self._random = Random(f"site {seed}")
        self._services = [b"plane%d" % number for number in range(settings.services)]
        self._names: dict[bytes, str] = {}  # of sockets, for the trace
        self._lives = itertools.count(1)
        self._next_request = 0
        self._left: list[int] = []  # by client: how many requests it has not asked yet
        self._habits: list[Habit] = []
        self._back_s: dict[object, float] = {}  # when what has ended is started again
        self._final: list[int] = []
        self.broker = self._start_broker()
        self._build()

    def _build(self) -> None:
        settings = self.settings
        for number in range(settings.hosts):
            self.hosts.append(self._new_host(number))
            self.timeline.after(self._random.uniform(0, 1.0), self.hosts[number].start)
        for number in range(settings.clients):
            self._habits.append(self._habit(number))
            self._left.append(self._share(number))
            self.clients.append(self._new_client(number))
            self.timeline.after(self._random.uniform(0, 2.0), self._feed, self.clients[number])
        self._build_foreign()
        self.timeline.at(settings.quiet_at, self._quiet)

    def _build_foreign(self) -> None:
        settings = self.settings
        for number in range(settings.foreign):
            place = 1 + settings.hosts + settings.clients + number
            client = ForeignClient(self, f"foreign {number}", place, timeout_s=20.0, tries=3)
            self.foreign.append(client)
            self.timeline.after(self._random.uniform(0, 2.0), self._feed_foreign, client)

    def _habit(self, number: int) -> Habit:
        """Return the habit of a client: every third one asks one by one, as a display does."""
        if number % 3 == 2:
            return Habit(1, self._random.uniform(0, 0.5), self._random.random() < 0.7)
        return Habit(self.settings.client.lanes + 4, 0.0, self._random.random() < 0.2)

    def _share(self, number: int) -> int:
        """Return how many requests a client has to ask; one by one only some."""
        settings = self.settings
        if self._habits[number].window == 1:
            return min(_ONE_BY_ONE, settings.requests // settings.clients)
        others = settings.clients - settings.clients // 3
        return settings.requests // others

    # Parts of the site, and their names in the trace. A machine is a place: a broker has place 0.

    def _start_broker(self) -> BrokerProcess:
        self.broker = BrokerProcess(self, f"broker {next(self._lives)}")
        return self.broker

    def _new_host(self, number: int) -> HostProcess:
        service = self._services[number % len(self._services)]
        return HostProcess(self, f"host {number}", 1 + number, service)

    def _new_client(self, number: int) -> ClientProcess:
        place = 1 + self.settings.hosts + number
        interactive = self._habits[number].interactive
        return ClientProcess(self, f"client {number}", place, interactive=interactive)

    def named(self, socket: bytes, text: str) -> None:
        """Note what the trace calls a socket."""
        if self.timeline.traced:
            self._names[socket] = text

    def name_of(self, socket: bytes) -> str:
        return self._names.get(socket, socket.hex()[-8:])

    # Processes that have ended are started again: by a batch system, a supervisor, a user.

    def restart_after(self, process: object, seconds: float) -> None:
        """Say when a process that is about to end is started again."""
        self._back_s[process] = seconds

    def ended(self, process: Process[Any]) -> None:
        """Have a process that has ended started again."""
        wait_s = self._back_s.pop(process, 2.0)
        self.timeline.after(0.5 if self.is_quiet else wait_s, self._restart, process)

    def _restart(self, process: Process[Any]) -> None:
        if isinstance(process, BrokerProcess) and self.broker is process:
            self._start_broker()
        if isinstance(process, HostProcess) and self.hosts[process.place - 1] is process:
            host = self.hosts[process.place - 1] = self._new_host(process.place - 1)
            host.start()
        if isinstance(process, ClientProcess):
            number = self._number(process)
            if self.clients[number] is process:
                self.clients[number] = self._new_client(number)
                self._feed(self.clients[number])

    def _number(self, client: ClientProcess) -> int:
        return client.place - 1 - self.settings.hosts

    # Requests: what they hold, what they cost, who asks them when.

    def body(self, request: int) -> list[Frame]:
        size = self.settings.broker.max_queue_bytes if request in self.large else request % 97
        return [request.to_bytes(8, "big"), bytes(size)]

    def task(self, request: int) -> Task:
        low, high = self.settings.serve_s
        serve_s = low + (high - low) * (request * _GOLDEN % 1.0)
        hangs = self.hanging.get(request, 0) > 0
        if hangs:
            self.hanging[request] -= 1
        crashes = request in self.crashing
        return Task(serve_s, self.calls.wants_parts.get(request, 0), crashes=crashes, hangs=hangs)

    def has_no_descriptors(self, client: Any) -> bool:
        """True while this client's process can open no sockets."""
        if self.timeline.now >= self.no_descriptors.get(client.place, 0.0):
            return False
        self.calls.without_sockets = True
        return True

    def fingerprint(self, place: int) -> bytes:
        """Return the fingerprint of the network that this place's worker has."""
        return b"another network" if place in self.odd_networks else b"a network"

    def setup_fails(self, host: Any) -> bool:
        """True if this start of a child is one of those that a fault lets fail."""
        left = self.failing.get(host.place, 0)
        self.failing[host.place] = max(0, left - 1)
        return left > 0

    def ask(
        self,
        client: ClientProcess,
        service: bytes | None = None,
        *,
        timeout_s: float | None = None,
    ) -> int:
        """Let a client submit one more request; return its number."""
        request = self._number_request()
        service = service or self._services[request % len(self._services)]
        client.submit(request, service, timeout_s or self.settings.client.timeout_s)
        return request

    def _number_request(self) -> int:
        request = self._next_request
        self._next_request += 1
        if request % self.settings.parts_of == 0:
            self.calls.wants_parts[request] = 1 + request % 3
        return request

    def lag_s(self, request: int) -> float:
        """Return how long a caller takes to read a part of the answer; mostly no time."""
        lags = request % 4 == 0 and not self.is_quiet
        return self.settings.lag_s * (request * _GOLDEN % 1.0) if lags else 0.0

    def next_request(self) -> int:
        """Return the number that the next request will have."""
        return self._next_request

    def call_ended(self, client: Any) -> None:
        if isinstance(client, ForeignClient):
            self.timeline.after(0.5, self._feed_foreign, client)
        elif self._left[self._number(client)]:
            habit = self._habits[self._number(client)]
            self.timeline.after(max(habit.think_s, 1e-5), self._feed, client)

    def _feed_foreign(self, client: ForeignClient) -> None:
        if not self.is_quiet:
            service = self._services[self._next_request % len(self._services)]
            client.submit(self._number_request(), service)

    def _feed(self, client: ClientProcess) -> None:
        number = self._number(client)
        window = self._habits[number].window
        while client.alive and self._left[number] and len(client.calls) < window:
            self._left[number] -= 1
            request = self.ask(client)
            if len(client.calls) < window and request not in client.calls:
                return  # it is paused, or the request failed at once

    def burst(self, client: ClientProcess, count: int) -> None:
        for _ in range(count):
            self.ask(client)

    # The end: no faults, and everything must be answered.

    def _quiet(self) -> None:
        """End all faults. Nothing hangs or crashes any more, except what is on its way."""
        self.is_quiet = True
        self.failing.clear()
        for place in sorted(self.odd_networks):
            self.hosts[place - 1].kill()
        self.odd_networks.clear()
        self.network.slowness = 1.0
        for place in list(self.network.partitions):
            self.network.heal(place)
        processes: list[Process[Any]] = [self.broker, *self.hosts, *self.clients]
        for process in processes:
            process.resume()
            if not process.alive:
                self._restart(process)
        self.timeline.after(self.settings.settle_s, self._ask_last)

    def _ask_last(self) -> None:
        if self.calls.open or any(self._left):
            self.timeline.after(1.0, self._ask_last)  # what was asked before comes first
            return
        self.large.clear()
        self.crashing.clear()
        self.hanging.clear()
        self.timeline.after(_BACK_S, self._want_back, self._missing())
        workers = max(1, self.settings.hosts // self.settings.services)
        rounds = 2 + 2 * self.settings.clients / workers
        patience_s = self.settings.patience_s + self.settings.serve_s[1] * rounds
        for client in self.clients:
            for service in self._services:
                self.calls.must_succeed.add(self._next_request)
                self._final.append(self.ask(client, service, timeout_s=2 * patience_s))
        for foreign in self.foreign:
            self.calls.must_succeed.add(self._next_request)
            self._final.append(self._number_request())
            foreign.submit(self._final[-1], self._services[0])
        self.timeline.after(patience_s, self._want_last)

    def _missing(self) -> list[HostProcess]:
        """Return the hosts that could serve and are not registered."""
        return [
            host
            for host in self.hosts
            if host.core.child is Child.IDLE
            and (host.dealer is None or host.dealer.name not in self.broker.core.workers)
        ]

    def _want_back(self, missing: list[HostProcess]) -> None:
        """Check that workers that were missing some time ago have found the broker."""
        for host in self._missing():
            if host in missing:
                raise Violation(f"{host.name} has not found {self.broker.name} again")

    def _want_last(self) -> None:
        late = [number for number in self._final if self.calls.end_of(number) != End.ANSWERED]
        if late:
            end = self.calls.end_of(late[0]).name.lower()
            raise Violation(f"{len(late)} requests after the last fault, such as {late[0]}: {end}")
        self._final = []

    def is_over(self) -> bool:
        """True if every call of the whole run has ended."""
        if not self.calls.must_succeed or self.calls.open or any(self._left):
            return False
        self._want_last()
        return True

    def check(self) -> None:
        """Look at everything that the broker and the clients hold."""
        if self.broker.alive:
            self.broker.watch.check()
        for client in self.clients:
            core = client.core
            if len(core.in_flight) > core.settings.lanes:
                raise Violation(f"{client.name} has {len(core.in_flight)} requests in flight")

    def check_empty(self) -> None:
        """Check, some time after the last call, that nothing is left and all workers are back."""
        broker = self.broker
        broker.watch.check_empty()
        for client in self.clients:
            core = client.core
            left = [*core.in_flight.values(), *core.pending, *core.backing_off]
            if left or client.calls:
                raise Violation(f"{client.name} holds {len(left)} requests after the last call")
        for host in self.hosts:
            name = None if host.dealer is None else host.dealer.name
            if name not in broker.core.workers:
                raise Violation(f"{host.name} is not registered: its child is {host.core.child}")
        if len(broker.core.workers) != len(self.hosts):
            raise Violation(f"{len(broker.core.workers)} workers of {len(self.hosts)} hosts")

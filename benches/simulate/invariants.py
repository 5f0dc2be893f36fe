"""What must hold at every step of a simulated site. A `Violation` says what did not.

`Calls` follows each request from the client that asks to its end: each call ends once, and gets the
answer to its own request. `BrokerWatch` follows what one broker receives and sends, knowing only
the protocol, and compares it with the core's own state. Most checks cost constant time and happen
at every message; `check` looks at everything that a broker holds.
"""

from __future__ import annotations

import enum
from collections import OrderedDict

from mdp import wire
from mdp.broker.broker import Broker
from mdp.broker.state import Counters, PendingRequest
from mdp.errors import ClientClosed, MDPError, RequestTimeout, ServiceError
from mdp.wire import Frames

from . import cores

_CLIENT, _WORKER = wire.MDP02.client_prefix[0], wire.MDP02.worker_prefix[0]
_FINAL = wire.MDP02.client_final[0]
_PREFIX = b"mmi."
_ROUND = 2  # requests of another client between two of one: one a round, and one at its edge


class Violation(AssertionError):
    """An invariant does not hold."""


class End(enum.IntEnum):
    """How a call has ended."""

    OPEN = 1
    ANSWERED = 2
    FAILED = 3
    ABANDONED = 4  # cancelled, or its client was killed


class Calls:
    """All calls of a site, by the number of the request."""

    def __init__(self) -> None:
        self._ends = bytearray()
        self._parts: dict[int, int] = {}  # how many parts each open call has got
        self.wants_parts: dict[int, int] = {}  # requests whose answer has parts
        self.must_succeed: set[int] = set()  # asked after the last fault
        self._computed: dict[int, int] = {}  # those: how often
        self._closing: set[int] = set()  # their client is being closed
        self.failures: dict[str, int] = {}  # by kind of error
        self.open = 0
        self.without_sockets = False
        """A process had no descriptors, so calls may fail because of that."""

    def end_of(self, request: int) -> End:
        return End(self._ends[request])

    def count(self, end: End) -> int:
        return self._ends.count(end)

    def submitted(self, request: int) -> None:
        if request >= len(self._ends):
            self._ends.extend(bytes(request + 1 - len(self._ends)))
        assert self._ends[request] == 0
        self._ends[request] = End.OPEN
        self.open += 1

    def computing(self, request: int) -> None:
        """Note that a worker computes a request; without faults, hardly ever twice.

        It is computed twice if the client finds a new broker at the instant at which it asks.
        """
        if request in self.must_succeed:
            count = self._computed[request] = self._computed.get(request, 0) + 1
            if count > 2:
                raise Violation(f"request {request}, asked after the last fault, is computed again")

    def part(self, request: int, body: Frames) -> None:
        self._want_open(request, "part")
        number = self._parts.get(request, 0)
        if body != [b"part", request.to_bytes(8, "big"), b"%d" % number]:
            raise Violation(f"request {request} wants part {number}, got {body}")
        self._parts[request] = number + 1

    def answered(self, request: int, body: Frames) -> None:
        self._want_open(request, "answer")
        if body != [b"answer", request.to_bytes(8, "big")]:
            raise Violation(f"request {request} got the answer {body}")
        parts, wanted = self._parts.pop(request, 0), self.wants_parts.get(request, 0)
        if parts != wanted:
            raise Violation(f"request {request} was answered with {parts} of {wanted} parts")
        self._end(request, End.ANSWERED)

    def failed(self, request: int, error: MDPError) -> None:
        self._want_open(request, "error")
        is_closed = request in self._closing and isinstance(error, ClientClosed)
        is_socketless = self.without_sockets and type(error) is MDPError
        if not (is_closed or is_socketless or isinstance(error, (RequestTimeout, ServiceError))):
            raise Violation(f"request {request} failed with {error!r}")
        if request in self.must_succeed:
            raise Violation(f"request {request}, asked after the last fault, failed: {error}")
        kind = type(error).__name__
        self.failures[kind] = self.failures.get(kind, 0) + 1
        self._end(request, End.FAILED)

    def closing(self, request: int) -> None:
        """Note that the client of a call is being closed."""
        self._closing.add(request)

    def abandoned(self, request: int) -> None:
        self._end(request, End.ABANDONED)

    def _want_open(self, request: int, what: str) -> None:
        if self._ends[request] != End.OPEN:
            end = self.end_of(request).name.lower()
            raise Violation(f"request {request} is {end} and got one more {what}")

    def _end(self, request: int, end: End) -> None:
        self._ends[request] = end
        self._parts.pop(request, None)
        self.open -= 1


class _Turns:
    """Who was served when, in one service: a client waits for one round of the others.

    A request that a worker has lost comes first again, so each such loss may cost one turn more.
    """

    def __init__(self, counters: Counters, sample: int) -> None:
        self._counters = counters
        self._sample = sample
        self._served: list[bytes] = []  # owners, in the order in which they were served
        self._queued: dict[bytes, OrderedDict[bytes, None]] = {}  # by owner: its lanes
        self._head_since: dict[bytes, tuple[int, int]] = {}  # by owner: served and lost by then

    def queued(self, lane: bytes) -> None:
        owner = wire.owner(lane)
        lanes = self._queued.setdefault(owner, OrderedDict())
        if not lanes:
            self._begin(owner)
        lanes[lane] = None

    def over(self, lane: bytes) -> None:
        """Forget a request that is not queued any more, or is in the queue again."""
        owner = wire.owner(lane)
        lanes = self._queued.get(owner)
        if lanes and lane in lanes:
            del lanes[lane]
            self._begin(owner)

    def served(self, lane: bytes) -> None:
        owner = wire.owner(lane)
        lanes = self._queued.get(owner)
        if not lanes or lane not in lanes:
            self._served.append(owner[:1])  # tried again: it was its client's turn, out of order
            self._begin(owner)
            return
        if next(iter(lanes)) == lane and len(self._served) % self._sample == 0:
            self._check(owner)
        del lanes[lane]
        self._served.append(owner)
        self._begin(owner)

    def _begin(self, owner: bytes) -> None:
        """Note that another request of this client is now its oldest one."""
        self._head_since[owner] = len(self._served), self._counters.requeued

    def _check(self, owner: bytes) -> None:
        begin, lost = self._head_since[owner]
        served = self._served[begin:]
        most_allowed = _ROUND + self._counters.requeued - lost
        if len(served) <= most_allowed:
            return
        counts: dict[bytes, int] = {}
        for other in served:
            counts[other] = counts.get(other, 0) + 1
        interactive = owner[:1] == b"I"
        alike = {other: n for other, n in counts.items() if (other[:1] == b"I") == interactive}
        others = len(served) - sum(alike.values())
        most = max((n for other, n in alike.items() if len(other) > 1), default=0)
        if most > most_allowed:
            raise Violation(f"a client waited for {most} requests of one other client")
        turns = most_allowed + sum(alike.values())
        limit = turns if interactive else 9 * turns
        if others > limit:
            kind = "an interactive" if interactive else "a"
            raise Violation(f"{kind} client waited for {others} requests of the other priority")


class BrokerWatch:
    """What one life of the broker was asked, and what it did about it."""

    def __init__(self, core: Broker, calls: Calls, *, fairness_sample: int) -> None:
        self._core = core
        self._calls = calls
        self._sample = fairness_sample
        self._asked: dict[bytes, int] = {}  # by lane: the request that it waits for
        self._lanes: dict[int, dict[bytes, None]] = {}  # by request: lanes that wait for it
        self._holders: dict[int, list[tuple[bytes, bytes]]] = {}  # worker and token
        self._retired: set[bytes] = set()
        self._turns: dict[bytes, _Turns] = {}

    # Messages.

    def received(self, peer: bytes, frames: Frames) -> None:
        """Note a message that the broker has received. Call it before `sent`."""
        if frames[0] != _CLIENT:
            return
        service = frames[2]
        assert isinstance(service, bytes)
        if not service.startswith(_PREFIX):
            self._on_asked(peer, service, frames[3])
        elif service == wire.CANCEL:
            for lane in frames[3:]:
                assert isinstance(lane, bytes)
                self._forget(lane)
        elif service == wire.RETIRE and peer in self._core.workers:
            self._retired.add(peer)

    def sent(self, peer: bytes, frames: Frames) -> None:
        """Note a message that the broker sends."""
        head, command = frames[1], frames[2]
        if head == _WORKER:
            if command == wire.REQUEST:
                token = frames[3]
                assert isinstance(token, bytes)
                self._on_given(peer, token, _number(frames[5]))
            return
        service, body = frames[3], frames[4:]
        assert isinstance(service, bytes)
        if service.startswith(_PREFIX):
            return
        if command in (wire.NUMBERED_PARTIAL, wire.NUMBERED_FINAL):
            body = frames[5:]
        if command in (_FINAL, wire.NUMBERED_FINAL):
            self._on_final(peer, body)
        elif self._asked.get(peer) != _number(body[1]):
            raise Violation(f"a part of request {_number(body[1])} to a lane that has not asked")

    def unreachable(self, peer: bytes) -> None:
        """Note that a message did not reach its peer: a client's requests are cancelled."""
        if peer not in self._core.workers:
            self._forget(peer)

    def _on_asked(self, lane: bytes, service: bytes, frame: object) -> None:
        request = _number(frame)
        if lane in self._asked and cores.waits(self._core, lane):
            waits = self._asked[lane]
            raise Violation(f"a lane that waits for request {waits} has asked for {request}")
        self._forget(lane)
        self._asked[lane] = request
        self._lanes.setdefault(request, {})[lane] = None
        turns = self._turns.get(service)
        if turns is None:
            turns = self._turns[service] = _Turns(self._core.counters, self._sample)
        turns.queued(lane)

    def _on_given(self, worker: bytes, token: bytes, request: int) -> None:
        lanes = self._lanes.get(request)
        if lanes is None:
            raise Violation(f"request {request} was given to a worker after its end")
        if worker in self._retired:
            raise Violation(f"request {request} was given to a retired worker")
        holders = [h for h in self._holders.get(request, ()) if self._holds(*h)]
        if len(holders) >= len(lanes):
            raise Violation(f"request {request} was given to {len(holders) + 1} workers")
        holders.append((worker, token))
        self._holders[request] = holders
        state = self._core.workers.get(worker)
        if state is not None and state.job is not None:
            self._turns[state.service.name].served(state.job.client.name)

    def _holds(self, worker: bytes, token: bytes) -> bool:
        state = self._core.workers.get(worker)
        return (
            state is not None
            and state.token == token
            and state.job is not None
            and not state.job.over
        )

    def _on_final(self, lane: bytes, body: Frames) -> None:
        request = self._asked.get(lane)
        if request is None:
            raise Violation(f"an answer {body[:2]} to a lane that waits for none")
        if body[0] != wire.ERROR and body[1] != request.to_bytes(8, "big"):
            raise Violation(f"an answer to {_number(body[1])} on a lane that asked for {request}")
        self._forget(lane)

    def _forget(self, lane: bytes) -> None:
        """Note that a lane waits for nothing any more."""
        request = self._asked.pop(lane, None)
        if request is None:
            return
        lanes = self._lanes[request]
        del lanes[lane]
        if not lanes:
            del self._lanes[request]
            self._holders.pop(request, None)
        for turns in self._turns.values():
            turns.over(lane)

    # Everything at once.

    def check(self) -> None:
        """Compare what the broker holds with its counters, its bounds and what it was asked."""
        core, counters = self._core, self._core.counters
        places: dict[PendingRequest, str] = {}
        for service in core.services.values():
            for job in cores.queued(service):
                self._place(places, job, f"the queue of {service.text}")
        queued = len(places)
        for worker in core.workers.values():
            held = worker.job
            if held is not None and not held.over:
                self._place(places, held, f"worker {worker.name.hex()}")
        over = counters.answered + counters.refused + counters.cancelled + counters.undelivered
        total = over + len(places)
        if counters.accepted != total:
            text = f"{queued} queued and {len(places) - queued} held"
            raise Violation(f"{text} do not fit {counters}")
        waiting = cores.accepted(core)
        if len(waiting) != len(places) or any(job not in places for job in waiting):
            raise Violation(f"clients wait for {len(waiting)} requests, of {len(places)} in place")
        for lane in [lane for lane in self._asked if not cores.waits(core, lane)]:
            self._forget(lane)  # cancelled by the broker: its lease was over
        lanes = cores.count_waiting(core)
        if len(self._asked) != lanes:
            raise Violation(f"{lanes} lanes wait, {len(self._asked)} have asked")
        counted, memory = cores.memory(core)
        if counted != memory or memory > core.settings.max_bytes:
            raise Violation(f"the requests take {memory} bytes, {counted} are counted")
        self._check_services()

    def _place(self, places: dict[PendingRequest, str], job: PendingRequest, place: str) -> None:
        if job in places:
            request = _number(job.body[0])
            raise Violation(f"request {request} is in two places: {places[job]} and {place}")
        places[job] = place

    def _check_services(self) -> None:
        settings = self._core.settings
        for service in self._core.services.values():
            queued = sum(1 for _ in cores.queued(service))
            if queued != service.queued:
                raise Violation(f"{service.text}: {service.queued} queued, found {queued}")
            if queued and service.idle:
                raise Violation(f"{service.text}: {queued} wait for {len(service.idle)} idle")
            for worker in service.idle:
                if worker.job is not None or self._core.workers.get(worker.name) is not worker:
                    raise Violation(f"{service.text}: an idle worker is busy, or gone")
            if service.body_bytes > settings.max_queue_bytes:
                raise Violation(f"{service.text}: {service.body_bytes} bytes are held")
            if not queued and not service.busy and service.body_bytes:
                raise Violation(f"{service.text}: holds nothing, and counts {service.body_bytes}")

    def check_empty(self) -> None:
        """Check that nothing is left when all calls are over."""
        core = self._core
        self.check()
        if lanes := cores.count_waiting(core):
            raise Violation(f"{lanes} lanes wait, and no call is open")
        for worker in core.workers.values():
            if worker.job is not None:
                raise Violation(f"worker {worker.name.hex()} is busy with nothing")


def _number(frame: object) -> int:
    assert isinstance(frame, bytes)
    return int.from_bytes(frame, "big")

"""What one life of a broker must keep to: a `Violation` says what does not hold.

`BrokerWatch` follows what the broker receives and sends, knowing only the protocol, and compares it
with the core's own state. Most checks cost constant time and happen at every message; `check` looks
at everything that the broker holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from mdp import wire
from mdp.broker.broker import Broker
from mdp.broker.state import PendingRequest
from mdp.wire import Frames

from . import cores
from .calls import Calls, Violation
from .turns import Turns

_CLIENT, _WORKER = wire.MDP02.client_prefix[0], wire.MDP02.worker_prefix[0]
_FINAL = wire.MDP02.client_final[0]
_FOREIGN = list(wire.MDP01.client_prefix)
_PREFIX = b"mmi."


@dataclass
class Tries:
    """How often a request was given to a worker, and how often a worker's child died of it."""

    given: int = 0
    died: int = 0


class BrokerWatch:
    """What one life of the broker was asked, and what it did about it."""

    def __init__(self, core: Broker, calls: Calls, *, fairness_sample: int) -> None:
        self._core = core
        self._calls = calls
        self._sample = fairness_sample
        self._asked: dict[bytes, int] = {}  # by lane: the request that it waits for
        self._lanes: dict[int, dict[bytes, None]] = {}  # by request: lanes that wait for it
        self._holders: dict[int, list[tuple[bytes, bytes]]] = {}  # worker and token
        self._tries: dict[bytes, Tries] = {}  # by lane: of the request that it waits for
        self._given: dict[bytes, tuple[bytes, bytes]] = {}  # by worker: token and lane
        self._retired: set[bytes] = set()
        self._turns: dict[bytes, Turns] = {}

    # Messages.

    def received(self, peer: bytes, frames: Frames) -> None:
        """Note a message that the broker has received. Call it before `sent`."""
        if frames[:2] == _FOREIGN:
            service = frames[2]
            assert isinstance(service, bytes)
            self._on_asked(peer, service, frames[3])
            return
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
        elif service == wire.CRASHED:
            self._on_crashed(peer, frames[3:])

    def sent(self, peer: bytes, frames: Frames) -> None:
        """Note a message that the broker sends."""
        head, command = frames[1], frames[2]
        if frames[1:3] == _FOREIGN:
            self._on_final(peer, frames[4:])
            return
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
            turns = self._turns[service] = Turns(self._core.counters, self._sample)
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
            lane = state.job.client.name
            self._turns[state.service.name].served(lane)
            self._count_try(worker, token, lane)

    def _count_try(self, worker: bytes, token: bytes, lane: bytes) -> None:
        tries = self._tries.setdefault(lane, Tries())
        settings = self._core.settings
        if tries.died >= settings.max_attempts:
            raise Violation(f"a request of which {tries.died} workers died is given to another")
        tries.given += 1
        self._given[worker] = token, lane

    def _on_crashed(self, worker: bytes, body: Frames) -> None:
        """Note that a worker's child has died, if it held that request."""
        if worker not in self._core.workers:
            return
        token, lane = self._given.get(worker, (b"", b""))
        if body == [token] and self._holds(worker, token):
            self._tries[lane].died += 1

    def _check_given_up(self, lane: bytes, text: bytes) -> None:
        """Check that error 502 names the limit that the request has reached."""
        tries, settings = self._tries.get(lane, Tries()), self._core.settings
        if b"(--max-attempts)" in text and tries.died == settings.max_attempts:
            return
        if b"(--max-lost)" in text and tries.given - tries.died >= settings.max_lost:
            return
        raise Violation(f"after {tries} a request got 502: {text.decode()}")

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
        if body[:2] == [wire.ERROR, b"502"]:
            text = body[2]
            assert isinstance(text, bytes)
            self._check_given_up(lane, text)
        if body[0] != wire.ERROR and body[-1] != request.to_bytes(8, "big"):
            raise Violation(f"an answer to {_number(body[-1])} on a lane that asked for {request}")
        self._forget(lane)

    def _forget(self, lane: bytes) -> None:
        """Note that a lane waits for nothing any more."""
        request = self._asked.pop(lane, None)
        self._tries.pop(lane, None)
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
            serving = [
                w for w in self._core.workers.values() if w.service is service and not w.retired
            ]
            if len(serving) != service.serving:
                raise Violation(f"{service.text}: {service.serving} serve, found {len(serving)}")
            if len({worker.fingerprint for worker in serving}) > 1:
                raise Violation(f"{service.text}: its workers have different fingerprints")
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

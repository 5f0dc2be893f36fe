"""Whatever happens in whatever order: what must hold of the broker after every step."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgpack
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from mdp.broker.broker import Broker
from mdp.broker.state import Counters, PendingRequest, Service
from mdp.settings import BrokerSettings, Heartbeats
from mdp.wire import Frame, Frames
from tests.support.frames import MAJORTOMO, RFC7, RFC18, Sent, Spelling, read

DIALECTS: list[Spelling] = [RFC7, RFC18, MAJORTOMO]
SERVICES = [b"alpha", b"alpha", b"beta", b"beta", b"\xfe\x00\n", b"one too many"]
TIGHT = BrokerSettings(
    heartbeats=Heartbeats(1.0, 3),
    max_attempts=2,
    max_lost=3,
    max_queue=2,
    max_queue_bytes=60,
    expiry_s=5.0,
    time_limits_s={"beta": 1.5},
    max_services=3,
)
ROOMY = BrokerSettings(heartbeats=Heartbeats(1.0, 3), expiry_s=50.0)
MALFORMED: list[Frames] = [
    [],
    [b"w0"],
    [b"w0", b"", b"MDPW01"],
    [b"w1", b"MDPW02", b"\x04", b"token"],
    [b"w2", b"", b"MDPW02", b"\x01", b""],
    [b"c0", b"MDPC02", b"\x01", b"s" * 10_000, b"x"],
]
ACTS = [
    *["ask"] * 6,
    *["ready"] * 4,
    *["announce", "join", "join"],
    *["crash"] * 2,
    *["part"] * 3,
    *["final"] * 5,
    *["tick"] * 4,
    *[
        "heartbeat",
        "heartbeat",
        "leave",
        *["retire"] * 2,
        "junk",
        "cancel",
        "cancel",
        "cut",
        "mend",
        "wait",
        "deadline",
    ],
]
STEPS_S = [0.0, 0.05, 1 / 3, 0.7, 1.0, 1.6]
Step = tuple[str, int, int, int]


@pytest.fixture(autouse=True, scope="module")
def _silence() -> Iterator[None]:
    """Thousands of lines of log that nobody reads take longer than the tests."""
    log = logging.getLogger("mdp")
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(logging.NOTSET)


@dataclass
class Asked:
    """What a client asked, and what it heard of it."""

    client: bytes
    spelled: Spelling
    service: bytes
    body: Frames
    parts: int = 0
    parts_made: int = 0
    """By that one of its workers that got furthest."""
    answers: int = 0
    cancelled: bool = False
    deaths: int = 0
    """Of workers that held it."""
    losses: int = 0
    """Of workers that held it, at most: the broker forgives some of them."""


@dataclass
class Announced:
    """What a worker has said of itself before READY."""

    service: bytes
    fingerprint: bytes = b""
    is_ours: bool = False
    is_right: bool = True
    """It looks for this broker, or for any."""


@dataclass
class World:
    """A broker, its peers, and what they saw: kept from the messages alone."""

    settings: BrokerSettings = TIGHT
    now: float = 100.0
    broker: Broker = field(init=False)
    asked: dict[bytes, Asked] = field(default_factory=dict)
    """By its number, the first frame of its body."""
    owners: dict[bytes, bytes] = field(default_factory=dict)
    """By token: the request handed out under it."""
    live: dict[bytes, bytes] = field(default_factory=dict)
    """By worker: the token it may answer under."""
    retired: set[bytes] = field(default_factory=set)
    """Registered workers that have asked for no more requests."""
    announced: dict[bytes, Announced] = field(default_factory=dict)
    """By peer that is not registered."""
    members: dict[bytes, Announced] = field(default_factory=dict)
    """By registered worker."""
    died: int = 0
    parts: Counter[bytes] = field(default_factory=Counter)
    """By token: how many parts its worker sent."""
    sent: Counter[bytes] = field(default_factory=Counter)
    finals: Counter[bytes] = field(default_factory=Counter)
    cancelled: Counter[bytes] = field(default_factory=Counter)
    cut: set[bytes] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.broker = Broker(self.settings, self.now, instance=b"INSTANCE")

    # What happens.

    def step(self, step: Step) -> None:
        act, *numbers = step
        getattr(self, f"_{act}")(*numbers)
        self.check()

    def _ask(self, a: int, b: int, c: int) -> None:
        number = b"r%d" % len(self.asked)
        client = b"w0" if a == b == c else b"c%d" % (len(self.asked) // 3)
        body: list[Frame] = [number, b"x" * (c * 5)]
        asked = Asked(client, DIALECTS[b % 3], SERVICES[a], body)
        self.asked[number] = asked
        self.sent[client] += 1
        self.take(asked.spelled.ask(client, asked.service, *body))

    def _ready(self, a: int, b: int, c: int) -> None:
        worker, service = b"w%d" % a, SERVICES[b]
        if worker in self.members:  # a second READY ends the first registration
            self._lose(worker)
            self.take(_dialect(a).ready(worker, service))
            return
        announced = self.announced.pop(worker, None)
        if announced is None or announced.service != service:
            announced = Announced(service)
        fits = announced.is_right and self._serving(service) <= {announced.fingerprint}
        messages = self.broker.receive(_dialect(a).ready(worker, service), self.now)
        accepted = messages != [_dialect(a).disconnect(worker)]
        full = service not in self.broker.services
        assert accepted == (fits and not self.broker.draining and not full)
        self.seen["a name taken over"] += accepted and any(
            other.service == service and other.fingerprint != announced.fingerprint
            for other in self.members.values()
        )
        self.seen["another broker"] += not announced.is_right
        if accepted:
            self.members[worker] = announced
        self.deliver(messages)

    def _serving(self, service: bytes) -> set[bytes]:
        """The fingerprints of a service's workers that have not retired."""
        return {
            member.fingerprint
            for name, member in self.members.items()
            if member.service == service and name not in self.retired
        }

    def _announce(self, a: int, b: int, c: int) -> None:
        """Announce a worker: its fingerprint, and facts if it speaks RFC 18."""
        worker, service, spelled = b"w%d" % a, SERVICES[b], _dialect(a)
        fingerprint = b"A" if c in (0, 3) else b""
        facts = {"host": "n1", "instance": (b"another!" if c == 1 else b"INSTANCE").hex()}
        announced = Announced(service, fingerprint)
        body: list[Frame] = [service, fingerprint]
        if spelled is RFC18:
            announced = Announced(service, fingerprint, is_ours=True, is_right=c != 1)
            body.append(msgpack.packb(facts))
        (answer,) = self.broker.receive(spelled.ask(worker, b"mmi.fingerprint", *body), self.now)
        code = b"200" if self._serving(service) <= {fingerprint} else b"409"
        assert read(answer).body[0] == (code if announced.is_right else b"410")
        self.announced[worker] = announced
        if worker in self.cut:
            self._lose(worker)
            self.deliver(self._cut_off(worker))

    def _join(self, a: int, b: int, c: int) -> None:
        self._announce(a, b, c)
        self._ready(a, b, c)

    def _crash(self, a: int, b: int, c: int) -> None:
        """The child of a worker has died of the request that it holds, or not."""
        worker, token = b"w%d" % a, self._some_token(a, b, c)
        spelled = _dialect(a)
        if worker in self.members and self.live.get(worker) == token:
            self._lose(worker, died=True)
            self.take(spelled.ask(worker, b"mmi.crashed", token))
            assert worker not in self.broker.workers
            return
        (answer,) = self.broker.receive(spelled.ask(worker, b"mmi.crashed", token), self.now)
        assert answer == spelled.final(worker, b"mmi.crashed", b"404")
        if worker in self.cut:
            self._lose(worker)
            self.deliver(self._cut_off(worker))

    def _part(self, a: int, b: int, c: int) -> None:
        worker, token = b"w%d" % a, self._some_token(a, b, c)
        if _dialect(a) is RFC7:
            return
        out = self.take(_dialect(a).part(worker, token, b"part", token, b"%d" % self.parts[token]))
        if any(sent.body[:2] == [b"MDP-ERROR", b"413"] for sent in out):
            self.asked[self.owners[token]].cancelled = True  # what was gathered is too much
        if self.live.get(worker) == token:
            self.parts[token] += 1
            asked = self.asked[self.owners[token]]
            asked.parts_made = max(asked.parts_made, self.parts[token])
        else:
            assert not _forwarded(out, b"part")

    def _final(self, a: int, b: int, c: int) -> None:
        worker, token = b"w%d" % a, self._some_token(a, b, c)
        alive = self.live.get(worker) == token
        if alive:
            del self.live[worker]
        right = alive and not self.asked[self.owners[token]].cancelled
        out = self.take(_dialect(a).reply(worker, token, b"answer", token))
        assert len(_forwarded(out, b"answer")) == right
        self.seen["answer to what was cancelled"] += alive and not right

    def _heartbeat(self, a: int, b: int, c: int) -> None:
        self.take(_dialect(a).heartbeat(b"w%d" % a))

    def _leave(self, a: int, b: int, c: int) -> None:
        worker = b"w%d" % a
        is_foreign = worker in self.members and not self.members[worker].is_ours
        self._lose(worker, died=is_foreign)
        self.take(_dialect(a).disconnect(worker))

    def _retire(self, a: int, b: int, c: int) -> None:
        worker = b"w%d" % a
        if worker in self.broker.workers:
            self.retired.add(worker)
            self.seen["retired while held" if worker in self.live else "retired while idle"] += 1
        (answer,) = self.broker.receive(_dialect(a).ask(worker, b"mmi.retire"), self.now)
        assert answer == _dialect(a).final(worker, b"mmi.retire", b"200", b"\x80")
        if worker in self.cut:
            self._lose(worker)
            self.deliver(self._cut_off(worker))

    def _junk(self, a: int, b: int, c: int) -> None:
        earlier = self.broker.counters.malformed
        assert self.take(MALFORMED[a]) == []
        assert self.broker.counters.malformed == earlier + 1

    def _cancel(self, a: int, b: int, c: int) -> None:
        client = b"c%d" % max(0, len(self.asked) // 3 - a % 4)
        held_before = self.broker.held
        for asked in self.asked.values():
            asked.cancelled |= asked.client == client
        answer, *stops = self.broker.receive(RFC18.ask(b"m", b"mmi.cancel", client), self.now)
        assert answer[:-1] == RFC18.final(b"m", b"mmi.cancel", b"200")
        count = msgpack.unpackb(answer[-1])["cancelled"]
        self.cancelled[client] += count
        self.seen["cancelled while held"] += held_before - self.broker.held
        self.seen["cancelled in the queue"] += count - held_before + self.broker.held
        self.deliver(stops)

    def _cut(self, a: int, b: int, c: int) -> None:
        self.cut.add(b"w%d" % a)
        self.cut.add(b"c%d" % (len(self.asked) // 3))

    def _mend(self, a: int, b: int, c: int) -> None:
        self.cut.clear()

    def _wait(self, a: int, b: int, c: int) -> None:
        self.now += STEPS_S[a]

    def _tick(self, a: int, b: int, c: int) -> None:
        self.now += STEPS_S[a]
        idle = self.now < self.broker.deadline()
        out = self.deliver(self.broker.tick(self.now))
        assert not (idle and out), "the deadline was later than what was due"
        assert self.broker.tick(self.now) == []
        assert self.broker.deadline() > self.now

    def _deadline(self, a: int, b: int, c: int) -> None:
        if self.broker.deadline() < math.inf:
            self.now = max(self.now, self.broker.deadline())
            self._tick(0, 0, 0)

    def _some_token(self, a: int, b: int, c: int) -> bytes:
        """Mostly the right one; else another worker's, one of the past, or an invented one."""
        tokens = [*self.owners]
        if b == 5 and tokens:
            return tokens[-1 - c % len(tokens)]
        if b == 4 and self.live:
            return list(self.live.values())[c % len(self.live)]
        return self.live.get(b"w%d" % a, b"invented")

    # What follows from it.

    def take(self, frames: Frames) -> list[Sent]:
        return self.deliver(self.broker.receive(frames, self.now))

    def deliver(self, messages: list[Frames]) -> list[Sent]:
        """Pass the broker's messages on; say of each peer that is cut off that it is."""
        for frames in messages:
            sent = read(frames)
            if frames[3:4] == [b"mmi.stop"]:
                self._stopped(sent)
            elif sent.what in ("asked", "heartbeat", "disconnect"):
                self._worker_hears(sent, frames)
            else:
                self._client_hears(sent, frames)
            if sent.peer in self.cut:
                self._lose(sent.peer)
                messages += self._cut_off(sent.peer)
        return [read(frames) for frames in messages]

    def _lose(self, worker: bytes, *, died: bool = False) -> None:
        """The broker forgets this worker, or is about to."""
        token = self.live.pop(worker, None)
        if token is not None:
            asked = self.asked[self.owners[token]]
            asked.deaths += died
            asked.losses += not died
            self.died += died
        self.retired.discard(worker)
        self.members.pop(worker, None)

    def _cut_off(self, peer: bytes) -> list[Frames]:
        """It cannot be reached: what a client waits for is given up, a worker is forgotten."""
        client = self.broker.clients.lanes.get(peer)
        waited_for = [job.body[0] for job in client.jobs] if client else []
        earlier = self.broker.counters.cancelled
        out = self.broker.unreachable(peer, self.now)
        count = self.broker.counters.cancelled - earlier
        assert count in (0, len(waited_for))
        self.cancelled[peer] += count
        for number in waited_for if count else []:
            assert isinstance(number, bytes)
            self.asked[number].cancelled = True
        return out

    def _worker_hears(self, sent: Sent, frames: Frames) -> None:
        self.seen[sent.what] += 1
        if sent.what == "disconnect":
            self._lose(sent.peer)
        if sent.what == "asked":
            number = sent.body[0]
            assert isinstance(number, bytes)
            asked = self.asked[number]
            spelled = _dialect(int(sent.peer[1:]))
            assert frames == spelled.asked(sent.peer, sent.token, *asked.body)
            assert sent.token not in self.owners, "a token was used twice"
            assert sent.peer not in self.live, "a worker got a second request"
            assert sent.peer not in self.retired, "a retired worker got a request"
            assert number not in (self.owners[t] for t in self.live.values()), "held twice"
            assert not asked.cancelled or self.cut  # given up with the message just before
            assert not asked.answers
            self.owners[sent.token] = number
            self.live[sent.peer] = sent.token

    def _stopped(self, sent: Sent) -> None:
        """A worker of ours is told that nobody waits for the request that it holds."""
        token, how = sent.body
        assert self.members[sent.peer].is_ours
        assert token == self.live[sent.peer]
        self.seen[f"stop {how!r}"] += 1

    def _client_hears(self, sent: Sent, frames: Frames) -> None:
        self.finals[sent.peer] += sent.what == "final"
        if sent.body[0] == b"MDP-ERROR":
            _, code, text = sent.body
            assert isinstance(code, bytes)
            assert isinstance(text, bytes)
            unserved = [s for s in self.broker.services.values() if not s.workers]
            named = any(f"for {service.text} " in text.decode() for service in unserved)
            assert code != b"404" or named, "expired although there is a worker"
            bound = text.decode().split()[-1] if code == b"429" else ""
            if code == b"502":
                bound = self._check_given_up(sent.peer, text.decode())
            self.seen[f"{code.decode()} {bound}".strip()] += 1
            return
        token = sent.body[-1] if sent.what == "final" else sent.body[1]
        assert isinstance(token, bytes)
        asked = self.asked[self.owners[token]]
        assert not asked.cancelled
        assert not asked.answers, "answered twice"
        if sent.what == "final":
            asked.answers = 1
            gathered = [] if asked.spelled is not RFC7 else range(asked.parts_made)
            assert sent.body[2:-2:3] == [b"%d" % part for part in gathered]
            assert len(sent.body) == 3 * len(gathered) + 2
            assert asked.parts == (0 if asked.spelled is RFC7 else asked.parts_made)
            assert frames == asked.spelled.final(asked.client, asked.service, *sent.body)
        else:
            assert frames == asked.spelled.partial(asked.client, asked.service, *sent.body)
            assert sent.body[2] == b"%d" % asked.parts, "a part was lost or repeated"
            asked.parts += 1

    def _check_given_up(self, client: bytes, text: str) -> str:
        """Check that a 502 names its limit, and that a request of its client has reached it."""
        limits = self.settings
        candidates = [asked for asked in self.asked.values() if asked.client == client]
        if "(--max-attempts)" in text:
            assert any(asked.deaths == limits.max_attempts for asked in candidates)
            return "died"
        assert "(--max-lost)" in text
        assert any(asked.losses >= limits.max_lost for asked in candidates)
        return "lost"

    # What must hold.

    def check(self) -> None:
        broker, counters = self.broker, self.broker.counters
        held = [w.job for w in broker.workers.values() if w.job is not None]
        queued = [job for s in broker.services.values() for job in _queued(s)]
        places = [job for job in [*queued, *held] if not job.over]
        assert len(set(map(id, [*queued, *held]))) == len(queued) + len(held), "in two places"
        assert broker.held == sum(not job.over for job in held)
        ended = _ended(counters)
        waiting_jobs = sum(s.queued for s in broker.services.values())
        assert counters.accepted == ended + waiting_jobs + broker.held
        assert {id(job) for c in broker.clients.lanes.values() for job in c.jobs} == set(
            map(id, places)
        )
        assert all(job.client is c for c in broker.clients.lanes.values() for job in c.jobs)
        assert all(c.name == name for name, c in broker.clients.lanes.items())
        assert all(c.jobs for c in broker.clients.lanes.values()), "a client that waits for nothing"
        assert counters.accepted == sum(self.sent.values())
        assert counters.cancelled == sum(self.cancelled.values())
        for client, sent in self.sent.items():
            waits = len(broker.clients.lanes[client].jobs) if client in broker.clients.lanes else 0
            assert sent == self.finals[client] + self.cancelled[client] + waits
        for service in broker.services.values():
            self._check_service(service)
        self._check_workers()
        assert broker.deadline() <= self._due()

    def _check_service(self, service: Service) -> None:
        broker, limits = self.broker, self.settings
        workers = [w for w in broker.workers.values() if w.service is service]
        held = [w.job for w in workers if w.job is not None and not w.job.over]
        queued = _queued(service)
        assert service.workers == len(workers)
        assert service.busy == sum(w.job is not None or w.retired for w in workers)
        assert not any(job.over for job in queued)
        assert service.queued == len(queued)
        assert service.body_bytes == sum(job.body_bytes for job in [*queued, *held])
        assert service.body_bytes <= limits.max_queue_bytes
        for owner in broker.clients.owners.values():  # requeued ones too
            assert service.queue.queued_by(owner) <= limits.max_queue + limits.max_attempts * 6
        assert not (service.queue.length and service.idle), "jobs wait while workers idle"
        assert all(job.service is service for job in [*queued, *held])
        for job in [*queued, *held]:
            asked = self.asked[_number(job)]
            assert job.deaths == asked.deaths < limits.max_attempts
            assert job.losses <= min(asked.losses, limits.max_lost - 1)
        serving = {w.fingerprint for w in workers if not w.retired}
        assert serving <= {service.fingerprint}
        assert service.retired == sum(w.retired for w in workers)
        unserved = self.unserved([asked.client for asked in self.asked.values()])
        assert (service.text in unserved) == (bool(queued) and not workers)
        assert all(job.worker is None for job in queued)

    def _check_workers(self) -> None:
        broker = self.broker
        assert len(broker.services) <= self.settings.max_services
        for name, worker in broker.workers.items():
            assert worker.name == name
            assert broker.services[worker.service.name] is worker.service
            assert worker.retired == (name in self.retired)
            may_get_more = worker.job is None and not worker.retired
            assert (worker in worker.service.idle) == may_get_more
            assert self.live.get(name, b"") == (worker.token if worker.job else b"")
        assert set(self.live) <= set(broker.workers)
        assert set(self.members) == set(broker.workers)
        assert broker.counters.workers_died == self.died
        assert self.retired <= set(broker.workers)
        idle = [w for s in broker.services.values() for w in s.idle]
        assert all(broker.workers.get(w.name) is w for w in idle)
        assert len(idle) == len(set(map(id, idle)))

    def _due(self) -> float:
        """When something must be done at the latest, by docs/protocol.md."""
        due, heartbeats = math.inf, self.settings.heartbeats
        for worker in self.broker.workers.values():
            due = min(due, worker.sent_at + 1.0, worker.heard_at + 1.0 * heartbeats.liveness)
            if worker.job is not None and worker.service.name == b"beta":
                limit_s = self.settings.time_limits_s.get("beta", math.inf)
                assert limit_s is not None
                due = min(due, worker.asked_at + limit_s)
        for service in self.broker.services.values():
            for job in _queued(service) if not service.workers else []:
                since = max(job.accepted_at, service.unserved_since)
                due = min(due, since + self.settings.expiry_s)
        return due

    def unserved(self, lanes: list[bytes]) -> dict[str, float]:
        """The services without a worker for which these lanes wait, by the broker's report."""
        (answer,) = self.broker.receive(RFC18.ask(b"m", b"mmi.broker", *lanes[-500:]), self.now)
        packed = answer[-1]
        assert isinstance(packed, bytes)
        report = msgpack.unpackb(packed)
        assert set(report["unserved"].values()) <= {
            self.now - service.unserved_since for service in self.broker.services.values()
        }
        return dict(report["unserved"])

    def settle(self) -> None:
        """Nobody says anything any more: within silence and expiry every client has its answer."""
        end = self.now + 3.0 + self.settings.expiry_s + 0.001
        while self.broker.clients.lanes:
            self.step(("deadline", 0, 0, 0))
            assert self.now <= end, "a request waits for ever"
        counters = self.broker.counters
        assert counters.accepted == _ended(counters)

    def stop(self, after: list[Step]) -> None:
        """Drain, go on for a while, close: every client has its answer, every worker is told."""
        self.deliver(self.broker.drain(self.now))
        assert not any(service.queued for service in self.broker.services.values())
        for step in after:
            accepted, refused = self.broker.counters.accepted, self.seen["503"]
            self.step(step)
            if self.broker.counters.accepted > accepted:
                assert self.seen["503"] + self.seen["429 services"] > refused
        workers = set(self.broker.workers)
        out = [read(frames) for frames in self.broker.close(self.now)]
        assert {sent.peer for sent in out if sent.what == "disconnect"} == workers
        self.finals.update(sent.peer for sent in out if sent.what == "final")
        for client, asked in self.sent.items():
            assert asked == self.finals[client] + self.cancelled[client]


def _ended(counters: Counters) -> int:
    ended = counters.answered + counters.refused + counters.cancelled
    return ended + counters.undelivered


def _number(job: PendingRequest) -> bytes:
    number = job.body[0]
    assert isinstance(number, bytes)
    return number


def _queued(service: Service) -> list[PendingRequest]:
    """Its queued requests, from the inside of its queue."""
    queue = service.queue
    turns = [*queue._interactive.values(), *queue._others.values()]
    return [job for jobs in turns for job in jobs]


def _dialect(worker: int) -> Spelling:
    return DIALECTS[worker % 3]


def _forwarded(out: list[Sent], mark: bytes) -> list[Sent]:
    return [sent for sent in out if mark in sent.body and sent.what in ("partial", "final")]


_NUMBERS = st.integers(0, 5)
_STEP = st.tuples(st.sampled_from(ACTS), _NUMBERS, _NUMBERS, _NUMBERS)
_SCRIPT = st.one_of(st.lists(_STEP, max_size=15), st.lists(_STEP, min_size=50, max_size=110))


@settings(max_examples=300, deadline=None, report_multiple_bugs=False)
@given(_SCRIPT)
def test_every_request_is_in_one_place_and_is_answered_once_whatever_happens(
    script: list[Step],
) -> None:
    world = World()
    for step in script:
        world.step(step)
    world.settle()
    for seen in world.seen:
        event(seen)


@settings(max_examples=120, deadline=None, report_multiple_bugs=False)
@given(_SCRIPT, st.lists(_STEP, max_size=20))
def test_a_broker_that_is_stopped_at_any_moment_answers_everyone(
    script: list[Step], after: list[Step]
) -> None:
    world = World()
    for step in script:
        world.step(step)
    world.stop(after)


def _random_steps(seed: int, count: int, acts: list[str]) -> Iterator[Step]:
    dice = random.Random(seed)
    for _ in range(count):
        yield (dice.choice(acts), dice.randrange(6), dice.randrange(6), dice.randrange(6))


def test_the_random_steps_reach_everything_that_can_happen() -> None:
    world = World()
    for step in _random_steps(seed=1, count=16_000, acts=ACTS):
        world.step(step)
    world.settle()
    counters = world.broker.counters
    for count in (counters.answered, counters.cancelled, counters.partials, counters.requeued):
        assert count > 20
    for count in (counters.dead_tokens, counters.malformed, counters.unexpected):
        assert count > 20
    for count in (counters.unreachable, counters.workers_lost, counters.workers_died):
        assert count > 20
    for what in ("404", "429 client", "429 free", "429 services", "502 died", "502 lost", "504"):
        assert world.seen[what] > 5, (what, world.seen)
    for what in ("heartbeat", "disconnect", "cancelled while held", "cancelled in the queue"):
        assert world.seen[what] > 5, (what, world.seen)
    assert world.seen["answer to what was cancelled"] > 5
    for what in ("retired while idle", "retired while held", "stop b'grace'", "stop b'now'"):
        assert world.seen[what] > 5, (what, world.seen)
    for what in ("a name taken over", "another broker"):
        assert world.seen[what] > 5, (what, world.seen)


def test_a_long_queue_in_which_much_is_cancelled_stays_consistent() -> None:
    world = World(ROOMY)
    acts = ["ask", "ask", "ask", "cancel", "final", "heartbeat", "tick"]
    world.step(("ready", 0, 0, 0))
    for step in _random_steps(seed=2, count=2500, acts=acts):
        world.step(step)
    assert sum(service.queued for service in world.broker.services.values()) > 50
    world.settle()


# Frames that nobody would send.


_WORDS = st.sampled_from(
    [
        *[b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"alpha", b"mmi.cancel"],
        *[b"mmi.broker", b"mmi.workers", b"w0", b"c0", b"s" * 10_000, b"\xff\x00"],
        *[bytes([command]) for command in range(8)],
    ]
)
_FRAMES = st.lists(st.one_of(_WORDS, st.binary(max_size=8)), max_size=8)


@settings(max_examples=120, deadline=None, report_multiple_bugs=False)
@example([[]])
@example([[b"w0", b"MDPW02", b"\x04", b"", b""]])
@given(st.lists(_FRAMES, max_size=12))
def test_no_list_of_frames_makes_the_broker_raise_or_lose_count(
    messages: list[list[bytes]],
) -> None:
    broker = Broker(TIGHT, 0.0, instance=b"INSTANCE")
    broker.receive(RFC18.ready(b"w0", b"alpha"), 0.0)
    for client in (b"c0", b"c1"):
        broker.receive(RFC18.ask(client, b"alpha", b"x"), 0.0)
    for frames in messages:
        for sent in broker.receive([*frames], 0.0):
            assert sent[0] in {b"w0", b"c0", b"c1", *(m[0] for m in messages if m)}
        counters = broker.counters
        ended = _ended(counters)
        queued = sum(service.queued for service in broker.services.values())
        assert counters.accepted == ended + queued + broker.held
    broker.tick(1000.0)


@pytest.mark.parametrize("start", [[b"", b"MDPC01"], [b"MDPC02", b"\x01"], [b"MDPW02", b"\x04"]])
def test_a_message_of_10000_frames_is_dropped(start: list[bytes]) -> None:
    broker = Broker(TIGHT, 0.0, instance=b"INSTANCE")
    assert broker.receive([b"p", *start, b"alpha", *[b""] * 10_000], 0.0) == []
    assert broker.counters.malformed == 1


@pytest.mark.parametrize("name", [b"", b"s" * 256, b"s" * 10_000, b"\x00" * 10_000])
def test_a_service_name_that_is_empty_or_too_long_is_dropped(name: bytes) -> None:
    broker = Broker(TIGHT, 0.0, instance=b"INSTANCE")
    for spelled in DIALECTS:
        assert broker.receive(spelled.ask(b"c0", name, b"x"), 0.0) == []
        assert broker.receive(spelled.ready(b"w0", name), 0.0) == []
    assert broker.counters.malformed == 6
    assert not broker.services

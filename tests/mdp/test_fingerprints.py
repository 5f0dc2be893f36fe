"""Workers of different fingerprints do not serve one name: cores by the numbers, and processes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import zmq
from typer.testing import CliRunner

from mdp import Client, MDPError, SettingsError, WorkersDied
from mdp.broker.broker import Broker
from mdp.broker.fingerprints import fingerprint_of, known_facts
from mdp.commands.cli import app
from mdp.settings import BrokerSettings, Heartbeats, WorkerSettings
from mdp.wire import Frame, Frames
from mdp.worker.host import Host, KillChild
from mdp.worker.session import Close, Open, Send, Session
from tests.interop import rfc7
from tests.support.fingerprinted import VARIABLE
from tests.support.frames import MAJORTOMO, RFC7, RFC18, SPELLINGS, Spelling, token_of
from tests.support.processes import QUICK, QUICK_CLIENT, Process, Processes, until, wait_for_workers

S = b"plane2"
WORKERS = pytest.mark.parametrize("worker", list(SPELLINGS.values()), ids=list(SPELLINGS))
BROKER = {"instance": b"INSTANCE".hex(), "user": "ann", "host": "login2"}
OK = [b"200", msgpack.packb({"max_bytes": 2 << 30, **BROKER})]


@pytest.fixture
def broker() -> Broker:
    settings = BrokerSettings(heartbeats=Heartbeats(1.0, 3))
    return Broker(settings, 0.0, instance=b"INSTANCE", user="ann", host="login2")


def say(broker: Broker, worker: bytes, *body: bytes, spelling: Spelling = RFC18) -> Frames:
    """What the broker answers to a worker's fingerprint."""
    (answer,) = broker.receive(spelling.ask(worker, b"mmi.fingerprint", *body), 0.0)
    return answer[len(spelling.final(worker, b"mmi.fingerprint")) :]


def join(broker: Broker, worker: bytes, fingerprint: bytes, now: float = 0.0) -> bool:
    """Whether a worker that says so, and then READY, is taken."""
    if fingerprint:
        say(broker, worker, S, fingerprint)
    out = broker.receive(RFC18.ready(worker, S), now)
    assert out in ([], [RFC18.disconnect(worker)])
    assert (not out) == (worker in broker.workers)
    return not out


# The broker.


@pytest.mark.parametrize("first", [b"A", b""])
@pytest.mark.parametrize("second", [b"A", b"B", b""])
def test_only_workers_of_one_fingerprint_serve_a_name(
    broker: Broker, first: bytes, second: bytes
) -> None:
    assert join(broker, b"w1", first)
    assert join(broker, b"w2", second) == (first == second)
    assert broker.services[S].workers == 1 + (first == second)


@WORKERS
def test_foreign_workers_serve_names_that_nobody_fingerprinted(
    broker: Broker, worker: Spelling
) -> None:
    assert join(broker, b"w0", b"")
    assert broker.receive(worker.ready(b"w1", S), 0.0) == []
    assert broker.receive(worker.ready(b"w2", b"another"), 0.0) == []
    assert len(broker.workers) == 3


@WORKERS
def test_a_foreign_worker_for_a_fingerprinted_name_is_sent_away_in_its_dialect(
    broker: Broker, worker: Spelling
) -> None:
    assert join(broker, b"w1", b"A")
    assert broker.receive(worker.ready(b"w2", S), 0.0) == [worker.disconnect(b"w2")]
    assert broker.services[S].workers == 1


def test_each_name_has_a_fingerprint_of_its_own(broker: Broker) -> None:
    assert join(broker, b"w1", b"A")
    assert say(broker, b"w2", b"plane1", b"B") == OK
    assert broker.receive(RFC18.ready(b"w2", b"plane1"), 0.0) == []


def test_a_fingerprint_said_of_another_name_counts_for_none(broker: Broker) -> None:
    assert join(broker, b"w1", b"A")
    assert say(broker, b"w2", b"plane1", b"A") == OK
    assert broker.receive(RFC18.ready(b"w2", S), 0.0) == [RFC18.disconnect(b"w2")]


def test_the_answer_says_who_is_there_and_who_comes(broker: Broker) -> None:
    join(broker, b"w1", b"A\n")
    join(broker, b"w2", b"A\n")
    code, text = say(broker, b"w3", S, b"B")
    assert code == b"409"
    assert isinstance(text, bytes)
    assert text.decode() == (
        "plane2 is served by 2 workers of fingerprint 'A\\n', this one has fingerprint 'B':"
        " stop the others first"
    )


def test_workers_that_say_none_are_named_as_that(broker: Broker) -> None:
    broker.receive(RFC7.ready(b"w1", S), 0.0)
    _, text = say(broker, b"w2", S, b"B")
    assert isinstance(text, bytes)
    assert b"served by 1 worker of no fingerprint" in text


@pytest.mark.parametrize("lost_by", ["disconnect", "silence", "second READY", "unreachable"])
def test_when_the_last_one_is_gone_another_fingerprint_may_serve(
    broker: Broker, lost_by: str
) -> None:
    assert join(broker, b"w1", b"A")
    broker.receive(RFC18.ask(b"c1", S, b"image"), 0.0)
    broker.receive(RFC18.ask(b"c2", S, b"image"), 0.0)
    lose = {
        "disconnect": lambda: broker.receive(RFC18.disconnect(b"w1"), 1.0),
        "silence": lambda: broker.tick(3.0),
        "second READY": lambda: broker.receive(RFC18.ready(b"w1", S), 1.0),
        "unreachable": lambda: broker.unreachable(b"w1", 1.0),
    }
    lose[lost_by]()
    say(broker, b"w2", S, b"B")
    out = broker.receive(RFC18.ready(b"w2", S), 3.0)
    assert out == [RFC18.asked(b"w2", token_of(out[0]), b"image")]  # what was queued goes on
    assert not join(broker, b"w3", b"A", 3.0)


def test_when_all_workers_have_retired_another_fingerprint_may_serve(broker: Broker) -> None:
    assert join(broker, b"w1", b"A")
    assert join(broker, b"w2", b"A")
    broker.receive(RFC18.ask(b"w1", b"mmi.retire"), 0.0)
    code, text = say(broker, b"w3", S, b"B")
    assert code == b"409"
    assert isinstance(text, bytes)
    assert b"served by 1 worker of" in text  # the other one does not count any more
    assert not join(broker, b"w3", b"B")
    broker.receive(RFC18.ask(b"w2", b"mmi.retire"), 0.0)
    assert join(broker, b"w3", b"B")
    assert not join(broker, b"w4", b"A")  # the name has changed hands
    assert join(broker, b"w5", b"B")
    for worker in (b"w1", b"w2"):
        broker.receive(RFC18.disconnect(worker), 0.0)
    assert not join(broker, b"w6", b"A")
    assert broker.services[S].serving == 2


def test_a_retired_worker_still_answers_while_others_have_its_name(broker: Broker) -> None:
    assert join(broker, b"w1", b"A")
    token = token_of(broker.receive(RFC18.ask(b"c1", S, b"image"), 0.0)[0])
    broker.receive(RFC18.ask(b"c2", S, b"image"), 0.0)
    broker.receive(RFC18.ask(b"w1", b"mmi.retire"), 0.0)
    broker.receive(RFC18.ask(b"w1", b"mmi.retire"), 0.0)  # once more: it counts once
    say(broker, b"w2", S, b"B")
    out = broker.receive(RFC18.ready(b"w2", S), 0.0)
    assert out == [RFC18.asked(b"w2", token_of(out[0]), b"image")]
    out = broker.receive(RFC18.reply(b"w1", token, b"scores"), 0.0)
    assert out == [RFC18.final(b"c1", S, b"scores")]
    assert (broker.services[S].workers, broker.services[S].serving) == (2, 1)


def test_the_request_of_a_retired_worker_that_is_lost_goes_to_its_successor(
    broker: Broker,
) -> None:
    assert join(broker, b"w1", b"A")
    broker.receive(RFC18.ask(b"c1", S, b"image"), 0.0)
    broker.receive(RFC18.ask(b"w1", b"mmi.retire"), 0.0)
    assert join(broker, b"w2", b"B")
    out = broker.receive(RFC18.disconnect(b"w1"), 0.0)
    assert out == [RFC18.asked(b"w2", token_of(out[0]), b"image")]


def test_one_that_comes_back_after_being_refused_says_it_again(broker: Broker) -> None:
    assert join(broker, b"w1", b"A")
    assert not join(broker, b"w2", b"B")
    assert broker.receive(RFC18.ready(b"w2", S), 0.0) == [RFC18.disconnect(b"w2")]
    broker.receive(RFC18.disconnect(b"w1"), 0.0)
    assert join(broker, b"w2", b"B")
    assert broker.workers[b"w2"].fingerprint == b"B"


@pytest.mark.parametrize("body", [[], [S], [S, b"A", b"more"], [S, b"x" * 256], [b"", b"x" * 1000]])
def test_what_is_no_fingerprint_is_refused_and_forgotten(broker: Broker, body: list[bytes]) -> None:
    assert say(broker, b"w1", *body) == [b"400"]
    assert join(broker, b"w1", b"")
    assert broker.workers[b"w1"].fingerprint == b""


@pytest.mark.parametrize("spelling", [RFC7, MAJORTOMO])
def test_workers_of_every_dialect_can_say_theirs(broker: Broker, spelling: Spelling) -> None:
    assert join(broker, b"w1", b"A")
    assert say(broker, b"w2", S, b"A", spelling=spelling) == OK
    assert broker.receive(spelling.ready(b"w2", S), 0.0) == []


def test_peers_that_say_one_and_never_come_do_not_fill_the_memory(broker: Broker) -> None:
    for number in range(10_050):
        say(broker, b"p%d" % number, S, b"A")
    assert len(broker._fingerprints._announced) == 10_000
    broker.receive(RFC18.ready(b"p10049", S), 0.0)
    assert broker.workers[b"p10049"].fingerprint == b"A"


def test_mmi_workers_shows_it(broker: Broker) -> None:
    join(broker, b"w1", b"A\xff")
    (answer,) = broker.receive(RFC18.ask(b"me", b"mmi.workers"), 0.0)
    packed = answer[-1]
    assert isinstance(packed, bytes)
    assert msgpack.unpackb(packed)["workers"][0]["fingerprint"] == "A\\xff"


# Facts.

ALL_FACTS: dict[str, object] = {
    "regular": True,
    "instance": b"INSTANCE".hex(),
    "host": "n1",
    "pid": 4711,
    "job": "8812_3",
    "task": 0,
    "threads": 4,
    "device": "cuda:0",
    "version": "0.16.0",
    "until": 1.8e9,
    "log": "/home/ann/july/logs/8812_3.log",
}


def facts_of(broker: Broker, worker: bytes) -> object:
    (answer,) = broker.receive(RFC18.ask(b"me", b"mmi.workers"), 0.0)
    packed = answer[-1]
    assert isinstance(packed, bytes)
    rows = msgpack.unpackb(packed)["workers"]
    shown_name = hashlib.sha256(worker).hexdigest()[:16]
    return next(row["facts"] for row in rows if row["address"] == shown_name)


def announce(broker: Broker, worker: bytes, facts: object) -> Frames:
    return say(broker, worker, S, b"A", msgpack.packb(facts))


def shown(broker: Broker, facts: object) -> object:
    """What mmi.workers shows of a worker that has announced these facts."""
    assert announce(broker, b"w1", facts) == OK
    assert broker.receive(RFC18.ready(b"w1", S), 0.0) == []
    return facts_of(broker, b"w1")


def test_mmi_workers_shows_every_known_fact(broker: Broker) -> None:
    assert shown(broker, ALL_FACTS) == ALL_FACTS
    assert broker.services[S].regular


def test_facts_that_nobody_knows_are_dropped(broker: Broker) -> None:
    assert shown(broker, {"host": "n1", "colour": "red", "": 1}) == {"host": "n1"}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[("regular", 1), ("regular", "yes"), ("host", 7), ("host", b"n1"), ("host", ["n1"])],
        *[("pid", "4711"), ("pid", -1), ("pid", True), ("pid", 1.5), ("pid", (1 << 64) - 1)],
        *[("until", "now"), ("until", float("nan")), ("until", float("inf")), ("until", -1.0)],
        *[("until", True), ("instance", 7), ("log", None), ("threads", {}), ("job", 8812)],
    ],
)
def test_a_fact_of_the_wrong_kind_is_dropped(broker: Broker, name: str, wrong: object) -> None:
    assert shown(broker, {name: wrong, "task": 3}) == {"task": 3}
    assert not broker.services[S].regular


def test_texts_are_cut_and_have_one_line(broker: Broker) -> None:
    facts = {"host": "n\x1b[2J\n1", "job": "8" * 500, "log": "/long" * 500}
    want = {"host": "n\\x1b[2J\\n1", "job": "8" * 128, "log": ("/long" * 500)[:1024]}
    assert shown(broker, facts) == want
    assert shown_length(broker, "\n" * 100) == 128


def shown_length(broker: Broker, text: str) -> int:
    broker.receive(RFC18.disconnect(b"w1"), 0.0)
    facts = shown(broker, {"device": text})
    assert isinstance(facts, dict)
    return len(facts["device"])


@pytest.mark.parametrize(
    "facts", [b"", b"\xc1", b"\x91\x01", b"\x81\x01\x02", b"\xa3abc", b"\x81\xa4host\xa1\xff"]
)
def test_what_is_no_map_of_facts_is_refused(broker: Broker, facts: bytes) -> None:
    assert say(broker, b"w1", S, b"A", facts) == [b"400"]


def test_more_than_8192_bytes_of_facts_are_refused(broker: Broker) -> None:
    rest = len(msgpack.packb({"log": ""})) + 2  # a long text has two more bytes of length
    assert announce(broker, b"w1", {"log": "x" * (8192 - rest)}) == OK
    assert announce(broker, b"w1", {"log": "x" * (8193 - rest)}) == [b"400"]


def test_the_longest_facts_of_a_worker_are_accepted(broker: Broker) -> None:
    wide = "\U0001f980" * 2000  # four bytes each
    facts = known_facts({**ALL_FACTS, **dict.fromkeys(("host", "job", "device", "log"), wide)})
    assert len(msgpack.packb(facts)) > 4096
    assert announce(broker, b"w1", facts) == OK


def test_a_worker_without_facts_has_none(broker: Broker) -> None:
    assert join(broker, b"w1", b"A")
    assert facts_of(broker, b"w1") == {}


def test_the_verdict_has_the_broker_and_who_runs_it(broker: Broker) -> None:
    code, packed = announce(broker, b"w1", {})
    assert code == b"200"
    assert isinstance(packed, bytes)
    assert msgpack.unpackb(packed) == {"max_bytes": 2 << 30, **BROKER}


@pytest.mark.parametrize("fingerprint", [b"A", b"B"])
def test_a_worker_that_looks_for_another_broker_is_refused(
    broker: Broker, fingerprint: bytes
) -> None:
    assert join(broker, b"w1", b"A")
    wanted = b"another!".hex()
    facts = msgpack.packb({"instance": wanted})
    code, text = say(broker, b"w2", S, fingerprint, facts)
    assert code == b"410"  # also if its fingerprint would be refused, too
    assert isinstance(text, bytes)
    assert wanted in text.decode()
    assert f"{b'INSTANCE'.hex()} of ann on login2" in text.decode()
    assert broker.receive(RFC18.ready(b"w2", S), 0.0) == [RFC18.disconnect(b"w2")]
    assert broker.services[S].workers == 1
    assert join(broker, b"w2", b"A")  # it has read its file again, which names no broker


@pytest.mark.parametrize("facts", [{}, {"instance": ""}, {"instance": b"INSTANCE".hex()}])
def test_a_worker_that_looks_for_this_broker_or_for_any_is_taken(
    broker: Broker, facts: dict[str, str]
) -> None:
    assert announce(broker, b"w1", facts) == OK
    assert broker.receive(RFC18.ready(b"w1", S), 0.0) == []


@pytest.mark.parametrize("wrong", ["x" * 256, b"bytes", None])
def test_a_worker_with_no_usable_fingerprint_is_refused(wrong: object) -> None:
    with pytest.raises(SettingsError, match="want a fingerprint"):
        fingerprint_of(wrong)  # type: ignore[arg-type]


# A worker's side.

FACTS = b"\x81\xa7regular\xc2"  # msgpack: {"regular": False}
SAID: list[Frame] = [b"MDPC02", b"\x01", b"mmi.fingerprint", S, b"B", FACTS]
READY: list[Frame] = [b"MDPW02", b"\x01", S]
GO_AWAY: Frames = [b"MDPW02", b"\x06"]


def verdict(*body: bytes) -> Frames:
    return [b"MDPC02", b"\x03", b"mmi.fingerprint", *body]


def a_host() -> Host:
    """Its child is idle and has said its fingerprint, at the time 0."""
    host = Host(S, WorkerSettings(heartbeats=Heartbeats(1.0, 3), reconnect_s=1.0), name="plane2#1")
    host.tick(0.0)
    assert host.ready(0.0, b"B") == [Open(), Send(SAID), Send(READY)]
    return host


def test_without_a_fingerprint_an_empty_one_is_announced() -> None:
    session = Session(S, WorkerSettings())
    assert session.open(0.0) == [Open(), Send([*SAID[:4], b"", FACTS]), Send(READY)]


def test_a_worker_that_is_refused_for_liveness_times_interval_ends_and_says_why() -> None:
    host, now = a_host(), 0.0
    for _ in range(3):
        assert host.receive(verdict(b"409", b"A serves"), now) == []
        assert host.receive(GO_AWAY, now) == [Close()]
        now += 1.0
        assert host.deadline() == now
        assert host.tick(now) == [Open(), Send(SAID), Send(READY)]
    out = host.receive(verdict(b"409", b"A \x1bserves"), now)
    assert out == [Send([b"MDPW02", b"\x06"]), Close(flush=True), KillChild()]
    assert host.ended
    assert host.failure == "plane2#1: A \\x1bserves"


def test_a_worker_that_is_taken_after_a_refusal_serves_on() -> None:
    host = a_host()
    host.receive(verdict(b"409", b"A serves"), 0.0)
    host.receive(GO_AWAY, 0.0)
    host.tick(1.0)
    host.receive(verdict(*(bytes(frame) for frame in OK)), 1.0)
    host.receive([b"MDPW02", b"\x05"], 3.5)
    host.receive(verdict(b"409", b"others serve"), 5.0)  # a new row of refusals begins
    assert not host.ended
    assert host.failure is None


def test_only_a_refusal_ends_a_worker_and_silence_begins_a_new_row() -> None:
    host = a_host()
    host.receive(verdict(b"409", b"A serves"), 0.0)
    host.receive(GO_AWAY, 0.0)
    host.tick(1.0)
    host.receive([b"MDPW02", b"\x05"], 3.5)  # of another broker, which judges nobody
    assert not host.ended
    assert host.tick(6.5) == [Close()]
    host.tick(host.deadline())
    host.receive(verdict(b"409", b"others serve"), 8.0)
    assert not host.ended


@pytest.mark.parametrize("answer", [[b"501"], [], [b"400"], [b"409"], [b"409", b"a", b"b"]])
def test_what_other_brokers_answer_changes_nothing(answer: list[bytes]) -> None:
    host = a_host()
    host.receive(verdict(*answer), 0.0)
    host.receive([b"MDPW02", b"\x05"], 2.0)
    assert host.receive(verdict(*answer), 4.0) == []
    assert not host.ended
    assert host.session.is_open


# Real processes.


Start = Callable[..., Process]


@pytest.fixture
def start(processes: Processes, endpoint: str) -> Start:
    """Workers of service `twin` with a fingerprint, at a broker that is there already."""
    processes.broker(endpoint, *QUICK, "--max-attempts", "1")

    def started(fingerprint: str, *options: str, target: str = "Fingerprinted") -> Process:
        os.environ[VARIABLE] = fingerprint  # what is started now inherits it
        target = f"tests.support.fingerprinted:{target}"
        return processes.worker(endpoint, "twin", target, *QUICK, *options)

    return started


def test_a_pool_of_other_weights_ends_with_one_clear_error(start: Start, endpoint: str) -> None:
    start("weights A", "-n", "2")
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "twin", 2)
        other = start("weights B")
        assert other.exit_code() == 1
        want = "twin is served by 2 workers of fingerprint 'weights A', this one has"
        assert want in other.stderr.splitlines()[-1]
        assert "weights B" in other.stderr.splitlines()[-1]
        answers = {client.request("twin", [b"x"])[0] for _ in range(20)}
        assert answers == {b"weights A"}
        start("weights A")
        wait_for_workers(client, "twin", 3)


def test_after_the_old_pool_has_stopped_the_new_one_serves(start: Start, endpoint: str) -> None:
    old = start("weights A")
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "twin", 1)
        old.kill()  # without a goodbye: the broker takes a moment to see it
        start("weights B")
        until(lambda: _answer(client) == b"weights B", "the new pool answers")


def _answer(client: Client) -> bytes | None:
    try:
        return client.request("twin", [b"x"], timeout_s=1.0)[0]
    except MDPError:
        return None


def test_a_worker_that_comes_back_with_other_weights_is_refused(
    start: Start, endpoint: str, tmp_path: Path
) -> None:
    """The file was changed under a running pool, and one child died and loaded it again."""
    file = tmp_path / "weights"
    file.write_text("A")
    pool = start(str(file), "-n", "2", target="FromFile")
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "twin", 2)
        file.write_text("B")
        with pytest.raises(WorkersDied):
            client.request("twin", [b"die"])
        pool.wait_until_it_says(
            "twin is served by 1 worker of fingerprint 'A', this one has fingerprint 'B'"
        )
        assert {client.request("twin", [b"x"])[0] for _ in range(20)} == {b"A"}
    assert pool.popen.poll() is None


def test_mdp_services_shows_the_fingerprint_short(start: Start, endpoint: str) -> None:
    fingerprint = "weights 0123456789abcdef network fedcba9876543210"
    start(fingerprint)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "twin", 1)
    table = CliRunner().invoke(app, ["services", "--by-worker", "-b", endpoint])
    assert "0123456789abc..." in table.stdout
    assert fingerprint not in table.stdout
    report = CliRunner().invoke(app, ["services", "--by-worker", "--json", "-b", endpoint])
    assert json.loads(report.stdout)["workers"][0]["fingerprint"] == fingerprint


def test_a_fingerprint_that_is_too_long_ends_the_worker(start: Start) -> None:
    worker = start("", target="TooLong")
    assert worker.exit_code() == 1
    assert "want a fingerprint of at most 255 bytes" in worker.stderr.splitlines()[-1]


def test_a_foreign_worker_goes_on_beside_fingerprinted_names(
    start: Start, processes: Processes, endpoint: str
) -> None:
    start("weights A")
    processes.python("-m", "tests.interop.rfc7", endpoint, "foreign")
    with Client(endpoint, QUICK_CLIENT) as client, rfc7.Client(endpoint) as old:
        wait_for_workers(client, "twin", 1)
        wait_for_workers(client, "foreign", 1)
        assert client.request("foreign", [b"reverse", b"abc"]) == [b"cba"]
        assert old.request(b"twin", [b"x"]) == [b"weights A", b"x"]


@pytest.mark.parametrize("answers", [True, False], ids=["501", "silence"])
def test_a_fingerprinted_worker_serves_a_broker_that_knows_no_fingerprints(
    processes: Processes, endpoint: str, answers: bool
) -> None:
    """A broker of others, as RFC 18 has it: literal frames, which knows no `mmi.fingerprint`."""
    os.environ[VARIABLE] = "weights A"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger, router.rcvtimeo = 0, 20_000
        router.bind(endpoint)
        processes.worker(endpoint, "twin", "tests.support.fingerprinted:Fingerprinted", *QUICK)
        worker, *words = router.recv_multipart()
        assert words[:-1] == [b"MDPC02", b"\x01", b"mmi.fingerprint", b"twin", b"weights A"]
        assert msgpack.unpackb(words[-1]).items() >= msgpack.unpackb(FACTS).items()
        assert known_facts(msgpack.unpackb(words[-1])) == msgpack.unpackb(words[-1])
        if answers:
            router.send_multipart([worker, b"MDPC02", b"\x03", b"mmi.fingerprint", b"501"])
        assert router.recv_multipart() == [worker, b"MDPW02", b"\x01", b"twin"]
        router.send_multipart([worker, b"MDPW02", b"\x02", b"token", b"", b"x"])
        heard = until(lambda: _reply(router), "the worker replies")
        assert heard == [b"MDPW02", b"\x04", b"token", b"", b"weights A", b"x"]


def _reply(router: zmq.Socket[bytes]) -> list[bytes] | None:
    _, *frames = router.recv_multipart()
    return None if frames == [b"MDPW02", b"\x05"] else frames

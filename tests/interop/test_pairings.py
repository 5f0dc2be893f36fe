"""Every client with every worker, of MDP/0.1, of MDP/0.2 and of majortomo's 0.2."""

from __future__ import annotations

import pytest

from mdp import Client
from tests.interop import rfc7
from tests.interop.peers import DIALECTS, Ask, ask_majortomo, ask_ours, ask_rfc7
from tests.support.processes import QUICK_CLIENT


@pytest.fixture(params=DIALECTS, ids=[f"{name} worker" for name in DIALECTS])
def dialect(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_a_client_is_answered(ask: Ask, served: str, dialect: str) -> None:
    for number in range(5):
        text = b"request %d" % number
        assert ask(served, dialect.encode(), [b"reverse", text]) == [[text[::-1]]]


def test_an_empty_frame_and_a_large_one_pass(ask: Ask, served: str, dialect: str) -> None:
    for text in (b"", bytes(range(256)) * 4096):
        assert ask(served, dialect.encode(), [b"reverse", text]) == [[text[::-1]]]


def test_many_requests_come_back_in_order(served: str, dialect: str) -> None:
    texts = [b"request %d" % number for number in range(200)]
    with Client(served, QUICK_CLIENT) as client:
        answers = client.map(dialect, ([b"reverse", text] for text in texts))
        assert list(answers) == [[text[::-1]] for text in texts]


def test_one_client_of_the_rfc_asks_many_times(served: str, dialect: str) -> None:
    with rfc7.Client(served) as client:
        for number in range(100):
            text = b"request %d" % number
            assert client.request(dialect.encode(), [b"reverse", text]) == [text[::-1]]


STREAMING = pytest.mark.parametrize("streaming", ["MDP/0.2", "majortomo"])


@STREAMING
@pytest.mark.parametrize("ask", [ask_ours, ask_majortomo])
def test_a_stream_comes_part_by_part(ask: Ask, served: str, streaming: str) -> None:
    parts = [[b"part", b"%d" % number] for number in range(10)]
    assert ask(served, streaming.encode(), [b"count", b"10"]) == parts


@STREAMING
def test_a_0_1_client_gets_all_parts_of_a_stream_in_one_reply(served: str, streaming: str) -> None:
    with rfc7.Client(served) as client:
        answer = client.request(streaming.encode(), [b"count", b"3"])
    assert answer == [b"part", b"0", b"part", b"1", b"part", b"2"]


def test_a_refusal_is_seen_as_three_frames_by_other_peoples_clients(served: str) -> None:
    for ask in (ask_majortomo, ask_rfc7):
        answer = ask(served, b"MDP/0.2", [b"refuse"])
        assert answer == [[b"MDP-ERROR", b"400", b"want another input"]]


def test_mmi_service_says_200_if_a_worker_lives_and_404_if_none_does(
    ask: Ask, served: str, dialect: str
) -> None:
    assert ask(served, b"mmi.service", [dialect.encode()]) == [[b"200"]]
    assert ask(served, b"mmi.service", [b"nobody"]) == [[b"404"]]
    assert ask(served, b"mmi.nonsense", [b"nobody"]) == [[b"501"]]

"""Addresses of brokers: one parser says which can be connected to, which be bound, and why not."""

from __future__ import annotations

import ipaddress
import socket

import pytest
import zmq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mdp import Client, SettingsError
from mdp.sockets import Wakeup, is_served, target, why_unreachable
from mdp.sockets.addresses import MAX_PATH_BYTES, advertised, contact_path, how_to_serve, parse
from mdp.worker.worker_loop import serve_workers
from tests.support.processes import free_port

GOOD = [
    ("tcp://127.0.0.1:5555", "127.0.0.1", 5555),
    ("tcp://node7.site.example:1", "node7.site.example", 1),
    ("tcp://my_node-2:65535", "my_node-2", 65535),
    ("tcp://[::1]:5555", "::1", 5555),
    ("tcp://[fe80::1%eth0]:5555", "fe80::1%eth0", 5555),
    ("tcp://[::ffff:10.0.0.1]:5555", "::ffff:10.0.0.1", 5555),
]
ONLY_TO_BIND = ["tcp://*:5555", "tcp://127.0.0.1:0", "tcp://127.0.0.1:*", "tcp://[::]:00"]
BAD = [
    "",
    "node7:5555",
    "tcp://node7",
    "tcp://node7:",
    "tcp://:5555",
    "tcp://node7:5555/",
    "tcp://node7:65536",
    "tcp://127.0.0.1:99999",
    "tcp://127.0.0.1:4294967301",
    "tcp://127.0.0.1:" + "9" * 5000,
    "tcp://node7:-1",
    "tcp://node7:+1",
    "tcp://node7:5a",
    "tcp://node7:\N{ARABIC-INDIC DIGIT THREE}",
    "tcp://n\N{LATIN SMALL LETTER E WITH ACUTE}:5555",
    "tcp://a b:5555",
    "tcp://node7:5555 ",
    "tcp://node7:5555\n",
    "tcp://::1:5555",
    "tcp://[127.0.0.1]:5555",
    "tcp://[node7]:5555",
    "tcp://[::1:5555",
    "tcp://[:::1]:5555",
    "tcp://999.0.0.1:5555",
    "tcp://127.1:5555",
    "TCP://node7:5555",
    "udp://node7:5555",
    "inproc://broker",
    "ipc://",
    "ipc://a\0b",
    "ipc://\udcff",
    "ipc:///" + "x" * MAX_PATH_BYTES,
]


@pytest.mark.parametrize(("text", "host", "port"), GOOD)
@pytest.mark.parametrize("bind", [False, True])
def test_host_and_port_of_an_address_are_read(text: str, host: str, port: int, bind: bool) -> None:
    address = parse(text, bind=bind)
    assert (address.text, address.host, address.port, address.path) == (text, host, port, "")


def test_an_ipc_address_is_a_path() -> None:
    path = "/" + "x" * (MAX_PATH_BYTES - 1)
    assert parse(f"ipc://{path}").path == path
    assert parse("ipc://relative/of.sock", bind=True).path == "relative/of.sock"


@pytest.mark.parametrize("text", ONLY_TO_BIND)
def test_wildcards_are_only_to_bind(text: str) -> None:
    parse(text, bind=True)
    with pytest.raises(SettingsError, match="only to bind"):
        parse(text)


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:30]))
@pytest.mark.parametrize("bind", [False, True])
def test_a_bad_address_is_refused_with_what_was_wanted(text: str, bind: bool) -> None:
    with pytest.raises(SettingsError) as raised:
        parse(text, bind=bind)
    assert "want tcp://HOST:PORT or ipc://PATH" in str(raised.value)
    assert repr(text) in str(raised.value)


def test_an_ipv6_address_without_brackets_is_written_right_in_the_error() -> None:
    with pytest.raises(SettingsError, match=r"tcp://\[fe80::2\]:5555"):
        parse("tcp://fe80::2:5555")


# What other machines reach.


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("ipc:///tmp/broker", True),
        ("tcp://localhost:1", True),
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.255.0.3:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://[0:0:0:0:0:0:0:1]:1", True),
        ("tcp://[::ffff:127.0.0.1]:1", True),
        ("tcp://*:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://128.0.0.1:1", False),
        ("tcp://[::]:1", False),
        ("tcp://[::ffff:10.0.0.1]:1", False),
        ("tcp://[::ffff:0.0.0.0]:1", False),
        ("tcp://[fe80::1%eth0]:1", False),
        ("tcp://[2001:db8::1]:1", False),
        ("tcp://127.0.0.1.example:1", False),
        ("tcp://eth0:1", False),
    ],
)
def test_only_loopback_and_files_are_local(text: str, local: bool) -> None:
    assert parse(text, bind=True).is_local == local


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("tcp://127.0.0.1:5555", "`mdp broker`"),
        ("tcp://[::1]:7777", "--bind tcp://[::1]:7777`"),
        ("tcp://node7:7777", "--bind tcp://0.0.0.0:7777 --public`"),
        ("tcp://[2001:db8::1]:7777", "--bind tcp://[::]:7777 --public`"),
    ],
)
def test_the_command_that_starts_a_broker_leads_to_the_address(text: str, command: str) -> None:
    assert command in how_to_serve(text)


# Properties.

IPS = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"))
HOSTS = st.one_of(
    IPS,
    st.from_regex(r"[a-z][a-z0-9_-]{0,10}(\.[a-z0-9]{1,5}){0,2}", fullmatch=True),
)


@settings(deadline=None)
@given(host=HOSTS, port=st.integers(-10, 200_000))
@example(host="node7", port=65535)
@example(host="node7", port=65536)
def test_a_port_is_taken_exactly_from_1_to_65535(host: str, port: int) -> None:
    text = f"tcp://{host}:{port}"
    if 1 <= port <= 65535:
        address = parse(text)
        assert address.port == port
        assert address.host == host.strip("[]")
    else:
        with pytest.raises(SettingsError):
            parse(text)


@settings(deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text(alphabet="tcpi:/[]*%.0123456789af").map("tcp://".__add__),
        st.text().map("ipc://".__add__),
    ),
    st.booleans(),
)
def test_any_text_is_an_address_or_a_settings_error(text: str, bind: bool) -> None:
    try:
        address = parse(text, bind=bind)
    except SettingsError:
        return
    assert address.text == text
    assert bool(address.path) != bool(address.host)
    assert 0 <= address.port <= 65535
    assert bind or address.port or address.path


@settings(deadline=None)
@given(st.one_of(IPS, st.just("localhost")), st.integers(1, 65535))
def test_libzmq_takes_what_the_parser_takes(host: str, port: int) -> None:
    parse(text := f"tcp://{host}:{port}")
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.ipv6 = host.startswith("[")
        dealer.connect(text)


@given(st.ip_addresses())
def test_ipv6_is_used_exactly_for_ipv6_addresses(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    assert target(f"tcp://{host}:5555").ipv6 == (ip.version == 6)


def test_ipv4_is_used_for_a_host_that_has_both_or_is_unknown() -> None:
    assert not target("tcp://localhost:5555").ipv6
    assert not target("tcp://no-such-host.invalid:5555").ipv6
    assert not target("ipc:///tmp/broker").ipv6


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_a_host_that_cannot_be_a_name_is_no_traceback(host: str) -> None:
    assert not target(f"tcp://{host}:5555").ipv6
    assert not is_served(f"tcp://{host}:5555")
    assert host in why_unreachable(f"tcp://{host}:5555")


# In the caller's thread.


@pytest.mark.parametrize("text", ["node7:5555", "tcp://*:5555", "tcp://127.0.0.1:0"])
def test_clients_and_workers_refuse_a_bad_address_at_once(text: str) -> None:
    with pytest.raises(SettingsError, match="want tcp://HOST:PORT"):
        Client(text)
    wakeup = Wakeup()
    with pytest.raises(SettingsError, match="want tcp://HOST:PORT"):
        serve_workers(text, [], wakeup)
    wakeup.close()


@pytest.mark.parametrize(
    ("endpoints", "forced", "want"),
    [
        (["tcp://0.0.0.0:7"], None, "tcp://me:7"),
        (["tcp://[::]:7"], None, "tcp://me:7"),
        (["tcp://10.0.0.1:7"], None, "tcp://10.0.0.1:7"),
        (["tcp://127.0.0.1:7"], None, "tcp://127.0.0.1:7"),
        (["tcp://127.0.0.1:7", "tcp://0.0.0.0:8"], None, "tcp://me:8"),
        (["ipc:///tmp/b", "tcp://0.0.0.0:8"], None, "tcp://me:8"),
        (["ipc:///tmp/b"], "login2", "ipc:///tmp/b"),
        (["tcp://0.0.0.0:7"], "login2", "tcp://login2:7"),
        (["tcp://127.0.0.1:7"], "::1", "tcp://[::1]:7"),
    ],
)
def test_the_address_for_others_is_one_that_they_can_reach(
    endpoints: list[str], forced: str | None, want: str
) -> None:
    assert advertised(endpoints, "me", forced) == want


def test_a_contact_file_has_a_path() -> None:
    assert contact_path("@a/b.json") == "a/b.json"
    with pytest.raises(SettingsError, match="want @FILE"):
        contact_path("@")
    assert how_to_serve("@a/b.json") == "`mdp broker --contact a/b.json` starts one"


def test_why_an_address_cannot_be_reached() -> None:
    port = free_port()
    assert f"127.0.0.1:{port} refuses the connection (errno 111)" == why_unreachable(
        f"tcp://127.0.0.1:{port}"
    )
    assert "errno 2" in why_unreachable("ipc:///tmp/no-such-socket")
    assert "no-such-host.invalid is not a known name (errno -" in why_unreachable(
        "tcp://no-such-host.invalid:5555"
    )
    with socket.create_server(("127.0.0.1", port)):
        reason = why_unreachable(f"tcp://127.0.0.1:{port}")
    assert reason == f"127.0.0.1:{port} accepts connections, but no broker answers"

"""Who may see the page: tokens, cookies, names of hosts, origins; and what orders may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clients.dashboard.access import Access, name_of
from clients.dashboard.operator_orders import order_of
from mdp import SettingsError

ACCESS = Access("0123456789abcdef", "127.0.0.1")


def test_only_the_token_and_the_cookie_of_this_server_count() -> None:
    assert ACCESS.has_token("0123456789abcdef")
    assert ACCESS.has_cookie(ACCESS.cookie)
    other = Access("fedcba9876543210", "127.0.0.1")
    assert other.cookie_name != ACCESS.cookie_name
    for wrong in ("", "0123456789abcde", other.cookie, "\u00e9"):
        assert not ACCESS.has_token(wrong)
        assert not ACCESS.has_cookie(wrong)
    assert ACCESS.token not in ACCESS.cookie


@pytest.mark.parametrize("host", ["127.0.0.1:8787", "localhost:9", "[::1]:8787", "LOCALHOST"])
def test_any_port_of_the_loopback_is_this_server(host: str) -> None:
    assert ACCESS.is_host(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example:8787", "127.0.0.1.evil.example", "localhost@evil", "a b", "[::1", "x:y"],
)
def test_another_name_is_not_this_server(host: str) -> None:
    assert not ACCESS.is_host(host)


def test_a_server_that_listens_on_a_name_has_that_name_too() -> None:
    assert Access("0123456789abcdef", "N7.lab").is_host("n7.lab:8787")
    assert name_of("n7.lab:8787") == "n7.lab"


def test_only_pages_of_the_same_host_and_port_are_of_this_server() -> None:
    assert ACCESS.is_origin("http://127.0.0.1:9000", "127.0.0.1:9000")
    for origin in (None, "null", "http://evil.example", "http://127.0.0.1:9001"):
        assert not ACCESS.is_origin(origin, "127.0.0.1:9000")


def test_an_order_names_one_thing() -> None:
    assert order_of({"order": "pause", "name": "echo"}) == ("pause", {"service": "echo"})
    assert order_of({"order": "dismiss", "name": "ab12"}) == ("dismiss", {"workers": ["ab12"]})


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        [],
        {"order": "drain", "name": "x"},
        {"order": "pause"},
        {"order": "pause", "name": ""},
        {"order": "pause", "name": 5},
        {"order": "dismiss", "name": "(given by the broker)"},
        {"order": "abort", "name": "x" * 300},
    ],
)
def test_other_orders_are_refused(wanted: Any) -> None:
    with pytest.raises(SettingsError):
        order_of(wanted)


def test_a_token_file_is_made_private_and_used_again(tmp_path: Path) -> None:
    from tests.support.optional import optional

    optional("bokeh")
    from clients.dashboard.serving_page import token_of

    path = tmp_path / "token"
    token = token_of(path)
    assert token_of(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_of(None) != token_of(None)
    path.write_text("short\n")
    with pytest.raises(SettingsError, match="--token-file"):
        token_of(path)

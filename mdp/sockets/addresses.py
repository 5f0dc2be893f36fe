"""Parse addresses of brokers: tcp://HOST:PORT and ipc://PATH; no others are accepted. Pure.

HOST is a name, an IPv4 address, or an IPv6 address in brackets. In an address to bind, HOST is an
address or a network interface of this machine, or `*` for all of them, and PORT may be 0 or `*`
for any free port.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import SettingsError
from ..settings import DEFAULT_ENDPOINT

MAX_PATH_BYTES = 107  # of a Unix socket, on Linux
MAX_PORT = 65535
_TCP = re.compile(r"tcp://(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([\w.-]+|\*)):([0-9]+|\*)", re.ASCII)
_IPC = re.compile(r"ipc://([^\0\ud800-\udfff]+)")

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Address:
    """An address that libzmq accepts."""

    text: str
    host: str = ""
    """The host, without the brackets of an IPv6 address; empty for ipc."""
    port: int = 0
    """The TCP port, or 0 for any free port; always 0 for ipc."""
    path: str = ""
    """The path of the socket file for ipc; empty for TCP."""

    @property
    def ip(self) -> _IP | None:
        """The host, if it is an IP address and not a name."""
        return _ip(self.host)

    @property
    def is_local(self) -> bool:
        """True if only processes of this machine can reach a socket bound to this address."""
        if self.path or self.host == "localhost":
            return True
        ip = self.ip
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return ip is not None and (mapped or ip).is_loopback


_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def is_key(text: object) -> bool:
    """True for a key of CURVE in Z85: 40 characters, each 5 of which are a number of 32 bits."""
    if not isinstance(text, str) or len(text) != 40 or not set(text) <= set(_Z85):
        return False
    digits = [_Z85.index(character) for character in text]
    return all(_number(digits[i : i + 5]) < 1 << 32 for i in range(0, 40, 5))


def _number(digits: list[int]) -> int:
    number = 0
    for digit in digits:
        number = number * len(_Z85) + digit
    return number


@dataclass(frozen=True)
class ClientKeys:
    """The keys with which a peer connects to a broker, in Z85."""

    broker: str
    """The broker's public key: nobody else can pass for the broker."""
    public: str
    secret: str = field(repr=False)
    name: str = ""
    """The name by which the broker's owner knows the public key, if the file tells it."""
    source: str = field(default="", compare=False)
    """The file of the keys for messages: `@FILE` or `MDP_KEYS=FILE`; empty: not known."""


@dataclass(frozen=True)
class Place:
    """Where to connect, and which broker must be there."""

    address: str
    instance: str | None = None
    """None: any broker at the address is right."""
    keys: ClientKeys | None = None
    """None: the broker has no keys."""


def parse(text: str, *, bind: bool = False) -> Address:
    """Parse an address to connect to, or one to bind. Raises `SettingsError`."""
    if ipc := _IPC.fullmatch(text):
        if len(ipc[1].encode()) > MAX_PATH_BYTES:
            raise _refusal(text, f"PATH has more than {MAX_PATH_BYTES} bytes", bind=bind)
        return Address(text, path=ipc[1])
    tcp = _TCP.fullmatch(text)
    if tcp is None:
        raise _refusal(text, _hint(text), bind=bind)
    host, port = tcp[1] or tcp[2], tcp[3]
    if why_not := _bad_host(host, in_brackets=bool(tcp[1]), bind=bind) or _bad_port(
        port, bind=bind
    ):
        raise _refusal(text, why_not, bind=bind)
    return Address(text, host=host, port=int(port.lstrip("0*") or 0))


def advertised(endpoints: Iterable[str], host: str, forced: str | None = None) -> str:
    """Return the address that others connect to, of those that a broker is bound to.

    It is the first that other machines can reach, else the first; host: the name of this machine,
    which replaces a wildcard; forced: replaces the host of the address in any case.
    """
    bound = [parse(endpoint, bind=True) for endpoint in endpoints]
    best = next((address for address in bound if not address.is_local), bound[0])
    if best.path:
        return best.text
    is_wildcard = best.host == "*" or (best.ip is not None and best.ip.is_unspecified)
    name = forced or (host if is_wildcard else best.host)
    shown_name = f"[{name}]" if ":" in name else name
    return parse(f"tcp://{shown_name}:{best.port}").text


def shown(broker: str, address: str | None) -> str:
    """Return a broker's name for messages: the @FILE of its contact file with its address now."""
    return broker if address in (None, broker) else f"{address} ({broker})"


def contact_path(broker: str) -> str:
    """Return the path in the @FILE of a contact file. Raises `SettingsError` if it is empty."""
    if len(broker) < 2 or "\0" in broker:
        raise SettingsError(f"want @FILE with the path of a contact file, got {broker!r}")
    return broker[1:]


def how_to_serve(text: str) -> str:
    """Return a hint for error messages: the command that starts a broker at an address or @FILE."""
    if text.startswith("@"):
        return f"`mdp broker --contact {text[1:]}` starts one"
    address = parse(text)
    if text == DEFAULT_ENDPOINT:
        return "`mdp broker` starts one"
    if address.is_local:
        return f"`mdp broker --bind {text}` starts one"
    everywhere = "[::]" if address.ip is not None and address.ip.version == 6 else "0.0.0.0"
    command = f"mdp broker --bind tcp://{everywhere}:{address.port} --public"
    return f"`{command}` starts one, on {address.host}"


A_BROKER_SERVES = "the broker at "
"""The beginning of a reason that says what the user can do, because a broker is there."""


NO_ANSWER = "but no broker answers"
"""In a reason: a connection can be opened, also with the keys, if there are any."""


def with_hint(reason: str, broker: str) -> str:
    """Add the command that starts a broker to the reason for silence, unless a broker is there."""
    hint = how_to_serve(broker)
    if reason.startswith(A_BROKER_SERVES) or hint in reason:
        return reason
    return f"{reason}; {hint}"


def _refusal(text: str, why_not: str, *, bind: bool) -> SettingsError:
    purpose = " to bind" if bind else ""
    reason = f": {why_not}" if why_not else ""
    return SettingsError(f"want tcp://HOST:PORT or ipc://PATH{purpose}, got {text!r}{reason}")


def _hint(text: str) -> str:
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    if ":" in host and isinstance(_ip(host), ipaddress.IPv6Address):
        return f"an IPv6 address is written in brackets, tcp://[{host}]:{port}"
    return ""


def _bad_host(host: str, *, in_brackets: bool, bind: bool) -> str:
    if host == "*":
        return "" if bind else "HOST may be * only to bind"
    ip = _ip(host)
    if in_brackets and not isinstance(ip, ipaddress.IPv6Address):
        return f"{host} is not an IPv6 address"
    if not in_brackets and ip is None and re.fullmatch(r"[0-9.]+", host):
        return f"{host} is not an IPv4 address"
    return ""


def _bad_port(port: str, *, bind: bool) -> str:
    digits = port.lstrip("0")
    if digits in ("", "*"):
        return "" if bind else "PORT may be * or 0 only to bind"
    if len(digits) > 5 or int(digits) > MAX_PORT:
        return f"want a port from 1 to {MAX_PORT}"
    return ""


def _ip(host: str) -> _IP | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

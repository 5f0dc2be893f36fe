"""Who may see the page: the token, the cookie, and the names of this server. Pure.

The token stands in the URL once. The browser then has a cookie, which cannot be read by scripts and
is not sent with requests that pages of other sites start. The port in the `Host` header may be any,
since `ssh -L` gives another one to the browser.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LEAST = 16
"""Characters of a token."""


@dataclass(frozen=True)
class Access:
    """The token of a server, and the host name or address in its URL."""

    token: str
    host: str

    @property
    def cookie_name(self) -> str:
        """The name: cookies do not tell ports apart, so each server has a name of its own."""
        return f"ssnet-dashboard-{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    @property
    def cookie(self) -> str:
        """The value, from which nobody learns the token."""
        return hmac.new(self.token.encode(), b"cookie", hashlib.sha256).hexdigest()

    def has_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def has_cookie(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), self.cookie.encode())

    def is_host(self, header: str) -> bool:
        """Return whether a `Host` header names this server.

        Another name is that of a foreign site whose address was changed to this one (DNS
        rebinding).
        """
        name = name_of(header)
        return name is not None and (name in _LOOPBACK or name == self.host.lower())

    def is_origin(self, origin: str | None, header: str) -> bool:
        """Return whether a request comes from a page of this server. origin: its `Origin`."""
        return origin is not None and origin.lower() == f"http://{header.lower()}"


def name_of(header: str) -> str | None:
    """Return the name in a `Host` header without port and brackets; None: it is not valid."""
    if not header or set(header) & set("/@?#\\ "):
        return None
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname

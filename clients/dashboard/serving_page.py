"""What `ssnet dashboard` does: connects, looks, serves, until KeyboardInterrupt."""

from __future__ import annotations

import getpass
import logging
import secrets
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mdp import Client, ClientSettings, SettingsError
from mdp.sockets import addresses
from mdp.sockets.addresses import Address
from mdp.system import contact
from mdp.system.private_files import write_once

from .access import LEAST, Access
from .sources import Sources
from .watcher import Watcher
from .web_server import Site, WebServer

log = logging.getLogger(__name__)

_CLIENT = ClientSettings(tries=1, interactive=True)


@dataclass(frozen=True)
class Dashboard:
    """What is shown, and where."""

    broker: str
    listen: Address
    campaigns: Sequence[Path]
    pool: Path | None
    pictures: Sequence[Path]
    token_file: Path | None
    timeout_s: float


def listen_address(text: str) -> Address:
    """Parse HOST:PORT. Raises `SettingsError`."""
    try:
        return addresses.parse(f"tcp://{text}", bind=True)
    except SettingsError:
        want = "want --listen HOST:PORT, such as 127.0.0.1:8787 or [::1]:8787"
        raise SettingsError(f"{want}, got {text!r}") from None


def token_of(path: Path | None) -> str:
    """Return the token in a file, which is made if it does not exist; without one, a new token.

    Raises `MDPError` if the file cannot be used.
    """
    if path is None:
        return secrets.token_urlsafe(24)
    write_once(path, f"{secrets.token_urlsafe(24)}\n")
    try:
        token = path.read_text().strip()
        mode = path.stat().st_mode & 0o777
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read --token-file {path}: {error}") from None
    if len(token) < LEAST or not set(token) <= _TOKEN:
        want = f"want at least {LEAST} letters, digits, - or _ in --token-file {path}"
        raise SettingsError(f"{want}, got {len(token)} characters")
    if mode & 0o077:
        log.warning("others may read the token in %s (mode %o): chmod 600", path, mode)
    return token


_TOKEN = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def serve(dashboard: Dashboard) -> None:
    """Serve the page until KeyboardInterrupt. The broker need not run yet."""
    access = Access(token_of(dashboard.token_file), _name_of(dashboard.listen))
    server = WebServer(dashboard.listen)
    sources = Sources(dashboard.campaigns, dashboard.pool, dashboard.pictures)
    with Client(dashboard.broker, _CLIENT) as client:
        watcher = Watcher(
            client,
            sources,
            lambda message: server.call(site.publish, message),
            timeout_s=dashboard.timeout_s,
        )
        site = Site(access, client, watcher, lambda: sources.picture.png, dashboard.timeout_s)
        server.start(site)
        sources.start()
        watcher.start()
        try:
            _say(dashboard.listen, server.port, access.token)
            threading.Event().wait()
        finally:
            sources.stop()
            server.stop()
            site.orders.shutdown(wait=False)
            client.close()
            watcher.stop()


def _name_of(listen: Address) -> str:
    """Return the host in the URL: this machine's name, if the server listens everywhere."""
    return contact.host_name() if listen.host in ("*", "0.0.0.0", "::") else listen.host


def _say(listen: Address, port: int, token: str) -> None:
    host = _name_of(listen)
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"http://{shown}:{port}/?token={token}\n")
    if listen.is_local:
        machine = f"{getpass.getuser()}@{contact.host_name()}"
        tunnel = f"ssh -N -L {port}:{shown}:{port} {machine}"
        sys.stdout.write(f"from your laptop, type this first: {tunnel}\n")
    else:
        log.warning("the page is served as plain HTTP: whoever reads the network reads the token")
    sys.stdout.write("Ctrl-C ends it\n")
    sys.stdout.flush()

"""The HTTP server of `mdp metrics`: /metrics, /healthz and /readyz."""

from __future__ import annotations

import logging
import socketserver
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from prometheus_client.exposition import choose_encoder

from ...client.client import Client
from ...errors import MDPError, SettingsError
from ...settings import ClientSettings
from ...sockets import addresses, tcp_family
from ...sockets.addresses import Address
from .families import Families
from .looking import Looks, Seen
from .readiness import service_states, why_not_healthy, why_not_ready

log = logging.getLogger(__name__)

_CLIENT = ClientSettings(tries=1, interactive=True)
_TEXT = "text/plain; charset=utf-8"
_PATHS = "/metrics for Prometheus, /healthz and /readyz for people and load balancers\n"
_HTTP_TIMEOUT_S = 10.0


def listen_address(text: str) -> Address:
    """Parse HOST:PORT. Raises `SettingsError`."""
    try:
        return addresses.parse(f"tcp://{text}", bind=True)
    except SettingsError:
        want = "want listen as HOST:PORT, such as 127.0.0.1:9555 or [::1]:9555"
        raise SettingsError(f"{want}, got {text!r}") from None


def serve_metrics(broker: str, listen: Address, needed: Sequence[str], *, timeout_s: float) -> None:
    """Serve the figures of a broker until KeyboardInterrupt.

    The broker need not run: as long as it does not answer, `mdp_broker_up` is 0. Raises `MDPError`
    if the address cannot be bound.
    """
    with Client(broker, _CLIENT) as client:
        server = _Server(listen, Looks(client, timeout_s=timeout_s), needed)
        # it ends with the process: nothing has to be finished
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log.info("http://%s/metrics has the figures of %s", server.shown, broker)
        if not listen.is_local:
            log.warning(
                "anyone who reaches %s can read names of hosts, jobs and keys", server.shown
            )
        try:
            threading.Event().wait()
        finally:
            server.server_close()


class _Answer(NamedTuple):
    body: bytes
    status: int = 200
    kind: str = _TEXT


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listen: Address, looks: Looks, needed: Sequence[str]) -> None:
        self.address_family = tcp_family(listen)
        self.looks = looks
        self.needed = needed
        host = "" if listen.host == "*" else listen.host
        try:
            super().__init__((host, listen.port), _Handler)
        except OSError as error:
            at = listen.text.removeprefix("tcp://")
            raise MDPError(f"cannot listen at {at} (--listen): {error.strerror}") from None

    @property
    def shown(self) -> str:
        host, port = self.server_address[:2]
        name = str(host)
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # that of HTTPServer looks up the host's name
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that has gone is not an error; any other is a bug, and is logged."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("cannot answer %s", client_address, exc_info=error)

    def answer(self, path: str, accepts: str) -> _Answer:
        match path:
            case "/metrics":
                return self._metrics(self.looks.now(), accepts)
            case "/healthz":
                return _verdict(why_not_healthy(self.looks.now()))
            case "/readyz":
                return _verdict(why_not_ready(self.looks.now(), self.needed))
            case "/":
                return _Answer(_PATHS.encode())
        return _Answer(f"want {_PATHS}".encode(), 404)

    def _metrics(self, seen: Seen, accepts: str) -> _Answer:
        states = {} if seen.report is None else service_states(seen.report, self.needed)
        encode, kind = choose_encoder(accepts)
        return _Answer(encode(Families(seen, states)), kind=kind)


def _verdict(why_not: str) -> _Answer:
    line = " ".join(why_not.split()) or "ok"
    return _Answer(f"{line}\n".encode("utf-8", "backslashreplace"), 503 if why_not else 200)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "mdp"
    sys_version = ""
    timeout = _HTTP_TIMEOUT_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answer = self.server.answer(path, self.headers.get("Accept", ""))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *values: object) -> None:
        log.debug(format, *values)

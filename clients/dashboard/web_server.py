"""The web server of the page: Tornado, in a thread. Every request needs the token or the cookie."""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bokeh
from tornado import httpserver, ioloop, netutil, web, websocket

from mdp import Client, MDPError
from mdp.sockets.addresses import Address

from .access import Access
from .charts import COLOURS, THEMES, charts
from .operator_orders import carry_out, order_of
from .watcher import Message, Watcher

log = logging.getLogger(__name__)

MOST_PAGES = 20
_SCRIPTS = ("bokeh.min.js", "bokeh-gl.min.js")
_FILES = {"dashboard.js": "text/javascript", "cells.js": "text/javascript", "style.css": "text/css"}
_SCRIPT_FOLDER = Path(bokeh.__file__).parent / "server" / "static" / "js"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    " blob:; connect-src 'self' ws:; font-src 'self' data:; frame-ancestors 'none';"
    " base-uri 'none'; form-action 'none'"
)
_MOST_BYTES = 64 << 10  # of what a page sends
_ASK = "the URL with the token is in the terminal where `ssnet dashboard` runs (?token=...)"


@dataclass
class Site:
    """What the handlers share; only the thread of the server changes it."""

    access: Access
    client: Client
    watcher: Watcher
    picture: Callable[[], bytes]
    timeout_s: float
    pages: set[Live] = field(default_factory=set)
    orders: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def publish(self, message: Message) -> None:
        if self.pages:
            text = json.dumps(message)
            for page in list(self.pages):
                page.tell(text)


class _Handler(web.RequestHandler):
    def initialize(self, site: Site) -> None:
        self.site = site

    def set_default_headers(self) -> None:
        self.set_header("Server", "ssnet")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")

    def prepare(self) -> None:
        why_not = _refusal(self.site.access, self)
        if why_not:
            self.set_status(403)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{why_not}\n")

    def write_error(self, status_code: int, **details: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {self._reason}\n")


def _refusal(access: Access, handler: web.RequestHandler) -> str:
    """Return why a request is refused; empty if it is not."""
    if not access.is_host(handler.request.headers.get("Host", "")):
        return "want a Host header that names this server: open 127.0.0.1 or localhost"
    if access.has_token(handler.get_query_argument("token", "")):
        return ""
    if access.has_cookie(handler.get_cookie(access.cookie_name) or ""):
        return ""
    return f"no token, or not the right one: {_ASK}"


class _Page(_Handler):
    def get(self) -> None:
        access = self.site.access
        if self.get_query_argument("token", ""):
            self.set_cookie(
                access.cookie_name, access.cookie, path="/", httponly=True, samesite="Strict"
            )
            theme = self.get_query_argument("theme", "")
            self.redirect(f"/?theme={theme}" if theme in THEMES else "/")
            return
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_page_file("index.html"))


class _PageFile(_Handler):
    def get(self, name: str) -> None:
        if name not in _FILES:
            raise web.HTTPError(404)
        self.set_header("Content-Type", f"{_FILES[name]}; charset=utf-8")
        self.finish(_page_file(name))


class _Script(_Handler):
    def get(self, name: str) -> None:
        if name not in _SCRIPTS:
            raise web.HTTPError(404)
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", "private, max-age=86400")
        self.finish((_SCRIPT_FOLDER / name).read_bytes())


class _Charts(_Handler):
    def get(self) -> None:
        theme = self.get_query_argument("theme", "light")
        if theme not in THEMES:
            raise web.HTTPError(404)
        self.finish({**charts(theme), "colours": COLOURS})


class _Picture(_Handler):
    def get(self) -> None:
        png = self.site.picture()
        if not png:
            raise web.HTTPError(404)
        self.set_header("Content-Type", "image/png")
        self.finish(png)


class _Order(_Handler):
    async def post(self) -> None:
        headers = self.request.headers
        if not self.site.access.is_origin(headers.get("Origin"), headers.get("Host", "")):
            raise web.HTTPError(403)
        try:
            order, wanted = order_of(json.loads(self.request.body))
            text = await asyncio.get_running_loop().run_in_executor(
                self.site.orders, self._carry_out, order, wanted
            )
        except (MDPError, ValueError) as error:
            self.finish({"ok": False, "text": " ".join(str(error).split())})
            return
        log.info("%s %s: %s", order, wanted, text)
        self.site.watcher.look_now()
        self.finish({"ok": True, "text": text})

    def _carry_out(self, order: str, wanted: dict[str, Any]) -> str:
        return carry_out(self.site.client, order, wanted, timeout_s=self.site.timeout_s)


class Live(websocket.WebSocketHandler):
    """The connection of one page: a snapshot, then a message for each look.

    A page that reads too slowly gets no messages meanwhile, and then a new snapshot.
    """

    def initialize(self, site: Site) -> None:
        self.site = site
        self._is_writing = False
        self._is_behind = False

    def prepare(self) -> None:
        why_not = _refusal(self.site.access, self)
        if why_not:
            raise web.HTTPError(403, why_not)

    def check_origin(self, origin: str) -> bool:
        return self.site.access.is_origin(origin, self.request.headers.get("Host", ""))

    def open(self, *words: str, **named: str) -> None:
        if len(self.site.pages) >= MOST_PAGES:
            self.close(1013, f"{MOST_PAGES} pages are open already: close one of them")
            return
        self.site.pages.add(self)
        self.site.watcher.set_pages(len(self.site.pages))
        self.tell(json.dumps(self.site.watcher.snapshot()))

    def on_message(self, message: str | bytes) -> None:
        """Pages send nothing here."""

    def on_close(self) -> None:
        self.site.pages.discard(self)
        self.site.watcher.set_pages(len(self.site.pages))

    def tell(self, text: str) -> None:
        if self._is_writing:
            self._is_behind = True
            return
        self._is_writing = True
        self._writing = asyncio.ensure_future(self._write(text))  # a reference keeps it alive

    async def _write(self, text: str) -> None:
        try:
            await self.write_message(text)
            while self._is_behind:
                self._is_behind = False
                await self.write_message(json.dumps(self.site.watcher.snapshot()))
        except websocket.WebSocketClosedError:
            return
        finally:
            self._is_writing = False


def _page_file(name: str) -> bytes:
    return (importlib.resources.files("clients.dashboard") / "page" / name).read_bytes()


def application(site: Site) -> web.Application:
    """Return the handlers of all paths."""
    shared = {"site": site}
    return web.Application(
        [
            (r"/", _Page, shared),
            (r"/page/([\w.-]+)", _PageFile, shared),
            (r"/bokeh/([\w.-]+)", _Script, shared),
            (r"/charts", _Charts, shared),
            (r"/picture", _Picture, shared),
            (r"/order", _Order, shared),
            (r"/live", Live, shared),
        ],
        default_handler_class=_Missing,
        default_handler_args=shared,
        websocket_ping_interval=20,
        websocket_max_message_size=_MOST_BYTES,
        compress_response=True,
        log_function=_log_request,
    )


class _Missing(_Handler):
    def get(self) -> None:
        raise web.HTTPError(404)


def _log_request(handler: web.RequestHandler) -> None:
    path = handler.request.path  # not the query: it may have the token
    log.debug("%s %s %s", handler.get_status(), handler.request.method, path)


class WebServer:
    """Serves the page in a thread of its own. Raises `MDPError` if it cannot listen."""

    def __init__(self, listen: Address) -> None:
        host = "" if listen.host == "*" else listen.host
        try:
            self._sockets = netutil.bind_sockets(listen.port, host)
        except OSError as error:
            at = listen.text.removeprefix("tcp://")
            raise MDPError(f"cannot listen at {at} (--listen): {error.strerror or error}") from None
        self.port: int = self._sockets[0].getsockname()[1]
        self._loop: ioloop.IOLoop | None = None
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, site: Site) -> None:
        self._thread = threading.Thread(target=self._run, args=(site,), daemon=True, name="web")
        self._thread.start()
        self._ready.wait()

    def call(self, function: Callable[..., None], *values: Any) -> None:
        """Call a function in the thread of the server."""
        if self._loop is not None:
            self._loop.add_callback(function, *values)

    def stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.add_callback(self._loop.stop)
            self._thread.join(5.0)

    def _run(self, site: Site) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        loop = ioloop.IOLoop.current()
        server = httpserver.HTTPServer(application(site), max_buffer_size=1 << 20)
        server.add_sockets(self._sockets)
        self._loop = loop
        self._ready.set()
        loop.start()
        server.stop()

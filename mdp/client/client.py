"""The client: send requests to services from any thread, and get their answers."""

from __future__ import annotations

import functools
import os
import threading
import warnings
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import msgpack

from ..errors import MDPError, ServiceError, SettingsError
from ..settings import DEFAULT_ENDPOINT, ClientSettings, check_number
from ..sockets import addresses, unix_time
from ..sockets.pipe import flat
from ..wire import MAX_BODY_FRAMES, Frame, progress_frame, service_name
from .client_loop import ClientLoop
from .listeners import Listener, Parts, Promise
from .steps import ClientRequest

Body = Sequence[Frame]


class Client:
    """A connection to a broker. Close it, or use it as a context manager.

    broker: an address, or `@FILE`: the contact file that `mdp broker --contact FILE` writes. The
    client reads the file again whenever the broker is silent or about to stop, so it follows a
    broker that moves; requests wait while there is no file.

    A body is a list of bytes, or of objects with a buffer. Do not change it until the answer has
    arrived, because it may be sent again. Every method that waits for an answer may raise
    `RequestTimeout`; `ServiceError` and its subclasses (`NotServed`, `TooLarge`, `QueueFull`,
    `WorkersDied`, `TooSlow`, `Draining`); `Refused`; `ClientClosed`; and `MDPError` if no socket
    can be opened, because too many files are open. Each message has the service, and most have the
    time and the number of tries. `TypeError` means that an argument has the wrong type.

    Threads and event loops may share a client. Processes do not share its connection: a client that
    is pickled is a new one, of the same broker, where it is unpickled; the copy that a forked
    process has opens a connection of its own when it is first used there. A pickled client holds
    the path of a contact file and no key. The client raises the soft limit of open files of its
    process to the hard one.
    """

    _closed = True  # until `__init__` has ended

    def __init__(
        self, broker: str = DEFAULT_ENDPOINT, settings: ClientSettings | None = None
    ) -> None:
        self.settings = settings or ClientSettings()
        self.broker = broker
        self._made_at = unix_time()
        self._loop = _started(broker, self.settings)
        self._closed = False

    def _loop_here(self) -> ClientLoop:
        """Return the loop of this process: after a fork, start one with a connection of its own."""
        if self._loop.is_of_another_process and not self._closed:
            with _forks.lock:
                if self._loop.is_of_another_process:
                    _forks.inherited.append(self._loop)
                    self._loop = _started(self.broker, self.settings)
        return self._loop

    @property
    def address(self) -> str | None:
        """The broker's address; None as long as its contact file could not be read."""
        return self._loop_here().address

    @property
    def broker_shown(self) -> str:
        """The broker for messages: the `broker` argument and, for an @FILE, the address, too."""
        return addresses.shown(self.broker, self.address)

    def tell_progress(
        self,
        done: int,
        of: int | None = None,
        *,
        before: int = 0,
        failed: int = 0,
        what: str = "events",
        output: str = "",
    ) -> None:
        """Tell the broker how far this client's work is; operators see it in `mmi.clients`.

        It goes with the client's heartbeats, at most once in an interval, while requests are in
        flight. done, of: how many of how many; of=None: nobody knows. before: those of `done` that
        earlier runs did. failed: those of `done` that failed. what: the unit, in the plural.
        output: what the work makes, such as a path.
        """
        progress = {"what": what, "done": done, "of": of, "failed": failed, "before": before}
        self._loop_here().tell_progress(
            progress_frame({**progress, "output": output, "begun_at": self._made_at})
        )

    def why_silent(self) -> str:
        """Return why no broker answers, and what to type. It tries to connect, for 2 s at most."""
        return self._loop_here().why_silent()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the requests in flight: callers that wait for one get `ClientClosed`.

        After a fork it does not touch the connection of the parent process.
        """
        if not self._closed:
            self._closed = True
            self._loop.close()

    def __del__(self) -> None:
        if self._closed or self._loop.is_of_another_process:
            return
        self._closed = True
        self._loop.end_soon()
        text = f"unclosed client of {self.broker}"
        warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    def __reduce__(self) -> tuple[type[Client], tuple[str, ClientSettings]]:
        """Pickle the arguments, so that a new client is made where this one is unpickled."""
        broker = self.broker
        if broker.startswith("@"):  # the other process may have another working directory
            broker = "@" + os.path.abspath(addresses.contact_path(broker))
        return type(self), (broker, self.settings)

    def request(
        self,
        service: str,
        body: Body,
        *,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> list[bytes]:
        """Send a request, wait, and return the frames of the answer, with those of all its parts.

        `timeout_s` is the limit of one try, including the wait in the broker's queue.
        """
        future = self.submit(service, body, timeout_s=timeout_s, tries=tries)
        try:
            return future.result()
        finally:
            future.cancel()  # after Ctrl-C: it cancels the request at the broker, too

    def submit(
        self,
        service: str,
        body: Body,
        *,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> Future[list[bytes]]:
        """Send a request and return a future. Callbacks must be short: they block the client."""
        promise = Promise()
        loop = self._loop_here()
        call = self._call(service, body, promise, timeout_s, tries)

        def abandon(future: Future[list[bytes]], client: Client = self) -> None:
            """Cancel the request at the broker. The default keeps the client alive until then."""
            if future.cancelled():
                future.set_running_or_notify_cancel()  # `concurrent.futures.wait` waits for it
                loop.abandon(call)

        promise.future.add_done_callback(abandon)
        loop.submit(call)
        return promise.future

    async def arequest(
        self,
        service: str,
        body: Body,
        *,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> list[bytes]:
        """Do the same as `request`, for asyncio: the event loop runs on while it waits.

        It takes no thread, and any number of event loops may use one client. If its task is
        cancelled, the request is cancelled at the broker, too.
        """
        import asyncio  # takes some 50 ms, which most programs need not spend

        future = self.submit(service, body, timeout_s=timeout_s, tries=tries)
        return await asyncio.wrap_future(future)

    def map(
        self,
        service: str,
        bodies: Iterable[Body],
        *,
        window: int = 8,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> Iterator[list[bytes]]:
        """Send each body as a request, and yield the answers in the order of the bodies.

        At most `window` requests are in flight or wait to be yielded, so memory stays bounded.
        """
        check_number("window", window)
        if window < 1:
            raise SettingsError(f"want window of at least 1, got {window}")
        futures: deque[Future[list[bytes]]] = deque()
        try:
            for body in bodies:
                if len(futures) >= window:
                    yield futures.popleft().result()
                futures.append(self.submit(service, body, timeout_s=timeout_s, tries=tries))
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()

    def stream(
        self,
        service: str,
        body: Body,
        *,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> Iterator[list[bytes]]:
        """Send a request and yield each part of the answer as it arrives; the FINAL comes last.

        Memory stays bounded if you read slowly: when 16 parts, or parts of 64 MiB, wait to be
        taken, the client reads no more of the answer until half of them are taken. `timeout_s` is
        the limit of one try, without the time in which the client waits for you.
        """
        parts = Parts()
        loop = self._loop_here()
        call = self._call(service, body, parts, timeout_s, tries, streams=True)
        parts.resume = functools.partial(loop.resume, call)
        loop.submit(call)
        try:
            yield from parts
        finally:
            loop.abandon(call)

    async def astream(
        self,
        service: str,
        body: Body,
        *,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> AsyncIterator[list[bytes]]:
        """Do the same as `stream`, for asyncio: `async for part in client.astream(...)`."""
        import asyncio

        parts = Parts()
        loop = self._loop_here()
        has_news, here = asyncio.Event(), asyncio.get_running_loop()
        parts.notify = functools.partial(here.call_soon_threadsafe, has_news.set)
        call = self._call(service, body, parts, timeout_s, tries, streams=True)
        parts.resume = functools.partial(loop.resume, call)
        loop.submit(call)
        try:
            is_final = False
            while not is_final:
                await has_news.wait()
                has_news.clear()
                while not is_final and (part := parts.next_waiting()) is not None:
                    is_final = part.is_final
                    yield part.body
        finally:
            loop.abandon(call)

    def services(self, *, timeout_s: float = 5.0) -> dict[str, dict[str, int]]:
        """Return the broker's services by name, with numbers of workers and of queued requests."""
        report: dict[str, dict[str, int]] = self.management("services", timeout_s=timeout_s)
        return report

    def management(self, report: str, body: Body = (), *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Return a report of the broker: `services`, `workers`, `broker` (docs/protocol.md)."""
        code, *packed = self.request(f"mmi.{report}", body, timeout_s=timeout_s, tries=1)
        if code != b"200" or not packed:
            answer = f"answered {code.decode('ascii', 'replace')}"
            if packed:  # what the client's key does not allow, say
                answer = packed[0].decode("utf-8", "replace")
            elif code == b"501":
                answer = "the broker does not know it; its version is older, or it is a foreign one"
            raise ServiceError(f"mmi.{report}: {answer}")
        unpacked: dict[str, Any] = msgpack.unpackb(packed[0])
        return unpacked

    def _call(
        self,
        service: str,
        body: Body,
        listener: Listener,
        timeout_s: float | None,
        tries: int | None,
        *,
        streams: bool = False,
    ) -> ClientRequest:
        self._loop_here().check_usable(service)
        name = service_name(service)
        timeout_s = self.settings.timeout_s if timeout_s is None else timeout_s
        tries = self.settings.tries if tries is None else tries
        check_number("timeout_s", timeout_s)
        check_number("tries", tries)
        if not timeout_s > 0:
            raise SettingsError(f"want timeout_s above 0, got {timeout_s}")
        if not tries >= 1:
            raise SettingsError(f"want tries of at least 1, got {tries}")
        return ClientRequest(
            name,
            _checked(body, service),
            listener,
            timeout_s=timeout_s,
            tries=tries,
            streams=streams,
        )


def _started(broker: str, settings: ClientSettings) -> ClientLoop:
    """Start the thread of a client. Raises `MDPError`."""
    loop = ClientLoop(broker, settings)
    try:
        loop.start()
    except RuntimeError as error:
        loop.discard()
        raise MDPError(f"cannot start the client's thread: {error}") from None
    return loop


class _Forks:
    """What clients need after a fork: a lock that no thread of the parent process may hold."""

    def __init__(self) -> None:
        self.inherited: list[ClientLoop] = []  # never freed: that could touch the parent's sockets
        self.renew()

    def renew(self) -> None:
        self.lock = threading.Lock()


_forks = _Forks()
os.register_at_fork(after_in_child=_forks.renew)


def _checked(body: Body, service: str) -> list[Frame]:
    """Return the frames as flat buffers, as the sockets need them. Raises `TypeError`."""
    if isinstance(body, (bytes, bytearray, memoryview, str)) or not isinstance(body, Sequence):
        kind = type(body).__name__
        raise TypeError(f"want a list of frames, each of them bytes, for {service}, got {kind}")
    if len(body) > MAX_BODY_FRAMES:
        raise SettingsError(f"want at most {MAX_BODY_FRAMES} frames for {service}, got {len(body)}")
    frames: list[Frame] = []
    for number, frame in enumerate(body):
        if not isinstance(frame, bytes):
            try:
                view = memoryview(frame)  # type: ignore[arg-type]
                if "O" in view.format:
                    raise TypeError("an array of Python objects holds only pointers")
                frame = flat(view)
            except (TypeError, ValueError):  # ValueError: numpy's dates have no buffer
                kind = type(frame).__name__
                raise TypeError(
                    f"want bytes, got {kind}, in frame {number} for {service}"
                ) from None
        frames.append(frame)
    return frames

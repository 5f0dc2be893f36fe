"""The client: send requests to services from any thread, and get their answers."""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import Any

import msgpack

from ..errors import ClientClosed, MDPError, ServiceError, SettingsError
from ..pipe import flat
from ..settings import DEFAULT_ENDPOINT, ClientSettings
from ..wire import MAX_BODY_FRAMES, Frame, service_name
from .client_loop import ClientLoop, new_lane_name
from .lane import ClientRequest, Lanes

Body = Sequence[Frame]


class Client:
    """A connection to a broker. Close it, or use it as a context manager.

    A body is a list of bytes, or of objects with a buffer. Do not change it until the answer has
    arrived, because it may be sent again. Every method that waits for an answer may raise
    `RequestTimeout`; `ServiceError` and its subclasses (`NotServed`, `QueueFull`, `WorkersDied`,
    `TooSlow`, `Draining`); `Refused`; `ClientClosed`. Each message has the service, the time and
    the number of tries.
    """

    def __init__(
        self, broker: str = DEFAULT_ENDPOINT, settings: ClientSettings | None = None
    ) -> None:
        self.settings = settings or ClientSettings()
        self.broker = broker
        self._loop = ClientLoop(broker, Lanes(self.settings, new_lane_name))
        self._loop.start()
        self._closed = False

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
        """Give up the requests in flight: callers that wait for one get `ClientClosed`."""
        if not self._closed:
            self._closed = True
            self._loop.close()

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
        promise = _Promise()
        call = self._call(service, body, promise, timeout_s, tries)
        promise.future.add_done_callback(
            lambda future: self._loop.abandon(call) if future.cancelled() else None
        )
        self._loop.submit(call)
        return promise.future

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
        """Send a request and yield each part of the answer as it arrives; the FINAL comes last."""
        parts = _Parts()
        call = self._call(service, body, parts, timeout_s, tries)
        self._loop.submit(call)
        try:
            yield from parts
        finally:
            self._loop.abandon(call)

    def services(self, *, timeout_s: float = 5.0) -> dict[str, dict[str, int]]:
        """Return the broker's services by name, with numbers of workers and of queued requests."""
        report: dict[str, dict[str, int]] = self.management("services", timeout_s=timeout_s)
        return report

    def management(self, report: str, body: Body = (), *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Return a report of the broker: `services`, `workers`, `broker` (docs/protocol.md)."""
        code, *packed = self.request(f"mmi.{report}", body, timeout_s=timeout_s, tries=1)
        if code != b"200" or not packed:
            raise ServiceError(f"mmi.{report} answered {code.decode('ascii', 'replace')}")
        unpacked: dict[str, Any] = msgpack.unpackb(packed[0])
        return unpacked

    def _call(
        self,
        service: str,
        body: Body,
        listener: object,
        timeout_s: float | None,
        tries: int | None,
    ) -> ClientRequest:
        if self._closed or not self._loop.is_alive():
            raise ClientClosed(f"the client was closed before the request to {service}")
        name = service_name(service)
        if isinstance(body, (bytes, str)) or len(body) > MAX_BODY_FRAMES:
            raise SettingsError(f"want a list of at most {MAX_BODY_FRAMES} frames for {service}")
        timeout_s = self.settings.timeout_s if timeout_s is None else timeout_s
        tries = self.settings.tries if tries is None else tries
        if not timeout_s > 0:
            raise SettingsError(f"want timeout_s above 0, got {timeout_s}")
        if tries < 1:
            raise SettingsError(f"want tries of at least 1, got {tries}")
        return ClientRequest(
            name, _checked(body, service), listener, timeout_s=timeout_s, tries=tries
        )


def _checked(body: Body, service: str) -> list[Frame]:
    """Return the frames as flat buffers, as the sockets need them. Raises `TypeError`."""
    frames: list[Frame] = []
    for number, frame in enumerate(body):
        if not isinstance(frame, bytes):
            try:
                frame = flat(memoryview(frame))  # type: ignore[arg-type]
            except TypeError:
                kind = type(frame).__name__
                raise TypeError(
                    f"want bytes, got {kind}, in frame {number} for {service}"
                ) from None
        frames.append(frame)
    return frames


class _Promise:
    """The listener of a call that sets a future."""

    def __init__(self) -> None:
        self.future: Future[list[bytes]] = Future()
        self._parts: list[bytes] = []

    def on_part(self, body: list[bytes]) -> None:
        self._parts += body

    def on_done(self, body: list[bytes]) -> None:
        with contextlib.suppress(InvalidStateError):  # cancelled a moment ago
            self.future.set_result(self._parts + body)

    def on_failed(self, error: MDPError) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)


class _Parts:
    """The listener of a call whose parts another thread iterates over."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[tuple[list[bytes], bool] | MDPError] = queue.SimpleQueue()

    def on_part(self, body: list[bytes]) -> None:
        self._events.put((body, False))

    def on_done(self, body: list[bytes]) -> None:
        self._events.put((body, True))

    def on_failed(self, error: MDPError) -> None:
        self._events.put(error)

    def __iter__(self) -> Iterator[list[bytes]]:
        while True:
            event = self._events.get()
            if isinstance(event, MDPError):
                raise event
            body, final = event
            yield body
            if final:
                return

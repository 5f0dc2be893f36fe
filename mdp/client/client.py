"""The client: send requests to services from any thread, and get their answers."""

from __future__ import annotations

import functools
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NoReturn

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

    Threads may share a client, but processes may not: make one in each process. The client raises
    the soft limit of open files of its process to the hard one.
    """

    _closed = True  # until `__init__` has ended

    def __init__(
        self, broker: str = DEFAULT_ENDPOINT, settings: ClientSettings | None = None
    ) -> None:
        self.settings = settings or ClientSettings()
        self.broker = broker
        self._made_at = unix_time()
        self._loop = ClientLoop(broker, self.settings)
        try:
            self._loop.start()
        except RuntimeError as error:
            self._loop.discard()
            raise MDPError(f"cannot start the client's thread: {error}") from None
        self._closed = False

    @property
    def address(self) -> str | None:
        """The broker's address; None as long as its contact file could not be read."""
        return self._loop.address

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
        self._loop.tell_progress(
            progress_frame({**progress, "output": output, "begun_at": self._made_at})
        )

    def why_silent(self) -> str:
        """Return why no broker answers, and what to type. It tries to connect, for 2 s at most."""
        return self._loop.why_silent()

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

        After a fork it does nothing in the child process, whose copy has no connection.
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

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client cannot be copied or pickled: make one in each process")

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
        call = self._call(service, body, promise, timeout_s, tries)

        def abandon(future: Future[list[bytes]]) -> None:  # it keeps the client alive, too
            if future.cancelled():
                future.set_running_or_notify_cancel()  # `concurrent.futures.wait` waits for it
                self._loop.abandon(call)

        promise.future.add_done_callback(abandon)
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
        call = self._call(service, body, parts, timeout_s, tries, streams=True)
        parts.resume = functools.partial(self._loop.resume, call)
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
        self._loop.check_usable(service)
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

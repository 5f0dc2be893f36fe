"""A link between peers and a broker, which forwards bytes and can be cut, delayed or refused.

It is for tests of what happens when a network fails. It does not look at what it forwards. Its
thread holds the connections, and a method returns when the thread has done what it asks. A method
for a fault that lasts returns a function that ends the fault. Faults may overlap.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from . import addresses

T = TypeVar("T")
Mend = Callable[[], None]

_CHUNK = 65536
_REMEMBERED_BYTES = 1 << 20  # of what a peer has said on one connection
_REMEMBERED_ENDED = 8  # connections ...
_GREETING_BYTES = 200  # ... that came further than this
_PIECES = 8  # that are said one by one: a peer hangs up on a handshake that does not wait for it
_BETWEEN_S = 0.01


class _Connection:
    """A peer's connection, and ours to the broker in its place."""

    def __init__(self, peer: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self.peer = peer
        self.broker = broker
        self.said: list[bytes] = []  # by the peer, from the start, as it came
        self.said_bytes = 0
        self.leads_nowhere = False  # an end that is still open is not to notice
        self.moved_at = math.inf  # when a byte last passed, in either direction

    def remember(self, report: bytes) -> None:
        if self.said_bytes < _REMEMBERED_BYTES:
            self.said.append(report)
            self.said_bytes += len(report)

    def cut(self) -> None:
        self.peer.transport.abort()
        self.broker.transport.abort()


class Link(threading.Thread):
    """Listens at one address and forwards to another one: tcp:// or ipc://, in either place.

    Use it as a context manager. Raises `SettingsError` for an invalid address.
    """

    def __init__(self, endpoint: str, broker: str) -> None:
        super().__init__(name=f"link {endpoint}", daemon=True)
        self.endpoint = endpoint
        """The address to which the peers connect."""
        self._place = addresses.parse(endpoint, bind=True)
        self._broker = addresses.parse(broker)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._connections: list[_Connection] = []
        self._ended: deque[list[bytes]] = deque(maxlen=_REMEMBERED_ENDED)  # what was said on them
        self._tasks: set[asyncio.Task[None]] = set()
        self._delays_s: list[float] = []
        self._refusals = 0
        self._silences = 0
        self._flows = asyncio.Event()  # there is no silence
        self.forgotten = 0
        """Connections that were forgotten because they were idle."""
        self.accepted = 0
        """Connections of peers, from the start."""

    def __enter__(self) -> Link:
        self.start()
        self._flows.set()
        self._do(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()
        self._loop.close()

    def run(self) -> None:
        self._loop.run_forever()

    # What can go wrong.

    def drop(self) -> None:
        """Reset all connections."""
        self._do(self._drop())

    def refuse(self) -> Mend:
        """Reset all connections, and refuse new ones."""
        self._do(self._refuse())
        return lambda: self._do(self._welcome())

    def delay(self, seconds: float) -> Mend:
        """Let bytes arrive so much later."""
        self._do(self._late(seconds))
        return lambda: self._do(self._in_time(seconds))

    def silence(self) -> Mend:
        """Forward nothing; what waits arrives when it is mended."""
        self._do(self._hold())
        return lambda: self._do(self._release())

    def half_open(self) -> Mend:
        """Cut the peers off; the broker's ends stay open."""
        halves = self._do(self._halve("peer"))
        return lambda: self._do(self._cut(halves))

    def void(self) -> Mend:
        """Cut the broker off; the peers' ends stay open."""
        halves = self._do(self._halve("broker"))
        return lambda: self._do(self._cut(halves))

    def forget_idle(self, seconds: float) -> Mend:
        """Forget, as a firewall does, each connection in which no byte passes for so long.

        Both ends of it stay open, and nothing passes any more, even when this is mended.
        """
        forgetting = self._do(self._start_to_forget(seconds))
        return lambda: self._do(self._stop_to_forget(forgetting))

    def replay(self, which: float) -> Mend:
        """Say all that one connection has said once more, on a second one that stays open.

        `which`: from 0 for the oldest to 1 for the newest; the last few that are over come first.
        """
        ghosts = self._do(self._replay(which))
        return lambda: self._do(self._lay(ghosts))

    # In the thread.

    def _do(self, task: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(task, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        place = self._place
        if place.path:
            self._server = await asyncio.start_unix_server(self._accept, place.path)
        else:
            self._server = await asyncio.start_server(self._accept, place.host, place.port)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        broker = self._broker
        if broker.path:
            return await asyncio.open_unix_connection(broker.path)
        return await asyncio.open_connection(broker.host, broker.port)

    async def _drop(self) -> None:
        for connection in self._connections:
            connection.cut()

    async def _refuse(self) -> None:
        self._refusals += 1
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._drop()

    async def _welcome(self) -> None:
        self._refusals -= 1
        if not self._refusals:
            await self._listen()

    async def _late(self, seconds: float) -> None:
        self._delays_s.append(seconds)

    async def _in_time(self, seconds: float) -> None:
        self._delays_s.remove(seconds)

    async def _hold(self) -> None:
        self._silences += 1
        self._flows.clear()

    async def _release(self) -> None:
        self._silences -= 1
        if not self._silences:
            self._flows.set()

    async def _halve(self, end: str) -> list[_Connection]:
        halves = [item for item in self._connections if not item.leads_nowhere]
        for connection in halves:
            connection.leads_nowhere = True
            writer = connection.peer if end == "peer" else connection.broker
            writer.transport.abort()
        return halves

    async def _cut(self, halves: list[_Connection]) -> None:
        for connection in halves:
            connection.cut()

    async def _start_to_forget(self, seconds: float) -> asyncio.Task[None]:
        return self._keep(self._forget_idle(seconds))

    async def _stop_to_forget(self, forgetting: asyncio.Task[None]) -> None:
        forgetting.cancel()

    async def _forget_idle(self, seconds: float) -> None:
        while True:
            idle_since = self._loop.time() - seconds
            for connection in self._connections:
                if connection.moved_at <= idle_since and not connection.leads_nowhere:
                    connection.leads_nowhere = True
                    self.forgotten += 1
            await asyncio.sleep(seconds / 20)

    async def _replay(self, which: float) -> list[asyncio.StreamWriter]:
        talkative = [*self._ended, *(item.said for item in self._connections if item.said)]
        if not talkative:
            return []
        report = list(talkative[round(which * (len(talkative) - 1))])
        try:
            reader, ghost = await self._connect()
        except OSError:
            return []  # no broker is there to hear it
        self._keep(_say(ghost, report))
        self._keep(_ignore(reader))
        return [ghost]

    async def _lay(self, ghosts: list[asyncio.StreamWriter]) -> None:
        for ghost in ghosts:
            ghost.transport.abort()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, task: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        rest = self._loop.create_task(task)
        self._tasks.add(rest)
        rest.add_done_callback(self._tasks.discard)
        return rest

    async def _accept(self, heard: asyncio.StreamReader, peer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._keep(self._serve(heard, peer))

    async def _serve(self, heard: asyncio.StreamReader, peer: asyncio.StreamWriter) -> None:
        try:
            answers, broker = await self._connect()
        except OSError:
            peer.transport.abort()
            return
        connection = _Connection(peer, broker)
        connection.moved_at = self._loop.time()
        self._connections.append(connection)
        up = self._keep(self._forward(connection, heard, broker, connection.remember))
        down = self._keep(self._forward(connection, answers, peer, None))
        try:
            await asyncio.wait((up, down))
        finally:
            connection.cut()
            self._connections.remove(connection)
            if connection.said_bytes > _GREETING_BYTES:
                self._ended.append(connection.said)

    async def _forward(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        remember: Callable[[bytes], None] | None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if remember is not None:
                    remember(data)
                await self._flows.wait()
                if self._delays_s:
                    await asyncio.sleep(max(self._delays_s))
                if not connection.leads_nowhere:
                    connection.moved_at = self._loop.time()
                    writer.write(data)
                    await writer.drain()
        await self._flows.wait()  # nobody hears of an end, either
        if not connection.leads_nowhere:
            connection.cut()


async def _say(writer: asyncio.StreamWriter, pieces: list[bytes]) -> None:
    for piece in pieces[:_PIECES]:
        writer.write(piece)
        await asyncio.sleep(_BETWEEN_S)
    writer.write(b"".join(pieces[_PIECES:]))


async def _ignore(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(_CHUNK):
            continue

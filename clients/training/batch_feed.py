"""Prefetch training batches in order. An answer that is not the named batch is refused.

`for batch in Batches("tcp://head:5555", batch_size=16, seed=1): ...`
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from lartpc import RSE, FrameError, unpack
from lartpc.training.batches import BatchName, Recipe, positions
from mdp import Client, ClientSettings, MDPError, SettingsError
from mdp.settings import DEFAULT_ENDPOINT
from services.batch_train import DESCRIBE, NAME
from services.training_files import WEIGHTS

from ..errors import AnswerError
from ..flow.progress import Progress
from ..flow.waiting import wait_for_workers

_DTYPES = ("float32", "uint8", "float32")  # images, labels, weights


@dataclass(frozen=True, kw_only=True)
class Feed(Recipe):
    """The settings of a feed: its batches, and how they are requested. Raises `SettingsError`."""

    epochs: int | None = 1
    """The epoch to stop before, counted from 0; None: the feed does not end."""
    start: tuple[int, int] = (0, 0)
    """(epoch, index) of the first batch: another feed's `position`."""
    rank: int = 0
    """This feed's number among `world_size` feeds that share the batches.

    It gets the batches rank, rank + world_size and so on of each epoch.
    """
    world_size: int = 1
    turn: int = 0
    """This process's number among `turns` processes that share a rank's batches.

    It gets the rank's batches turn, turn + turns and so on.
    """
    turns: int = 1
    window: int = 8
    """The number of batches that are in flight or ready to be taken."""
    fingerprint: str | None = None
    """The required fingerprint of the files; None: that of the first worker that answers."""
    timeout_s: float = 300.0
    """Seconds for one try of one batch, including the wait in the broker's queue."""
    tries: int = 3
    """How often a batch is requested before `RequestTimeout`."""
    wait_s: float | None = None
    """Seconds to wait for the first worker; None: as long as `timeout_s`."""
    waits: bool = True
    """Wait for workers that have left, and for the broker, until the time of the request is over;
    False, for workers on this machine: an error after a minute without them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rank < self.world_size:
            got = f"{self.rank} of {self.world_size}"
            raise SettingsError(f"want a rank from 0 to below the world size, got {got}")
        if not 0 <= self.turn < self.turns:
            got = f"{self.turn} of {self.turns}"
            raise SettingsError(f"want a turn from 0 to below the turns, got {got}")
        if self.window < 1:
            raise SettingsError(f"want a window of at least 1, got {self.window}")
        if min(self.start) < 0 or (self.epochs is not None and self.epochs < 1):
            got = f"{self.start} and {self.epochs}"
            raise SettingsError(f"want a start of at least (0, 0) and epochs >= 1, got {got}")

    def recipe(self) -> Recipe:
        """Return the fields that decide what a batch holds."""
        fields = {name: getattr(self, name) for name in Recipe.__dataclass_fields__}
        return Recipe(**fields)


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """A batch of read-only arrays, (batch, planes, rows, cols), planes in the recipe's order."""

    epoch: int
    index: int
    images: npt.NDArray[np.float32]
    """ADC: 0 below SSNet's threshold, at most its saturation value."""
    labels: npt.NDArray[np.uint8]
    """0 background, 1 shower, 2 track."""
    weights: npt.NDArray[np.float32]
    """Each pixel's weight in the loss; the mean is not 1."""
    rses: tuple[RSE, ...]
    """(run, subrun, event) of each event: (batch,)."""
    worker: str = ""
    made_s: float = 0.0
    """Seconds that the worker needed."""
    latency_s: float = 0.0
    """Seconds from the request until the batch was ready to be taken."""


@dataclass(frozen=True)
class Files:
    """The workers' description of their files."""

    fingerprint: str
    events: int
    planes: tuple[int, ...]
    rows: int
    """Rows of the smallest image."""
    cols: int
    """Columns of the smallest image."""
    image: str
    label: str
    parts: tuple[str, ...] = ()
    """One fingerprint per file."""


class Batches:
    """An iterator of `TrainingBatch`; use it as a context manager, which may be left at any time.

    The first batches are requested at once. The constructor raises `NotServed` without workers,
    `RequestTimeout` without a broker, and `SettingsError`. The iterator raises `Refused` (other
    files than at the feed's start, a crop larger than the image), `AnswerError` and other
    `ServiceError`s; each names epoch and batch. Use it in one thread at a time.
    """

    def __init__(
        self, broker: str = DEFAULT_ENDPOINT, feed: Feed | None = None, **options: Any
    ) -> None:
        """options: fields of `Feed`, which replace those of `feed` or the defaults."""
        self.feed = feed = replace(feed or Feed(), **options)
        self.waited_s = 0.0
        """Seconds that the iterating code has waited for batches."""
        self.taken = 0
        self.position = feed.start
        """(epoch, index) of the next batch, to resume from; (epochs, 0) at the end."""
        self._recipe = feed.recipe()
        self._asked: deque[_Asked] = deque()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decodes batches")
        self._client = Client(broker, client_settings(feed))
        try:
            self.files = describe(self._client, wait_s=feed.wait_s)
            self._positions = self._ahead()
            self._fill()
        except BaseException:
            self.close()
            raise

    @property
    def batches_per_epoch(self) -> int:
        """The batches of one epoch, of all ranks together; the last one may be smaller."""
        return self._recipe.batches_of(self.files.events)

    def __iter__(self) -> Iterator[TrainingBatch]:
        return self

    def __next__(self) -> TrainingBatch:
        if not self._asked:
            raise StopIteration
        started_at = time.perf_counter()
        asked = self._asked[0]
        try:
            batch = asked.ready.result()
        except MDPError as error:
            self._give_up()
            where = f"epoch {asked.name.epoch} batch {asked.name.index}"
            raise type(error)(f"{where}: {error}") from error
        finally:
            self.waited_s += time.perf_counter() - started_at
        self._asked.popleft()
        self.taken += 1
        self._fill()
        self.position = self._next_position(batch)
        return batch

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the requests in flight, and end the threads."""
        self._give_up()
        self._client.close()
        self._decoder.shutdown(cancel_futures=True)

    def _ahead(self) -> Iterator[tuple[int, int]]:
        feed, batches = self.feed, self.batches_per_epoch
        if feed.start[1] >= batches:
            want = f"an index below {batches}, for {self.files.events} events in batches of"
            raise SettingsError(f"want {want} {feed.batch_size}, got {feed.start[1]}")
        if feed.epochs is None and feed.rank >= batches:
            got = f"rank {feed.rank} of {feed.world_size}"
            want = f"a rank below {batches}, the number of batches of an epoch"
            raise SettingsError(f"want {want}, got {got}")
        of_rank = positions(
            feed.start,
            batches=batches,
            epochs=feed.epochs,
            rank=feed.rank,
            world_size=feed.world_size,
        )
        return islice(of_rank, feed.turn, None, feed.turns)

    def _fill(self) -> None:
        """Request batches until the window is full."""
        fingerprint = self.feed.fingerprint or self.files.fingerprint
        while len(self._asked) < self.feed.window:
            position = next(self._positions, None)
            if position is None:
                return
            name = BatchName(fingerprint, self._recipe, *position)
            self._asked.append(_Asked(name, self.files, self._client, self._decoder))

    def _next_position(self, taken: TrainingBatch) -> tuple[int, int]:
        if not self._asked:
            return taken.epoch + 1, 0
        name = self._asked[0].name
        return name.epoch, name.index

    def _give_up(self) -> None:
        for asked in self._asked:
            asked.cancel()
        self._asked.clear()


class _Asked:
    """A requested batch; `ready` is done when its answer has arrived and is decoded."""

    def __init__(
        self, name: BatchName, files: Files, client: Client, decoder: ThreadPoolExecutor
    ) -> None:
        self.name = name
        self.ready: Future[TrainingBatch] = Future()
        self._files = files
        self._decoder = decoder
        self._began_at = time.perf_counter()
        self._reply = client.submit(NAME, [name.pack()])
        self._reply.add_done_callback(self._on_reply)

    def cancel(self) -> None:
        self._reply.cancel()

    def _on_reply(self, reply: Future[list[bytes]]) -> None:
        # this runs in the client's thread, where decoding would delay other answers
        if reply.cancelled():
            self.ready.cancel()
        else:
            with suppress(RuntimeError):  # the decoder was shut down, so nobody waits for this
                self._decoder.submit(self._decode, reply)

    def _decode(self, reply: Future[list[bytes]]) -> None:
        try:
            batch = answered(self.name, self._files, reply.result())
        except Exception as error:  # raised in the iterating code
            self.ready.set_exception(error)
        else:
            latency_s = time.perf_counter() - self._began_at
            self.ready.set_result(replace(batch, latency_s=latency_s))


# Answers.


def client_settings(feed: Feed) -> ClientSettings:
    """Return the settings of a client that asks for batches."""
    return ClientSettings(
        timeout_s=feed.timeout_s, tries=feed.tries, lanes=feed.window, waits=feed.waits
    )


def describe(client: Client, *, wait_s: float | None, progress: Progress | None = None) -> Files:
    """Ask a worker to describe its files; raises `NotServed`, `AnswerError`."""
    start = {NAME: f"ssnet worker {NAME} FILE"}
    wait_for_workers(client, start, wait_s=wait_s, ask=DESCRIBE, progress=progress)
    (packed,) = client.request(NAME, [DESCRIBE])
    try:
        description = msgpack.unpackb(packed)
        text = [str(description[key]) for key in ("fingerprint", "image", "label")]
        events, rows, cols = (int(description[key]) for key in ("events", "rows", "cols"))
        planes = tuple(int(plane) for plane in description["planes"])
        parts = tuple(str(part) for part in description["parts"])
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise AnswerError(f"want a description of {NAME}, got {error!r}") from None
    if events < 1:
        raise AnswerError(f"want at least one event at {NAME}, got {events}")
    return Files(text[0], events, planes, rows, cols, image=text[1], label=text[2], parts=parts)


def answered(name: BatchName, files: Files, frames: Sequence[bytes]) -> TrainingBatch:
    """Decode the batch in these frames; raises `AnswerError` if it is not the named batch."""
    try:
        batches = unpack(frames)
        rses = batches[0].rses()
    except FrameError as error:
        raise AnswerError(f"want a training batch, got {error}") from error
    want_names = [files.image, files.label, WEIGHTS]
    if [batch.name for batch in batches] != want_names:
        raise AnswerError(f"want {want_names}, got {[batch.name for batch in batches]}")
    info: Mapping[str, Any] = batches[0].info
    if info.get("batch") != name.plain():
        raise AnswerError(f"want the batch {name.plain()}, got {info.get('batch')}")
    recipe = name.recipe
    planes = len(recipe.planes)
    events = min(recipe.batch_size, files.events - name.index * recipe.batch_size)
    want = (events, planes, recipe.rows, recipe.cols)
    for batch, dtype in zip(batches, _DTYPES, strict=True):
        if batch.array.shape != want or batch.array.dtype != dtype:
            got = f"{batch.array.dtype} {batch.array.shape}"
            raise AnswerError(f"want {dtype} {want} in {batch.name}, got {got}")
    if len(rses) != events * planes:
        raise AnswerError(f"want {events * planes} meta lines, got {len(rses)}")
    images, labels, weights = batches
    return TrainingBatch(
        name.epoch,
        name.index,
        images.array,
        labels.array,
        weights.array,
        rses[::planes],
        worker=str(info.get("worker", "")),
        made_s=float(info.get("seconds", 0.0)),
    )

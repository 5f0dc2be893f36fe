"""The client of services of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from ..client.client import Client
from ..errors import WireError
from ..settings import DEFAULT_ENDPOINT, ClientSettings
from .array_frames import pack_array, unpack_array


class ArrayClient:
    """A client of services that `ArrayWorker`s serve. Close it, or use it in a `with` block.

    broker: an address, or `@FILE`, as for `Client`. The errors are those of `Client`, and
    `WireError` if an answer is no array, because another kind of worker serves the name. A
    `TypeError` means that an argument is no array of plain values. Threads and event loops may
    share it, and it can be pickled, as a `Client` can.
    """

    def __init__(
        self, broker: str = DEFAULT_ENDPOINT, settings: ClientSettings | None = None
    ) -> None:
        self.client = Client(broker, settings)
        """The client that sends the frames: it knows the broker's services, for example."""

    def __enter__(self) -> ArrayClient:
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
        self.client.close()

    def request(
        self,
        service: str,
        array: NDArray[Any],
        *,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> NDArray[Any]:
        """Send an array, wait, and return the array that the service answers."""
        frame = pack_array(array)
        body = self.client.request(service, [frame], timeout_s=timeout_s, tries=tries)
        return _answer(service, body)

    async def arequest(
        self,
        service: str,
        array: NDArray[Any],
        *,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> NDArray[Any]:
        """Do the same as `request`, for asyncio. See `Client.arequest`."""
        frame = pack_array(array)
        body = await self.client.arequest(service, [frame], timeout_s=timeout_s, tries=tries)
        return _answer(service, body)

    def map(
        self,
        service: str,
        arrays: Iterable[NDArray[Any]],
        *,
        window: int = 8,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> Iterator[NDArray[Any]]:
        """Send each array as a request, and yield the answers in the order of the arrays.

        At most `window` requests are in flight or wait to be yielded, so memory stays bounded.
        """
        bodies = ([pack_array(array)] for array in arrays)
        for body in self.client.map(
            service, bodies, window=window, timeout_s=timeout_s, tries=tries
        ):
            yield _answer(service, body)


def _answer(service: str, body: list[bytes]) -> NDArray[Any]:
    try:
        return unpack_array(body)
    except WireError as error:
        raise WireError(f"{service}: {error}") from None

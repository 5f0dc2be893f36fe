"""PyPI's majortomo as a worker: `python -m tests.interop.majortomo_worker ENDPOINT SERVICE`.

Its heartbeats come only out of its receiving loop, and as late as twice the interval.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from majortomo import Worker, WorkerRequestsIterator

from tests.interop.answers import parts_of
from tests.support.keys import new_context


def serve(endpoint: str, service: str) -> NoReturn:
    context = new_context()
    while True:  # its iterator ends at a DISCONNECT
        worker = Worker(
            endpoint,
            service,
            heartbeat_interval=0.1,
            heartbeat_timeout=0.6,
            zmq_context=context,  # the only place for keys: its sockets take the context's options
        )
        requests = WorkerRequestsIterator(worker)
        for request in requests:
            *partials, final = parts_of(request)
            requests.send_reply_from_iterable(partials, final)  # type: ignore[no-untyped-call]
        print("the broker sent DISCONNECT", file=sys.stderr, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])

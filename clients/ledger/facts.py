"""What a ledger says of a whole run: its files, its window, the pools it began with."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from mdp import Client
from services.planes import service_name

from ..scoring.job import ScoringJob
from .records import Run


def facts(job: ScoringJob, client: Client, *, planes: Sequence[int], events: int, done: int) -> Run:
    """Of a run that begins now: events to do, and those that earlier runs have done."""
    served = client.services()
    return Run(
        output=job.output.name,
        inputs=tuple(str(path) for path in job.inputs),
        started=time.time(),
        host=socket.gethostname(),
        mode=type(job.mode).__name__.lower(),
        events=events,
        done=done,
        window=job.window,
        window_bytes=job.window_bytes,
        pools={p: served.get(service_name(p), {}).get("workers", 0) for p in planes},
    )

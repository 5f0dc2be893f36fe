"""Wait, up to a time limit, until services have workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future

from mdp import Client, NotServed, RequestTimeout
from mdp.client.patience import Patience
from mdp.pool.observe import Outlook, pool_of

from .progress import Progress

log = logging.getLogger(__name__)

_LOOK_S, _LATER_LOOK_S = 0.2, 1.0
_POOL_LOOK_S = 5.0  # for an answer of a pool's broker, which may be a job that is still queued


def wait_for_workers(
    client: Client,
    services: Mapping[str, str],
    *,
    wait_s: float | None,
    ask: bytes | None = None,
    progress: Progress | None = None,
) -> None:
    """Return when each service has a worker.

    services: for each service's name, the command that starts a worker, for the messages;
    wait_s: None: as long as the client's `timeout_s`; progress: gets a step for each state of the
    wait. The log names the services without workers after 10 s, and then each minute. Raises
    `NotServed`, which names them, too, after `wait_s`, and `RequestTimeout` if no broker answers.

    If the broker is that of a pool, the wait goes on while jobs of the pool are queued or start,
    and the log says so. ask: a request that every service answers; one is queued at each service
    without a worker, so that a pool whose size follows the queue starts one.
    """
    limit_s = client.settings.timeout_s if wait_s is None else wait_s
    pool = _Pool.of(client, ask)
    began_at = time.monotonic()
    progress = progress or Progress()
    progress.step(f"waiting for the broker at {client.broker}")
    patience, missing_since = Patience(), dict[str, float]()
    try:
        while True:
            left_s = began_at + limit_s - time.monotonic()
            missing, trouble = _missing(client, services, max(left_s, 1.0), pool)
            if not missing:
                return
            coming = pool.coming(missing) if pool else ""
            progress.step(f"waiting for workers of {', '.join(missing)}{coming and f': {coming}'}")
            start = f"`{services[missing[0]]} --broker {client.broker}` starts one"
            start = pool.hint(coming) if pool else start
            if left_s <= 0 and not coming:
                raise trouble or NotServed(
                    f"want workers of {', '.join(missing)} at {client.broker_shown}, got none in"
                    f" {limit_s:g} s: {start}"
                )
            now = time.monotonic()
            missing_since = {name: missing_since.get(name, now) for name in missing}
            if due := patience.due(missing_since, now):
                names, waited_s = ", ".join(due), max(due.values())
                log.warning("waiting for workers of %s, %.0f s; %s", names, waited_s, start)
            time.sleep(_LOOK_S if now < began_at + 60 * _LOOK_S else _LATER_LOOK_S)
    finally:
        if pool:
            pool.close()


def _missing(
    client: Client, services: Iterable[str], timeout_s: float, pool: _Pool | None
) -> tuple[list[str], RequestTimeout | None]:
    """Return the services without workers; all of them, and an error, if no broker answers.

    Without a pool the error is raised. A pool's broker may be a job that is queued.
    """
    try:
        served = client.services(timeout_s=min(timeout_s, _POOL_LOOK_S) if pool else timeout_s)
    except RequestTimeout:
        why = client.why_silent()
        error = RequestTimeout(f"no broker answers at {client.broker_shown}: {why}")
        if pool is None:
            raise error from None
        return list(services), error
    return [name for name in services if not served.get(name, {}).get("workers")], None


class _Pool:
    """The pool whose broker a client uses, while the client waits for its first workers."""

    def __init__(self, client: Client, outlook: Outlook, name: str, ask: bytes | None) -> None:
        self._client = client
        self._outlook = outlook
        self._name = name
        self._ask = ask
        self._asked: dict[str, Future[list[bytes]]] = {}

    @staticmethod
    def of(client: Client, ask: bytes | None) -> _Pool | None:
        """Return the pool that a client's contact file belongs to, if it is a pool's."""
        folder = pool_of(client.broker)
        return None if folder is None else _Pool(client, Outlook(folder), folder.name, ask)

    def coming(self, missing: Iterable[str]) -> str:
        """Say which jobs are queued or start, and see that a request waits at each service."""
        for service in missing:
            waiting = self._asked.get(service)
            if self._ask is not None and (waiting is None or waiting.done()):
                self._asked[service] = self._client.submit(service, [self._ask])
        return self._outlook.text()

    def hint(self, coming: str) -> str:
        if coming:
            return f"pool {self._name}: {coming}"
        return f"no job of them is queued: `ssnet pool doctor {self._name}` says why"

    def close(self) -> None:
        for future in self._asked.values():
            future.cancel()

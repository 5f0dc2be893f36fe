"""Wait, up to a time limit, until services have workers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from mdp import Client, NotServed, RequestTimeout

from .progress import Progress

_LOOK_S = 0.2


def wait_for_workers(
    client: Client,
    services: Mapping[str, str],
    *,
    wait_s: float,
    progress: Progress | None = None,
) -> None:
    """Return when each service has a worker.

    services: for each service's name, the command that starts a worker, for the error message;
    progress: gets a step for each state of the wait. Raises `NotServed`, which names the services
    without workers, after `wait_s`, and `RequestTimeout` if no broker answers.
    """
    give_up_at = time.monotonic() + wait_s
    progress = progress or Progress()
    progress.step(f"waiting for the broker at {client.broker}")
    while True:
        left_s = give_up_at - time.monotonic()
        missing = _missing(client, services, max(left_s, 1.0))
        if not missing:
            return
        progress.step(f"waiting for workers of {', '.join(missing)}")
        if left_s <= 0:
            raise NotServed(
                f"want workers of {', '.join(missing)} at {client.broker}, got none in"
                f" {wait_s:g} s: `{services[missing[0]]} --broker {client.broker}` starts one"
            )
        time.sleep(_LOOK_S)


def _missing(client: Client, services: Iterable[str], timeout_s: float) -> list[str]:
    try:
        served = client.services(timeout_s=timeout_s)
    except RequestTimeout:
        raise RequestTimeout(
            f"no broker answers at {client.broker}: `mdp broker` starts one"
        ) from None
    return [name for name in services if not served.get(name, {}).get("workers")]

"""The command `mdp metrics`: its options."""

from __future__ import annotations

from typing import Annotated

from ...errors import MDPError
from ...settings import DEFAULT_ENDPOINT
from ...system.logs import configure_logging
from ...system.process import ended_by_signals
from ..command_line import (
    SERVED,
    Broker,
    Quiet,
    Timeout,
    Verbose,
    option,
    options_named,
)
from .readiness import PLANES

LISTEN = "127.0.0.1:9555"
_TIMEOUT_S = 3.0
_REQUIREMENT = "prometheus_client>=0.20"  # as in setup.cfg

METRICS_HELP = """Serve a broker's figures over HTTP, for Prometheus, until Ctrl-C.

It runs beside the broker, and asks it at each scrape, at most once a second. If the broker does \
not answer, the metric mdp_broker_up is 0, and no other metric is there. /metrics has the figures. \
/healthz answers 200 if the broker answers, else 503 and the reason; /readyz answers 200 if every \
service that --need names has a worker.

With keys it needs an operator's key for the figures of single workers and clients \
(`mdp keys new NAME --role operator`), or the broker's own contact file; with a client's key it \
serves the others.

[bold]Examples[/]

  mdp metrics
  mdp metrics --broker @july/broker.json --listen 127.0.0.1:9600
  mdp metrics --need ssnet-plane0 --need ssnet-plane1 --need ssnet-plane2
  mdp metrics --need 'ssnet-*' --listen 0.0.0.0:9555    # other machines may read them
  curl http://127.0.0.1:9555/readyz
"""


def metrics(
    broker: Broker = DEFAULT_ENDPOINT,
    listen: Annotated[
        str,
        option(
            SERVED,
            metavar="HOST:PORT",
            help="Address at which the figures can be read; port 0: any free one.",
        ),
    ] = LISTEN,
    need: Annotated[
        list[str] | None,
        option(
            SERVED,
            metavar="NAME",
            help="Service that must have a worker for /readyz, or a pattern for those that the"
            f" broker knows; repeatable. Default: {' '.join(PLANES)}.",
        ),
    ] = None,
    timeout: Timeout = _TIMEOUT_S,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    try:
        from .endpoint import listen_address, serve_metrics
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        needs = "mdp metrics needs prometheus_client (extra [metrics])"
        raise MDPError(f"{needs}: pip install '{_REQUIREMENT}'") from None
    with options_named(listen="--listen"):
        address = listen_address(listen)
    with ended_by_signals():
        serve_metrics(broker, address, need or PLANES, timeout_s=timeout)

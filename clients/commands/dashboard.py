"""`ssnet dashboard`: a live page of a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdp.settings import DEFAULT_ENDPOINT
from mdp.system.contact import locate
from mdp.system.logs import configure_logging

from .options import (
    FILES,
    SERVED,
    Broker,
    PoolName,
    Quiet,
    Timeout,
    Verbose,
    broker_of,
    option,
)

HELP = """Serve a page that shows a site live: rates, queues, workers, failures, the last event.

It prints the URL, with a token, and the ssh command for a browser on another machine. The page \
loads nothing from elsewhere. It shows each worker in a lane, runs and campaigns with the time \
that they still need, and the jobs of a pool. With an operator's key it has buttons that pause a \
service, retire a worker and cancel a run; each asks once.

With keys it needs an operator's key for single workers and clients, and for the buttons \
(`mdp keys new NAME --role operator`), or the broker's own contact file.

[bold]Examples[/]

  ssnet dashboard
  ssnet dashboard --broker @july/broker.json --campaign out
  ssnet dashboard --pool july --campaign out --campaign out2
  ssnet dashboard --listen 127.0.0.1:0 --pictures in.root --pictures out.root
"""

LISTEN = "127.0.0.1:8787"
_TIMEOUT_S = 3.0


def dashboard(
    context: typer.Context,
    campaign: Annotated[
        list[Path] | None,
        option(FILES, metavar="DIR", help="Folder of a campaign to show; repeatable."),
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        option(
            FILES,
            metavar="FILE",
            help="Draw the last event of these files of the same events; repeatable."
            " Default: of the newest output of the campaigns.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        option(
            FILES,
            metavar="FILE",
            help="Take the token from this file, and make the file if it does not exist."
            " Default: a new token at each start.",
        ),
    ] = None,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    listen: Annotated[
        str,
        option(
            SERVED,
            metavar="HOST:PORT",
            help="Address at which the figures can be read; port 0: any free one.",
        ),
    ] = LISTEN,
    timeout: Timeout = _TIMEOUT_S,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ..dashboard import serving_page

    configure_logging(verbose=verbose, quiet=quiet)
    broker = broker_of(context, pool_name, broker)
    address = serving_page.listen_address(listen)
    locate(broker)  # an error at once, if there is no contact file
    serving_page.serve(
        serving_page.Dashboard(
            broker=broker,
            listen=address,
            campaigns=tuple(campaign or ()),
            pool=pool_name,
            pictures=tuple(pictures or ()),
            token_file=token_file,
            timeout_s=timeout,
        )
    )

"""The broker's process: `mdp broker` replaces itself by `python -m mdp.serve SETTINGS`.

The libraries of a command line take 13 MB that a broker has better uses for.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import NoReturn

from .broker_loop import serve_broker
from .process import configure_logging, errors_reported, raise_file_limit, stop_bell
from .settings import BrokerSettings, Pulse


def become_broker(endpoints: list[str], settings: BrokerSettings, *, verbose: bool) -> NoReturn:
    """Replace this process, under its own pid, by a broker."""
    plan = {"endpoints": endpoints, "verbose": verbose, "settings": asdict(settings)}
    os.execv(sys.executable, [sys.executable, "-m", "mdp.serve", "mdp broker", json.dumps(plan)])


def main(plan: str) -> None:
    told = json.loads(plan)
    values = told["settings"]
    settings = BrokerSettings(**{**values, "pulse": Pulse(**values["pulse"])})
    configure_logging(verbose=told["verbose"])
    raise_file_limit()
    with stop_bell() as stop:
        serve_broker(told["endpoints"], settings, stop)


if __name__ == "__main__":
    with errors_reported():
        main(sys.argv[2])

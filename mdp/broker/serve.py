"""The broker's process: `mdp broker` replaces its own process by this one, with exec.

The exec frees the 13 MB of memory that the libraries of the command line take.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import NoReturn

from ..process import configure_logging, errors_reported, raise_file_limit, stop_signal
from ..settings import BrokerSettings, Heartbeats
from .broker_loop import serve_broker

# Not `-m`: that would import a file of the current folder that has the name of a library.
_START = (
    "import sys; sys.path[0] = sys.argv[1]; from mdp.broker.serve import start; start(sys.argv[3])"
)


def become_broker(
    endpoints: list[str], settings: BrokerSettings, *, verbose: bool, quiet: bool
) -> NoReturn:
    """Replace this process with a broker process, which keeps the pid."""
    plan = {"endpoints": endpoints, "settings": asdict(settings)}
    plan["logging"] = {"verbose": verbose, "quiet": quiet}
    package_parent = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    command = [sys.executable, "-c", _START, package_parent, "mdp broker", json.dumps(plan)]
    os.execv(sys.executable, command)


def main(plan: str) -> None:
    options = json.loads(plan)
    values = options["settings"]
    settings = BrokerSettings(**{**values, "heartbeats": Heartbeats(**values["heartbeats"])})
    configure_logging(**options["logging"])
    raise_file_limit()
    with stop_signal() as stop:
        serve_broker(options["endpoints"], settings, stop)


def start(plan: str) -> None:
    with errors_reported():
        main(plan)

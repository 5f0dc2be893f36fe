"""The broker's process: `mdp broker` replaces its own process by this one, with exec.

The exec frees the 13 MB of memory that the libraries of the command line take. With `supervise`
that process is the supervisor, and the broker is its child process.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import NoReturn

from ..settings import BrokerSettings, Heartbeats
from ..system.logs import LogSettings, chosen, configure_logging
from ..system.process import die_with, errors_reported, raise_file_limit, stop_signal
from .broker_loop import Serving, serve_broker
from .supervisor import Supervisor

# Not `-m`: that would import a file of the current folder that has the name of a library.
_START = (
    "import sys; sys.path[0] = sys.argv[1]; from mdp.broker.serve import start; start(sys.argv[3])"
)


def become_broker(
    endpoints: list[str],
    settings: BrokerSettings,
    *,
    verbose: bool,
    quiet: bool,
    supervise: bool = False,
    serving: Serving = Serving(),  # noqa: B008
) -> NoReturn:
    """Replace this process with a broker process, or with its supervisor; it keeps the pid."""
    plan = {"endpoints": endpoints, "settings": asdict(settings), "supervise": supervise}
    plan["serving"] = asdict(serving)
    plan["logging"] = {"verbose": verbose, "quiet": quiet}
    plan["log"] = asdict(chosen())
    os.execv(sys.executable, _command(plan))


def _command(plan: dict[str, object]) -> list[str]:
    package_parent = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    return [sys.executable, "-c", _START, package_parent, "mdp broker", json.dumps(plan)]


def main(plan: str) -> None:
    options = json.loads(plan)
    configure_logging(**options["logging"], log=LogSettings(**options["log"]))
    if options["supervise"]:
        child = _command({**options, "supervise": False, "parent_pid": os.getpid()})
        sys.exit(Supervisor(child).run())
    if "parent_pid" in options:
        die_with(options["parent_pid"])
    values = options["settings"]
    settings = BrokerSettings(**{**values, "heartbeats": Heartbeats(**values["heartbeats"])})
    raise_file_limit()
    with stop_signal() as stop:
        serve_broker(options["endpoints"], settings, stop, Serving(**options["serving"]))


def start(plan: str) -> None:
    with errors_reported():
        main(plan)

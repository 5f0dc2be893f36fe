"""Workers whose hosts soon kill a child which goes on with what was taken from it.

`python -m tests.faults.impatient_host ENDPOINT [WORKERS]`
"""

from __future__ import annotations

import sys

from mdp import Heartbeats, WorkerSettings
from mdp.sockets import Wakeup
from mdp.worker.worker_loop import serve_workers
from tests.faults.handlers import Obedient

if __name__ == "__main__":
    settings = WorkerSettings(
        heartbeats=Heartbeats(0.2, 3), reconnect_s=0.2, restart_s=0.1, orphan_s=0.5
    )
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    serve_workers(sys.argv[1], [("obedient", Obedient)] * workers, Wakeup(), settings=settings)

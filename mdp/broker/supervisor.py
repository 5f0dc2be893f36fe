"""Start a broker's process again when it dies: a fault inside libzmq aborts it."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
from types import FrameType

from ..sockets import clock

log = logging.getLogger(__name__)

_WAIT_S, _MAX_WAIT_S = 0.1, 5.0
_STABLE_S = 60.0  # a broker that has run for so long is started again without a wait
_START_S = 5.0  # one that fails within this time would fail again: its port is in use, say
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class Supervisor:
    """Runs a command, and starts it again as long as it dies by accident."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()

    def run(self) -> int:
        """Return the exit code: that of the command, or 0 after a signal between two runs."""
        for number in _FORWARDED:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # under nohup
            signal.signal(number, self._forward)
        wait_s = _WAIT_S
        while not self._stopping.is_set():
            started_at = clock()
            # in a session of its own, because Ctrl-C in a terminal reaches the whole session
            self._process = subprocess.Popen(self._command, start_new_session=True)
            if self._stopping.is_set():
                self._process.terminate()  # the signal came just before the start
            code = self._process.wait()
            ran_s = clock() - started_at
            if self._stopping.is_set() or code == 0 or (code > 0 and ran_s < _START_S):
                return code if code >= 0 else 128 - code
            wait_s = _WAIT_S if ran_s >= _STABLE_S else min(2 * wait_s, _MAX_WAIT_S)
            log.error("the broker %s; it is started again in %.1f s", _cause(code), wait_s)
            self._stopping.wait(wait_s)
        return 0

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def _cause(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    return f"was killed by {signal.Signals(-code).name}"

"""When the workers of a process must have ended, as an option or their batch job says."""

from __future__ import annotations

import logging
import math

from ..sockets import unix_time
from ..system.batch_job import BatchJob, asked_end_time, end_time
from ..system.logs import timestamp

log = logging.getLogger(__name__)

_SQUEUE_S = 15.0  # it takes 9 s to fail if its controller is down
_ASK_AGAIN_S = 60.0  # while the end is not known


class JobEnd:
    """When the workers must have ended: at a time that is given, or at the end of their job."""

    def __init__(self, until: float | None, job: BatchJob | None) -> None:
        self.is_fixed = until is not None or job is None
        self.until = math.inf if until is None else until
        """Unix time; infinite: never, or not known yet."""
        self.due_at = -math.inf if self.until < math.inf or not self.is_fixed else math.inf
        """When the end must be asked for."""
        self._job = job

    def ask(self) -> float | None:
        """Ask the batch system. It blocks for seconds."""
        assert self._job is not None
        if self.until == math.inf:
            return end_time(self._job, _SQUEUE_S)
        return asked_end_time(self._job, _SQUEUE_S)

    def on_answer(self, until: float | None, now: float) -> None:
        if until is not None and until != self.until:
            log.info("%s", self._line(until))
            self.until = until
        if until is None and self.until == math.inf:
            self.due_at = now + _ASK_AGAIN_S

    def _line(self, until: float) -> str:
        whose = "the workers end" if self._job is None else f"job {self._job.id} ends"
        if until == math.inf:
            return f"{whose} at no fixed time"
        return f"{whose} at {timestamp(until)}, in {until - unix_time():.0f} s"

"""What came of a run of the fault suite, as tables; and whether it is good. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from clients.terminal import screen
from mdp import Heartbeats
from tests.faults.plan import SORTS, Sort
from tests.faults.recovery import Restart, summary
from tests.faults.rounds import Tally

BACK_S = 5.0
"""The limit of a first answer after an outage of any length, from the new broker's start."""


@dataclass(frozen=True)
class Outcome:
    """Numbers of one run."""

    how_filled: str
    faults: Mapping[Sort, int]
    missed: int
    """Faults whose victim was not there just then."""
    times_s: Mapping[Sort, Sequence[float]]
    """Until each plane that was hit had answered a question asked after the fault."""
    restarts: Sequence[Restart]
    alone: Sequence[Restart]
    """Those of them that no other fault was near."""
    heartbeats: Heartbeats
    brokers: int
    counted: Mapping[str, int]
    """By all brokers."""
    tally: Tally
    asked: int
    """Questions of the probe."""
    answered: int
    handlers_left: int
    """Handlers that hang, or that compute for nobody, at the end."""
    processes_left: int
    complaints: Sequence[str]

    @property
    def good(self) -> bool:
        return not self.findings

    @property
    def findings(self) -> list[str]:
        """All that is wrong, a line each."""
        tally = self.tally
        judged = [item for item in self.alone if self.is_brief(item)]
        wrong = {
            "no round of the client came to its end": not tally.rounds,
            f"{tally.unequal} outputs are not the calm one": tally.unequal,
            f"{tally.files_left} files are left beside whole outputs": tally.files_left,
            f"{self.handlers_left} handlers are left at work": self.handlers_left,
            f"{self.processes_left} processes are left": self.processes_left,
            "questions of the probe are unanswered": self.asked != self.answered,
            f"no restart can be judged: none alone, after at most {self.brief_s:.1f} s without "
            "a broker": not judged,
        }
        late = [
            f"the first answer of a new broker took {item.answer_s:.2f} s: want {limit_s:.1f}"
            for item in self.alone
            if item.answer_s > (limit_s := self.limit_s if self.is_brief(item) else BACK_S)
        ]
        return [
            *self.complaints,
            *(text for text, is_so in wrong.items() if is_so),
            *late,
        ]

    @property
    def limit_s(self) -> float:
        """From the moment that a new broker serves to the first answer."""
        return self.heartbeats.silence_s + 2.0

    @property
    def brief_s(self) -> float:
        """Of an outage: after a longer one, workers may wait for almost 4 s before they connect."""
        return 3 * self.heartbeats.silence_s + 1.0 + 2.0

    def is_brief(self, restart: Restart) -> bool:
        return restart.outage_s < self.brief_s


def tables(outcome: Outcome) -> list[Table]:
    """Faults and their recovery; then what was counted."""
    return [_faults(outcome), _counts(outcome)]


def _faults(outcome: Outcome) -> Table:
    result = screen.table("fault", "of", "times", "median s", "max s", left=2)
    for kind, part in SORTS:
        spent = summary(outcome.times_s.get((kind, part), ()))
        cells = ["", ""] if spent is None else [f"{value:.2f}" for value in spent]
        times = str(outcome.faults.get((kind, part), 0))
        result.add_row(kind.value, part.value, times, *cells)
    return result


def _counts(outcome: Outcome) -> Table:
    tally, counted = outcome.tally, outcome.counted
    result = screen.table("counted", "")
    rows: dict[str, object] = {
        "faults": sum(outcome.faults.values()),
        "faults whose victim was not there just then": outcome.missed,
        "brokers": outcome.brokers,
        "requests accepted": counted.get("accepted", 0),
        "answered": counted.get("answered", 0),
        "requeued": counted.get("requeued", 0),
        "refused with an error": counted.get("refused", 0),
        "cancelled": counted.get("cancelled", 0),
        "workers lost": counted.get("workers_lost", 0),
        "workers died": counted.get("workers_died", 0),
        "replies to dead tokens, dropped": counted.get("dead_tokens", 0),
        "answers whose client was gone, dropped": counted.get("unreachable", 0),
        "answers that nobody waited for, dropped by clients": tally.dropped_answers,
        "messages that no dialect allows, dropped": counted.get("malformed", 0),
        "probe: questions": outcome.asked,
        "probe: unanswered": outcome.asked - outcome.answered,
        "rounds of the client, outputs compared": tally.rounds,
        "clients started again": tally.restarts,
        "clients killed when their output was whole": tally.killed_when_whole,
        "events": tally.events,
        "events lost": tally.lost,
        "events duplicated": tally.duplicated,
        "events different": tally.different,
        "outputs different": tally.unequal,
        "temporary files left": tally.files_left,
        "handlers left at work": outcome.handlers_left,
        "processes left": outcome.processes_left,
        "complaints": len(outcome.complaints),
    }
    for name, value in rows.items():
        result.add_row(name, str(value))
    for name, restarts in (("alone", outcome.alone), ("all", outcome.restarts)):
        for value, times in (
            ("without a broker", [item.outage_s for item in restarts]),
            ("from a new broker to its first answer", [item.answer_s for item in restarts]),
        ):
            result.add_row(f"{value}, {name} ({len(restarts)})", _median_and_max(times))
    limit = (
        f"{outcome.limit_s:.1f} s after at most {outcome.brief_s:.1f} s without, else {BACK_S} s"
    )
    result.add_row("limit of a first answer, alone", limit)
    result.add_row("the disk", outcome.how_filled)
    return result


def _median_and_max(times_s: Sequence[float]) -> str:
    matches = summary(times_s)
    return "none" if matches is None else f"median {matches[0]:.2f} s, max {matches[1]:.2f} s"

"""When a broker is healthy, and when it is ready."""

from __future__ import annotations

from typing import Any

import pytest

from mdp.commands.metrics.looking import Seen
from mdp.commands.metrics.readiness import (
    PLANES,
    service_states,
    why_not_healthy,
    why_not_ready,
)


def seen(*, draining: bool = False, **served: int) -> Seen:
    """A broker whose services have so many workers, all busy."""
    rows: dict[str, Any] = {
        name.replace("_", "-"): {"idle": 0, "busy": count, "retired": 1}
        for name, count in served.items()
    }
    return Seen({"draining": draining, "services": rows})


SILENT = Seen(None, "no broker answers")


@pytest.mark.parametrize(
    ("look", "needed", "word"),
    [
        (seen(ssnet_plane0=1, ssnet_plane1=2, echo=0), PLANES, ""),
        (seen(ssnet_plane0=1, ssnet_plane1=0), PLANES, "no worker for ssnet-plane1"),
        (seen(echo=1), PLANES, "knows no service ssnet-plane*"),
        (seen(echo=1), ["echo"], ""),
        (seen(echo=1), ["echo", "other"], "no worker for other"),
        (seen(echo=1), ["ech?", "o*"], "knows no service o*"),
        (seen(echo=1, draining=True), ["echo"], "about to stop"),
        (SILENT, ["echo"], "no broker answers"),
    ],
)
def test_ready_means_that_every_needed_service_has_a_worker(
    look: Seen, needed: list[str], word: str
) -> None:
    reason = why_not_ready(look, needed)
    assert bool(reason) == bool(word)
    assert word in reason


def test_healthy_means_that_the_broker_answers() -> None:
    assert why_not_healthy(seen()) == ""
    assert why_not_healthy(seen(draining=True)) == ""
    assert why_not_healthy(SILENT) == "no broker answers"


def test_a_name_has_a_state_also_if_the_broker_does_not_know_it() -> None:
    report = seen(ssnet_plane0=1, ssnet_plane1=0).report
    assert report is not None
    assert service_states(report, ["ssnet-*", "echo", "no-*"]) == {
        "ssnet-plane0": True,
        "ssnet-plane1": False,
        "echo": False,
    }

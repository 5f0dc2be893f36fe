"""A broker whose reports are not as the dashboard knows them."""

from __future__ import annotations

from typing import Any

import pytest

from clients.dashboard.watcher import Message, Watcher
from mdp import Client
from tests.support.processes import QUICK, Processes, wait_for_workers


class Sources:
    """Of a dashboard without campaigns and pools."""

    campaigns: tuple[Any, ...] = ()
    limits: tuple[str, ...] = ()
    is_watched = False

    def figures(self) -> Message:
        return {}


def without(key: str, *path: str) -> Any:
    def change(report: Any) -> Any:
        part = report
        for step in path:
            part = part[step] if isinstance(part, dict) else part[0]
        del part[key]
        return report

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("metrics", without("instance")),
        ("metrics", without("version")),
        ("metrics", lambda report: 7),
        ("workers", without("busy_s", "workers", "first")),
        ("workers", lambda report: {"workers": None}),
        ("clients", lambda report: {"clients": 7}),
        ("services", lambda report: [1]),
        ("services", without("retired", "echo")),
        ("services", lambda report: {**report, "echo": {**report["echo"], "answered": None}}),
    ],
)
def test_a_report_that_is_not_understood_is_said_and_the_next_look_is_good(
    processes: Processes, endpoint: str, monkeypatch: pytest.MonkeyPatch, name: str, change: Any
) -> None:
    processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    messages: list[Message] = []
    with Client(endpoint) as client:
        wait_for_workers(client, "echo", 1)
        watcher = Watcher(client, Sources(), messages.append, timeout_s=10.0)  # type: ignore[arg-type]
        watcher._step()
        with monkeypatch.context() as patch:
            if name == "services":
                services = client.services
                patch.setattr(client, "services", lambda **most: change(services(**most)))
            else:
                ask = client.management

                def management(asked: str, **most: Any) -> Any:
                    report = ask(asked, **most)
                    return change(report) if asked == name else report

                patch.setattr(client, "management", management)
            watcher._step()
        watcher._step()
    good, odd, again = (message["headline"]["text"] for message in messages)
    assert again == good
    assert odd != good
    assert odd.startswith("no answer from the broker")

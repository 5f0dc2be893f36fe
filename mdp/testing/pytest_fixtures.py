"""A fixture of pytest: `pytest_plugins = ["mdp.testing.pytest_fixtures"]` in conftest.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Protocol

import pytest

from ..settings import BrokerSettings, Heartbeats
from .processes import Factory
from .serving_site import QUICK, ServingSite, serving


class Serve(Protocol):
    """The type of the fixture `mdp_serving`: call it as `serving`, without a `with` block."""

    def __call__(
        self,
        services: Mapping[str, Factory],
        *,
        workers: int = 1,
        settings: BrokerSettings | None = None,
        heartbeats: Heartbeats = QUICK,
    ) -> ServingSite: ...


@pytest.fixture
def mdp_serving() -> Iterator[Serve]:
    """Start a broker and workers that end with the test: `mdp_serving({"smooth": Smooth})`."""
    with ExitStack() as stack:

        def start(
            services: Mapping[str, Factory],
            *,
            workers: int = 1,
            settings: BrokerSettings | None = None,
            heartbeats: Heartbeats = QUICK,
        ) -> ServingSite:
            site = serving(services, workers=workers, settings=settings, heartbeats=heartbeats)
            return stack.enter_context(site)

        yield start

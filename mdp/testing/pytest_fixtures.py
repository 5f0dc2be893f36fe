"""A fixture of pytest. A test module, or conftest.py, has it by the line

pytest_plugins = ["mdp.testing.pytest_fixtures"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from ..settings import BrokerSettings, Heartbeats
from .processes import Factory
from .serving_site import QUICK, Serve, ServingSite, serving


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

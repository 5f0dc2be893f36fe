"""One Slurm for all tests of this folder; it ends with pytest, also if pytest is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.slurm_site import Site, need_slurm


@pytest.fixture(scope="session")
def site_of_session() -> Iterator[Site]:
    need_slurm()
    with Site(nodes=3, cpus=18) as site:  # numbers: the machine may have two
        yield site


@pytest.fixture(scope="session")
def site_of_nobody() -> Iterator[Site]:
    need_slurm()
    with Site(nodes=3, cpus=16, user="nobody") as site:
        yield site


@pytest.fixture
def slurm(site_of_session: Site) -> Iterator[Site]:
    """A Slurm with three idle nodes and no jobs; the logs of its jobs are shown if a test fails."""
    yield site_of_session
    site_of_session.clean()


@pytest.fixture(scope="session")
def site_of_ordinary_user(request: pytest.FixtureRequest) -> Site:
    """A site of a user that is not root."""
    name = "site_of_nobody" if os.geteuid() == 0 else "site_of_session"
    site: Site = request.getfixturevalue(name)
    return site


@pytest.fixture(params=["ours", "nobody's"] if os.geteuid() == 0 else ["ours"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The same; where the tests run as root, once more as an ordinary user."""
    name = "site_of_session" if request.param == "ours" else "site_of_nobody"
    site: Site = request.getfixturevalue(name)
    yield site
    site.clean()

"""Every test of the fault suite has keys: its brokers ask for them, and its peers have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mdp.system.contact import KEYS_VARIABLE
from tests.support import keys


@pytest.fixture(scope="module", autouse=True)
def with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have all brokers, workers, clients and raw peers of a module use the same keys."""
    environment: dict[str, str] = {}
    keys.use(tmp_path_factory.mktemp("keys"), environment)
    with pytest.MonkeyPatch.context() as patch:
        for name in (KEYS_VARIABLE, keys.FOLDER_VARIABLE):
            patch.setenv(name, environment[name])
        yield

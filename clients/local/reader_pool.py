"""Readers of files, the workers of `ssnet-files`: `ssnet worker files -n 4`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from lartpc import WriteError
from mdp.settings import DEFAULT_ENDPOINT

from ..campaign.file_request import SERVICE
from .serving import Factories


@dataclass(frozen=True)
class ReaderPool:
    """Readers that score files with the workers of planes at a broker."""

    broker: str = DEFAULT_ENDPOINT
    """The broker of the planes: an address, or @FILE, which each reader reads again."""
    workers: int = 1
    scratch: str = ""
    """A folder on this host in which outputs are written first; empty: as the campaign says."""

    @property
    def total(self) -> int:
        return self.workers

    def check(self) -> None:
        """Raise `WriteError` if there is no scratch folder."""
        if self.scratch:
            from ..campaign.readers.scratch import place_of

            if not Path(place_of(self.scratch)).is_dir():
                raise WriteError(f"want a scratch folder on this host, got {self.scratch}")

    def factories(self) -> Factories:
        """For each worker its service and the function that makes it; `mdp` starts them."""
        from ..campaign.readers.reader import FileReader

        return [(SERVICE, functools.partial(FileReader, self.broker, self.scratch))] * self.workers

    def plan(self) -> str:
        return ""

"""Looks for new files in a folder, again and again; the looks run in a thread."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from mdp import MDPError

from ..inputs import Given, Seen, found, settled
from ..plan import CampaignSettings
from ..records.queries import ReadCatalogue
from .loop import Background

log = logging.getLogger(__name__)

_MOST_S, _LEAST_S = 30.0, 1.0  # between two looks
_MOST_NAMED = 20  # troubles of one look


class Watch:
    """The folder of `--watch-folder`."""

    def __init__(self, folder: Path, settings: CampaignSettings) -> None:
        """folder: the campaign's, whose files are not taken."""
        self._settle_s = settings.settle_s
        self._scan = Background(lambda: found(settings.watch, folder=folder))
        self._seen: dict[Path, Seen] = {}
        self._look_at = 0.0
        self._named: set[str] = set()

    def turn(self, now: float, catalogue: ReadCatalogue) -> list[Given]:
        """Return files that have stopped growing and that the catalogue does not have."""
        if now >= self._look_at:
            self._look_at = now + min(max(self._settle_s / 2, _LEAST_S), _MOST_S)
            self._scan.start()
        scanned = self._result()
        if scanned is None:
            return []
        have = catalogue.numbers(str(given.path) for given in scanned)
        unknown = {given.path: given for given in scanned if str(given.path) not in have}
        sizes = {path: (given.bytes, given.mtime_ns) for path, given in unknown.items()}
        ready, self._seen = settled(sizes, self._seen, now=now, settle_s=self._settle_s)
        return [unknown[path] for path in ready]

    def warn(self, troubles: Sequence[str]) -> None:
        """Name what is left out, each trouble once; it is looked at again."""
        new = {_without_numbers(trouble): trouble for trouble in troubles}
        texts = [text for key, text in new.items() if key not in self._named]
        self._named.update(new)
        for text in texts[:_MOST_NAMED]:
            log.warning("--watch-folder: left out: %s", text)
        if len(texts) > _MOST_NAMED:
            log.warning("--watch-folder: left out: %d more", len(texts) - _MOST_NAMED)

    def _result(self) -> list[Given] | None:
        """Return what the last look saw; what cannot be read now is looked at again."""
        try:
            result: tuple[list[Given], list[str]] | None = self._scan.result()
        except (MDPError, OSError) as error:
            self.warn([str(error)])
            return None
        if result is None:
            return None
        scanned, troubles = result
        self.warn(troubles)
        return scanned


def _without_numbers(trouble: str) -> str:
    """Return a trouble's key: the number in the name of an output changes with each look."""
    path, mark, why = trouble.partition(": ")
    return path + mark + re.sub(r"\d+", "#", why)

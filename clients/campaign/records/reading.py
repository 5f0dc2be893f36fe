"""Reads the catalogue of a campaign while a driver may write it, without relying on locks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .queries import ReadCatalogue, connect, reported
from .rows import CatalogueFailed
from .snapshot import copy_newest


@contextmanager
def reading(folder: Path) -> Iterator[ReadCatalogue]:
    """Give the catalogue of DIR as it was at one instant.

    It is a copy in the folder of temporary files, removed at once, so that its space is free when
    this process ends. Raises `NoCampaign`, `CatalogueFailed` and `CatalogueDamaged`, each with one
    line that says what to do.
    """
    try:
        scratch = tempfile.TemporaryDirectory(prefix="ssnet-catalogue-")
    except OSError as error:
        raise CatalogueFailed(f"cannot write {tempfile.gettempdir()}: {error.strerror}") from error
    with scratch as name:
        copy = Path(name) / "catalogue.sqlite"
        source = copy_newest(folder, copy)
        with reported(source):
            connection = connect(copy, "mode=ro&immutable=1")
        copy.unlink()  # it stays readable until the connection is closed
    with closing(connection):
        yield ReadCatalogue(connection, source)

"""Copies a catalogue as it was at one instant, while another process may write it; no locks.

SQLite changes a file as follows (rollback journal): it writes the old pages to `FILE-journal` and
syncs it, changes pages of FILE, among them the first with a counter (bytes 24 to 27), syncs FILE,
and removes the journal, which is the commit. So a copy is whole in two cases:

- there was no journal before and after the copy, and the counter is the same: nothing changed;
- the same journal was there before and after: it holds all pages that changed since it began, so
  the copy of FILE, rolled back by the copy of the journal, is the state before the transaction.
  This is also how a catalogue is read whose driver was killed in a commit.

Otherwise the copy is made again. FILE is opened anew to read the counter, because NFS compares its
cache with the server when a file is opened.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from .queries import connect, reported
from .rows import CatalogueFailed, NoCampaign

_NAME = re.compile(r"catalogue-(\d+)\.sqlite")
_HEADER = 100  # bytes of SQLite's header, which has the counter
_JOURNAL_HEADER = 28  # bytes; four of them are random, so that no two journals are alike
_PATIENCE_S = 30.0


def campaign_folder(folder: Path) -> Path:
    """Return the folder in DIR that holds all but the outputs."""
    return folder / ".campaign"


def catalogue_path(folder: Path, epoch: int) -> Path:
    """Return the file that the driver of this epoch writes."""
    return campaign_folder(folder) / f"catalogue-{epoch}.sqlite"


def catalogues(folder: Path) -> dict[int, Path]:
    """Return the catalogues of DIR by epoch; only the one of the highest epoch counts."""
    try:
        names = os.listdir(campaign_folder(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CatalogueFailed(f"cannot read {campaign_folder(folder)}: {error.strerror}") from error
    names_by_epoch = {int(match[1]): match[0] for match in map(_NAME.fullmatch, names) if match}
    return {epoch: campaign_folder(folder) / name for epoch, name in names_by_epoch.items()}


def catalogue_file(folder: Path) -> Path:
    """Return the newest catalogue of DIR. Raises `NoCampaign`."""
    if paths := catalogues(folder):
        return paths[max(paths)]
    what = "an empty or another folder" if folder.is_dir() else "no such folder"
    if folder.is_file():
        what = "a file"
    raise NoCampaign(
        f"want the folder of a campaign, got {folder} ({what}): ssnet campaign start INPUTS -o"
        f" {folder} begins one"
    )


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on disk."""
    # as in lartpc.files, whose import takes a third of a second
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def copy_newest(folder: Path, target: Path) -> Path:
    """Copy the newest catalogue of DIR, whole, to a new file; return its path.

    Raises `NoCampaign`, and `CatalogueFailed` if the catalogue changes all the time.
    """
    give_up_at = time.monotonic() + _PATIENCE_S
    wait_s = 0.005
    while True:
        source = catalogue_file(folder)
        try:
            if _copied(source, target):
                return source
        except FileNotFoundError:
            pass  # a new driver has replaced it
        except OSError as error:
            raise CatalogueFailed(
                f"cannot copy {source} to {target}: {error.strerror or error}"
            ) from error
        if time.monotonic() > give_up_at:
            raise CatalogueFailed(
                f"want {source} unchanged for a moment, got changes for {_PATIENCE_S:g} s:"
                " try again"
            )
        time.sleep(wait_s)
        wait_s = min(0.2, 1.5 * wait_s)


def _copied(source: Path, target: Path) -> bool:
    """Copy once; return whether the copy is whole."""
    target_journal = journal_of(target)
    target_journal.unlink(missing_ok=True)
    journal, stamp = _head(journal_of(source), _JOURNAL_HEADER), _stamp(source)
    shutil.copyfile(source, target)
    if not journal:
        same = _head(target, _HEADER) == _head(source, _HEADER) and _stamp(source) == stamp
        return same and not _head(journal_of(source), _JOURNAL_HEADER)
    shutil.copyfile(journal_of(source), target_journal)
    copied = _head(target_journal, _JOURNAL_HEADER)
    if not copied == journal == _head(journal_of(source), _JOURNAL_HEADER):
        return False
    with reported(source):
        roll_back(target)
    return True


def _head(path: Path, count: int) -> bytes:
    """Return the first bytes of a file; none if there is no file."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError:
        return b""


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def roll_back(copy: Path) -> None:
    """Let SQLite undo an unfinished transaction in a file that only this process knows."""
    connection = connect(copy, "mode=rw&vfs=unix-none")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()
    journal_of(copy).unlink(missing_ok=True)

"""The catalogue of a campaign, for the one process that writes it: the driver.

It is an SQLite file with a rollback journal and synchronous EXTRA: after `kill -9`, or a loss of
power, at any instant it holds exactly the transactions that were committed. WAL is not used, since
it needs memory that all processes share, which network file systems do not have.

Each driver works on a file of its own, `catalogue-EPOCH.sqlite`, a copy of its predecessor's. So a
late driver, which was taken for dead and wakes up, writes to a file that no longer counts, and its
journal has a name of its own, too. No lock is needed for that. Where the file system has locks,
SQLite uses them, so that a user's `sqlite3` cannot write to the file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from mdp import SettingsError

from ..plan import CampaignSettings, differences
from .queries import SCHEMA, ReadCatalogue, connect, reported, text
from .rows import (
    CatalogueFailed,
    File,
    Merged,
    New,
    NoCampaign,
    Scored,
    State,
    Unscored,
)
from .snapshot import (
    campaign_folder,
    catalogue_file,
    catalogue_path,
    catalogues,
    copy_newest,
    journal_of,
    sync,
)

log = logging.getLogger(__name__)

_MOST_REASON = 2000  # characters
_LOCK_WAIT_S = 60.0
_ANY_FILE = re.compile(r"\.*catalogue-(\d+)\.sqlite")
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO}


class Catalogue(ReadCatalogue):
    """The catalogue for its only writer. A context manager; each method is one transaction.

    Raises `CatalogueFailed` if the file cannot be written.
    """

    @classmethod
    def create_or_open(
        cls, folder: Path, settings: CampaignSettings | None, epoch: int
    ) -> Catalogue:
        """Open the catalogue of DIR, or create it.

        `settings`: of the command; None: those of the catalogue (`retry`, `check`, `merge`).
        `epoch`: of the lease. Raises `SettingsError` if the campaign has files and was begun with
        options that must not change, `NoCampaign` if there is none to open and `settings` is None.
        """
        path = catalogue_path(folder, epoch)
        if not path.exists():
            with _named(path):
                _create(folder, path, settings)
        connection = _connect(path)
        try:
            catalogue = cls(connection, path)
            catalogue.check_damage()
            if settings is not None:
                catalogue._take(settings, folder)
            _remove_older(folder, epoch)
        except BaseException:
            connection.close()
            raise
        return catalogue

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self, settings: CampaignSettings, folder: Path) -> None:
        if settings == self.settings:
            return
        different = differences(self.settings, settings)
        if different and self.next_number() > 1:
            raise SettingsError(
                f"want the options with which the campaign in {folder} was begun, got"
                f" {'; '.join(different)}: leave them out, or give another folder (-o)"
            )
        self._set_meta("settings", settings.as_dict())
        self.settings = settings

    # Inputs.

    def add(self, inputs: Sequence[New]) -> list[int]:
        """Add inputs; return the number of each, in their order.

        An input that the catalogue has keeps its number, output and state; if it is waiting or
        failed, its size and time of change become the new ones. Raises `SettingsError` if two
        inputs would have one output.
        """
        known = self._inputs(one.path for one in inputs)
        numbers = {path: number for path, (number, *_) in known.items()}
        number = self.next_number()
        added: list[tuple[Any, ...]] = []
        for one in inputs:
            if one.path not in numbers:
                numbers[one.path] = number
                row = (number, text(one.path), one.bytes, one.mtime_ns, text(one.output))
                added.append(row)
                number += 1
        touched = [
            (one.bytes, one.mtime_ns, numbers[one.path])
            for one in inputs
            if known.get(one.path, (0, one.bytes, one.mtime_ns))[1:] != (one.bytes, one.mtime_ns)
        ]
        with self._transaction() as database:
            try:
                database.executemany(_ADD, added)
            except sqlite3.IntegrityError:
                raise SettingsError(self._collision(inputs, known)) from None
            database.executemany(_UPDATE_INPUT, touched)
        return [numbers[one.path] for one in inputs]

    def _collision(self, inputs: Sequence[New], known: Mapping[str, object]) -> str:
        """Name two inputs that would have one output."""
        first: dict[str, str] = {}
        output = other = path = ""
        for one in inputs:
            if one.path in known:
                continue
            output, path = one.output, one.path
            rows = self.rows("SELECT path FROM files WHERE output = ?", text(output))
            other = rows[0][0] if rows else first.setdefault(output, path)
            if other != path:
                break
        return (
            f"want an output for each input, got {output} for both {other} and {path}: --name"
            " '{number}_{stem}{suffix}' tells them apart"
        )

    # What became of them.

    def publishing(self, scored: Sequence[Scored]) -> None:
        """Record scored files; their outputs have not got their names yet."""
        with self._transaction() as database:
            self._record_scored(database, scored, "publishing")

    def done(self, numbers: Iterable[int]) -> None:
        """The outputs of these files, which were publishing, have their names now."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE files SET state = 'done' WHERE number = ? AND state = 'publishing'",
                [(number,) for number in numbers],
            )

    def repeated(self, pairs: Iterable[tuple[Scored, int]]) -> None:
        """Record scored files whose content is that of another file, given by its number.

        Their outputs are not published.
        """
        listed = [(scored, self.file(other)) for scored, other in pairs]
        with self._transaction() as database:
            self._record_scored(database, [scored for scored, _ in listed], "repeated")
            database.executemany(
                "UPDATE files SET reason = ?, out_bytes = 0, out_sha256 = '',"
                " token = '' WHERE number = ?",
                [(_same_as(other), scored.number) for scored, other in listed],
            )

    def failed(self, unscored: Sequence[Unscored]) -> None:
        """Record attempts that did not score their file."""
        with self._transaction() as database:
            values = [_values(one, outcome=one.kind) for one in unscored]
            database.executemany(_ADD_TRY, values)
            database.executemany(_SET_FAILED, values)

    def _record_scored(
        self, database: sqlite3.Connection, scored: Sequence[Scored], state: State
    ) -> None:
        values = [_values(one, outcome="done", state=state) for one in scored]
        database.executemany(_ADD_TRY, values)
        database.executemany(_SET_SCORED, values)
        database.executemany("DELETE FROM events WHERE file = :number", values)
        rows = (_event(one.number, failure) for one in scored for failure in one.failures)
        database.executemany(_ADD_EVENT, rows)

    def set_state(self, numbers: Iterable[int], state: State, reason: str = "") -> None:
        """Set a state. To `waiting`: the tries, results and findings of the file are cleared."""
        listed = [(number,) for number in numbers]
        with self._transaction() as database:
            database.executemany(
                f"UPDATE files SET state = '{state}', reason = ? WHERE number = ?",
                [(_line(reason), *number) for number in listed],
            )
            if state == "waiting":
                database.executemany(_CLEAR, listed)
                database.executemany("DELETE FROM events WHERE file = ?", listed)

    # Checks, networks, merged files.

    def changed(self, inputs: Iterable[tuple[int, int, int, str]]) -> None:
        """Record inputs that changed: (number, bytes, mtime_ns, reason)."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE files SET state = 'changed', kind = 'changed', bytes = ?, mtime_ns = ?,"
                " reason = ? WHERE number = ?",
                [(size, mtime, _line(reason), number) for number, size, mtime, reason in inputs],
            )

    def mended(self, inputs: Iterable[tuple[int, int, int]]) -> None:
        """Take inputs that changed, and have their content again: (number, bytes, mtime_ns).

        They become what they were: done, or repeated if they have no output.
        """
        listed = [*inputs]
        with self._transaction() as database:
            database.executemany(
                "UPDATE files SET state = CASE out_sha256 WHEN '' THEN 'repeated' ELSE 'done' END,"
                " kind = '', reason = '', bytes = ?, mtime_ns = ?"
                " WHERE number = ? AND state = 'changed'",
                [(size, mtime, number) for number, size, mtime in listed],
            )
            for file in (self.file(number) for number, *_ in listed):
                other = self.same_content(file.sha256, file.bytes)
                if file.state == "repeated" and other is not None:
                    values = (_same_as(other), file.number)
                    database.execute("UPDATE files SET reason = ? WHERE number = ?", values)

    def checked(self, findings: Mapping[int, str]) -> None:
        """Record what a check found, by number: `ok`, or what is wrong."""
        with self._transaction() as database:
            database.executemany(
                'UPDATE files SET "check" = ? WHERE number = ?',
                [(_line(finding), number) for number, finding in findings.items()],
            )

    def set_networks(self, networks: Mapping[str, Any]) -> None:
        """Record the networks of the first file; those of later ones must be equal."""
        self._set_meta("networks", dict(networks))

    def add_merged(self, merged: Sequence[Merged]) -> None:
        """Record merged files; one with the same output is replaced."""
        with self._transaction() as database:
            database.executemany(
                "INSERT OR REPLACE INTO merged VALUES (?, ?, ?, ?, ?)",
                [
                    (text(one.output), one.bytes, one.sha256, json.dumps(one.files), one.ended_at)
                    for one in merged
                ],
            )

    def drop_merged(self, outputs: Iterable[str]) -> None:
        """Forget merged files."""
        with self._transaction() as database:
            rows = [(text(output),) for output in outputs]
            database.executemany("DELETE FROM merged WHERE output = ?", rows)

    def _set_meta(self, key: str, value: object) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with reported(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


# Opening.


def _create(folder: Path, path: Path, settings: CampaignSettings | None) -> None:
    """Make the file of this epoch: a copy of the newest catalogue, or an empty one."""
    part = path.with_name(f".{path.name}.part")
    for old in (part, journal_of(part)):
        old.unlink(missing_ok=True)
    if catalogues(folder):
        copy_newest(folder, part)
    elif settings is None:
        catalogue_file(folder)  # raises `NoCampaign`
    else:
        campaign_folder(folder).mkdir(parents=True, exist_ok=True)
        _write_empty(part, settings)
    sync(part)
    os.replace(part, path)
    sync(path.parent)


def _write_empty(part: Path, settings: CampaignSettings) -> None:
    with reported(part), closing(connect(part, f"mode=rwc{_lock_choice(part)}")) as database:
        database.execute("PRAGMA journal_mode = MEMORY")  # nobody knows the file yet
        database.executescript(SCHEMA)
        for key, value in (("settings", settings.as_dict()), ("created_at", time.time())):
            database.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps(value)))


def _connect(path: Path) -> sqlite3.Connection:
    with reported(path):
        connection = connect(path, f"mode=rw{_lock_choice(path)}", timeout_s=_LOCK_WAIT_S)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    return connection


_PRAGMAS = (
    "journal_mode = DELETE",
    "synchronous = EXTRA",
    "cache_spill = OFF",  # so that pages of FILE change only in a commit (snapshot.py)
    "temp_store = MEMORY",
    "cache_size = -65536",
)


def _lock_choice(path: Path) -> str:
    """Return the parameter that keeps SQLite from locks on a file system that refuses them."""
    probe = path.with_name(f".{path.name}.lock")
    try:
        with probe.open("wb") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise CatalogueFailed(f"cannot write {probe}: {error.strerror}") from error
        log.info("no locks on the file system of %s (%s): none are used", path, error.strerror)
        return "&vfs=unix-none"
    finally:
        with suppress(OSError):
            probe.unlink()
    return ""


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (CatalogueFailed, NoCampaign):
        raise
    except OSError as error:
        raise CatalogueFailed(f"cannot write {path}: {error.strerror or error}") from error


def _remove_older(folder: Path, epoch: int) -> None:
    """Remove the files of earlier drivers, also unfinished copies and journals."""
    parent = campaign_folder(folder)
    for name in os.listdir(parent):
        match = _ANY_FILE.match(name)
        if match and int(match[1]) < epoch:
            with suppress(OSError):
                (parent / name).unlink()


# Rows.

_ADD = "INSERT INTO files (number, path, bytes, mtime_ns, output) VALUES (?, ?, ?, ?, ?)"
_UPDATE_INPUT = (
    "UPDATE files SET bytes = ?, mtime_ns = ? WHERE number = ? AND state IN ('waiting', 'failed')"
)
_ADD_TRY = (
    "INSERT INTO tries VALUES (:number, :token, :began_at, :ended_at, :host, :reader, :job,"
    " :outcome, :reason, :seconds, :computed_s, :events, :failed_events, :crops, :bytes)"
)
_ADD_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ANSWERED = ("seconds", "host", "reader", "job", "ended_at", "state", "kind", "reason")
_SCORED = (
    *("bytes", "mtime_ns", "sha256", "entries", "failed_events", "crops"),
    *("out_bytes", "out_sha256", "token", "tick_order", "mode"),
)


def _set(*names: str, **others: str) -> str:
    """Return an UPDATE of a file that has been tried, with parameters of these names.

    others: columns with a parameter of another name.
    """
    parameters = {**dict(zip(names, names, strict=True)), **others}
    assigned = "".join(f"{column} = :{name}, " for column, name in parameters.items())
    return f"UPDATE files SET {assigned}\"check\" = '', tries = tries + 1 WHERE number = :number"


# an attempt may have adopted events; the output has all of them
_SET_SCORED = _set(*_ANSWERED, *_SCORED, events="entries")
_SET_FAILED = _set(*_ANSWERED)
_CLEARED = {
    one.name: one.default
    for one in fields(File)
    if one.name not in ("number", "path", "bytes", "mtime_ns", "state", "output", "reason")
}
_CLEAR = (
    "UPDATE files SET "
    + ", ".join(f'"{name}" = {default!r}' for name, default in _CLEARED.items())
    + " WHERE number = ?"
)


_NOTHING = {
    "kind": "",
    "reason": "",
    "computed_s": 0.0,
    "events": 0,
    "failed_events": 0,
    "crops": 0,
    "bytes": 0,
}


def _values(one: Scored | Unscored, **more: str) -> dict[str, Any]:
    """Return the parameters of the statements above."""
    values = {**_NOTHING, **vars(one), **more}
    if isinstance(one, Unscored):
        values["state"] = "waiting" if one.again else "failed"
        values["reason"] = _line(one.reason)
    return values


def _event(number: int, failure: Mapping[str, Any]) -> tuple[Any, ...]:
    plane = failure.get("plane")
    ints = (int(failure.get(name, 0)) for name in ("entry", "run", "subrun", "event"))
    code, reason = int(failure.get("code", 0)), _line(str(failure.get("reason", "")))
    worker = (str(failure.get("host", "")), str(failure.get("worker", "")))
    return (number, *ints, None if plane is None else int(plane), code, reason, *worker)


def _same_as(other: File) -> str | bytes:
    return _line(f"the same content as {other.path}")


def _line(message: str) -> str | bytes:
    """Return a text on one line, not too long, for the database."""
    return text(" ".join(message.split())[:_MOST_REASON])

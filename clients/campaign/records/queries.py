"""The tables of a catalogue (SQLite), and what can be read in them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

from mdp import SettingsError

from ..plan import CampaignSettings
from .rows import (
    CatalogueDamaged,
    CatalogueFailed,
    Counts,
    File,
    Merged,
    State,
)

APPLICATION = 0x53534E43  # "SSNC", in the header of the file
FORMAT = 1
_CHUNK = 2000  # rows that one SELECT reads, so that none stays open during a commit
_MANY = 1000  # paths, above which all rows are read to find those that are known


def _columns_of_files() -> str:
    """Return the definitions of the columns, from the fields of `File` and their defaults."""
    kinds = {"int": "INTEGER", "float": "REAL"}
    more = {
        "number": "PRIMARY KEY",
        "path": "UNIQUE",
        "output": "UNIQUE",
        "state": "DEFAULT 'waiting'",
    }
    return ", ".join(
        f'"{one.name}" {kinds.get(str(one.type), "TEXT")} NOT NULL {more.get(one.name, "")}'
        f" {'' if one.default is MISSING else f'DEFAULT {one.default!r}'}"
        for one in fields(File)
    )


SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files ({_columns_of_files()});
CREATE INDEX files_by_content ON files (sha256) WHERE sha256 != '';
CREATE TABLE tries (
    file INTEGER, token TEXT, began_at REAL, ended_at REAL, host TEXT, reader TEXT, job TEXT,
    outcome TEXT, reason TEXT, seconds REAL, computed_s REAL, events INTEGER, failed_events INTEGER,
    crops INTEGER, bytes INTEGER
);
CREATE INDEX tries_by_file ON tries (file);
CREATE INDEX tries_by_end ON tries (ended_at);
CREATE TABLE events (
    file INTEGER, entry INTEGER, run INTEGER, subrun INTEGER, event INTEGER, plane INTEGER,
    code INTEGER, reason TEXT, host TEXT, worker TEXT
);
CREATE INDEX events_by_file ON events (file);
CREATE TABLE merged (
    output TEXT PRIMARY KEY, bytes INTEGER, sha256 TEXT, files TEXT, ended_at REAL
);
"""
"""`tries`: attempts that were answered; `outcome`: `done`, or the kind of the failure. `events`:
the events of an output that failed, or their crops; `plane` is NULL for a whole event; `host` and
`worker` are of the plane's worker. `merged`: rows of `Merged`, with `files` as JSON."""


def text(value: str) -> str | bytes:
    """Return a text as it is stored: as bytes if it is not UTF-8, as names of files may be."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape")
    return value


def _decoded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    if bytes not in map(type, row):
        return row
    return tuple(
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        for value in row
    )


def connect(path: Path, query: str, *, timeout_s: float = 0.0) -> sqlite3.Connection:
    """Open a catalogue; `query`: the parameters of its URI, such as `mode=ro`."""
    uri = f"{path.absolute().as_uri()}?{query}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout_s)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Raise one line that names the catalogue for any error of SQLite."""
    try:
        yield
    except sqlite3.OperationalError as error:
        lost = "no such table" in str(error) or "no such column" in str(error)
        raise (damaged if lost else _failed)(path, error) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error


def _failed(path: Path, error: object) -> CatalogueFailed:
    if not path.exists():
        return CatalogueFailed(
            f"the catalogue {path} is gone: another driver has taken the campaign over, or its"
            " folder was removed"
        )
    return CatalogueFailed(f"cannot use the catalogue {path}: {error}")


def damaged(path: Path, error: object) -> CatalogueDamaged:
    """Return the error for a file that is not, or no longer, a catalogue."""
    what = " ".join(str(error).split())
    return CatalogueDamaged(
        f"want the catalogue of a campaign in {path}, got {what}: put a copy of the file there, or"
        " start the campaign in another folder (ssnet campaign start ... -o FOLDER)"
    )


class ReadCatalogue:
    """What can be read in a catalogue. `Catalogue` has the same methods."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        """The file that errors name."""
        self._connection = connection
        with reported(path):
            got = [self._value(f"PRAGMA {name}") for name in ("application_id", "user_version")]
        if got != [APPLICATION, FORMAT]:
            raise damaged(path, f"a file of another program or version ({got[0]:#x}, {got[1]})")
        try:
            self.settings = CampaignSettings.from_dict(self._meta("settings"))
        except SettingsError as error:
            raise damaged(path, str(error)) from None
        self.created_at = float(self._meta("created_at") or 0.0)

    def close(self) -> None:
        self._connection.close()

    # Single values.

    @property
    def networks(self) -> Mapping[str, Any]:
        """The origin of the scores by plane, as of the first scored file; empty before it."""
        networks = self._meta("networks") or {}
        return networks if isinstance(networks, dict) else {}

    def next_number(self) -> int:
        """Return the number that the next input will get."""
        with reported(self.path):
            return int(self._value("SELECT coalesce(max(number), 0) + 1 FROM files"))

    def counts(self) -> Counts:
        """Return how many files are in each state, and the events of those that are done."""
        states: dict[State, int] = dict.fromkeys(get_args(State), 0)
        events = failed_events = 0
        for state, files, *sums in self.rows(_COUNT):
            states[state] = files
            if state == "done":
                events, failed_events = sums
        return Counts(states, events, failed_events)

    def file(self, number: int) -> File:
        """Return one file. Raises `KeyError`."""
        return self._one_file("number = ?", number)

    def numbers(self, paths: Iterable[str]) -> dict[str, int]:
        """Return the numbers of those inputs that the catalogue has."""
        return {path: number for path, (number, *_) in self._inputs(paths).items()}

    def _inputs(self, paths: Iterable[str]) -> dict[str, tuple[int, int, int]]:
        """Return (number, bytes, mtime_ns) of those inputs that the catalogue has."""
        select = "SELECT path, number, bytes, mtime_ns FROM files"
        wanted = set(paths)
        if len(wanted) > _MANY:
            rows = self.rows(select)
        else:
            rows = [
                row for path in wanted for row in self.rows(f"{select} WHERE path = ?", text(path))
            ]
        return {path: (*values,) for path, *values in rows if path in wanted}

    def outputs_named(self, output: str) -> list[str]:
        """Return the inputs, one at most, whose output has this name."""
        return [path for (path,) in self.rows(_OF_OUTPUT, text(output))]

    def same_content(self, sha256: str, bytes: int) -> File | None:
        """Return the first file that is done or publishing and has this content."""
        where = (
            "sha256 != '' AND sha256 = ? AND bytes = ? AND state IN ('done', 'publishing')"
            " ORDER BY number LIMIT 1"
        )
        try:
            return self._one_file(where, sha256, bytes)
        except KeyError:
            return None

    def orphans(self) -> list[int]:
        """Return the files that are repeated, and whose content no output has (any more).

        The file with the same content was done then; it has changed since, or is scored again.
        """
        return [number for (number,) in self.rows(_ORPHANS)]

    # Rows.

    def files(self, state: State | None = None) -> Iterator[File]:
        """Return the files in the order of their numbers. The catalogue may change meanwhile."""
        select = (
            f"SELECT {_FILE} FROM files WHERE number > ?"
            f" {'AND state = ?' if state else ''} ORDER BY number LIMIT {_CHUNK}"
        )
        last = 0
        while chunk := self.rows(select, last, *([state] if state else [])):
            yield from (File(*row) for row in chunk)
            last = chunk[-1][0]

    def merged(self) -> list[Merged]:
        """Return the merged files, sorted by their names."""
        rows = self.rows("SELECT * FROM merged ORDER BY output")
        return [
            Merged(output, size, sha256, tuple(json.loads(files)), ended_at)
            for output, size, sha256, files, ended_at in rows
        ]

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT; the tables are `files`, `tries`, `events`, `merged`."""
        with reported(self.path):
            return [_decoded(row) for row in self._connection.execute(sql, values)]

    def check_damage(self) -> None:
        """Raise `CatalogueDamaged` if SQLite finds damage in the file."""
        damage = self.rows("PRAGMA quick_check(1)")[0][0]
        if damage != "ok":
            raise damaged(self.path, damage)

    def _one_file(self, where: str, *values: Any) -> File:
        rows = self.rows(f"SELECT {_FILE} FROM files WHERE {where}", *values)
        if not rows:
            raise KeyError(values[0])
        return File(*rows[0])

    def _value(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchone()[0]

    def _meta(self, key: str) -> Any:
        rows = self.rows("SELECT value FROM meta WHERE key = ?", key)
        try:
            return json.loads(rows[0][0]) if rows else None
        except ValueError as error:
            raise damaged(self.path, f"{key}: {error}") from None


_FILE = ", ".join(f'"{one.name}"' for one in fields(File))
_COUNT = "SELECT state, count(*), sum(entries), sum(failed_events) FROM files GROUP BY state"
_OF_OUTPUT = "SELECT path FROM files WHERE output = ?"
_ORPHANS = """
SELECT number FROM files AS repeat WHERE state = 'repeated' AND NOT EXISTS (
    SELECT 1 FROM files AS other WHERE other.sha256 != '' AND other.sha256 = repeat.sha256
    AND other.bytes = repeat.bytes AND other.state IN ('done', 'publishing')
) ORDER BY number
"""

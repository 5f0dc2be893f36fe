"""Find the events that a picture shows, in all files. An event that a file lacks is an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lartpc import RSE, ParameterError, Reader, ReadError


@dataclass(frozen=True)
class Selection:
    """The events to draw: entries of the first file, and names of events; without any, entry 0."""

    entries: tuple[tuple[int, int | None], ...] = ()
    """Ranges from start to stop, exclusive; a stop of None is the file's end."""
    events: tuple[RSE, ...] = ()


def select(entries: Iterable[str], events: Iterable[str]) -> Selection:
    """Read entries typed as `3` or `0:5`, and events typed as `RUN,SUBRUN,EVENT`.

    Raises `SettingsError`.
    """
    return Selection(
        tuple(_entry_range(text) for text in entries), tuple(_rse(text) for text in events)
    )


def _entry_range(text: str) -> tuple[int, int | None]:
    first, colon, end = text.partition(":")
    try:
        start = int(first or "0") if colon else int(first)
        stop = (int(end) if end else None) if colon else start + 1
    except ValueError:
        raise ParameterError(f"want --entry 3 or --entry 0:5, got {text!r}") from None
    if stop is not None and colon and not 0 <= start < stop:
        raise ParameterError(f"want --entry A:B with 0 <= A < B, got {text!r}")
    return start, stop


def _rse(text: str) -> RSE:
    try:
        run, subrun, event = (int(number) for number in text.split(","))
    except ValueError:
        raise ParameterError(f"want --event RUN,SUBRUN,EVENT, got {text!r}") from None
    return RSE(run, subrun, event)


def resolve(selection: Selection, reader: Reader) -> list[int]:
    """Return the selected entries, each once, in the order given. Raises `ReadError`."""
    path, total = reader.paths[0], len(reader)
    if not total:
        raise ReadError(f"want an event to draw, got none in {path}")
    wanted: list[int] = []
    for start, stop in selection.entries:
        wanted += range(start, total if stop is None else stop)
    for entry in wanted:
        if not 0 <= entry < total:
            raise ReadError(f"{path}: want an entry from 0 to {total - 1}, got {entry}")
    places = Places(reader) if selection.events else None
    wanted += [places.entry(rse) for rse in selection.events if places]
    return list(dict.fromkeys(wanted)) or [0]


class Places:
    """Finds events in one file by (run, subrun, event)."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._entries: dict[RSE, list[int]] | None = None

    def entry(self, rse: RSE, *, near: int = -1) -> int:
        """Return the entry of the event; `near`: the entry to try first.

        Raises `ReadError` if the file does not have the event, or has it at several entries.
        """
        if 0 <= near < len(self._reader) and self._reader.rse(near) == rse:
            return near
        entries = self._all().get(rse, [])
        if len(entries) == 1:
            return entries[0]
        name, path = ",".join(map(str, rse)), self._reader.paths[0]
        if entries:
            raise ReadError(f"want one event {name} in {path}, got entries {_listed(entries)}")
        raise ReadError(f"want the event {name} in {path}, got {len(self._reader)} others")

    def _all(self) -> dict[RSE, list[int]]:
        if self._entries is None:
            self._entries = {}
            for entry in range(len(self._reader)):
                self._entries.setdefault(self._reader.rse(entry), []).append(entry)
        return self._entries


def _listed(entries: Sequence[int]) -> str:
    text = ", ".join(map(str, entries[:5]))
    return f"{text}, ..." if len(entries) > 5 else text

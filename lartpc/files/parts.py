"""A file that is made in parts, each whole by itself, and joined at the end. Refuses mixed formats.

LArCV1: baskets come along as they are compressed. LArCV3: chunks do, where they fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .open import check_output, open_writer
from .reader import Reader
from .writer import Writer


class PartFiles:
    """How the parts of `path` are opened, and how they become one file. Raises `WriteError`."""

    def __init__(
        self,
        path: Path,
        *,
        force: bool,
        inputs: Iterable[Path],
        images: Sequence[str],
        copy_input: Reader | None,
    ) -> None:
        """As `open_writer`; nothing is written yet."""
        format_module = check_output(path, force=force, inputs=inputs)
        self.path = path
        self._images = tuple(images)
        self._copy_input = copy_input
        self._copies_at_end = bool(format_module.COPIES_AT_END)
        if copy_input is not None:
            format_module.check_copied(copy_input)

    def open(self, path: Path) -> Writer:
        """A part; of its events `write` is told the input entry where the input is copied."""
        return open_writer(
            path, force=True, copy_input=self._copy_input, copy_later=True, images=self._images
        )

    def are_whole(self, parts: Sequence[Path]) -> bool:
        """Whether there is one part only, which lacks nothing that the file must have."""
        return len(parts) == 1 and not (self._copies_at_end and self._copy_input)

    def join(self, path: Path, parts: Sequence[Path], entries: Sequence[int]) -> Writer:
        """All of the parts' events in a file that is still to be closed.

        `entries`: of the input, one for each event.
        """
        copied = self._copy_input if self._copies_at_end else None
        writer = open_writer(path, force=True, copy_input=copied)
        try:
            writer.append(parts, entries)
        except BaseException:
            writer.discard()
            raise
        return writer

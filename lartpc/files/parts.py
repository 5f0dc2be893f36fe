"""A file that is written in parts, which are joined at the end. Refuses mixed formats.

Every part is a complete file. Joining copies compressed data as they are: the baskets of LArCV1,
and the chunks of LArCV3 where they fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .formats import Format
from .open import check_output, open_writer
from .reader import Reader
from .writer import Writer


class PartFiles:
    """Opens the parts of `path` and joins them into one file. Raises `WriteError`."""

    def __init__(
        self,
        path: Path,
        *,
        format: Format,
        force: bool,
        inputs: Iterable[Path],
        images: Sequence[str],
        copy_input: Reader | None,
    ) -> None:
        """Check the output; nothing is written yet. The parameters are those of `open_writer`."""
        format_module = check_output(path, force=force, inputs=inputs)
        self.path = path
        self._format = format
        self._images = tuple(images)
        self._copy_input = copy_input
        self._copies_at_end = bool(format_module.COPIES_AT_END)
        if copy_input is not None:
            format_module.check_copied(copy_input, format)

    def open(self, path: Path) -> Writer:
        """Open a part. With `copy_input`, `Writer.write` needs the input entry of every event."""
        return open_writer(
            path,
            format=self._format,
            force=True,
            copy_input=self._copy_input,
            copy_later=True,
            images=self._images,
        )

    def are_whole(self, parts: Sequence[Path]) -> bool:
        """Return whether there is a single part, to which nothing has to be added."""
        return len(parts) == 1 and not (self._copies_at_end and self._copy_input)

    def join(self, path: Path, parts: Sequence[Path], entries: Sequence[int]) -> Writer:
        """Write the events of all parts to one file, and return its writer, which is still open.

        `entries`: the input entry of every event.
        """
        copied = self._copy_input if self._copies_at_end else None
        writer = open_writer(path, format=self._format, force=True, copy_input=copied)
        try:
            writer.append(parts, entries)
        except BaseException:
            writer.discard()
            raise
        return writer

"""Saves pictures as PNG, PDF or SVG, by the suffix. A file appears only when it is complete.

A PDF may have several pages. Refuses other suffixes, so a picture never replaces a file of events.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import WriteError
from ..files.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")

_DPI = {".png": 130, ".pdf": 260, ".svg": 260}  # PDF and SVG are often printed or enlarged


def check_name(path: Path) -> None:
    """Raise `WriteError` unless the path has the suffix of a picture."""
    if path.suffix.lower() not in SUFFIXES:
        raise WriteError(f"want a picture named .png, .pdf or .svg, got {path}")


def dots_per_inch(path: Path) -> int:
    """Return the resolution of the images in a picture with this suffix."""
    return _DPI[path.suffix.lower()]


def save(figure: Figure, path: Path) -> None:
    """Write one picture; it replaces an existing file. Raises `WriteError`."""
    check_name(path)
    kind, dpi = path.suffix.lower()[1:], dots_per_inch(path)
    write_whole(path, lambda part: figure.savefig(part, format=kind, dpi=dpi))


def save_pages(figures: Iterable[Figure], path: Path) -> None:
    """Write a PDF with a page per figure, taking one figure at a time. Raises `WriteError`."""
    if path.suffix.lower() != ".pdf":
        raise WriteError(f"want a .pdf for several pages, got {path}")
    write_whole(path, lambda part: _write_pages(figures, part, dpi=dots_per_inch(path)))


def _write_pages(figures: Iterable[Figure], part: Path, *, dpi: int) -> None:
    from matplotlib.backends.backend_pdf import PdfPages

    with PdfPages(part) as pages:
        for figure in figures:
            figure.savefig(pages, format="pdf", dpi=dpi)

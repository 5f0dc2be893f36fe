"""Pictures in files: PNG, PDF or SVG by the suffix, under their name only when they are whole.

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

_DPI = {".png": 130, ".pdf": 260, ".svg": 260}  # vector pictures are printed and enlarged


def check_name(path: Path) -> None:
    """Raise `WriteError` if a path is not the name of a picture."""
    if path.suffix.lower() not in SUFFIXES:
        raise WriteError(f"want a picture named .png, .pdf or .svg, got {path}")


def dots_per_inch(path: Path) -> int:
    """The resolution at which images are put into a picture of this name."""
    return _DPI[path.suffix.lower()]


def save(figure: Figure, path: Path) -> None:
    """Write one picture, which replaces a file of its name. Raises `WriteError`."""
    check_name(path)
    kind, dpi = path.suffix.lower()[1:], dots_per_inch(path)
    write_whole(path, lambda part: figure.savefig(part, format=kind, dpi=dpi))


def save_pages(figures: Iterable[Figure], path: Path) -> None:
    """Write a PDF of a page a figure; the figures are taken one at a time. Raises `WriteError`."""
    if path.suffix.lower() != ".pdf":
        raise WriteError(f"want a .pdf for several pages, got {path}")
    write_whole(path, lambda part: _write_pages(figures, part, dpi=dots_per_inch(path)))


def _write_pages(figures: Iterable[Figure], part: Path, *, dpi: int) -> None:
    from matplotlib.backends.backend_pdf import PdfPages

    with PdfPages(part) as pages:
        for figure in figures:
            figure.savefig(pages, format="pdf", dpi=dpi)

"""The products of files, as `ssnet files` lists them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lartpc import (
    RSE,
    ImageMeta,
    LArTPCError,
    Product,
    Reader,
    TickOrderError,
    listing,
    open_reader,
)
from lartpc.files import provenance
from lartpc.files.formats import LARCV_NAMES
from lartpc.files.reader import images_in, regions_in
from lartpc.files.ticks import Survey, order_shown_by, turned_to
from mdp.commands.tables import size

from ..terminal.narrow import Rows

_SEEN = 8  # entries whose metas are read


class Geometry(NamedTuple):
    """The wires and ticks of the images of the first 8 entries, for both tick orders."""

    wires: tuple[float, float]
    """The smallest and the largest wire."""
    backward: tuple[float, float]
    """The smallest and the largest tick if row 0 is the largest tick."""
    forward: tuple[float, float]
    """The smallest and the largest tick if row 0 is the smallest tick."""
    order: str
    """The tick order that the file shows, and what shows it."""


class Contents(NamedTuple):
    """A product of a file, with the ranges of its events and images."""

    product: Product
    images: str
    """The number and the sizes, rows x cols, of the images of the first entry that has any."""
    first: RSE | None
    last: RSE | None
    """The smallest and the largest (run, subrun, event)."""
    geometry: Geometry | None = None
    """The wires and ticks of its images; None without images."""


def contents(path: Path, product: Product) -> Contents:
    """Return what `ssnet files` shows of a product of a file. Raises `ReadError`."""
    if images := images_in([product]):
        return _image_contents(path, product, images)
    if not (regions := regions_in([product])):
        return Contents(product, "", None, None)
    order = turned_to("backward")
    with open_reader(path, tick_order=order, images=(), rois=regions) as reader:
        return Contents(product, "", *_first_and_last(reader))


def _image_contents(path: Path, product: Product, names: Sequence[str]) -> Contents:
    with open_reader(path, tick_order=turned_to("backward"), images=names) as reader:
        ends = _first_and_last(reader)
        by_entry = (event.images[name] for event in reader for name in names)
        images = next((images for images in by_entry if images), ())
        geometry = _geometry(reader)
    sizes = sorted({image.pixels.shape for image in images})
    shown = ", ".join(f"{rows} x {cols}" for rows, cols in sizes)
    text = f"{len(images)} of {shown}" if images else "none"
    return Contents(product, text, *ends, geometry)


def _geometry(reader: Reader) -> Geometry | None:
    """The geometry of the images of a reader of one producer; None without images."""
    metas: list[ImageMeta] = []
    for entry in range(min(len(reader), _SEEN)):
        with suppress(LArTPCError):  # an entry that cannot be read is skipped
            metas += [meta for several in reader.metas_at(entry).values() for meta in several]
    if not metas:
        return None
    survey = reader.surveys[0]
    stored = min(meta.min_y for meta in metas), max(meta.max_y for meta in metas)
    return Geometry(
        (min(meta.min_x for meta in metas), max(meta.max_x for meta in metas)),
        survey.ticks("backward") or stored,
        survey.ticks("forward") or stored,
        _order(survey),
    )


def _order(survey: Survey) -> str:
    if survey.stored:
        return "forward, as LArCV2 defines it" if survey.larcv2 else "stored in the file"
    try:
        choice = order_shown_by(survey)
    except TickOrderError:
        return "provenance names both"
    return f"{choice.order}, by its {choice.basis}" if choice else "not shown"


def geometry_table(rows: Iterable[tuple[Path, Contents]]) -> Rows:
    """Return a table with a row for each product of images: its wires, ticks and tick order."""
    columns = ("file", "product", "wires", "ticks if backward", "ticks if forward", "tick order")
    cells = [
        (
            str(path),
            row.product.name,
            *(f"{low:g} to {high:g}" for low, high in row.geometry[:3]),
            row.geometry.order,
        )
        for path, row in rows
        if row.geometry
    ]
    return Rows(columns, cells, left=6, headings=2)


def _first_and_last(reader: Reader) -> tuple[RSE | None, RSE | None]:
    rses = [RSE(*numbers) for numbers in reader.rses(0).tolist()]
    return min(rses, default=None), max(rses, default=None)


def table(rows: Iterable[tuple[Path, Contents]]) -> Rows:
    """Return a table with a row for each product."""
    columns = ("file", "product", "format", "events", "images", "entries", "size")
    cells = [
        (
            str(path),
            row.product.name,
            LARCV_NAMES[row.product.format] if row.product.format else "",
            _range(row),
            row.images,
            str(row.product.entries),
            size(row.product.bytes),
        )
        for path, row in rows
    ]
    return Rows(columns, cells, left=5, headings=2)


def _range(row: Contents) -> str:
    """The smallest and the largest (run, subrun, event), or the only one."""
    if row.first is None or row.last is None:
        return ""
    ends = dict.fromkeys((row.first, row.last))
    return " to ".join(",".join(str(number) for number in rse) for rse in ends)


def as_json(rows: Iterable[tuple[Path, Contents]], path: Path) -> list[dict[str, Any]]:
    """Return the rows of the file `path` as JSON objects."""
    return [
        {
            **row.product._asdict(),
            "images": row.images,
            "first": row.first,
            "last": row.last,
            "geometry": row.geometry._asdict() if row.geometry else None,
        }
        for file, row in rows
        if file == path
    ]


def provenances(paths: Iterable[Path]) -> dict[Path, tuple[str, ...]]:
    """Return the provenance of each file that can be read: the texts of its records."""
    texts = {}
    for path in paths:
        with suppress(LArTPCError):  # `of_all` reports the file
            texts[path] = provenance.read(path)
    return texts


def of_all(paths: Iterable[Path]) -> tuple[list[tuple[Path, Contents]], list[LArTPCError]]:
    """Return the products that can be read, and the errors of the others."""
    rows: list[tuple[Path, Contents]] = []
    failures: list[LArTPCError] = []
    for path in paths:
        try:
            products = listing(path)
        except LArTPCError as error:
            failures.append(error)
            continue
        for product in products:
            if isinstance(product, LArTPCError):
                failures.append(product)
                continue
            try:
                rows.append((path, contents(path, product)))
            except LArTPCError as error:
                failures.append(error)
    return rows, failures

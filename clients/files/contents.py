"""What is in files: the table of `ssnet files`."""

from __future__ import annotations

from collections.abc import Iterable
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
from lartpc.files.ticks import Survey, order_shown_by
from mdp.commands.tables import size

from ..terminal.narrow import Rows

_SEEN = 8  # entries whose metas are looked at


class Geometry(NamedTuple):
    """Where the images of the first few entries lie, read in either tick order."""

    wires: tuple[float, float]
    """The smallest and the largest."""
    backward: tuple[float, float]
    """The smallest and the largest tick if row 0 is the largest ..."""
    forward: tuple[float, float]
    """... and if it is the smallest."""
    order: str
    """The tick order that the file shows, and by what."""


class Contents(NamedTuple):
    """A product of a file."""

    product: Product
    images: str
    """Of its first entry that has any: number, and rows x cols."""
    first: RSE | None
    last: RSE | None
    """The smallest and the largest (run, subrun, event)."""
    geometry: Geometry | None = None
    """Where its images lie."""


def contents(path: Path, product: Product) -> Contents:
    """A product of a file. Raises `ReadError`."""
    if product.kind == "image2d":
        return _image_contents(path, product)
    if product.kind != "partroi":
        return Contents(product, "", None, None)
    with open_reader(
        path, tick_order="backward", trust=True, images=(), rois=(product.producer,)
    ) as reader:
        return Contents(product, "", *_first_and_last(reader))


def _image_contents(path: Path, product: Product) -> Contents:
    with open_reader(path, tick_order="backward", trust=True, images=(product.producer,)) as reader:
        ends = _first_and_last(reader)
        there = (event.images[product.producer] for event in reader)
        images = next((images for images in there if images), ())
        geometry = _geometry(reader)
    sizes = sorted({image.pixels.shape for image in images})
    shown = ", ".join(f"{rows} x {cols}" for rows, cols in sizes)
    text = f"{len(images)} of {shown}" if images else "none"
    return Contents(product, text, *ends, geometry)


def _geometry(reader: Reader) -> Geometry | None:
    """Of a reader of one producer; None without images."""
    metas: list[ImageMeta] = []
    for entry in range(min(len(reader), _SEEN)):
        with suppress(LArTPCError):  # an entry that cannot be read shows nothing
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
        return "stored in the file"
    try:
        choice = order_shown_by(survey)
    except TickOrderError:
        return "both, in its provenance"
    return f"{choice.order}, by its {choice.basis}" if choice else "not shown"


def geometry_table(rows: Iterable[tuple[Path, Contents]]) -> Rows:
    """A row a product of images: where they lie."""
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
    """A row a product."""
    columns = ("file", "product", "events", "images", "entries", "size")
    cells = [
        (
            str(path),
            row.product.name,
            _range(row),
            row.images,
            str(row.product.entries),
            size(row.product.bytes),
        )
        for path, row in rows
    ]
    return Rows(columns, cells, left=4, headings=2)


def _range(row: Contents) -> str:
    """The smallest and the largest (run, subrun, event), or the only one."""
    if row.first is None or row.last is None:
        return ""
    ends = dict.fromkeys((row.first, row.last))
    return " to ".join(",".join(str(number) for number in rse) for rse in ends)


def as_json(rows: Iterable[tuple[Path, Contents]], path: Path) -> list[dict[str, Any]]:
    """One file's rows, for programs."""
    return [
        {
            **row.product._asdict(),
            "images": row.images,
            "first": row.first,
            "last": row.last,
            "geometry": row.geometry._asdict() if row.geometry else None,
        }
        for of, row in rows
        if of == path
    ]


def makings(paths: Iterable[Path]) -> dict[Path, tuple[str, ...]]:
    """What each file that can be read says of its making."""
    said = {}
    for path in paths:
        with suppress(LArTPCError):  # `of_all` names it
            said[path] = provenance.read(path)
    return said


def of_all(paths: Iterable[Path]) -> tuple[list[tuple[Path, Contents]], list[LArTPCError]]:
    """The products that can be read, and why the others cannot."""
    rows: list[tuple[Path, Contents]] = []
    failures: list[LArTPCError] = []
    for path in paths:
        try:
            every = listing(path)
        except LArTPCError as error:
            failures.append(error)
            continue
        for product in every:
            if isinstance(product, LArTPCError):
                failures.append(product)
                continue
            try:
                rows.append((path, contents(path, product)))
            except LArTPCError as error:
                failures.append(error)
    return rows, failures

"""From an event to the crops that the networks get, and from their answers to score images. Pure.

Three ways to crop, one `Plan`: regions of interest as LArCV1 crops them (`Croi`), the whole event
in overlapping tiles (`Tiles`), images as they are (`Whole`). Refuses images that a way does not
fit, and answers that do not fit their crops.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, ProductMissing, SettingsError
from ..image import ROI, RSE, Event, Image, ImageMeta, Pixels, TickOrder
from .rois import cut_rois, merge_rois
from .tiles import Region, all_of, check_tiles, spans

LOW_ADC = 10.0
"""SSNet's threshold: a quarter of a minimum-ionising track. What is below is not charge."""
HIGH_ADC = 500.0
"""SSNet's ceiling: five minimum-ionising tracks."""
CLASSES = ("shower", "track")
"""What an answer holds; the networks' background is not sent back."""

Scores = npt.NDArray[Any]
Box = tuple[slice, slice]
_T = TypeVar("_T")


def threshold(pixels: Pixels, *, low: float = LOW_ADC, high: float = HIGH_ADC) -> Pixels:
    """ADC as the networks were trained on: below `low` 0, at most `high`. Any shape; a copy."""
    kept = pixels >= np.float32(low)
    return np.minimum(pixels, np.float32(high), out=np.zeros_like(pixels), where=kept)


def mask(scores: Scores, adc: Pixels, *, low: float = LOW_ADC) -> Scores:
    """Scores, (..., rows, cols), that are 0 wherever `adc`, (rows, cols), is below `low`."""
    return np.where(adc < np.float32(low), scores.dtype.type(0), scores)


@dataclass(frozen=True)
class Croi:
    """The production chain's way: crops of one size around the ROIs, which are merged first.

    Every crop is asked about, be it empty. An image without ROIs has no crops and no scores.
    """

    rois: str = "croi"
    """Producer of the ROIs."""
    size: int = 512
    """Rows and columns of a crop, in pixels: what SSNet was trained on."""
    min_overlap: float = 0.5
    """How much two ROIs overlap that become one (`merge_rois`)."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SettingsError(f"want crops of at least 1 x 1 pixels, got {self.size}")


@dataclass(frozen=True)
class Tiles:
    """The whole event in tiles, of which the middles are kept; raises `SettingsError`.

    An image shorter than a tile is padded with zeros, after its last row and column, to the next
    multiple of `divisor`; answers about the padding are dropped. Tiles whose middle holds no
    charge are not asked about, and their scores are 0.
    """

    size: int = 512
    """Rows and columns of a tile, in pixels: a multiple of `divisor`."""
    overlap: int = 64
    """Pixels that neighbours share at least; a kept pixel has half of them around it."""
    divisor: int = 32
    """What the network needs its sides to be multiples of."""

    def __post_init__(self) -> None:
        check_tiles(self.size, self.overlap, self.divisor)


@dataclass(frozen=True)
class Whole:
    """Images as they are: they were cropped before. Those without charge are not asked about."""

    divisor: int = 32
    """What the network needs its sides to be multiples of."""


Mode = Croi | Tiles | Whole


@dataclass(frozen=True, eq=False)
class Crop:
    """Where one image for a network comes from, and which of its answer's pixels go where.

    Rows are tick-backward throughout, which the networks were trained on. It holds no pixels: a
    plan waits for its answers and weighs nothing (`cut` gives the image).
    """

    meta: ImageMeta
    source: Box
    """Rows and columns of the plane's image; fewer than the meta's where it pads."""
    keep: Box
    """Rows and columns of the answer."""
    onto: Box
    """Rows and columns of the canvas."""


@dataclass(frozen=True, eq=False)
class PlanePlan:
    """One plane's crops, in the order in which they are painted: the later one wins."""

    plane: int
    crops: tuple[Crop, ...]
    canvas: ImageMeta | None
    """Meta of the score images, in the input's tick order; None: there will be none."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What is asked about one event: the crops of each plane, in the order of its images."""

    rse: RSE
    planes: tuple[PlanePlan, ...]


def plan(
    event: Event,
    mode: Mode,
    *,
    images: str,
    low: float = LOW_ADC,
    planes: Container[int] | None = None,
) -> Plan:
    """What to ask about the images of producer `images`; without any ADC of `low`, nothing.

    `planes`: only of these; None: of all.
    Raises `ProductMissing`, and `ImageError` that names event and plane.
    """
    rois: tuple[ROI, ...] = ()
    if isinstance(mode, Croi):
        with _named(event.rse):
            rois = merge_rois(_product(event.rois, mode.rois), min_overlap=mode.min_overlap)
    plans = []
    for index, image in enumerate(_product(event.images, images)):
        if planes is not None and image.meta.plane not in planes:
            continue
        with _named(event.rse, image.meta.plane):
            backward = image.in_order("backward")
            if isinstance(mode, Croi):
                regions = cut_rois(rois, backward.meta, index=index, size=mode.size)
                crops = _crops(backward.meta, regions, corner=_corner(regions))
                canvas = _canvas(crops, image.meta.tick_order)
            else:
                regions = _grid(image.meta, mode)
                charged = [each for each in regions if _has_charge(backward, each, low)]
                crops, canvas = _crops(backward.meta, charged), image.meta
            plans.append(PlanePlan(image.meta.plane, crops, canvas))
    return Plan(event.rse, tuple(plans))


def _product(products: Mapping[str, tuple[_T, ...]], producer: str) -> tuple[_T, ...]:
    if producer not in products:
        raise ProductMissing(f"want products of {producer!r} in an event, got {sorted(products)}")
    return products[producer]


@contextmanager
def _named(rse: RSE, plane: int | None = None) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        where = f"event {tuple(rse)}" + ("" if plane is None else f" plane {plane}")
        raise ImageError(f"{where}: {error}") from error


def _corner(regions: Sequence[Region]) -> tuple[int, int]:
    """Where the box around these regions begins."""
    first_rows = (rows.start for rows, _ in regions)
    first_cols = (cols.start for _, cols in regions)
    return min(first_rows, default=0), min(first_cols, default=0)


def _canvas(crops: Sequence[Crop], order: TickOrder) -> ImageMeta | None:
    if not crops:
        return None
    return reduce(ImageMeta.inclusive, (crop.meta for crop in crops)).in_order(order)


def _grid(meta: ImageMeta, mode: Tiles | Whole) -> list[Region]:
    if isinstance(mode, Whole):
        if meta.rows % mode.divisor or meta.cols % mode.divisor:
            want = f"rows and cols that {mode.divisor} divides for an image as it is"
            got = f"{meta.rows} x {meta.cols}"
            raise ImageError(f"want {want}, got {got}: --mode tiles takes any size")
        return [(all_of(0, meta.rows), all_of(0, meta.cols))]
    rows, cols = (
        spans(pixels, size=mode.size, overlap=mode.overlap, divisor=mode.divisor)
        for pixels in (meta.rows, meta.cols)
    )
    return list(product(rows, cols))


def _has_charge(image: Image, region: Region, low: float) -> bool:
    """Whether the answer would have a score that is not 0: only what is kept counts."""
    rows, cols = region
    return bool((image.pixels[rows.kept(), cols.kept()] >= np.float32(low)).any())


def _crops(
    meta: ImageMeta, regions: Sequence[Region], *, corner: tuple[int, int] = (0, 0)
) -> tuple[Crop, ...]:
    """Crops of these regions; `corner`: where the canvas begins, in pixels of the image."""
    return tuple(
        Crop(
            meta.part(rows.start, cols.start, rows=rows.size, cols=cols.size),
            source=(rows.whole(), cols.whole()),
            keep=(rows.kept(rows.start), cols.kept(cols.start)),
            onto=(rows.kept(corner[0]), cols.kept(corner[1])),
        )
        for rows, cols in regions
    )


def cut(image: Image, crop: Crop, *, low: float = LOW_ADC, high: float = HIGH_ADC) -> Image:
    """A crop of its plane's image, in either tick order: thresholded, padded with 0, a copy."""
    # row major, as messages are
    pixels = np.ascontiguousarray(image.in_order("backward").pixels[crop.source])
    pixels = threshold(pixels, low=low, high=high)
    missing = (crop.meta.rows - pixels.shape[0], crop.meta.cols - pixels.shape[1])
    if any(missing):
        pixels = np.pad(pixels, [(0, pad) for pad in missing])
    return Image(crop.meta, pixels)


def stitch(plan: Plan, answers: Sequence[Sequence[Scores]]) -> tuple[tuple[Image, ...], ...]:
    """The score images [shower, track] of each plane; none for a plane without a canvas.

    `answers`: for each plane, in the order of its crops, scores of (2, rows, cols), any float.
    Crops are painted in order, and the later one wins; what no crop covers is 0. The images have
    the input's tick order. Raises `ImageError` that names event, plane and crop.
    """
    with _named(plan.rse):
        _check_count("planes", len(plan.planes), len(answers))
    images = []
    for plane, of_plane in zip(plan.planes, answers, strict=True):
        with _named(plan.rse, plane.plane):
            _check_count("answers", len(plane.crops), len(of_plane))
            images.append(_painted(plane, of_plane))
    return tuple(images)


def _check_count(what: str, want: int, got: int) -> None:
    if want != got:
        raise ImageError(f"want {want} {what}, got {got}")


def _painted(plane: PlanePlan, answers: Sequence[Scores]) -> tuple[Image, ...]:
    if plane.canvas is None:
        return ()
    scores = np.zeros((len(CLASSES), plane.canvas.rows, plane.canvas.cols), np.float32)
    for number, (crop, answer) in enumerate(zip(plane.crops, answers, strict=True)):
        want = (len(CLASSES), crop.meta.rows, crop.meta.cols)
        if answer.shape != want:
            raise ImageError(f"want {want} scores for crop {number}, got {answer.shape}")
        scores[(slice(None), *crop.onto)] = answer[(slice(None), *crop.keep)]
    if plane.canvas.tick_order == "forward":
        scores = scores[:, ::-1]
    return tuple(Image(plane.canvas, one) for one in scores)

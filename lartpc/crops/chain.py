"""Plans the crops of an event for the networks, and joins their scores into images. Pure.

Each mode gives a `CropPlan`: regions of interest as LArCV1 crops them (`Croi`), the whole event
in overlapping tiles (`Tiles`), and images as they are (`Whole`). Refuses images that do not fit the
mode, and scores that do not fit their crops. An "answer" is the network's scores for one crop.
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

from ..errors import ImageError, ParameterError, ProductMissing
from ..image import ROI, RSE, Event, Image, ImageMeta, Pixels, TickOrder
from .rois import cut_rois, merge_rois
from .tiles import Region, all_of, check_tiles, spans

LOW_ADC = 10.0
"""SSNet's threshold: a quarter of a minimum-ionising track. Pixels below it count as empty."""
HIGH_ADC = 500.0
"""SSNet's upper limit: five minimum-ionising tracks."""
CLASSES = ("shower", "track")
"""The classes in an answer; the workers do not send back the scores of background."""

Scores = npt.NDArray[Any]
Box = tuple[slice, slice]
_T = TypeVar("_T")


def threshold(pixels: Pixels, *, low: float = LOW_ADC, high: float = HIGH_ADC) -> Pixels:
    """Return a copy with ADC (any shape) as in training: 0 below `low`, and at most `high`."""
    charged = pixels >= np.float32(low)
    return np.minimum(pixels, np.float32(high), out=np.zeros_like(pixels), where=charged)


def mask(scores: Scores, adc: Pixels, *, low: float = LOW_ADC) -> Scores:
    """Set scores, (..., rows, cols), to 0 wherever `adc`, (rows, cols), is below `low`."""
    return np.where(adc < np.float32(low), scores.dtype.type(0), scores)


@dataclass(frozen=True)
class Croi:
    """Crops of one size around the regions of interest (ROIs; LArCV's producer `croi`).

    The ROIs are merged first, as in the production chain.

    Every crop is sent to the network, even an empty one. An image without ROIs has no crops and no
    scores.
    """

    rois: str = "croi"
    """The producer of the ROIs."""
    size: int = 512
    """Rows and columns of a crop, in pixels; the default is the size SSNet was trained on."""
    min_overlap: float = 0.5
    """ROIs that overlap by at least this much are merged (`merge_rois`)."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ParameterError(f"want crops of at least 1 x 1 pixels, got {self.size}")


@dataclass(frozen=True)
class Tiles:
    """The whole event in overlapping tiles; only the scores of their middles are used.

    An image smaller than a tile is padded with zeros, after its last row and column, to the next
    multiple of `divisor`; scores of the padding are dropped. Tiles whose middle holds no charge are
    not sent to the network, and their scores are 0. Raises `SettingsError`.
    """

    size: int = 512
    """Rows and columns of a tile, in pixels; a multiple of `divisor`."""
    overlap: int = 64
    """The least overlap of neighbouring tiles, in pixels. Scores nearer than half of it to the edge
    of a tile are not used, except at the image's border."""
    divisor: int = 32
    """The network needs sides that are multiples of this."""

    def __post_init__(self) -> None:
        check_tiles(self.size, self.overlap, self.divisor)


@dataclass(frozen=True)
class Whole:
    """Images that are crops already, so that they are not cut.

    Images without charge are not sent to the network, and their scores are 0.
    """

    divisor: int = 32
    """The network needs sides that are multiples of this."""


Mode = Croi | Tiles | Whole


@dataclass(frozen=True, eq=False)
class Crop:
    """A crop to send to a network: where it is cut out, and where its scores go.

    Rows are tick-backward everywhere, because the networks were trained so. A crop has no pixels:
    `cut` returns them. So a plan that waits for its answers needs little memory.
    """

    meta: ImageMeta
    source: Box
    """The rows and columns of the plane's image that are cut out; a padded crop has more."""
    keep: Box
    """The rows and columns of the answer that are used."""
    onto: Box
    """The rows and columns of the score image that these scores are written to."""


@dataclass(frozen=True, eq=False)
class PlanePlan:
    """The crops of one plane, in the order of writing: later scores overwrite earlier ones."""

    plane: int
    crops: tuple[Crop, ...]
    canvas: ImageMeta | None
    """The meta of the score images, in the input's tick order; None: no score images."""


@dataclass(frozen=True, eq=False)
class CropPlan:
    """The crops of one event to send to the networks, by plane, in the order of its images."""

    rse: RSE
    planes: tuple[PlanePlan, ...]


def rois_of(mode: Mode) -> tuple[str, ...]:
    """Return the producers of ROIs that a reader must read for this mode."""
    return (mode.rois,) if isinstance(mode, Croi) else ()


def plan(
    event: Event,
    mode: Mode,
    *,
    images: str,
    low: float = LOW_ADC,
    planes: Container[int] | None = None,
) -> CropPlan:
    """Plan the crops of the images of producer `images`.

    `low`: the threshold of charge, in ADC; tiles and whole images without charge get no crop.
    `planes`: the planes to plan; None: all of them.
    Raises `ProductMissing`, and an `ImageError` that names event and plane.
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
                charged = [region for region in regions if _has_charge(backward, region, low)]
                crops, canvas = _crops(backward.meta, charged), image.meta
            plans.append(PlanePlan(image.meta.plane, crops, canvas))
    return CropPlan(event.rse, tuple(plans))


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
    """Return the first row and column of the box around these regions."""
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
            raise ImageError(f"want {want}, got {got}: --mode tiles accepts any size")
        return [(all_of(0, meta.rows), all_of(0, meta.cols))]
    rows, cols = (
        spans(pixels, size=mode.size, overlap=mode.overlap, divisor=mode.divisor)
        for pixels in (meta.rows, meta.cols)
    )
    return list(product(rows, cols))


def _has_charge(image: Image, region: Region, low: float) -> bool:
    """Return whether there is charge in the part of the region whose scores are used."""
    rows, cols = region
    return bool((image.pixels[rows.kept(), cols.kept()] >= np.float32(low)).any())


def _crops(
    meta: ImageMeta, regions: Sequence[Region], *, corner: tuple[int, int] = (0, 0)
) -> tuple[Crop, ...]:
    """Return the crops of these regions; `corner`: the image's pixel where the canvas begins."""
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
    """Cut a crop out of its plane's image, apply the threshold and pad with 0. Returns a copy.

    `image`: in either tick order; the crop is tick-backward.
    """
    # row-major, as messages are
    pixels = np.ascontiguousarray(image.in_order("backward").pixels[crop.source])
    pixels = threshold(pixels, low=low, high=high)
    missing = (crop.meta.rows - pixels.shape[0], crop.meta.cols - pixels.shape[1])
    if any(missing):
        pixels = np.pad(pixels, [(0, pad) for pad in missing])
    return Image(crop.meta, pixels)


def stitch(plan: CropPlan, answers: Sequence[Sequence[Scores]]) -> tuple[tuple[Image, ...], ...]:
    """Return the score images [shower, track] of each plane; none for a plane without a canvas.

    `answers`: for each plane, in the order of its crops, scores of (2, rows, cols), any float.
    Crops are painted in order, and a later one overwrites an earlier one; pixels without a crop are
    0. The images have the input's tick order. Raises an `ImageError` that names event, plane and
    crop.
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
    return tuple(Image(plane.canvas, pixels) for pixels in scores)

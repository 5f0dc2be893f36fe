"""Compare score images with the charge of the input: metas, numbers, and which pixels have scores.

The values of the scores cannot be checked without the network, but their places can: a pixel has
scores if and only if a crop covers it and its ADC reaches the threshold. So the scores of another
event or of a shifted crop do not fit. There is one complication: float16 rounds scores below 3e-8
to 0, so a network that is sure of background leaves charged pixels without any score. The checks
still find what rounding cannot explain: a crop with many charged pixels of which none has a score,
and pixels without scores in an image whose other scores are neither tiny nor close to 1. Pure: no
file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lartpc import Event, Image, ImageMeta
from lartpc.crops import chain
from services.planes import answer_name

from ..files.entries import check_planes
from .findings import Finding
from .provenance_checks import ScoreSettings

SHOWER = 0.5
"""A pixel with a shower score above this is a shower pixel."""
SHOWER_ON_CHARGE = 0.95
"""The group's criterion: at least this share of the shower pixels must have charge."""
_SUM = 1.002  # two float16 that add up to 1 may have been rounded up
_UNSCORED = 0.05  # share of the charged pixels of an image or crop that may have score 0
_FEW = 10  # so many pixels without scores are always allowed
_MANY = 100  # of so many charged pixels, at least one must have a score of each class
_SURE = (1e-4, 0.9995)
"""The network is sure of its answer if a score above 0 lies outside this range; float16 may then
have rounded other scores to 0."""
_UNDECIDED = (0.001, 0.999)
"""The network is not sure of a pixel whose score lies inside this range."""
_PIXEL = 1e-6  # tolerance in pixels: LArCV3 stores another corner, which loses the last digit

Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Charge:
    """The pixels of one plane's score images that must have scores; all others must have none."""

    plane: int
    canvas: ImageMeta | None
    """The meta of the plane's score images, the canvas; None: there are no score images."""
    covered: Mask
    """A mask of the canvas: pixels in a crop whose ADC reaches the threshold of the service."""
    adc: Mask
    """A mask of the canvas: pixels in a crop whose ADC reaches the threshold of the client."""
    crops: tuple[chain.Box, ...] = ()
    """The crops, in rows and columns of the canvas."""
    rounded: bool = False
    """Whether the scores were sent as float16, which rounds those below 3e-8 to 0."""


def charge(
    image: Image,
    plan: chain.PlanePlan,
    *,
    low: float,
    service_low: float,
    dtype: str = "float32",
) -> Charge:
    """Return the charge of a plane's image, cut into crops according to `plan`.

    `low`, `service_low`: the thresholds of client and service, in ADC; `dtype`: of the scores.
    """
    if plan.canvas is None:
        return no_charge(plan.plane)
    pixels = image.in_order("backward").pixels
    order = "F" if pixels.flags.f_contiguous else "C"  # LArCV1 stores columns: use the same layout
    adc = np.zeros((plan.canvas.rows, plan.canvas.cols), bool, order)  # type: ignore[call-overload]
    crops = np.zeros_like(adc) if service_low <= 0 else adc
    for crop in plan.crops:
        adc[crop.onto] = pixels[crop.source][crop.keep] >= np.float32(low)
        if service_low <= 0:
            crops[crop.onto] = True  # pixels without charge are scored, too
    boxes = tuple(crop.onto for crop in plan.crops)
    if plan.canvas.tick_order == "forward":
        adc, crops = adc[::-1], crops[::-1]
        boxes = tuple((_turned(rows, plan.canvas.rows), cols) for rows, cols in boxes)
    return Charge(plan.plane, plan.canvas, crops, adc, boxes, dtype == "float16")


def _turned(rows: slice, count: int) -> slice:
    return slice(count - rows.stop, count - rows.start)


def no_charge(plane: int) -> Charge:
    """Return the charge of an event without images or crops: it must have no score images."""
    nothing = np.zeros((0, 0), bool)
    return Charge(plane, None, nothing, nothing)


def compare(
    findings: ScoreFindings, scored: Event, event: Event, settings: ScoreSettings, where: str
) -> None:
    """Compare the scores of an event with its charge, and count the results in `findings`.

    Raises `LArTPCError` if no run could have cut the event into crops.
    """
    images = event.images[settings.producer]
    check_planes([image.meta.plane for image in images], settings.planes, skip_others=True)
    images = tuple(image for image in images if image.meta.plane in settings.planes)
    plan = chain.plan(
        event, settings.mode, images=settings.producer, low=settings.low_adc, planes=settings.planes
    )
    by_plane = {cut.plane: (image, cut) for image, cut in zip(images, plan.planes, strict=True)}
    for number, plane in enumerate(settings.planes):
        want = no_charge(plane)
        if plane in by_plane:
            want = charge(
                *by_plane[plane],
                low=settings.low_adc,
                service_low=settings.service_low_adc[number],
                dtype=settings.dtypes[number],
            )
        findings.look(want, scored.images[answer_name(plane)], f"{where}, plane {plane}")


class ScoreFindings:
    """The findings about all score images that were checked."""

    def __init__(self) -> None:
        self.images = Finding("images", "two images of each plane, with the input's metas")
        self.numbers = Finding("range", "scores from 0 to 1, shower + track at most 1")
        self.below = Finding("no charge", "no score below the threshold, nor outside of crops")
        self.above = Finding("charge", "scores where there is charge in a crop")
        self.shower = Finding("shower", f"{SHOWER_ON_CHARGE:.0%} of shower pixels on charge")
        self._showers = 0
        self._showers_off = 0

    def look(self, want: Charge, images: Sequence[Image], where: str) -> None:
        """Compare one plane's score images with its charge."""
        wrong = _wrong_images(want, images)
        self.images.look(bool(wrong), f"{where}: {wrong}")
        if wrong or want.canvas is None:
            return
        shower, track = (image.pixels for image in images)
        self._look_at_numbers(shower, track, where)
        self._look_at_places(want, {"shower": shower, "track": track}, where)
        on = shower > SHOWER
        self._showers += int(np.count_nonzero(on))
        off = int(np.count_nonzero(on & ~want.adc))
        self._showers_off += off
        if off and not self.shower.first:
            self.shower.first = f"{where}: {off} shower pixels off charge"

    def _look_at_numbers(
        self, shower: npt.NDArray[np.float32], track: npt.NDArray[np.float32], where: str
    ) -> None:
        low = min(shower.min(initial=0), track.min(initial=0))
        high = max(shower.max(initial=0), track.max(initial=0))
        total = (shower + track).max(initial=0)
        bad = not (low >= 0 and high <= 1 and total <= _SUM)
        got = f"{where}: from {low:.9g} to {high:.9g}, sums up to {total:.9g}"
        self.numbers.look(bad, got)

    def _look_at_places(self, want: Charge, scores: Mapping[str, Pixels], where: str) -> None:
        """Check that scores are where the charge is; scores: an image for each class."""
        largest = np.maximum(*scores.values())
        either = (scores["shower"] != 0) | (scores["track"] != 0)
        outside = either & ~want.covered
        count = int(np.count_nonzero(outside))
        self.below.look(count, f"{where}: {count} pixels{_first(outside)}", of=either.size)
        charged = int(np.count_nonzero(want.covered))
        empty, text = _unscored(want, either, largest)
        for name, pixels in scores.items():
            if not text and not pixels.any() and _shows_both_classes(want, largest, charged):
                empty, text = charged, f"none of {charged} charged pixels has a {name} score"
        self.above.look(empty if text else 0, f"{where}: {text}{_remedy(want)}", of=charged)

    def close(self) -> list[Finding]:
        """Return all findings, after all images were checked."""
        self.shower.checked = self._showers
        if self._showers_off > (1 - SHOWER_ON_CHARGE) * self._showers:
            self.shower.bad = self._showers_off
        else:
            self.shower.first = ""
        return [self.images, self.numbers, self.below, self.above, self.shower]


def _unscored(want: Charge, scored: Mask, largest: Pixels) -> tuple[int, str]:
    """How many charged pixels have no score, and a description if these are too many.

    `largest`: the larger of a pixel's two scores.
    """
    empty = want.covered & ~scored
    count = int(np.count_nonzero(empty))
    if count <= _FEW:
        return count, ""
    sure = want.rounded and not _is_unsure(largest[want.covered & scored], lost=count)
    everywhere = (slice(None), slice(None))
    for box in (everywhere, *want.crops):  # a crop without scores is a small share of an event
        lost, charged = (int(np.count_nonzero(mask[box])) for mask in (empty, want.covered))
        if _too_many(lost, charged, sure=sure):
            pixels = "charged pixels" if box is everywhere else "charged pixels of a crop"
            alone = np.zeros_like(empty)
            alone[box] = empty[box]
            return count, f"{lost} of {charged} {pixels} have no score{_first(alone)}"
    return count, ""


def _too_many(lost: int, charged: int, *, sure: bool) -> bool:
    """Whether too many charged pixels lack a score; sure: float16 may round scores to 0."""
    if sure:
        return lost >= _MANY and lost == charged
    return lost > _UNSCORED * charged + _FEW


def _is_unsure(scores: Pixels, *, lost: int) -> bool:
    """Whether all scores lie inside `_SURE`, and there are at least `lost` of them."""
    low, high = _SURE
    return len(scores) >= lost and bool(((scores >= low) & (scores <= high)).all())


def _shows_both_classes(want: Charge, largest: Pixels, charged: int) -> bool:
    """Whether there are so many pixels that some must have a score of each class."""
    if not want.rounded:
        return charged >= _MANY
    low, high = _UNDECIDED
    return int(np.count_nonzero((largest > low) & (largest < high))) >= _MANY


def _remedy(want: Charge) -> str:
    """A hint on what to do about missing scores."""
    if want.rounded:
        return (
            "; float16 alone does not explain it: `ssnet run --force` scores it again;"
            " `ssnet worker planes --dtype float32` avoids the rounding"
        )
    return "; `ssnet run --force` scores it again"


def _first(wrong: Mask) -> str:
    if not wrong.any():
        return ""
    row, col = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    return f", the first at row {row}, column {col}"


def _wrong_images(want: Charge, images: Sequence[Image]) -> str:
    """Return the error in the number of images or in their metas; empty if there is none."""
    count = 0 if want.canvas is None else len(chain.CLASSES)
    if len(images) != count:
        return f"want {count} images, got {len(images)}"
    for image in images:
        if want.canvas is not None and not _same_place(want.canvas, image.meta):
            return f"want the meta {want.canvas}, got {image.meta}"
    return ""


def _same_place(one: ImageMeta, other: ImageMeta) -> bool:
    def exact(meta: ImageMeta) -> tuple[object, ...]:
        return meta.rows, meta.cols, meta.plane, meta.tick_order

    near_x, near_y = _PIXEL * one.pixel_width, _PIXEL * one.pixel_height
    return exact(one) == exact(other) and all(
        math.isclose(a, b, rel_tol=0, abs_tol=near)
        for a, b, near in (
            (one.width, other.width, near_x),
            (one.origin_x, other.origin_x, near_x),
            (one.height, other.height, near_y),
            (one.origin_y, other.origin_y, near_y),
        )
    )

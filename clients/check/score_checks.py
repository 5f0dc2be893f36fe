"""Score images held against the charge they are about: metas, numbers, and which pixels have any.

What a network says cannot be known without it, but where it says something can: a pixel has
scores if and only if a crop covers it and its ADC reaches the threshold. So another event's
pixels and a shifted crop do not fit. One thing blurs this: float16 rounds scores below 3e-8 to 0,
so a network that is sure of background leaves charged pixels without any score. What rounding
cannot explain is still found: a crop of many charged pixels of which none has a score, and pixels
without scores in an image whose other scores are neither tiny nor 1. Pure: no file.
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

from ..scoring.crop_requests import check_planes
from .findings import Finding
from .provenance_checks import Making

SHOWER = 0.5
"""A score above says shower."""
SHOWER_ON_CHARGE = 0.95
"""The group's criterion: so much of the shower pixels lies on charge."""
_SUM = 1.002  # two float16 that add up to 1 may have been rounded up
_UNSCORED = 0.05  # of the charged pixels of an image or crop, for which the network may say 0
_FEW = 10  # pixels of an image in which that is no sign
_MANY = 100  # charged pixels, of which one at least has some score of either class
_SURE = (1e-4, 0.9995)
"""A score above 0 but not between these shows a network so sure that float16 rounds others to 0."""
_UNDECIDED = (0.001, 0.999)
"""A score between these shows a pixel of which the network is not sure."""
_PIXEL = 1e-6  # of a pixel's size: LArCV3 keeps another corner, which costs a last digit

Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Charge:
    """Where one plane's score images must have scores, and nowhere else."""

    plane: int
    canvas: ImageMeta | None
    """Of its score images; None: there are none."""
    covered: Mask
    """(rows, cols) of the canvas: in a crop, and ADC as high as the service scores."""
    adc: Mask
    """ADC as high as the client asks, in a crop."""
    crops: tuple[chain.Box, ...] = ()
    """Where the crops are, in rows and columns of the canvas."""
    rounded: bool = False
    """Whether scores came as float16, which rounds those below 3e-8 to 0."""


def charge(
    image: Image,
    plan: chain.PlanePlan,
    *,
    low: float,
    service_low: float,
    dtype: str = "float32",
) -> Charge:
    """What the chain makes of a plane's image; `low`, `service_low`: ADC; `dtype`: of scores."""
    if plan.canvas is None:
        return no_charge(plan.plane)
    pixels = image.in_order("backward").pixels
    order = "F" if pixels.flags.f_contiguous else "C"  # LArCV1's columns, turned by no one
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
    """Of an event without images or crops: no score images are wanted."""
    nothing = np.zeros((0, 0), bool)
    return Charge(plane, None, nothing, nothing)


def compare(
    findings: ScoreFindings, scored: Event, event: Event, making: Making, where: str
) -> None:
    """Hold an event's scores against it. Raises `LArTPCError` if no run could have cut it."""
    images = event.images[making.producer]
    check_planes([image.meta.plane for image in images], making.planes)
    images = tuple(image for image in images if image.meta.plane in making.planes)
    plan = chain.plan(
        event, making.mode, images=making.producer, low=making.low_adc, planes=making.planes
    )
    by_plane = {of.plane: (image, of) for image, of in zip(images, plan.planes, strict=True)}
    for number, plane in enumerate(making.planes):
        want = no_charge(plane)
        if plane in by_plane:
            want = charge(
                *by_plane[plane],
                low=making.low_adc,
                service_low=making.service_low_adc[number],
                dtype=making.dtypes[number],
            )
        findings.look(want, scored.images[answer_name(plane)], f"{where}, plane {plane}")


class ScoreFindings:
    """What was found in all score images that were looked at."""

    def __init__(self) -> None:
        self.images = Finding("images", "two images of each plane, with the input's metas")
        self.numbers = Finding("range", "scores from 0 to 1, shower + track at most 1")
        self.below = Finding("no charge", "no score below the threshold, nor outside of crops")
        self.above = Finding("charge", "scores where there is charge in a crop")
        self.shower = Finding("shower", f"{SHOWER_ON_CHARGE:.0%} of shower pixels on charge")
        self._showers = 0
        self._showers_off = 0

    def look(self, want: Charge, images: Sequence[Image], where: str) -> None:
        """Hold one plane's images against its charge."""
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
        """`scores`: by class."""
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
        """All findings, when everything was looked at."""
        self.shower.checked = self._showers
        if self._showers_off > (1 - SHOWER_ON_CHARGE) * self._showers:
            self.shower.bad = self._showers_off
        else:
            self.shower.first = ""
        return [self.images, self.numbers, self.below, self.above, self.shower]


def _unscored(want: Charge, scored: Mask, largest: Pixels) -> tuple[int, str]:
    """How many charged pixels have no score, and the words for it where these are too many.

    `largest`: the larger of a pixel's two scores.
    """
    empty = want.covered & ~scored
    count = int(np.count_nonzero(empty))
    if count <= _FEW:
        return count, ""
    sure = want.rounded and not _is_unsure(largest[want.covered & scored], lost=count)
    everywhere = (slice(None), slice(None))
    for box in (everywhere, *want.crops):  # one crop that is blank is little of a whole event
        lost, charged = (int(np.count_nonzero(mask[box])) for mask in (empty, want.covered))
        if _too_many(lost, charged, sure=sure):
            of = "charged pixels" if box is everywhere else "a crop's charged pixels"
            alone = np.zeros_like(empty)
            alone[box] = empty[box]
            return count, f"{lost} of {charged} {of} have no score{_first(alone)}"
    return count, ""


def _too_many(lost: int, charged: int, *, sure: bool) -> bool:
    """`sure`: the network may have been so sure of background that float16 left 0."""
    if sure:
        return lost >= _MANY and lost == charged
    return lost > _UNSCORED * charged + _FEW


def _is_unsure(scores: Pixels, *, lost: int) -> bool:
    """Whether there are enough scores, none of them of a network that is sure."""
    low, high = _SURE
    return len(scores) >= lost and bool(((scores >= low) & (scores <= high)).all())


def _shows_both_classes(want: Charge, largest: Pixels, charged: int) -> bool:
    """Whether so many pixels cannot all lack a score of one class."""
    if not want.rounded:
        return charged >= _MANY
    low, high = _UNDECIDED
    return int(np.count_nonzero((largest > low) & (largest < high))) >= _MANY


def _remedy(want: Charge) -> str:
    """What to do about scores that are not there."""
    if want.rounded:
        return (
            "; float16 alone does not explain it: `ssnet run --force` scores it again,"
            " with `ssnet worker planes --dtype float32` to every digit"
        )
    return "; `ssnet run --force` scores it again"


def _first(wrong: Mask) -> str:
    if not wrong.any():
        return ""
    row, col = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    return f", the first at row {row}, column {col}"


def _wrong_images(want: Charge, images: Sequence[Image]) -> str:
    """What is not as wanted of the number of images and their metas."""
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

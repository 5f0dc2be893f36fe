"""Finds the tick order of LArCV1 files from what they hold. Pure.

A LArCV1 file stores the corner of an image at row 0. It does not store whether that tick is the
largest ("backward") or the smallest ("forward"). The two readings put the same image at different
ticks, and one of them is often impossible. These facts decide, in this order:

    provenance  a record in the file states the order
    regions     the regions of interest lie on the images in one reading only
    ticks       images reach below tick 0 in one reading only

If none of them decides, "auto" assumes "backward", which is LArCV1's order. LArCV2 and LArCV3
define the order, and their images are turned to the order that is chosen; only an order that the
user asked for overrules LArCV2's definition. Refuses an order that contradicts the facts, and files
of different orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..errors import TickOrderError
from ..image import ROI, ImageMeta, TickOrder, check_tick_order

AskedOrder = TickOrder | Literal["auto"]
"""A tick order, or "auto" for the order that the files show."""

Basis = Literal["asked", "trusted", "provenance", "regions", "ticks", "format", "assumed"]
"""The way in which a tick order was chosen."""

_ORDERS: tuple[TickOrder, ...] = get_args(TickOrder)


class TickChoice(NamedTuple):
    """A tick order, and the reason for it."""

    order: TickOrder
    basis: Basis
    reason: str
    """The reason in one line, for people; it names the file."""

    @property
    def overrules(self) -> bool:
        """Whether rows of LArCV2 files have this order against the definition: the user said so."""
        return self.order == "backward" and self.basis in ("asked", "trusted")


def turned_to(order: TickOrder) -> TickChoice:
    """Return the choice of a program that turns what it reads to an order, whatever it shows."""
    return TickChoice(order, "format", "as the program needs it")


class TickSpan(NamedTuple):
    """An interval of ticks, given by its tick at row 0 and its length."""

    corner: float
    """The tick of the corner at row 0."""
    height: float
    """The length in ticks."""

    def at(self, order: TickOrder) -> tuple[float, float]:
        """Return the smallest and the largest tick in this order."""
        if order == "backward":
            return self.corner - self.height, self.corner
        return self.corner, self.corner + self.height


class Survey(NamedTuple):
    """The evidence in one file for its tick order."""

    path: Path
    stored: bool
    """Whether the format stores the order, so that it need not be found."""
    recorded: tuple[TickOrder, ...] = ()
    """The orders that its provenance records state."""
    images: frozenset[TickSpan] = frozenset()
    """The ticks of the images in the entries that were read."""
    regions: frozenset[tuple[TickSpan, TickSpan, float]] = frozenset()
    """The boxes of regions of interest, each with its image and that image's ticks per pixel."""
    rois: tuple[str, ...] = ()
    """The producers of regions of interest in the file that crops are made around."""
    larcv2: bool = False
    """Whether images of LArCV2 are read, so that the order can be overruled."""

    def ticks(self, order: TickOrder) -> tuple[float, float] | None:
        """Return the smallest and largest tick of all images in this order; None without images."""
        ranges = [span.at(order) for span in self.images]
        if not ranges:
            return None
        return min(low for low, _ in ranges), max(high for _, high in ranges)


def spans_of(metas: Sequence[ImageMeta]) -> frozenset[TickSpan]:
    """Return the spans of ticks of images."""
    return frozenset(TickSpan(meta.origin_y, meta.height) for meta in metas)


def regions_of(
    rois: Sequence[ROI], metas: Sequence[ImageMeta]
) -> frozenset[tuple[TickSpan, TickSpan, float]]:
    """Return the boxes of regions of interest, each with its plane's image and ticks per pixel."""
    by_plane = {meta.plane: meta for meta in metas}
    return frozenset(
        (
            TickSpan(box.origin_y, box.height),
            TickSpan(by_plane[box.plane].origin_y, by_plane[box.plane].height),
            by_plane[box.plane].pixel_height,
        )
        for roi in rois
        for box in roi.boxes
        if box.plane in by_plane
    )


def order_shown_by(survey: Survey) -> TickChoice | None:
    """Return the order that a file shows; None if it shows none. Raises `TickOrderError`."""
    if survey.stored:
        return None
    name = survey.path
    if len(set(survey.recorded)) > 1:
        raise TickOrderError(
            f"want files of one tick order, got {name}, whose provenance states both: it was"
            " joined from files of both orders"
        )
    if survey.recorded:
        return TickChoice(survey.recorded[0], "provenance", f"the provenance of {name} states it")
    on_image = [order for order in _ORDERS if survey.regions and _on_images(survey, order)]
    if len(on_image) == 1:
        reason = f"the regions of interest of {name} lie on its images in this order only"
        return TickChoice(on_image[0], "regions", reason)
    possible = [order for order in _ORDERS if survey.images and not _below_zero(survey, order)]
    if len(possible) == 1:
        return TickChoice(possible[0], "ticks", f"{name} has {_ticks(survey)}")
    return None


def _on_images(survey: Survey, order: TickOrder) -> bool:
    for box, image, pixel in survey.regions:
        (low, high), (first, last) = box.at(order), image.at(order)
        if low < first - pixel or high > last + pixel:
            return False
    return True


def _below_zero(survey: Survey, order: TickOrder) -> bool:
    return any(span.at(order)[0] < 0 for span in survey.images)


def _ticks(survey: Survey) -> str:
    """Return `ticks -3648 to 2400 if backward, 2400 to 8448 if forward`, or `no images`."""
    ranges = [(order, survey.ticks(order)) for order in _ORDERS]
    shown = [f"{span[0]:g} to {span[1]:g} if {order}" for order, span in ranges if span]
    return f"ticks {', '.join(shown)}" if shown else "no images"


def choose(asked: AskedOrder, surveys: Sequence[Survey], *, trust: bool = False) -> TickChoice:
    """Return the one tick order of these files.

    `trust`: use `asked` even if the files contradict it. Raises `TickOrderError` if they contradict
    it without `trust` or have different orders, and `ImageError` if `asked` is not a tick order.
    """
    if asked != "auto":
        check_tick_order(asked)
    if trust and asked == "auto":
        raise TickOrderError("want --tick-order backward or forward with --trust-tick-order")
    if trust and asked != "auto":
        return TickChoice(asked, "trusted", "as requested, whatever the files show")
    shown = [choice for choice in map(order_shown_by, surveys) if choice]
    for choice in shown:
        if choice.order != shown[0].order:
            raise TickOrderError(
                f"want files of one tick order, got {shown[0].order} ({shown[0].reason}) and"
                f" {choice.order} ({choice.reason}): --tick-order with --trust-tick-order reads all"
                " files in one order"
            )
    if asked != "auto":
        return _checked(asked, shown)
    return _shown(shown, surveys) if shown else _assumed(surveys)


def overruling(choice: TickChoice, surveys: Sequence[Survey]) -> str:
    """Return a line that names the LArCV2 files whose definition is overruled; empty if none is."""
    names = [str(survey.path) for survey in surveys if survey.larcv2]
    if not names or not choice.overrules:
        return ""
    more = f" and {len(names) - 1} more files" if len(names) > 1 else ""
    return (
        f"--tick-order {choice.order}: row 0 of the images in {names[0]}{more} is taken for the"
        " largest tick, although LArCV2 defines it as the smallest; --tick-order auto follows the"
        " definition"
    )


def _shown(shown: Sequence[TickChoice], surveys: Sequence[Survey]) -> TickChoice:
    silent = sum(not survey.stored for survey in surveys) - len(shown)
    if not silent:
        return shown[0]
    return shown[0]._replace(
        reason=f"{shown[0].reason}; {silent} of the other files do not show it"
    )


def _checked(asked: TickOrder, shown: Sequence[TickChoice]) -> TickChoice:
    if shown and shown[0].order != asked:
        raise TickOrderError(
            f"want --tick-order {shown[0].order}, got {asked}: {shown[0].reason}"
            f" (--trust-tick-order uses {asked} anyway)"
        )
    return TickChoice(asked, "asked", "as requested")


def _assumed(surveys: Sequence[Survey]) -> TickChoice:
    silent = [survey for survey in surveys if not survey.stored]
    if not silent:
        return TickChoice("backward", "format", "LArCV2 and LArCV3 define their tick order")
    reason = f"assumed, as LArCV1 has it: {silent[0].path} does not show it ({_ticks(silent[0])})"
    return TickChoice("backward", "assumed", reason)

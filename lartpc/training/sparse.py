"""A plane's ADC and labels as sparse arrays, which need little memory. Pure.

Refuses labels whose size is not the image's, and labels other than 0, 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ImageError
from ..image import Image, ImageMeta, Pixels

Labels = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int32]

BACKGROUND, SHOWER, TRACK = 0, 1, 2


@dataclass(frozen=True, eq=False)
class SparseImage:
    """The pixels that hold charge or a label, sorted by row; every array is (pixels,)."""

    meta: ImageMeta
    row: Places
    col: Places
    adc: Pixels
    label: Labels

    @property
    def nbytes(self) -> int:
        return self.row.nbytes + self.col.nbytes + self.adc.nbytes + self.label.nbytes

    def within(self, top: int, rows: int) -> slice:
        """Return the slice of the pixels that lie in the rows from `top` to `top + rows - 1`."""
        first, end = np.searchsorted(self.row, [top, top + rows])
        return slice(int(first), int(end))


def sparse(image: Image, labels: Image) -> SparseImage:
    """Make an image and its labels sparse. Raises `ImageError`.

    labels: 0 background, 1 shower, 2 track; the same shape as the image.
    """
    adc, label = image.pixels, labels.pixels
    if adc.shape != label.shape:
        raise ImageError(f"want labels of {adc.shape} pixels, as the image has, got {label.shape}")
    # images from LArCV1 files are column-major, so the transposed array is read in memory order
    col, row = np.nonzero(np.ascontiguousarray(((adc > 0) | (label != 0)).T))
    by_row = np.argsort(row, kind="stable")
    row, col = row[by_row], col[by_row]
    stored = label[row, col]
    if not np.isin(stored, (BACKGROUND, SHOWER, TRACK)).all():
        raise ImageError(f"want labels 0, 1 and 2, got {np.unique(stored)[:8].tolist()}")
    places = row.astype(np.int32), col.astype(np.int32)
    return SparseImage(image.meta, *places, adc[row, col], stored.astype(np.uint8))

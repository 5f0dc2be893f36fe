"""A plane's ADC and labels, kept sparse: what is nearly empty weighs nearly nothing. Pure.

Refuses labels of another size than the image, and labels other than 0, 1 and 2.
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
    """The pixels that hold charge or a label, by rows: (pixels,) each."""

    meta: ImageMeta
    row: Places
    col: Places
    adc: Pixels
    label: Labels

    @property
    def nbytes(self) -> int:
        return self.row.nbytes + self.col.nbytes + self.adc.nbytes + self.label.nbytes

    def within(self, top: int, rows: int) -> slice:
        """Which of the pixels lie in these rows."""
        first, end = np.searchsorted(self.row, [top, top + rows])
        return slice(int(first), int(end))


def sparse(image: Image, labels: Image) -> SparseImage:
    """Keep an image and its labels (0 background, 1 shower, 2 track); raises `ImageError`."""
    adc, label = image.pixels, labels.pixels
    if adc.shape != label.shape:
        raise ImageError(f"want labels of {adc.shape} pixels, as the image has, got {label.shape}")
    # LArCV1's images lie in memory column after column
    col, row = np.nonzero(np.ascontiguousarray(((adc > 0) | (label != 0)).T))
    by_row = np.argsort(row, kind="stable")
    row, col = row[by_row], col[by_row]
    kept = label[row, col]
    if not np.isin(kept, (BACKGROUND, SHOWER, TRACK)).all():
        raise ImageError(f"want labels 0, 1 and 2, got {np.unique(kept)[:8].tolist()}")
    places = row.astype(np.int32), col.astype(np.int32)
    return SparseImage(image.meta, *places, adc[row, col], kept.astype(np.uint8))

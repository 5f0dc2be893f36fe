"""Images of LArCV in memory: which are taken, and what is asked for. The real ones: test_real_*."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lartpc import Image, ImageError, ImageMeta, ParameterError, from_larcv, to_larcv


def always(value: Any) -> Any:
    return lambda *_: value


def larcv1_image(**change: Any) -> Any:
    """An object with the methods of LArCV1's Image2D that matter here: 2 rows, 3 columns."""
    corner = SimpleNamespace(x=0.5, y=12.25)
    meta = {"width": 3.0, "height": 12.0, "rows": 2, "cols": 3, "tl": corner, "plane": 1}
    methods = {name: always(value) for name, value in {**meta, **change}.items()}
    pixels = np.arange(6, dtype=np.float32)
    return SimpleNamespace(meta=always(SimpleNamespace(**methods)), as_vector=always(pixels))


@pytest.mark.parametrize("order", ["backward", "forward"])
def test_columns_of_larcv1_become_rows(order: Any) -> None:
    image = from_larcv(larcv1_image(), tick_order=order)
    assert image.pixels.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert image.meta == ImageMeta(3.0, 12.0, 2, 3, 0.5, 12.25, 1, order)


def test_larcv1_does_not_tell_its_tick_order_so_it_is_asked_for() -> None:
    with pytest.raises(ParameterError, match="want tick_order='backward' or 'forward'"):
        from_larcv(larcv1_image())
    with pytest.raises(ImageError, match=r"want tick order .* got 'up'"):
        from_larcv(larcv1_image(), tick_order="up")  # type: ignore[arg-type]


def test_pixels_that_are_not_the_metas_are_refused() -> None:
    with pytest.raises(ImageError, match="want 4 x 3 pixels, as in the meta, got 6"):
        from_larcv(larcv1_image(rows=4), tick_order="backward")


@pytest.mark.parametrize("other", [3, "wire", np.zeros((2, 3)), SimpleNamespace(meta=always(1))])
def test_other_objects_are_refused_with_their_type(other: Any) -> None:
    image = Image(ImageMeta(1, 1, 1, 1, 0, 0, 0), np.zeros((1, 1), np.float32))
    said = f"want an image of LArCV1, LArCV2, LArCV3, got {type(other).__name__}"
    with pytest.raises(ImageError, match=said):
        from_larcv(other, tick_order="backward")
    with pytest.raises(ImageError, match=said):
        to_larcv(image, like=other)


def test_the_import_loads_no_larcv() -> None:
    program = (
        "import sys, lartpc; print([n for n in ('larcv', 'ROOT', 'cppyy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"

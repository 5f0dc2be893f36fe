"""The metas of a file's images, read without their pixels."""

from __future__ import annotations

from pathlib import Path

import pytest

from lartpc import ProductMissing, TickOrder, open_reader
from tests.support import feed_files


@pytest.mark.parametrize("suffix", [".root", ".h5"])
@pytest.mark.parametrize("tick_order", ["backward", "forward"])
def test_they_are_those_of_the_images(tmp_path: Path, suffix: str, tick_order: TickOrder) -> None:
    path = feed_files.toys(tmp_path / f"toys{suffix}", 3)
    with open_reader(path, tick_order=tick_order) as reader:
        for entry, event in enumerate(reader):
            want = {
                name: tuple(image.meta for image in images) for name, images in event.images.items()
            }
            assert reader.metas_at(entry) == want


@pytest.mark.parametrize("suffix", [".root", ".h5"])
def test_a_missing_product_is_named(tmp_path: Path, suffix: str) -> None:
    path = feed_files.toys(tmp_path / f"toys{suffix}", 1)
    with pytest.raises(ProductMissing, match="want image2d_truth"):
        open_reader(path, tick_order="backward", images=["truth"])

"""Names of products: plain ones, and ones that say their kind."""

from __future__ import annotations

import pytest

from lartpc import ImageError, ProductMissing
from lartpc.files import names

LARCV1 = [("image2d", "wire"), ("partroi", "croi")]
LARCV2 = [("sparse2d", "wire"), ("image2d", "wire"), ("particle", "mcst"), ("bbox2d", "croi")]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("wire", ("image2d", "wire")),
        ("sparse2d:wire", ("sparse2d", "wire")),
        ("cluster2d:a.b_c", ("cluster2d", "a.b_c")),
    ],
)
def test_a_name_of_images_is_a_kind_and_a_producer(name: str, key: names.Key) -> None:
    assert names.image_key(name) == key
    assert names.plain(*key) == name


@pytest.mark.parametrize("name", ["sparse3d:wire", "particle:wire", "sparse2d:", ":wire", "a:b:c"])
def test_other_kinds_are_no_images(name: str) -> None:
    with pytest.raises(ProductMissing, match="want KIND:PRODUCER"):
        names.image_key(name)


def test_a_plain_name_of_regions_is_what_the_file_has() -> None:
    assert names.region_key("croi", LARCV1) == ("partroi", "croi")
    assert names.region_key("croi", LARCV2) == ("bbox2d", "croi")
    assert names.region_key("mcst", LARCV2) == ("particle", "mcst")
    assert names.region_key("other", LARCV2) == ("partroi", "other")  # which is missing, then
    assert names.region_key("particle:mcst", ()) == ("particle", "mcst")
    both = [*LARCV2, ("particle", "croi")]
    with pytest.raises(ProductMissing, match="croi is particle:croi and bbox2d:croi: --rois part"):
        names.region_key("croi", both)
    assert names.region_key("croi", [*both, *LARCV1]) == ("partroi", "croi")


def test_what_is_listed_can_be_asked_for() -> None:
    assert names.image_names(LARCV2) == ("wire", "sparse2d:wire")
    assert names.region_names(LARCV2) == ("particle:mcst", "bbox2d:croi")
    # other particles are truth: no crops are made around them unless they are asked for
    assert names.regions_for_crops([("particle", "croi")]) == ("particle:croi",)
    assert names.regions_for_crops(LARCV2) == ("bbox2d:croi",)
    assert names.regions_for_crops(LARCV1) == ("croi",)


def test_a_kind_is_no_part_of_a_name_that_is_written() -> None:
    with pytest.raises(ImageError):
        names.check_name("sparse2d:wire")
    names.check_name(names.as_producer("sparse2d:wire"))

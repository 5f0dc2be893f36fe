"""What the commands read if no option says it, and the option that an error names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clients.files import choices
from lartpc import ROI, RSE, Event, Image, ImageMeta, ProductMissing, open_writer
from lartpc.crops import chain
from mdp import SettingsError
from tests.support.optional import optional
from tests.support.shared import data

pytestmark = pytest.mark.usefixtures("writes_root")


@pytest.fixture
def writes_root() -> None:
    optional("ROOT")


def write(path: Path, images: Sequence[str], rois: Sequence[str] = (), *, side: int = 64) -> Path:
    metas = [ImageMeta(side, side, side, side, 0, 5000, plane) for plane in range(3)]
    pixels = np.full((side, side), 30, np.float32)
    roi = ROI(tuple(metas))
    event = Event(
        RSE(1, 2, 3),
        {name: tuple(Image(meta, pixels) for meta in metas) for name in images},
        dict.fromkeys(rois, (roi,)),
    )
    with open_writer(path) as writer:
        writer.write(event)
    return path


@pytest.mark.parametrize(
    ("images", "taken"), [(["wire"], "wire"), (["a", "wire", "b"], "wire"), (["modimg"], "modimg")]
)
def test_wire_or_the_only_producer_is_taken(
    tmp_path: Path, images: Sequence[str], taken: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "in.root", images, ["croi"])
    assert choices.scored([path], size=32).producer == taken
    assert len(caplog.records) == (taken != "wire")  # an unusual choice is reported


def test_among_several_producers_the_user_chooses_with_an_option(tmp_path: Path) -> None:
    path = write(tmp_path / "in.root", ["first", "second"], ["croi"])
    with pytest.raises(ProductMissing, match=r"in\.root, got first, second: -p first"):
        choices.scored([path], size=32)
    assert choices.scored([path], producer="second", size=32).producer == "second"
    with pytest.raises(ProductMissing, match=r"want images of third .* -p first"):
        choices.scored([path], producer="third", size=32)


def test_crops_where_there_are_regions_else_tiles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with_rois = write(tmp_path / "with.root", ["wire"], ["myroi"])
    without = write(tmp_path / "without.root", ["wire"])
    assert choices.scored([with_rois], size=32).mode == chain.Croi("myroi", 32)
    assert "--rois myroi" in caplog.messages[0]
    assert choices.scored([without], size=32, overlap=8).mode == chain.Tiles(32, 8, 1)
    assert "--mode tiles" in caplog.messages[1]
    assert choices.scored([with_rois], mode="tiles", size=32, overlap=8).mode == chain.Tiles(
        32, 8, 1
    )
    assert choices.scored([with_rois], mode="whole").mode == chain.Whole(1)


def test_regions_that_were_asked_for_are_never_passed_over(tmp_path: Path) -> None:
    without = write(tmp_path / "without.root", ["wire"])
    for asked in ({"mode": "croi"}, {"rois": "croi"}):
        with pytest.raises(SettingsError, match="--mode tiles"):
            choices.scored([without], size=32, **asked)  # type: ignore[arg-type]
    two = write(tmp_path / "two.root", ["wire"], ["a", "b"])
    with pytest.raises(ProductMissing, match="--rois a"):
        choices.scored([two], size=32)
    with pytest.raises(ProductMissing, match="--rois a"):
        choices.scored([two], rois="c", size=32)


@pytest.mark.parametrize(
    ("side", "option"), [(100, "--size 64"), (64, "--size 64"), (20, "--mode tiles")]
)
def test_crops_that_do_not_fit_name_the_size_that_does(
    tmp_path: Path, side: int, option: str
) -> None:
    path = write(tmp_path / "in.root", ["wire"], ["croi"], side=side)
    chosen = choices.scored([path], size=512)
    with pytest.raises(SettingsError, match=f"got {side} x {side} in .* entry 0: {option}"):
        choices.check_size([path], chosen, planes=(0, 1, 2), entries=range(100))


def test_a_file_that_cannot_be_read_decides_nothing(tmp_path: Path) -> None:
    assert choices.scored([tmp_path / "absent.root"]) == ("wire", chain.Croi())
    choices.check_producers([tmp_path / "absent.root"], {"-p": "wire"})


def test_a_missing_producer_is_named_with_its_option(tmp_path: Path) -> None:
    path = write(tmp_path / "in.root", ["wire", "segment"])
    choices.check_producers([path], {"-p": "wire", "--labels": "segment"})
    with pytest.raises(ProductMissing, match=r"want images of truth .* --labels wire"):
        choices.check_producers([path], {"-p": "wire", "--labels": "truth"})


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("microboone_run6324_larcv.root", ("wire", chain.Tiles(divisor=1))),
        ("larcv1_pipeline_in.root", ("modimg", chain.Croi("croi"))),
        ("larcv3_wire_5ev.h5", ("wire", chain.Tiles(divisor=1))),
    ],
)
def test_the_real_files_leave_one_choice(name: str, want: tuple[str, chain.Mode]) -> None:
    assert choices.scored([data(name)]) == want


def test_the_real_file_of_small_images_names_the_size() -> None:
    paths = [data("larcv1_wire_croi_5ev.root")]
    chosen = choices.scored(paths)
    with pytest.raises(SettingsError, match=r"504 x 864 .* --size 256"):
        choices.check_size(paths, chosen, planes=(0, 1, 2), entries=range(100))


def test_a_damaged_product_does_not_hide_the_others(tmp_path: Path) -> None:
    h5py = optional("h5py")
    path = write(tmp_path / "in.h5", ["wire"])
    with h5py.File(path, "r+") as file:
        file["Data"].create_group("image2d_hollow_group")
    assert choices.scored([path]) == ("wire", chain.Tiles(divisor=1))
    choices.check_producers([path], {"-p": "wire"})

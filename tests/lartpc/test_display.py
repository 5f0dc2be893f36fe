"""Event displays: what a reader of the PNG sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from lartpc.display import colours, drawing
from lartpc.display.colour_keys import ROI_EDGE
from lartpc.display.colours import PixelWindow
from lartpc.display.drawing import Row, View, adc_row, label_row, render, score_row
from lartpc.display.rows import Region, windows
from lartpc.errors import ImageError
from lartpc.image import ROI, RSE, Image, ImageMeta, TickOrder

pytestmark = pytest.mark.slow

NAME = RSE(1, 2, 3)


def meta(
    plane: int = 0, rows: int = 100, cols: int = 200, order: TickOrder = "backward"
) -> ImageMeta:
    origin_y = 3000.0 if order == "backward" else 3000.0 - 6 * rows
    return ImageMeta(
        width=cols,
        height=6 * rows,
        rows=rows,
        cols=cols,
        origin_x=50.0,
        origin_y=origin_y,
        plane=plane,
        tick_order=order,
    )


def image(
    *boxes: tuple[slice, slice, float], plane: int = 0, order: TickOrder = "backward"
) -> Image:
    pixels = np.zeros((100, 200), np.float32)
    for rows, cols, value in boxes:
        pixels[rows, cols] = value
    return Image(meta(plane, order=order), pixels)


def count(path: Path, colour: str) -> int:
    """Pixels of a PNG that have just that colour."""
    seen = imread(path)[..., :3]
    return int((np.abs(seen - to_rgb(colour)).max(axis=-1) < 0.012).sum())


def lightness(colour: npt.ArrayLike) -> float:
    """CIE L* of an sRGB colour, by the standard's formula."""
    rgb = np.asarray(colour, np.float64)[:3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def three(rows: slice, cols: slice, value: float) -> list[Image]:
    return [image((rows, cols, value), plane=plane) for plane in range(3)]


def test_the_png_shows_each_class_in_its_colour_and_as_large_as_it_is(tmp_path: Path) -> None:
    shower = (slice(10, 30), slice(20, 40), 1.0)
    track = (slice(50, 60), slice(100, 180), 2.0)
    images = [image(shower, track, plane=plane) for plane in range(3)]
    render(tmp_path / "event.png", [label_row(images)], rse=NAME, view="whole")
    counts = {
        name: count(tmp_path / "event.png", colour)
        for name, colour in (("shower", colours.SHOWER), ("track", colours.TRACK))
    }
    ground = count(tmp_path / "event.png", colours.NOTHING)
    assert counts["track"] / counts["shower"] == pytest.approx(800 / 400, rel=0.05)
    assert ground / counts["shower"] == pytest.approx((20000 - 1200) / 400, rel=0.05)


def test_brighter_charge_is_lighter(tmp_path: Path) -> None:
    images = [image((slice(0, 100), slice(0, 100), 20.0), (slice(0, 100), slice(100, 200), 200.0))]
    render(tmp_path / "event.png", [adc_row(images)], rse=NAME, view="whole")
    seen = imread(tmp_path / "event.png")[..., :3]
    middle = seen[seen.shape[0] // 2]
    panel = np.flatnonzero((middle != 1).any(axis=-1) & (middle.std(axis=-1) > 0.1))
    left, right = middle[panel[len(panel) // 5]], middle[panel[len(panel) * 3 // 5]]
    assert lightness(right) > lightness(left) + 20


def test_scores_mix_their_colours(tmp_path: Path) -> None:
    ones, zeros = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
    assert colours.class_colours(ones, zeros)[0, 0] == pytest.approx(to_rgb(colours.SHOWER))
    assert colours.class_colours(zeros, ones)[0, 0] == pytest.approx(to_rgb(colours.TRACK))
    assert colours.class_colours(zeros, zeros)[0, 0] == pytest.approx(to_rgb(colours.NOTHING))
    between = colours.class_colours(0.5 * ones, 0.5 * ones)[0, 0]
    assert between == pytest.approx(
        np.mean([to_rgb(colours.SHOWER), to_rgb(colours.TRACK)], axis=0)
    )
    pairs = [
        (image((slice(10, 20), slice(10, 20), 1.0)), image((slice(40, 60), slice(10, 20), 1.0)))
    ]
    render(tmp_path / "scores.png", [score_row(pairs)], rse=NAME)
    shower, track = (
        count(tmp_path / "scores.png", colour) for colour in (colours.SHOWER, colours.TRACK)
    )
    assert track / shower == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("order", ["backward", "forward"])
def test_later_ticks_are_higher_up_whatever_the_tick_order(
    order: TickOrder, tmp_path: Path
) -> None:
    late = slice(0, 10) if order == "backward" else slice(90, 100)
    shown = image((late, slice(0, 200), 1.0), order=order)
    render(tmp_path / "event.png", [label_row([shown])], rse=NAME, view="whole")
    seen = imread(tmp_path / "event.png")[..., :3]
    orange = np.abs(seen - to_rgb(colours.SHOWER)).max(axis=-1) < 0.012
    line = np.flatnonzero(orange.sum(axis=1) > 100)  # the legend's patch is small
    ground = np.abs(seen - to_rgb(colours.NOTHING)).max(axis=-1) < 0.012
    assert line.max() < np.flatnonzero(ground.sum(axis=1) > 100).mean()


def test_the_zoom_holds_the_charge_and_planes_share_the_ticks() -> None:
    images = [
        image((slice(20, 30), slice(10, 20), 50.0), plane=0),
        image((slice(60, 80), slice(120, 190), 50.0), plane=1),
        image(plane=2),
    ]
    result = windows([adc_row(images)], "charge")
    assert len({(part.min_y, part.max_y) for part in result}) == 1
    assert result[0].min_y <= 3000 - 80 * 6 < 3000 - 20 * 6 <= result[0].max_y
    assert result[0].min_x <= 60
    assert 70 <= result[0].max_x < 120
    assert result[1].max_x >= 240
    assert (result[2].min_x, result[2].max_x) == (50, 250)
    assert windows([adc_row(images)], "whole")[1] == PixelWindow(50, 250, 2400, 3000)
    box = ImageMeta(20, 60, 10, 20, 100, 2900, 0)
    assert windows([adc_row(images)], ROI((box, box, box)))[2] == PixelWindow(100, 120, 2840, 2900)


def test_a_lone_pixel_of_a_large_image_is_not_lost() -> None:
    pixels = np.zeros((1008, 3456), np.float32)
    pixels[1007, 3455] = 7
    large = Image(ImageMeta(3456, 6048, 1008, 3456, 0, 8448, 0), pixels)
    part = colours.cut(large, colours.whole(large.meta), most=500)
    assert part.values.shape == (336, 494)
    assert part.values[-1, -1] == 7
    assert part.window.max_x >= 3456
    assert part.window.min_y <= 2400


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([adc_row([image(plane=plane) for plane in range(3)])], "no charge"),
        ([label_row([image(plane=plane) for plane in range(3)])], "nothing but background"),
        ([adc_row([image((slice(5, 9), slice(5, 9), 40.0))]), score_row([(), ()])], "no image"),
        ([adc_row([])], "no image"),
    ],
)
def test_what_is_missing_is_said(rows: list[Row], says: str, tmp_path: Path) -> None:
    figure = drawing.draw(rows, rse=NAME)
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert any(says in text for text in texts)
    render(tmp_path / "event.png", rows, rse=NAME)
    assert count(tmp_path / "event.png", colours.NOTHING) > 10_000


def test_title_statement_planes_and_units_can_be_read() -> None:
    figure = drawing.draw(
        [adc_row(three(slice(5, 9), slice(5, 9), 40.0), name="charge")],
        rse=RSE(6324, 94, 4707),
        statement="one line about it",
    )
    title = [text.get_text() for text in figure.texts]
    assert title == ["run 6324, subrun 94, event 4707", "one line about it"]
    panels = figure.axes[:3]
    assert [ax.get_title() for ax in panels] == ["plane 0 (U)", "plane 1 (V)", "plane 2 (Y)"]
    assert {ax.get_xlabel() for ax in panels} == {"wire number"}
    assert panels[0].get_ylabel() == "time (ticks)"
    assert any("ADC" in ax.get_ylabel() for ax in figure.axes)


def test_dead_wires_and_regions_of_interest_are_drawn_and_explained(tmp_path: Path) -> None:
    rows = [adc_row(three(slice(40, 60), slice(5, 9), 40.0))]
    dead = np.zeros(200, np.bool_)
    dead[100:150] = True
    box = ImageMeta(30, 120, 20, 30, 60, 2900, 0)
    plain, marked = tmp_path / "plain.png", tmp_path / "marked.png"
    render(plain, rows, rse=NAME, view="whole")
    render(marked, rows, rse=NAME, view="whole", dead=[dead] * 3, rois=[ROI((box, box, box))])
    lost = 1 - count(marked, colours.NOTHING) / count(plain, colours.NOTHING)
    assert lost == pytest.approx(0.25, abs=0.03)
    figure = drawing.draw(rows, rse=NAME, dead=[dead] * 3, rois=[ROI((box, box, box))])
    explained = [text.get_text() for text in figure.legends[0].get_texts()]
    assert explained == ["dead wires", "region of\ninterest"]


def test_a_region_that_nobody_sees_is_not_explained() -> None:
    rows = [adc_row(three(slice(40, 60), slice(5, 9), 40.0))]
    box = ImageMeta(30, 120, 20, 30, 600, 2900, 0)
    assert not drawing.draw(rows, rse=NAME, rois=[ROI((box, box, box))]).legends


def test_each_panel_names_the_plane_of_its_images_and_has_that_planes_boxes() -> None:
    images = [image(plane=plane) for plane in (1, 9)]
    here, away = ImageMeta(30, 120, 20, 30, 60, 2900, 1), ImageMeta(1, 1, 1, 1, 0, 0, 0)
    figure = drawing.draw([adc_row(images)], rse=NAME, view="whole", rois=[ROI((away, here))])
    first, last, *_ = figure.axes
    assert [first.get_title(), last.get_title()] == ["plane 1 (V)", "plane 9"]
    assert [len(ax.patches) for ax in (first, last)] == [1, 0]
    assert windows([adc_row(images)], ROI((away, here)))[0] == PixelWindow(60, 90, 2780, 2900)


def test_more_planes_than_a_page_holds_are_refused() -> None:
    with pytest.raises(ImageError, match="want at most 16 planes side by side, got 17"):
        drawing.draw([adc_row([image(plane=plane) for plane in range(17)])], rse=NAME)


@pytest.mark.parametrize(
    "empty",
    [meta(0, 0, 200), meta(0, 100, 0), meta(0, 0, 0), replace(meta(), width=0)],
    ids=["no rows", "no cols", "neither", "no width"],
)
@pytest.mark.parametrize("view", ["charge", "whole"])
def test_an_image_without_pixels_is_shown_empty(
    empty: ImageMeta, view: View, tmp_path: Path
) -> None:
    hollow = Image(empty, np.zeros((empty.rows, empty.cols), np.float32))
    rows = [adc_row([hollow]), label_row([hollow]), score_row([(hollow, hollow)])]
    figure = drawing.draw(rows, rse=NAME, view=view)
    assert "no charge" in [text.get_text() for text in figure.axes[0].texts]
    render(tmp_path / "event.png", rows, rse=NAME, view=view)


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    rows = [adc_row(three(slice(40, 60), slice(5, 9), 40.0), name="a$_$b")]
    render(tmp_path / "event.png", rows, rse=NAME, statement=r"x$\foo$.root entry 0")
    figure = drawing.draw(rows, rse=NAME, statement="$a$.root entry 0")
    shown = {text.get_text(): text.get_parse_math() for text in figure.findobj(Text)}
    assert shown["a$_$b"] is False
    assert shown["$a$.root entry 0"] is False


def test_a_png_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: object, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fails)
    with pytest.raises(OSError, match="disk full"):
        render(tmp_path / "event.png", [adc_row(three(slice(1), slice(1), 1.0))], rse=NAME)
    assert list(tmp_path.iterdir()) == []


def test_drawing_touches_no_global_state(tmp_path: Path) -> None:
    earlier = dict(matplotlib.rcParams)
    render(tmp_path / "event.png", [adc_row(three(slice(9), slice(9), 40.0))], rse=NAME)
    assert dict(matplotlib.rcParams) == earlier
    assert "pyplot" not in Path(drawing.__file__).read_text().split('"""', 2)[2]


def test_wrong_numbers_of_rows_and_images_are_refused() -> None:
    with pytest.raises(ImageError, match="at least one row"):
        drawing.draw([], rse=NAME)
    with pytest.raises(ImageError, match="want 2 images or none in plane 0 of the row 'scores'"):
        score_row([(image(),)])


def test_the_same_step_of_charge_is_the_same_step_of_lightness() -> None:
    charge = np.linspace(0.08, 1, 24)
    steps = np.diff([lightness(colour) for colour in colours.adc_map()(charge)])
    assert steps.min() > 0.6 * steps.mean()
    assert steps.max() < 1.5 * steps.mean()
    ground = lightness(to_rgb(colours.NOTHING))
    assert lightness(colours.adc_map()(0.08)) - ground > 20  # faint tracks stand out


@pytest.mark.parametrize("dpi", [130, 260])
@pytest.mark.parametrize("start", range(0, 7, 3))
def test_no_track_of_one_pixel_is_lost_when_a_whole_event_is_drawn(
    dpi: int, start: int, tmp_path: Path
) -> None:
    pixels = np.zeros((1008, 3456), np.float32)
    columns = range(40 + start, 3456, 61)
    for column in columns:
        pixels[:, column] = 1
    large = Image(ImageMeta(3456, 6048, 1008, 3456, 0, 8448, 0), pixels)
    figure = drawing.draw([label_row([large])], rse=NAME, view="whole", dpi=dpi)
    figure.savefig(tmp_path / "event.png", dpi=dpi)
    seen = imread(tmp_path / "event.png")[..., :3]
    row = seen[seen.shape[0] // 2]
    shower = np.abs(row - to_rgb(colours.SHOWER)).max(axis=-1) < 0.012
    assert np.count_nonzero(np.diff(shower.astype(int)) == 1) == len(columns)


def test_a_region_narrows_the_view_and_one_off_the_images_is_refused() -> None:
    rows = [adc_row(three(slice(40, 60), slice(5, 9), 40.0))]
    region = Region(wires=(60, 90), ticks=(2500, 2900))
    assert set(windows(rows, "charge", region)) == {PixelWindow(60, 90, 2500, 2900)}
    only = windows(rows, "whole", Region(ticks=(2500, 2900)))
    assert set(only) == {PixelWindow(50, 250, 2500, 2900)}
    with pytest.raises(ImageError, match="want ticks that the images have: 2400:3000, got 1:2"):
        windows(rows, "whole", Region(ticks=(1, 2)))
    with pytest.raises(ImageError, match="want wires that the images have: 50:250, got 250:300"):
        windows(rows, "whole", Region(wires=(250, 300)))


def test_the_legends_region_of_interest_looks_like_the_one_in_the_panels() -> None:
    rows = [adc_row(three(slice(40, 60), slice(5, 9), 40.0))]
    box = ImageMeta(30, 120, 20, 30, 60, 2900, 0)
    figure = drawing.draw(rows, rse=NAME, view="whole", rois=[ROI((box, box, box))])
    [drawn] = figure.axes[0].patches
    shapes = figure.legends[0].findobj(Rectangle)
    # matplotlib copies the dashes to a legend, but not what get_linestyle() gives
    dashes = vars(drawn)["_unscaled_dash_pattern"]
    [mark] = [shape for shape in shapes if vars(shape)["_unscaled_dash_pattern"] == dashes]
    assert drawn.get_edgecolor() == mark.get_edgecolor() == (1, 1, 1, 1)
    assert drawn.get_linestyle() == ROI_EDGE["linestyle"] != "solid"
    assert any(
        shape.get_facecolor()[:3] == pytest.approx(to_rgb(colours.NOTHING)) for shape in shapes
    )


def test_scores_have_a_key_of_their_mixtures_and_labels_have_none() -> None:
    images = three(slice(5, 9), slice(5, 9), 1.0)
    pairs = score_row([(image, image) for image in images])
    labelled = {
        row.scale: [
            ax.get_xlabel()
            for ax in drawing.draw([row], rse=NAME).axes
            if "score" in ax.get_xlabel()
        ]
        for row in (pairs, label_row(images))
    }
    assert labelled == {"scores": ["shower score"], "labels": []}


@pytest.mark.parametrize(
    ("suffix", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89")]
)
def test_the_suffix_says_the_kind_of_picture(suffix: str, start: bytes, tmp_path: Path) -> None:
    rows = [adc_row(three(slice(9), slice(9), 40.0))]
    render(tmp_path / f"event.{suffix}", rows, rse=NAME)
    assert (tmp_path / f"event.{suffix}").read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [f"event.{suffix}"]

"""The plane service, without a broker: what it takes, what it answers, what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from lartpc import Batch, pack, unpack
from mdp import Refused, SettingsError
from services.engines.engine import Images
from services.engines.onnx_engine import OnnxEngine
from services.errors import NetworkError
from services.planes import DESCRIBE, Description, DescriptionError, Origin
from services.ssnet import PlaneSettings, SSNet
from tests.support import tiny_networks

BATCH_STATISTICS = tiny_networks.UNET.replace(
    'type: "BatchNorm" bottom: "conv" top: "conv"',
    'type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { use_global_stats: false }',
)
SIDE = 16


def line(plane: int, number: int = 0) -> str:
    corners = f"Left Top ({number},96) ... Right Bottom ({number + SIDE},0)"
    return f"Plane {plane} (rows,cols) = ({SIDE},{SIDE}) ... {corners}:(1,2,{number})"


def image(seed: int = 0, *, charge: float = 300.0) -> Images:
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, charge, (SIDE, SIDE)) * (rng.random((SIDE, SIDE)) < 0.4)
    return pixels.astype(np.float32)


def batch(*images: Images, plane: int = 2, name: str = "wire") -> Batch:
    lines = "\n".join(line(plane, number) for number in range(len(images)))
    return Batch(name, lines, np.stack(images)[:, None])


class Watched(SSNet):
    """A worker that counts the images of its forward passes."""

    def __init__(self, settings: PlaneSettings) -> None:
        super().__init__(settings)
        self.passes: list[int] = []

    def setup(self) -> None:
        super().setup()
        engine = self._loaded
        forward = engine.forward

        def counted(images: Images) -> Images:
            self.passes.append(len(images))
            return forward(images)

        engine.forward = counted  # type: ignore[method-assign]


def worker(folder: Path, layers: str = tiny_networks.UNET, **settings: Any) -> Watched:
    prototxt, weights = tiny_networks.write(folder, layers, tiny_networks.gentle_weights())
    result = Watched(PlaneSettings(2, prototxt, weights, threads=1, warm_up=0, **settings))
    result.setup()
    return result


def asked(worker: SSNet, *batches: Batch) -> list[Batch]:
    """The answers, one of each part."""
    parts = worker.handle(pack(batches))
    assert isinstance(parts, Iterator)
    answers = [unpack(part) for part in parts]
    assert all(len(answer) == 1 for answer in answers)
    return [answer[0] for answer in answers]


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_scores_are_the_networks_without_background_and_0_below_the_threshold(
    tmp_path: Path,
) -> None:
    pixels = image()
    [answer] = asked(worker(tmp_path, dtype="float32"), batch(pixels))
    engine = OnnxEngine(
        *tiny_networks.write(tmp_path, weights=tiny_networks.gentle_weights()), threads=1
    )
    want = engine.forward(pixels[None, None])[:, 1:]
    assert 0.1 < want.mean() < 0.6
    want[:, :, pixels < 10] = 0
    np.testing.assert_array_equal(answer.array, want)
    assert answer.array.dtype == np.float32
    assert (answer.name, answer.meta) == ("uburn_plane2", line(2))


def test_scores_are_float16_unless_float32_is_asked_for(tmp_path: Path) -> None:
    # SSNetServer's switch did the opposite of what it said
    whole = asked(worker(tmp_path, dtype="float32"), batch(image()))[0].array
    half = asked(worker(tmp_path), batch(image()))[0].array
    assert (whole.dtype.name, half.dtype.name) == ("float32", "float16")
    np.testing.assert_array_equal(half, whole.astype(np.float16))


def test_the_threshold_is_the_settings(tmp_path: Path) -> None:
    pixels = image()
    [answer] = asked(worker(tmp_path, threshold_adc=150.0), batch(pixels))
    assert not answer.array[:, :, pixels < 150].any()
    assert answer.array.sum(axis=1)[:, pixels >= 150].all()


def test_each_crop_of_a_request_is_answered_by_itself_in_order(tmp_path: Path) -> None:
    crops = [batch(image(seed)) for seed in range(3)]
    answers = asked(worker(tmp_path), *crops)
    assert [answer.meta for answer in answers] == [crop.meta for crop in crops]
    alone = worker(tmp_path)
    for crop, answer in zip(crops, answers, strict=True):
        np.testing.assert_array_equal(asked(alone, crop)[0].array, answer.array)


def test_a_crop_without_charge_costs_no_forward_pass(tmp_path: Path) -> None:
    serving = worker(tmp_path)
    empty, faint = np.zeros((SIDE, SIDE), np.float32), np.full((SIDE, SIDE), 9.99, np.float32)
    answers = asked(serving, batch(empty), batch(faint), batch(image()))
    assert serving.passes == [1]
    assert [answer.array.any() for answer in answers] == [False, False, True]
    assert {answer.array.shape for answer in answers} == {(1, 2, SIDE, SIDE)}


@pytest.mark.parametrize(
    ("layers", "passes"), [(tiny_networks.UNET, [8, 2]), (BATCH_STATISTICS, [1] * 10)]
)
def test_images_share_a_forward_pass_only_where_the_network_allows_it(
    tmp_path: Path, layers: str, passes: Sequence[int]
) -> None:
    serving = worker(tmp_path, layers, dtype="float32")
    blank = np.zeros((SIDE, SIDE), np.float32)
    images = [image(seed) for seed in range(10)]
    [answer] = asked(serving, batch(*images[:4], blank, *images[4:]))
    assert serving.passes == passes
    assert not answer.array[4].any()
    alone = np.concatenate([asked(serving, batch(one))[0].array for one in images])
    np.testing.assert_allclose(np.delete(answer.array, 4, axis=0), alone, atol=1e-6)


def test_an_answer_says_what_computed_it(tmp_path: Path) -> None:
    import hashlib

    [answer] = asked(worker(tmp_path), batch(image()))
    prototxt, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    assert answer.info["engine"] == "onnx"
    assert answer.info["device"] == "cpu"
    assert answer.info["network"] == hashlib.sha256(prototxt.read_bytes()).hexdigest()
    assert answer.info["weights"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert 0 < answer.info["seconds"] < 60


def test_it_describes_itself(tmp_path: Path) -> None:
    serving = worker(tmp_path, threshold_adc=12.0)
    frames = serving.handle([DESCRIBE])
    assert isinstance(frames, list)
    report = Description.unpack(frames, plane=2)
    assert report == serving.describe()
    assert (report.plane, report.divisor, report.batchable) == (2, 2, True)
    [answer] = asked(serving, batch(image()))
    assert report.origin == Origin.of(answer.info)
    assert report.origin.threshold_adc == 12


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [DESCRIBE],
        [b"", b""],
        [msgpack.packb({"plane": 2})],
        [msgpack.packb({"plane": 2, "divisor": 0, "batchable": True})],
        [msgpack.packb({"plane": 1, "divisor": 2, "batchable": True})],
    ],
)
def test_what_does_not_describe_a_plane_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(DescriptionError, match="want"):
        Description.unpack(frames, plane=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold_adc": math.nan},
        {"threshold_adc": -1.0},
        {"threads": -1},
        {"threads": 100_000},
        {"dtype": "int8"},
        {"max_pixels": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="want"):
        PlaneSettings(2, Path("a"), Path("b"), **wrong)


def bomb(rows: int, cols: int, *, images: int = 1, dtype: str = "float16") -> list[bytes]:
    """A request whose header states these images; its data cannot be unpacked."""
    array = {"dtype": dtype, "shape": [images, 1, rows, cols], "codec": "zstd", "data": b"x"}
    return [b"wire", "\n".join([line(2)] * images).encode(), msgpack.packb(array)]


def test_images_above_the_limit_of_pixels_are_refused_before_they_are_unpacked(
    tmp_path: Path,
) -> None:
    serving = worker(tmp_path)
    with pytest.raises(Refused, match=r"16777216 pixels.* 4096 x 4112 .*--max-pixels"):
        serving.handle(bomb(4096, 4112))
    with pytest.raises(Refused, match="zstd"):  # this size is allowed, but not these data
        serving.handle(bomb(4096, 4096))


def test_all_images_of_a_request_have_a_limit_too_as_if_they_were_float32(tmp_path: Path) -> None:
    serving = worker(tmp_path)
    with pytest.raises(
        Refused, match=rf"{1 << 27} pixels in a message, got {(1 << 27) + (1 << 20)}"
    ):
        serving.handle(bomb(1024, 1024, images=129))
    with pytest.raises(Refused, match="zstd"):
        serving.handle(bomb(1024, 1024, images=128))


def test_the_limit_of_pixels_is_a_setting(tmp_path: Path) -> None:
    serving = worker(tmp_path, max_pixels=SIDE * SIDE - 1)
    with pytest.raises(Refused, match=f"{SIDE * SIDE - 1} pixels.* {SIDE} x {SIDE}"):
        serving.handle(pack([batch(image())]))
    assert len(asked(worker(tmp_path, max_pixels=SIDE * SIDE), batch(image()))) == 1


@pytest.mark.parametrize(("images_a_pass", "passes"), [(1, [1] * 5), (2, [2, 2, 1]), (100, [5])])
def test_the_images_of_one_forward_pass_have_the_limit_of_one_image(
    tmp_path: Path, images_a_pass: int, passes: list[int]
) -> None:
    images = [image(seed) for seed in range(5)]
    serving = worker(tmp_path, max_pixels=images_a_pass * SIDE * SIDE)
    [answer] = asked(serving, batch(*images))
    assert serving.passes == passes
    [together] = asked(worker(tmp_path), batch(*images))
    np.testing.assert_array_equal(answer.array, together.array)


def test_a_plane_worker_says_that_its_requests_take_equally_long() -> None:
    assert SSNet.regular


def bad_requests() -> dict[str, tuple[list[bytes], str]]:
    def changed(pixels: Images, **other: Any) -> list[bytes]:
        return pack([batch(pixels, **other)])

    nan = image()
    nan[3, 3] = np.nan
    two_lines = Batch("wire", f"{line(2)}\n{line(2)}", image()[None, None])
    two_channels = Batch("wire", line(2), np.stack([image(), image()])[None])
    return {
        "another plane": (changed(image(), plane=1), "want images of plane 2, got wire 'Plane 1"),
        "no meta": (pack([Batch("wire", "-", image()[None, None])]), "want images of plane 2"),
        "a size that does not fit": (changed(image()[:15]), "multiples of 2, got 15 x 16"),
        "NaN": (changed(nan), "want finite ADC"),
        "integers": (pack([batch(image().astype(np.int16))]), "want finite ADC"),
        "two lines for one image": (pack([two_lines]), "meta line for each of 1 images"),
        "two channels": (pack([two_channels]), r"want \(batch, 1, rows, cols\)"),
        "too few frames": (changed(image())[:2], "triples"),
        "another plane behind a good crop": (
            pack([batch(image()), batch(image(), plane=0)]),
            "got wire 'Plane 0",
        ),
    }


@pytest.mark.parametrize("case", bad_requests())
def test_what_the_network_is_not_for_is_refused_before_anything_is_computed(
    tmp_path: Path, case: str
) -> None:
    frames, says = bad_requests()[case]
    serving = worker(tmp_path)
    with pytest.raises(Refused, match=says):
        serving.handle(frames)
    assert serving.passes == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("num_output: 3", "num_output: 2"),
        (
            'name: "softmax" type: "Softmax"',
            'name: "half" type: "Pooling" pooling_param { kernel_size: 2 stride: 2 }',
        ),
    ],
)
def test_a_network_of_anything_but_three_classes_a_pixel_is_refused(
    tmp_path: Path, old: str, new: str
) -> None:
    weights = tiny_networks.unet_weights()
    outputs = 2 if "num" in old else 3
    weights["scores"] = [tiny_networks.numbers(outputs, 8, 1, 1), tiny_networks.numbers(outputs)]
    prototxt, caffemodel = tiny_networks.write(
        tmp_path, tiny_networks.UNET.replace(old, new), weights
    )
    with pytest.raises(NetworkError, match=r"want 3 scores for each of .*net\.prototxt"):
        SSNet(PlaneSettings(2, prototxt, caffemodel)).setup()


def test_workers_whose_answers_could_differ_have_different_fingerprints(tmp_path: Path) -> None:
    def fingerprint(folder: str, layers: str = tiny_networks.UNET, **settings: Any) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        return worker(tmp_path / folder, layers, **settings).fingerprint

    same = [fingerprint("a"), fingerprint("b")]
    assert same[0] == same[1]
    others = [
        fingerprint("c", threshold_adc=12.0),
        fingerprint("d", dtype="float32"),
        fingerprint("e", BATCH_STATISTICS),
    ]
    assert len({same[0], *others}) == 4
    assert "10 ADC" in same[0]


def test_other_weights_are_another_fingerprint() -> None:
    origin = Origin("onnx", "ab" * 32, "cd" * 32, 10.0, "float16")
    changed = Origin("onnx", "ab" * 32, "ce" * 32, 10.0, "float16")
    assert origin.fingerprint() != changed.fingerprint()
    assert len(origin.fingerprint()) < 255

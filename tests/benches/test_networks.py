"""The shipped networks, and what made and measures them. No torch here: test_torch_net has that."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benches.networks import architecture, cli, measuring, toys
from benches.networks.real_event import RealEvent
from clients.training import accuracy
from lartpc import RSE, Image, ImageMeta
from lartpc.simulation import toy
from lartpc.simulation.chamber import PLANES, Chamber
from services import networks
from services.caffe import caffe_net
from tests.support.optional import optional

UNSEEN_SEED = 90_000
MOST_BYTES = 3_000_000
PER_PLANE = pytest.mark.parametrize("plane", PLANES)


def engine_of(plane: int) -> measuring.Score:
    optional("onnxruntime")
    from services.engines.onnx_engine import OnnxEngine

    engine = OnnxEngine(networks.PROTOTXT, networks.weights(plane), threads=1)
    return measuring.padded(engine.forward, engine.network.size_divisor)


@pytest.fixture(scope="module")
def unseen() -> list[tuple[toys.ToyPlane, ...]]:
    return list(toys.events(6, seed=UNSEEN_SEED, chamber=toys.SMALL))


def test_the_shipped_prototxt_is_what_the_architecture_says() -> None:
    assert networks.PROTOTXT.read_text(encoding="utf-8") == architecture.prototxt()


@PER_PLANE
def test_a_shipped_network_is_read_and_allows_batches(plane: int) -> None:
    network = caffe_net.read(networks.PROTOTXT, networks.weights(plane))
    caffe_net.require_classes(network, 3)
    assert (network.input_name, network.output_name) == ("data", "softmax")
    assert (network.input_channels, network.size_divisor, network.batchable) == (1, 32, True)


def test_the_shipped_files_are_small() -> None:
    files = [networks.PROTOTXT, *(networks.weights(plane) for plane in PLANES)]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


@PER_PLANE
def test_events_it_has_not_seen_are_labelled_right(
    plane: int, unseen: list[tuple[toys.ToyPlane, ...]]
) -> None:
    matches = measuring.measure((planes[plane] for planes in unseen), engine_of(plane))
    assert accuracy.right(matches.strict) >= 0.94, matches
    shower, track = (matches.strict[kind, kind] / matches.strict[kind].sum() for kind in (1, 2))
    assert shower >= 0.87, matches
    assert track >= 0.94, matches


def test_a_pixel_s_scores_do_not_depend_on_what_is_far_away(
    unseen: list[tuple[toys.ToyPlane, ...]],
) -> None:
    score = engine_of(2)
    image = toys.thresholded(unseen[0][2].whole()[0])
    cleared = image.copy()
    cleared[:, 384:] = 0
    near = np.s_[:, :, :128]
    assert np.abs(score(image)[near] - score(cleared)[near]).max() < 1e-5


def test_images_of_any_size_are_padded_to_what_the_network_takes() -> None:
    given: list[tuple[int, ...]] = []

    def forward(images: accuracy.Pixels) -> accuracy.Pixels:
        given.append(images.shape)
        return np.repeat(images, 3, axis=1)

    image = np.arange(35 * 64, dtype=np.float32).reshape(35, 64)
    assert np.array_equal(measuring.padded(forward, 32)(image), np.stack([image] * 3))
    assert given == [(1, 1, 64, 64)]


def test_pixels_are_counted_as_production_would_see_them() -> None:
    label = np.array([[1, 1, 2, 2, 0]], np.uint8)
    seen = np.array([[True, False, True, True, True]])
    background, shower, track = np.eye(3, dtype=np.float32)
    scores = np.stack([shower, shower, track, background, background], axis=1)[:, None]
    matches = accuracy.compare(scores, seen, label)
    assert matches.strict.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert matches.seen.tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert accuracy.right(matches.strict) == 0.5
    assert accuracy.right(matches.seen) == pytest.approx(2 / 3)


def test_toy_events_are_kept_whole_and_of_many_detectors() -> None:
    result = list(toys.events(toys.EVENTS_A_DETECTOR + 1, seed=5, chamber=Chamber(64, 64)))
    settings = toy.ToySettings(Chamber(64, 64))
    last = toy.make(toys.EVENTS_A_DETECTOR, seed=6, settings=settings).event
    for plane in PLANES:
        adc, label = result[-1][plane].whole()
        assert np.array_equal(adc, last.images[toy.WIRE][plane].pixels)
        assert np.array_equal(label, last.images[toy.SEGMENT][plane].pixels)


def test_rows_are_turned_for_the_network_and_turned_back() -> None:
    meta = ImageMeta(4.0, 12.0, 2, 4, 0.0, 0.0, 0, "forward")
    pixels = np.array([[0, 20, 30, 0], [50, 0, 0, 5]], np.float32)
    whole = np.full((2, 4), 0.5, np.float32)
    theirs = (Image(meta, whole), Image(meta, whole * 0))
    event = RealEvent(RSE(1, 2, 3), (Image(meta, pixels),), (theirs,))

    def first_row_is_shower(image: accuracy.Pixels) -> accuracy.Pixels:
        assert image[0, 0] == 50  # the largest tick
        scores = np.zeros((3, *image.shape), np.float32)
        scores[1, 0], scores[2, 1] = 0.9, 0.8
        return scores

    ours = event.scored(0, first_row_is_shower)
    assert ours[0].round(1).tolist() == [[0, 0, 0, 0], [pytest.approx(0.9), 0, 0, 0]]
    assert (ours[1] > 0).tolist() == [[False, True, True, False], [False] * 4]
    assert event.agreement(0, ours).tolist() == [[0, 0, 0], [0, 1, 2], [0, 0, 0]]


def test_the_measurement_prints_a_matrix_a_plane(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def engine(*_: object) -> measuring.Score:
        return lambda image: np.stack([image * 0, image * 0, image])

    monkeypatch.setattr(cli, "_engine", engine)
    assert run(["measure", "--small", "1", "--whole", "0"], monkeypatch) == 0
    out = capsys.readouterr().out
    assert out.count("| truth \\ answer | background | shower | track | right |") == 3
    assert "plane 2, 1 events of 512 x 512: " in out


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The command's exit code."""
    monkeypatch.setattr(sys, "argv", ["networks", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)

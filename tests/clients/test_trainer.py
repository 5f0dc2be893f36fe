"""A network's descent, step by step: what is learnt, what is kept, what goes on to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.optional import optional

pytestmark = pytest.mark.torch
torch = optional("torch")

from clients.training.torch_net import fresh  # noqa: E402
from clients.training.trainer import Step, Trainer, Training, TrainingFailed, weigh  # noqa: E402
from mdp import SettingsError  # noqa: E402
from services import networks  # noqa: E402
from services.caffe import caffe_net  # noqa: E402
from services.caffe.caffe_weights import Weights, write_caffemodel  # noqa: E402
from services.errors import NetworkError  # noqa: E402
from tests.support import feed_files, tiny_networks  # noqa: E402

Batch = tuple[Any, Any, Any]
STEPS = 6
SHORT = Training(steps=STEPS, warm_up=2)
BATCHNORM = "bn_conv0"


@pytest.fixture(scope="module")
def network() -> caffe_net.Network:
    return caffe_net.read(networks.PROTOTXT)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[Batch]:
    path = feed_files.toys(tmp_path_factory.mktemp("toys") / "toys.h5", 8)
    recipe = replace(feed_files.RECIPE, rows=64, cols=64)
    files = feed_files.opened(path)
    names = [feed_files.name_of(files, k % 2, epoch=k // 2, recipe=recipe) for k in range(STEPS)]
    return [tuple(torch.tensor(item.array) for item in files.batch(name)) for name in names]


def trainer(network: caffe_net.Network, training: Training = SHORT, *, seed: int = 0) -> Trainer:
    torch.set_num_threads(1)
    return Trainer(network, fresh(network, seed=seed), training, fresh=True)


def taught(learner: Trainer, batches: Sequence[Batch]) -> list[Step]:
    return [learner.step(*batch) for batch in batches]


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True)
    )


@pytest.mark.parametrize("scheme", ["seen", "ssnet"])
@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 3e-3), ("sgd", 0.1)])
def test_steps_on_one_batch_lower_its_loss(
    network: caffe_net.Network, batches: list[Batch], optimizer: Any, rate: float, scheme: Any
) -> None:
    training = replace(SHORT, steps=12, optimizer=optimizer, rate=rate, pixel_weights=scheme)
    result = taught(trainer(network, training), [batches[0]] * 12)
    assert result[-1].loss < 0.8 * result[0].loss
    charged = int((batches[0][1] > 0).sum())
    assert [int(step.counts[1:].sum()) for step in result] == [charged] * 12
    assert not any(step.counts[0].any() for step in result)


def test_the_same_batches_give_the_same_weights_and_another_seed_others(
    network: caffe_net.Network, batches: list[Batch]
) -> None:
    trainers = [trainer(network), trainer(network), trainer(network, seed=1)]
    for item in trainers:
        taught(item, batches)
    first, again, other = (item.best.weights() for item in trainers)
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize(
    "settings",
    [{}, {"average": 0.0}, {"optimizer": "sgd"}, {"freeze_statistics": 0.5}],
    ids=str,
)
def test_a_trainer_goes_on_from_another_ones_state_to_the_bit(
    network: caffe_net.Network, batches: list[Batch], settings: dict[str, Any]
) -> None:
    training = replace(SHORT, **settings)
    whole, first, second = (trainer(network, training, seed=seed) for seed in (0, 0, 9))
    taught(whole, batches)
    taught(first, batches[:3])
    second.load(first.state())
    assert second.done == 3
    taught(second, batches[3:])
    assert same(second.best.weights(), whole.best.weights())
    assert second.state().keys() == whole.state().keys()
    for name, array in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], array)


def test_statistics_are_learnt_and_then_frozen(
    network: caffe_net.Network, batches: list[Batch]
) -> None:
    learner = trainer(network, replace(SHORT, freeze_statistics=0.5, average=0.0))
    earlier = learner.best.weights()
    taught(learner, batches[:3])
    learnt = learner.best.weights()
    taught(learner, batches[3:])
    after = learner.best.weights()
    assert not np.array_equal(learnt[BATCHNORM][0], earlier[BATCHNORM][0])
    assert all(map(np.array_equal, after[BATCHNORM], learnt[BATCHNORM]))
    assert not np.array_equal(after["conv0"][0], learnt["conv0"][0])
    assert after[BATCHNORM][2].tolist() == [1]


def test_the_first_statistics_are_the_first_batchs_own(
    network: caffe_net.Network, batches: list[Batch]
) -> None:
    learner = trainer(network, replace(SHORT, average=0.0, precision="float32"))
    images = batches[0][0].reshape(-1, 1, 64, 64)
    with torch.no_grad():
        blobs = torch.nn.functional.conv2d(
            images, torch.tensor(fresh(network, seed=0)["conv0"][0]), padding=2
        )
    learner.step(*batches[0])
    mean = learner.best.weights()[BATCHNORM][0]
    np.testing.assert_allclose(mean, blobs.mean((0, 2, 3)).numpy(), rtol=1e-4, atol=1e-4)


def test_the_average_keeps_its_share_of_what_the_weights_were(
    network: caffe_net.Network, batches: list[Batch]
) -> None:
    alone = trainer(network, replace(SHORT, average=0.0))
    averaged = trainer(network, replace(SHORT, average=0.05))
    want = alone.best.weights()["conv0"][0]
    for batch in batches[:2]:
        alone.step(*batch)
        averaged.step(*batch)
        want = 0.05 * want + 0.95 * alone.best.weights()["conv0"][0]
    np.testing.assert_allclose(averaged.best.weights()["conv0"][0], want, rtol=1e-5, atol=1e-7)


def test_the_rate_rises_and_falls_as_its_schedule_says() -> None:
    training = Training(steps=100, rate=1.0, warm_up=4)
    rates = [training.rate_at(step) for step in (0, 1, 3, 50)]
    assert rates == pytest.approx([0.25, 0.5, 1, 0.5], rel=3e-3)
    assert training.rate_at(99) < 1e-3
    in_steps = replace(training, schedule="step")
    assert [in_steps.rate_at(step) for step in (10, 49, 50, 75)] == pytest.approx([1, 1, 0.1, 0.01])
    constant = replace(training, schedule="constant", warm_up=0)
    assert {constant.rate_at(step) for step in range(100)} == {1.0}


def test_pixels_weigh_as_their_scheme_says() -> None:
    adc = torch.tensor([[0.0, 20.0, 30.0]])
    truth = torch.tensor([[0, 1, 2]])
    given = torch.tensor([[1.0, 7.0, 5.0]])
    of = Training(steps=1, shower_weight=3.0)
    assert weigh(of, adc, truth, given).tolist() == [[pytest.approx(0.002), 3, 1]]
    of = replace(of, pixel_weights="ssnet")
    assert weigh(of, adc, truth, given).tolist() == [[1, 21, 5]]


def test_trained_weights_go_through_a_caffemodel_unchanged(
    network: caffe_net.Network, batches: list[Batch], tmp_path: Path
) -> None:
    learner = trainer(network)
    taught(learner, batches[:2])
    path = tmp_path / "net.caffemodel"
    write_caffemodel(path, network.name, learner.best.weights())
    read = caffe_net.read(Path(network.file), path).weights
    assert same(read, learner.best.weights())


def test_a_loss_that_is_no_number_ends_the_training(
    network: caffe_net.Network, batches: list[Batch]
) -> None:
    images, labels, weights = batches[0]
    learner = trainer(network)
    with pytest.raises(TrainingFailed, match="want a finite loss, got nan in step 1"):
        learner.step(images * float("nan"), labels, weights)
    assert learner.done == 0


def test_weights_that_are_no_numbers_are_not_kept(
    network: caffe_net.Network, batches: list[Batch]
) -> None:
    hot = replace(SHORT, rate=1e6, warm_up=0, schedule="constant", precision="float32")
    learner = trainer(network, hot)
    with pytest.raises(TrainingFailed, match="want a finite loss"):
        taught(learner, [batches[0]] * STEPS)
    with pytest.raises(TrainingFailed, match="want finite weights after step"):
        learner.state()


@pytest.mark.parametrize(
    ("channels", "layers", "says"),
    [
        (2, tiny_networks.UNET, "want a network with 1 input channel, a plane's ADC, got 2"),
        (
            1,
            tiny_networks.UNET.partition('layer { name: "softmax"')[0],
            "want a softmax over the classes",
        ),
        (1, tiny_networks.UNET.replace("num_output: 3", "num_output: 4"), "want 3 scores"),
    ],
)
def test_networks_that_do_not_score_a_plane_are_refused(
    tmp_path: Path, channels: int, layers: str, says: str
) -> None:
    weights = tiny_networks.unet_weights()
    file, _ = tiny_networks.write(tmp_path, layers, weights, sides=(channels, 8, 8))
    network = caffe_net.read(file)
    with pytest.raises(NetworkError, match=says):
        Trainer(network, fresh(network, seed=0), SHORT, fresh=True)


@pytest.mark.parametrize(
    "option",
    [
        {"steps": 0},
        {"rate": -1.0},
        {"rate": float("nan")},
        {"average": 1.0},
        {"freeze_statistics": 1.5},
        {"warm_up": -1},
        {"shower_weight": -0.1},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="want"):
        replace(SHORT, **option)

"""The way to an engine, the cache of converted networks, and what is said where one cannot run."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mdp import Refused
from services.engines import onnx_engine
from services.engines.engine import Engine, warm_up
from services.engines.open_engine import open_engine, user_cache
from services.errors import EngineError, NetworkError, SizeRefused
from tests.support.tiny_networks import Array, numbers, unet_weights, write

Files = tuple[Path, Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write(tmp_path)


def opened(files: Files, cache: Path, device: str = "cpu") -> Engine:
    return open_engine("onnx", *files, device=device, threads=1, cache=cache)


def answer(files: Files, cache: Path) -> Array:
    return opened(files, cache).forward(numbers(2, 1, 8, 6))


def test_an_engine_answers_float32_scores_of_any_batch_and_size(
    files: Files, tmp_path: Path
) -> None:
    engine = opened(files, tmp_path / "cache")
    warm_up(engine, 8, 8)
    for shape in ((1, 1, 8, 8), (3, 1, 6, 20), (1, 1, 32, 4)):
        scores = engine.forward(numbers(*shape))
        assert scores.dtype == np.float32
        assert scores.shape == (shape[0], 3, *shape[2:])
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
    assert (engine.name, engine.device, engine.network.size_divisor) == ("onnx", "cpu", 2)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert [engine.network.sha256, engine.network.weights_sha256] == digests


def test_a_batchable_networks_answer_does_not_depend_on_the_batch(
    files: Files, tmp_path: Path
) -> None:
    engine, images = opened(files, tmp_path), numbers(5, 1, 16, 16)
    alone = np.concatenate([engine.forward(image[None]) for image in images])
    assert engine.network.batchable
    np.testing.assert_allclose(engine.forward(images), alone, atol=1e-6)
    again = np.concatenate([engine.forward(image[None]) for image in images])
    assert np.array_equal(again, alone)  # to the bit


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 1, 9, 8), "multiples of 2, got 9 x 8"),
        ((1, 2, 8, 8), r"want \(batch, 1, rows, cols\)"),
        ((8, 8), r"got \(8, 8\)"),
        ((0, 1, 8, 8), "at least one pixel"),
    ],
)
def test_images_that_the_network_cannot_take_are_the_clients_fault(
    files: Files, tmp_path: Path, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(SizeRefused, match=said) as caught:
        opened(files, tmp_path).forward(np.zeros(shape, np.float32))
    assert isinstance(caught.value, Refused)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("name", "device", "said"),
    [
        ("tensorflow", "cpu", "engines onnx, caffe, got 'tensorflow'"),
        ("onnx", "gpu", "want a device, cpu or cuda:0, got 'gpu'"),
        ("caffe", "cuda:x", "want a device, cpu or cuda:0, got 'cuda:x'"),
    ],
)
def test_an_unknown_engine_or_device_is_refused(
    files: Files, name: str, device: str, said: str
) -> None:
    with pytest.raises(EngineError, match=said):
        open_engine(name, *files, device=device)


def test_unknown_blobs_are_refused(files: Files, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="got nowhere"):
        open_engine("onnx", *files, blobs=["pool", "nowhere"], cache=tmp_path)


def test_a_gpu_without_cuda_is_refused_in_one_line(files: Files, tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(EngineError, match=r"cuda:1.*pip install onnxruntime-gpu") as caught:
        opened(files, tmp_path, device="cuda:1")
    assert "\n" not in str(caught.value)


def test_a_gpu_that_does_not_open_is_refused_though_onnxruntime_goes_on_without(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    def falls_back(model: object, options: object, providers: list[object]) -> SimpleNamespace:
        assert providers == [("CUDAExecutionProvider", {"device_id": 0})]
        return SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(EngineError, match="want the device cuda:0"):
        opened(files, tmp_path, device="cuda:0")


# What is converted is kept.


def test_a_cached_network_needs_no_onnx_and_answers_the_same(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answer(files, tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert np.array_equal(answer(files, tmp_path / "cache"), first)
    with pytest.raises(EngineError, match=r"want onnx to convert.*pip install") as caught:
        answer(files, tmp_path / "another")
    assert "\n" not in str(caught.value)


def test_without_onnxruntime_it_is_said_what_to_install(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"want onnxruntime.*pip install"):
        answer(files, tmp_path)


def test_other_weights_another_prototxt_or_converter_are_converted_anew(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = answer(files, cache)
    weights = unet_weights()
    weights["scores"][1] += 1  # the same for all classes: the softmax stays
    weights["conv"][0] *= 2
    write(tmp_path, weights=weights)
    assert not np.array_equal(answer(files, cache), first)
    files[0].write_text(files[0].read_text() + "# said otherwise\n")
    answer(files, cache)
    monkeypatch.setattr(onnx_engine, "CONVERTER", 0)
    answer(files, cache)
    assert len(list(cache.iterdir())) == 4


def test_a_corrupt_cache_is_rebuilt_and_said(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    first = answer(files, cache)
    (rest,) = cache.iterdir()
    good = rest.read_bytes()
    for bad in (b"", good[:-9], good[:500] + b"\x00" + good[501:]):
        rest.write_bytes(bad)
        assert np.array_equal(answer(files, cache), first)
        assert rest.read_bytes() == good
    assert "removed" in caplog.text
    assert "content does not match" in caplog.text


def test_a_cache_that_cannot_be_written_is_done_without(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")
    assert answer(files, tmp_path / "file" / "cache").shape == (2, 3, 8, 6)
    assert "cannot write the converted network to the cache" in caplog.text


@pytest.mark.slow
def test_workers_that_start_at_once_share_one_cache(files: Files, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(4) as pool:
        answers = pool.starmap(answer, [(files, tmp_path / "cache")] * 8)
        pool.close()
        pool.join()
    assert all(np.array_equal(item, answers[0]) for item in answers)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_weights_that_do_not_fit_are_refused_by_the_engine(files: Files, tmp_path: Path) -> None:
    write(tmp_path, weights={"other": [numbers(1)]})
    with pytest.raises(NetworkError, match="another network's"):
        answer(files, tmp_path / "cache")


def test_the_cache_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "ssnetserver"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the standard: such a value is ignored
    assert user_cache() == Path.home() / ".cache" / "ssnetserver"


def test_onnxruntime_reports_to_nobody(tmp_path: Path) -> None:
    """Its telemetry leaves a session file in TMPDIR: there is none."""
    files = write(tmp_path)
    folder = tmp_path / "tmp"
    folder.mkdir()
    program = (
        "import sys; from pathlib import Path; from services.engines.onnx_engine import OnnxEngine;"
        " OnnxEngine(*map(Path, sys.argv[1:]))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", program, *map(str, files)],
        check=True,
        env={**environment, "TMPDIR": str(folder)},
        timeout=120,
    )
    assert list(folder.iterdir()) == []

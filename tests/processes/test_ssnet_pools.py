"""`ssnet worker planes`, `ssnet run --local`, `ssnet demo`: as a user runs them."""

from __future__ import annotations

import hashlib
import re
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lartpc import Batch, open_reader, pack
from mdp import Client, Refused
from mdp.testing.local_site import private_folder
from services.planes import PLANES, answer_name, service_name
from tests.support import plane_pools, tiny_networks
from tests.support.commands_of_ssnet import one_line, ssnet
from tests.support.processes import QUICK, Processes, children, until, wait_for_workers

NAMES = [answer_name(plane) for plane in PLANES]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def network(tmp_path: Path) -> Path:
    folder = tmp_path / "network"
    folder.mkdir()
    tiny_networks.write(folder, weights=tiny_networks.gentle_weights())
    return folder


def test_one_machine_scores_a_file_with_a_broker_and_workers_of_its_own(
    tmp_path: Path, network: Path
) -> None:
    events = plane_pools.toys(tmp_path / "in.root", 6)
    options = ("--local", "-n", "2", "--network", network, "--size", "64")
    done = ssnet("run", tmp_path / "in.root", "-o", tmp_path / "out.root", *options)
    assert re.search(r"events +6, 1 of them empty", done.stdout)
    assert "WARNING" not in done.stderr
    got = plane_pools.read(tmp_path / "out.root")
    assert [event.rse for event in got] == [event.rse for event in events]
    assert [sorted(event.images) for event in got] == [NAMES] * 6
    scores = np.concatenate([image.pixels.ravel() for image in got[0].images[NAMES[2]]])
    assert scores.any()
    assert scores.max() <= 1
    checked = ssnet("check", tmp_path / "in.root", tmp_path / "out.root")
    assert "FAILED" not in checked.stdout
    text = ssnet("files", "--provenance", tmp_path / "out.root").stdout
    digest = hashlib.sha256((network / "net.caffemodel").read_bytes()).hexdigest()
    assert text.count(digest) == len(PLANES)
    assert f"--network {network}" in text


def test_a_run_on_one_machine_has_a_private_socket_and_ignores_keys_for_other_brokers(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with private_folder("ssnet") as folder:
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    monkeypatch.setenv("MDP_KEYS", str(tmp_path / "nothing.json"))
    events = plane_pools.toys(tmp_path / "in.root", 2)
    options = ("--local", "--network", network, "--size", "64")
    ssnet("run", tmp_path / "in.root", "-o", tmp_path / "out.root", *options)
    got = plane_pools.read(tmp_path / "out.root")
    assert [event.rse for event in got] == [event.rse for event in events]


def test_three_planes_are_served_by_one_command(
    processes: Processes, endpoint: str, tmp_path: Path, network: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    serve = ("worker", "planes", "--planes", "0,1,2", "-n", "2", "--network", str(network))
    host = processes.python("-m", "clients", *serve, "--broker", endpoint, *QUICK)
    with Client(endpoint) as client:
        for plane in PLANES:
            wait_for_workers(client, service_name(plane), 2)
    steps = ("reading", "checked in", "reading", "read in .* warming up", "can compute", "ready")
    pattern = "(?s)" + ".*".join(rf"ssnet-plane2(#\d)?: {step}" for step in steps)
    assert re.search(pattern, host.stderr)
    host.send(signal.SIGTERM)
    assert host.exit_code() == 0
    host.wait_until_nothing_is_left()


def test_a_plane_worker_refuses_images_above_its_limit_of_pixels(
    processes: Processes, endpoint: str, network: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    serve = ("worker", "planes", "--planes", "2", "--max-pixels", "4096")
    host = processes.python(
        "-m", "clients", *serve, "--network", str(network), "--broker", endpoint, *QUICK
    )
    meta = "Plane 2 (rows,cols) = (1,1) ... Left Top (0,1) ... Right Bottom (1,0):(1,2,3)"
    with Client(endpoint) as client:
        wait_for_workers(client, service_name(2), 1)
        (worker,) = children(host)
        for side, is_taken in ((64, True), (128, False)):
            frames = pack([Batch("wire", meta, np.zeros((1, 1, side, side), np.float32))])
            if is_taken:
                assert len(client.request(service_name(2), frames)) == 3
                continue
            with pytest.raises(Refused, match=r"4096 pixels, got 128 x 128 .*--max-pixels"):
                client.request(service_name(2), frames)
        assert children(host) == [worker]


def truncated(folder: Path) -> None:
    weights = folder / "net.caffemodel"
    weights.write_bytes(weights.read_bytes()[:-40])


def emptied(folder: Path) -> None:
    (folder / "net.caffemodel").write_bytes(b"")


def of_another_network(folder: Path) -> None:
    weights = {f"other_{name}": blobs for name, blobs in tiny_networks.unet_weights().items()}
    tiny_networks.write(folder, weights=weights)


def changed(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        prototxt = folder / "net.prototxt"
        prototxt.write_text(prototxt.read_text().replace(old, new))

    return change


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncated, r"net\.caffemodel"),
        (emptied, r"net\.caffemodel"),
        (of_another_network, r"want the weights of .*net\.prototxt in .*net\.caffemodel"),
        (changed("Pooling", "Spooling"), r"layer 'pool' \(Spooling\) of .*net\.prototxt"),
        (changed("group: 4 } }", "group: 4 }"), r"net\.prototxt"),
        (changed("num_output: 3", "num_output: 2"), r"want 3 scores.*net\.prototxt"),
        (lambda folder: (folder / "net.prototxt").unlink(), r"want one \.prototxt of plane 0"),
    ],
)
def test_a_network_that_cannot_be_served_ends_the_command_with_one_line(
    network: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(network)
    line = one_line(ssnet("worker", "planes", "--planes", "0", "--network", network, code=1))
    assert re.search(says, line)


@pytest.mark.parametrize(
    ("options", "says", "code"),
    [
        (("--planes", "0,x"), "planes as in 0,1,2", 2),
        (("--planes", ""), "planes as in --planes 0,1,2", 2),
        (("--planes", "0,1,1"), "different planes", 2),
        (("--planes", "0", "--prototxt", "net.prototxt"), "--prototxt and --weights together", 2),
        (("--planes", "0", "--device", "tpu"), "want a device, cpu or cuda:0", 1),
        (("--planes", "0", "--network", "nowhere"), "want a folder of networks", 1),
    ],
)
def test_options_that_make_no_sense_are_said_at_once(
    options: tuple[str, ...], says: str, code: int
) -> None:
    assert says in one_line(ssnet("worker", "planes", *options, code=code))


@pytest.mark.parametrize(
    "options",
    [
        ("--local", "--broker", "ipc:///tmp/x"),
        ("-n", "2"),
        ("--network", "here"),
        ("--engine", "caffe"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: tuple[str, ...]) -> None:
    assert "--local" in one_line(ssnet("run", "in.root", "-o", "out.root", *options, code=2))


def test_a_client_needs_nothing_that_computes(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    plane_pools.toys(tmp_path / "in.root", 2)
    processes.broker(endpoint, *QUICK)
    plane_pools.start(processes, endpoint)
    files = (tmp_path / "in.root", "-o", tmp_path / "out.root", "--size", "64")
    ssnet("run", *files, "--broker", endpoint, without="google.protobuf")
    assert (tmp_path / "out.root").exists()


def test_a_missing_pycaffe_is_one_line() -> None:
    import importlib.util

    if importlib.util.find_spec("caffe") is not None:
        pytest.skip("pycaffe is here")
    assert "caffe" in one_line(ssnet("worker", "planes", "--engine", "caffe", code=1))


def test_ctrl_c_leaves_no_process_and_the_same_command_goes_on(
    processes: Processes, tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    events = plane_pools.toys(tmp_path / "in.root", 40)
    files = (str(tmp_path / "in.root"), "-o", str(tmp_path / "out.root"))
    options = ("--local", "--network", str(network), "--size", "64", "--window", "1")
    often = (*options, "--checkpoint-seconds", "0")
    running = processes.python("-m", "clients", "run", *files, *often)
    until(lambda: list(tmp_path.glob(".out.root.parts/part-*")), "a part is safe", within_s=120)
    running.send_group(signal.SIGINT)
    assert running.exit_code() == 130
    running.wait_until_nothing_is_left()
    assert "Traceback" not in running.stderr
    assert re.search(r"out.root: \d+ of 40 events are saved; run the same command", running.stderr)
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.glob("*.root")) == ["in.root"]
    done = ssnet("run", *files, *often)
    assert "resumes after event" in done.stderr
    assert [event.rse for event in plane_pools.read(tmp_path / "out.root")] == [
        event.rse for event in events
    ]
    assert not list(tmp_path.glob(".out*"))


def test_kill_9_leaves_no_process_and_the_same_command_goes_on(
    processes: Processes, tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # its socket and logs stay
    events = plane_pools.toys(tmp_path / "in.root", 40)
    files = (str(tmp_path / "in.root"), "-o", str(tmp_path / "out.root"))
    options = ("--local", "--network", str(network), "--size", "64", "--window", "1")
    often = (*options, "--checkpoint-seconds", "0")
    running = processes.python("-m", "clients", "run", *files, *often)
    state = tmp_path / ".out.root.parts" / "state.json"
    until(state.exists, "a part is safe", within_s=120)
    # a broker, a worker's host and three children besides the client
    assert len(running.alive()) >= 6
    running.send(signal.SIGKILL)
    assert running.exit_code() == -signal.SIGKILL
    running.wait_until_nothing_is_left()
    done = ssnet("run", *files, *options)
    assert "resumes after event" in done.stderr
    assert [event.rse for event in plane_pools.read(tmp_path / "out.root")] == [
        event.rse for event in events
    ]
    assert not list(tmp_path.glob(".out*"))


def test_the_demo_scores_toys_with_the_shipped_networks_and_draws_one(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = ssnet("demo", "--events", "2", "-o", folder)
    for text in (*(service_name(plane) for plane in PLANES), "waiting for scores", "event.png"):
        assert text in done.stdout
    assert (folder / "event.png").read_bytes().startswith(b"\x89PNG")
    with open_reader(folder / "scores.root", tick_order="backward", images=NAMES) as reader:
        assert len(reader) == 2
        assert any(image.pixels.max() > 0.5 for image in reader[0].images[NAMES[0]])
    ssnet("check", folder / "events.root", folder / "scores.root")


def test_the_workers_of_a_pool_get_the_engine(tmp_path: Path) -> None:
    words = ("--launcher", "local", "--engine", "caffe", "--planes", "2", "--dry-run")
    assert "--engine caffe" in ssnet("pool", "start", tmp_path / "pool", *words).stdout

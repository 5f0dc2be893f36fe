"""A small message cannot make a plane's worker take much memory: images have a limit in pixels."""

from __future__ import annotations

import re
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zstandard

from mdp import Client, Refused
from services.planes import service_name
from tests.support import tiny_networks
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Process,
    Processes,
    children,
    wait_for_workers,
)

SERVICE = service_name(0)
MIB = 1 << 20


def peak_bytes(host: Process) -> int:
    """The most memory that one of the host's children has had: VmHWM."""
    peaks = []
    for pid in children(host):
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found, status
        peaks.append(int(found[1]) * 1024)
    return max(peaks)


def message(rows: int, cols: int, dtype: str = "float16") -> list[bytes]:
    """Zeros, which take a few kilobytes on the wire."""
    meta = f"Plane 0 (rows,cols) = ({rows},{cols}) ... Left Top (0,{rows})"
    meta += f" ... Right Bottom ({cols},0):(1,2,3)"
    count = rows * cols * np.dtype(dtype).itemsize
    compressor = zstandard.ZstdCompressor().compressobj(size=count)
    data = [compressor.compress(bytes(min(MIB, count - at))) for at in range(0, count, MIB)]
    array = {"dtype": dtype, "shape": [1, 1, rows, cols], "codec": "zstd"}
    packed = msgpack.packb({**array, "data": b"".join([*data, compressor.flush()])})
    return [b"wire", meta.encode(), packed]


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "network"
    folder.mkdir()
    tiny_networks.write(folder, weights=tiny_networks.gentle_weights())
    return folder


def serve(processes: Processes, endpoint: str, network: Path, *options: str) -> Process:
    processes.broker(endpoint, *QUICK)
    planes = ("worker", "planes", "--planes", "0", "--network", str(network))
    host = processes.python("-m", "clients", *planes, *options, "--broker", endpoint, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, SERVICE, 1)
    return host


def test_a_message_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(
    processes: Processes, endpoint: str, network: Path
) -> None:
    host = serve(processes, endpoint, network)
    with Client(endpoint, QUICK_CLIENT) as client:
        client.request(SERVICE, message(512, 512))
        (child,) = children(host)
        earlier = peak_bytes(host)
        for rows, cols in ((16_384, 16_384), (4097, 4096), (2, 1 << 24)):
            bomb = message(rows, cols)
            assert sum(map(len, bomb)) < MIB
            with pytest.raises(Refused) as refused:
                client.request(SERVICE, bomb, tries=1)
            assert "--max-pixels" in str(refused.value)
            assert re.search(r"16[,_]?777[,_]?216|4096", str(refused.value))
        assert peak_bytes(host) < earlier + 30 * MIB
        client.request(SERVICE, message(512, 512))
        assert children(host) == [child]


def test_the_limit_is_an_option(processes: Processes, endpoint: str, network: Path) -> None:
    serve(processes, endpoint, network, "--max-pixels", str(64 * 64))
    with Client(endpoint, QUICK_CLIENT) as client:
        client.request(SERVICE, message(64, 64))
        with pytest.raises(Refused):
            client.request(SERVICE, message(64, 66))

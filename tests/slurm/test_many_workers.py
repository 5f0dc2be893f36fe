"""An array of 50 jobs that start at once, with an empty cache of converted networks."""

from __future__ import annotations

from mdp import Client
from services.planes import service_name
from tests.slurm.slurm_site import CLIENT, Site
from tests.support import tiny_networks
from tests.support.processes import ROOT, counters, until, workers_of

WORKERS = 50
COUNT_CONVERSIONS = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "services.engines.onnx_convert":
            with open(os.environ["SSNET_CONVERSIONS"], "a") as file:
                file.write(f"{os.getpid()}\\n")
sys.meta_path.insert(0, Finder())
"""
"""A sitecustomize.py: the converter is imported where a network is converted."""
PATIENT = ("--heartbeat", "2", "--liveness", "5")
"""Fifty processes import numpy on a few cores, which takes most of a minute."""


def test_fifty_workers_that_start_at_once_convert_the_network_once(slurm: Site) -> None:
    folder = slurm.folder / "logs" / "network"
    folder.mkdir()
    conversions = folder / "conversions"
    (folder / "sitecustomize.py").write_text(COUNT_CONVERSIONS)
    prototxt, weights = tiny_networks.write(folder, weights=tiny_networks.gentle_weights())
    network = f"--prototxt {prototxt} --weights {weights} --threads 1"
    address = slurm.broker(*PATIENT)
    slurm.submit(
        f"exec ssnet worker planes --planes 0 {network} {' '.join(PATIENT)}",
        f"--array=1-{WORKERS}",
        "--job-name=crowd",
        "--mem=10",
        PYTHONPATH=f"{folder}:{ROOT}",
        SSNET_CONVERSIONS=str(conversions),
        XDG_CACHE_HOME=str(slurm.folder / "logs" / "cache"),
        MDP_BROKER=f"@{slurm.contact}",
    )
    with Client(address, CLIENT) as client:

        def all_are_ready() -> bool:
            assert not [end for end in slurm.ends() if end.name == "crowd"], slurm.logs()
            return workers_of(client, service_name(0)) == WORKERS

        until(all_are_ready, f"{WORKERS} workers are ready", within_s=200.0)
        assert counters(client)["workers_lost"] == 0
    assert len(conversions.read_text().split()) == 1
    assert len(list((slurm.folder / "logs" / "cache").rglob("*.onnx"))) == 1

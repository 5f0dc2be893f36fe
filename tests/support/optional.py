"""Parts that some tests need: libraries, test data. A missing part skips these tests.

`pytest --require PART` fails them instead; `pytest --without PART` skips them in any case.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, NoReturn

import pytest

PARTS = {
    "ROOT": "pip install 'root>=0.1a12' (Linux)",
    "bokeh": "pip install 'bokeh>=3.4' 'tornado>=6.2'",
    "browser": "`make install-tools` as root (apt-get: chromium chromium-driver), and"
    " pip install selenium",
    "h5py": "pip install h5py",
    "larcv1": "`make install-larcv` with LARCV1_SOURCE, a checkout or bare repository of LArCV1",
    "larcv2": "`make install-larcv` with LARCV2_SOURCE, a checkout or bare repository of LArCV2",
    "larcv3": "`make install-larcv` (apt-get as root: g++ libhdf5-dev)",
    "matplotlib": "pip install matplotlib",
    "mypy": "pip install mypy",
    "onnxruntime": "pip install onnxruntime",
    "pycaffe": "`make install-caffe` (docs/engines.md), which takes some minutes once",
    "prometheus_client": "pip install prometheus_client",
    "Prometheus": "`make install-tools` as root (apt-get: prometheus)",
    "torch": "`make test-torch`, or pip install torch (docs/install.md: a CPU build)",
    "shared": "the folder ../shared beside the checkout, or its path in SSNET_SHARED",
    "index": "a package index that pip reaches",
    "systemd": "`make install-tools` as root (apt-get: systemd)",
    "Slurm": "`tests/slurm/site.sh install` as root (apt-get: slurmctld slurmd slurm-client munge)",
}
"""Each part, and how to get it."""

required: set[str] = set()
excluded: set[str] = set()


def optional(name: str) -> Any:
    """Import a module; without it, skip the running test or the file that is being collected."""
    if name in excluded:
        missing(name, f"runs without {name}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ROOT's wheel says at its import that it is new
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing(name, f"needs {name} ({error})")


def missing(part: str, reason: str) -> NoReturn:
    """Skip the running test or file, or fail it if `--require` names the part."""
    text = f"{reason}: {PARTS[part]}"
    if part in required - excluded:
        pytest.fail(text, pytrace=False)
    pytest.skip(text, allow_module_level=True)


def add_options(parser: pytest.Parser) -> None:
    """Add `--require` and `--without` to pytest's options."""
    for option, help_text in (
        ("--require", "fail, and do not skip, the tests that miss this part; repeatable"),
        ("--without", "skip the tests that need this part, also where it is; repeatable"),
    ):
        parser.addoption(
            option,
            action="append",
            default=[],
            choices=[*PARTS, "all"],
            help=help_text,
        )


def take_options(config: pytest.Config) -> None:
    """Remember which parts the options name."""
    for option, parts in (("--require", required), ("--without", excluded)):
        names = config.getoption(option)
        parts.update(PARTS if "all" in names else names)

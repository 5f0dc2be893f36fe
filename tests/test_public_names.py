"""The names that users import: each is there, and the docs import no others."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CLIENTS = {
    *("score", "ScoringJob", "ScoringReport", "process_files", "SimpleJob", "SimpleReport"),
    *("Batches", "Feed", "TrainingBatch", "BatchDataset"),
}
SERVICES = {
    *("SSNet", "PlaneSettings", "BatchTrain", "TrainingSettings", "Dummy"),
    *("Engine", "open_engine", "warm_up"),
}
MDP = {
    *("Client", "ClientSettings", "Worker", "WorkerSettings", "BrokerSettings", "Heartbeats"),
    *("MDPError", "SettingsError", "WireError", "RequestTimeout", "ClientClosed"),
    *(
        "Cancelled",
        "WorkerFailed",
        "Refused",
        "ServiceError",
        "NotServed",
        "QueueFull",
        "WorkersDied",
    ),
    *("Draining", "TooLarge", "TooSlow", "__version__"),
}
LARTPC = {
    *("Event", "RSE", "ROI", "Image", "ImageMeta", "TickOrder", "AskedOrder", "TickChoice"),
    *("open_reader", "open_writer", "Reader", "Writer", "Product", "producers", "products"),
    *("readable_products", "listing", "check_fits", "check_target", "provenance", "chain"),
    *("Format", "format_of", "format_to_write"),
    *("Batch", "Limits", "pack", "unpack", "stack", "meta_text"),
    *("LArTPCError", "ImageError", "FrameError", "BatchError", "ReadError", "WriteError"),
    *("ProductMissing", "FileExists", "LibraryMissing", "ParameterError", "TickOrderError"),
}
NAMES = {"clients": CLIENTS, "services": SERVICES, "mdp": MDP, "lartpc": LARTPC}
NEED_TORCH = {"BatchDataset"}
IMPORT = re.compile(r"^from ((?:mdp|lartpc|services|clients)[\w.]*) import (.+)$", re.MULTILINE)


@pytest.mark.parametrize("package", NAMES)
def test_a_package_exports_these_names(package: str) -> None:
    assert set(import_module(package).__all__) == NAMES[package]


@pytest.mark.parametrize(
    ("package", "name"),
    [(package, name) for package in NAMES for name in sorted(NAMES[package] - NEED_TORCH)],
)
def test_an_exported_name_can_be_imported(package: str, name: str) -> None:
    module = import_module(package)
    assert getattr(module, name) is not None
    assert name in dir(module)


@pytest.mark.parametrize("package", ["clients", "services"])
def test_a_name_that_is_not_exported_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        import_module(package).nothing  # noqa: B018


def test_importing_clients_and_services_loads_no_optional_library() -> None:
    heavy = ("torch", "ROOT", "h5py", "uproot", "matplotlib", "onnxruntime", "numpy")
    program = f"import sys, clients, services; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_docs_import_only_exported_names(page: Path) -> None:
    for package, names in IMPORT.findall(page.read_text()):
        assert set(names.split(", ")) <= NAMES.get(package, set()), f"from {package} import {names}"

"""ROOT, with the classes of LArCV1 or of LArCV2 declared to it. Refuses a process with LArCV in it.

ROOT compiles classes with LArCV's names and members (`larcv1_classes.h`, `larcv2_classes.h`). Their
checksums are compared with LArCV's, so LArCV and hadd can read the files that ROOT then writes. The
two have classes of one name and different members, so a process can declare one of them only.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import resources
from typing import Any

from ...errors import LibraryMissing, WriteError
from ..formats import Format

_BOTH = {
    "Point2D": 0x286E66E3,
    "Image2D": 0xDE7356F7,
    "EventBase": 0xCB50957F,
    "EventImage2D": 0x65DE9DE4,
    "Vertex": 0x77DAF357,
}
CHECKSUMS: dict[Format, dict[str, int]] = {
    "larcv1": {
        **_BOTH,
        "ImageMeta": 0xB9C3C44B,
        "ROI": 0xCF7F3FEE,
        "EventROI": 0x65080BE4,
    },
    "larcv2": {
        **_BOTH,
        "BBox2D": 0x2C6C054D,
        "ImageMeta": 0x332D000D,
        "Voxel": 0x7A384FDA,
        "VoxelSet": 0x123C507A,
        "VoxelSetArray": 0x5F628D18,
        "SparseTensor2D": 0x6D61EA73,
        "EventSparseTensor2D": 0x429E7D8C,
        "ClusterPixel2D": 0xDF57D2D7,
        "EventClusterPixel2D": 0xDD622FCF,
        "Point3D": 0xB59FDC41,
        "BBox3D": 0x43A098AF,
        "Particle": 0x29102D11,
        "ParticleSet": 0x857B236C,
        "EventParticle": 0x0DBE7B10,
        "EventBBox2D": 0xF0CD29A9,
        "Voxel3DMeta": 0x25BB8DEE,
        "SparseTensor3D": 0x019FA17C,
        "EventSparseTensor3D": 0x4435BC52,
        "ClusterVoxel3D": 0x685D5A7A,
        "EventClusterVoxel3D": 0xCFAD13EA,
    },
}
"""The checksums of LArCV's classes in its files: LArCV selects a class by its checksum."""

EVENTS: dict[Format, dict[str, str]] = {
    "larcv1": {"image2d": "EventImage2D", "partroi": "EventROI"},
    "larcv2": {
        "image2d": "EventImage2D",
        "sparse2d": "EventSparseTensor2D",
        "cluster2d": "EventClusterPixel2D",
        "particle": "EventParticle",
        "bbox2d": "EventBBox2D",
        "bbox3d": "EventBBox3D",
        "sparse3d": "EventSparseTensor3D",
        "cluster3d": "EventClusterVoxel3D",
    },
}
"""The classes of events that are declared, by kind of product."""


def declared_classes(format: Format) -> dict[str, int]:
    """Return the checksums of the classes, as `ROOTFile.class_checksums` names those of a file."""
    return {f"larcv::{name} 1": checksum for name, checksum in CHECKSUMS[format].items()}


@cache
def load_root(format: Format) -> Any:
    """Import ROOT and declare a LArCV's classes. Raises `LibraryMissing`, with what to install."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel warns that it is an alpha release
            import ROOT
    except ImportError as error:
        raise LibraryMissing(
            "writing LArCV1 and LArCV2 files needs ROOT: pip install 'root>=0.1a12' (extra"
            " [larcv1], Linux), or run where Python can import your ROOT; or write LArCV3 (.h5)"
            f" ({error})"
        ) from error
    ROOT.gROOT.SetBatch(True)
    # otherwise a rootmap on the path could load LArCV's library after our classes
    ROOT.gInterpreter.SetClassAutoLoading(False)
    # copied trees hold classes that are not declared here, and ROOT warns about every one
    ROOT.gErrorIgnoreLevel = max(int(ROOT.gErrorIgnoreLevel), int(ROOT.kError))
    _declare(ROOT, format)
    return ROOT


def _declare(root: Any, format: Format) -> None:
    text = resources.files(__package__).joinpath(f"{format}_classes.h").read_text()
    if not root.gInterpreter.Declare(text):
        raise LibraryMissing(
            f"ROOT cannot compile {format}'s classes: it needs the C++ standard library's headers"
            " (Debian: apt install g++)"
        )
    for name, want in CHECKSUMS[format].items():
        got = int(root.TClass.GetClass(f"larcv::{name}").GetCheckSum()) & 0xFFFFFFFF
        if got != want:
            raise WriteError(f"want checksum {want:08x} of larcv::{name} from ROOT, got {got:08x}")


def new_event(root: Any, format: Format, kind: str) -> Any:
    """Return an empty event object for products of a kind; None: its class is not declared."""
    name = EVENTS[format].get(kind)
    return getattr(root.larcv, name)() if name else None

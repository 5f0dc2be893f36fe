"""The small networks that are shipped, one a plane, and how folders of networks are read."""

from __future__ import annotations

from pathlib import Path

from ..errors import NetworkError

SHIPPED = Path(__file__).parent
"""U-ResNets trained on toy events: docs/networks.md."""
PROTOTXT = SHIPPED / "uresnet.prototxt"
"""The architecture of all three."""


def weights(plane: int) -> Path:
    """The shipped caffemodel of plane 0, 1 or 2."""
    return SHIPPED / f"uresnet_plane{plane}.caffemodel"


def find(folder: Path, plane: int) -> tuple[Path, Path]:
    """The .prototxt and the .caffemodel of a plane; raises `NetworkError`.

    The one of each suffix that has `plane<p>` in its name; where none has, the only one.
    """
    return _one(folder, plane, ".prototxt"), _one(folder, plane, ".caffemodel")


def _one(folder: Path, plane: int, suffix: str) -> Path:
    if not folder.is_dir():
        raise NetworkError(f"want a folder of networks, got {folder}")
    every = sorted(path for path in folder.iterdir() if path.suffix == suffix)
    of_plane = [path for path in every if f"plane{plane}" in path.name]
    of_all = [path for path in every if "plane" not in path.name]
    found = of_plane or of_all
    if len(found) != 1:
        names = ", ".join(path.name for path in every) or "none"
        raise NetworkError(f"want one {suffix} of plane {plane} in {folder}, got {names}")
    return found[0]

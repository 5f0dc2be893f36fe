"""The small shipped networks, one per plane, and a function that finds a plane's files."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import NetworkError

SHIPPED = Path(__file__).parent
"""The folder of the U-ResNets that were trained on toy events: docs/networks.md."""
PROTOTXT = SHIPPED / "uresnet.prototxt"
"""The architecture, the same for all three planes."""


def weights(plane: int) -> Path:
    """Return the path of the shipped caffemodel of plane 0, 1 or 2."""
    return SHIPPED / f"uresnet_plane{plane}.caffemodel"


def find(folder: Path, plane: int) -> tuple[Path, Path]:
    """Find the .prototxt and the .caffemodel of a plane; raises `NetworkError`.

    For each suffix this is the file with `plane<p>` in its name, or, if no name has that, the only
    file without `plane` in its name.
    """
    return _one(folder, plane, ".prototxt"), _one(folder, plane, ".caffemodel")


def _one(folder: Path, plane: int, suffix: str) -> Path:
    if not folder.is_dir():
        raise NetworkError(f"want a folder of networks, got {folder}")
    every = sorted(path for path in folder.iterdir() if path.suffix == suffix)
    of_plane = [path for path in every if re.search(rf"plane{plane}(?!\d)", path.name)]
    of_all = [path for path in every if "plane" not in path.name]
    fitting = of_plane or of_all
    if len(fitting) != 1:
        names = ", ".join(path.name for path in every) or "none"
        raise NetworkError(
            f"want one {suffix} of plane {plane} in {folder}, got {names}: --network names a folder"
            f" with one of plane{plane} in its name, or with one for all planes"
        )
    return fitting[0]

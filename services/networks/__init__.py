"""The small networks that are shipped, one a plane, and how they were made and measured."""

from pathlib import Path

PROTOTXT = Path(__file__).with_name("uresnet.prototxt")
"""The architecture of all three."""


def weights(plane: int) -> Path:
    """The caffemodel of plane 0, 1 or 2."""
    return Path(__file__).with_name(f"uresnet_plane{plane}.caffemodel")

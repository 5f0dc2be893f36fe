"""The layout of a LArCV3 file: its datasets, the C++ structs in them, and the limits."""

from __future__ import annotations

import numpy as np

# larcv3's C++ structs, with their padding; axis 0 is the rows
EXTENTS = np.dtype([("first", "<u8"), ("N", "<u4")], align=True)
IMAGE_EXTENTS = np.dtype([("first", "<u8"), ("N", "<u4"), ("ID", "<u4")], align=True)
IMAGE_META = np.dtype(
    {
        "names": ["valid", "projection_id", "image_sizes", "number_of_voxels", "origin"],
        "formats": ["u1", "<u8", ("<f8", (2,)), ("<u8", (2,)), ("<f8", (2,))],  # ticks, wires
        "offsets": [0, 8, 16, 32, 48],
        "itemsize": 72,
    }
)
EVENT_ID = np.dtype([("run", "<i8"), ("subrun", "<i8"), ("event", "<i8")])
PIXELS = np.dtype("<f4")

EVENTS = "Events/event_id"
CACHE_BYTES = 32 << 20  # several compressed chunks: an event seldom ends where a chunk does
MAX_NUMBER = (1 << 63) - 1
"""The largest run, subrun or event: the numbers of larcv3 are signed."""
MAX_IMAGES = 1 << 16
"""The most images of a product in one entry; a file of a few kB can claim any number."""
MAX_PIXELS = 1 << 28
"""The most pixels of a product in one entry: 1 GiB. A ROOT entry cannot hold as many."""
DATASETS = ("extents", "image_extents", "image_meta", "images")
NO_PLANE = (1 << 64) - 1
"""The projection id of the image without pixels that stands for an entry without images.

larcv3 leaves the images of the entry before in memory when it reads an entry without images, so
its users would take them for this entry's. No real image has this id: projection ids have 16 bits.
"""

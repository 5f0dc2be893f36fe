"""What each process with a real library does: a list of jobs in JSON, from its standard input.

{"read": FILE, "images": [...], "others": [...], "dump": OUT.npz}
{"write": FILE, "dump": IN.npz}
{"copy": FILE, "source": FILE}
{"objects": "backward" or "forward", "dump": IN.npz}: objects in memory → `lartpc.Image` → objects;
with {"turned": true}, the library defines the other order, so that the rows are turned
{"run": PROGRAM}: lines of Python in this process, which has loaded the library
A job with {"errors": FILE} writes the traceback of its exception there, or nothing, and the jobs
after it are done in any case.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lartpc.real.dumps import Dump, Stored


def main(
    *,
    read: Callable[[str, list[str], list[str]], Dump],
    write: Callable[[str, Dump], None],
    copy: Callable[[str, str], None] | None = None,
    stored: Callable[[Any], Stored],
    image_of: Callable[[Stored], Any],
    library: Any,
) -> None:
    def do(job: dict[str, Any]) -> None:
        if "read" in job:
            read(job["read"], job["images"], job["others"]).save(Path(job["dump"]))
        elif "write" in job:
            write(job["write"], Dump.load(Path(job["dump"])))
        elif "copy" in job and copy:
            copy(job["copy"], job["source"])
        elif "run" in job:
            exec(job["run"], {"library": library})
        else:
            _objects(job, stored, image_of, library)

    for job in json.load(sys.stdin):
        if "errors" not in job:
            do(job)
            continue
        report = ""
        try:
            do(job)
        except Exception:
            report = traceback.format_exc()
        Path(job["errors"]).write_text(report)


def _objects(
    job: dict[str, Any],
    stored: Callable[[Any], Stored],
    image_of: Callable[[Stored], Any],
    library: Any,
) -> None:
    """Check that objects in memory become images and objects again, equal to the last bit."""
    from lartpc import from_larcv, to_larcv

    dump = Dump.load(Path(job["dump"]))
    for entries in dump.images.values():
        for one in (one for several in entries for one in several):
            for like in (library, image_of(one)):
                image = from_larcv(image_of(one), tick_order=job["objects"])
                numbers, pixels = stored(to_larcv(image, like=like))
                assert numbers == one[0]
                want = one[1][::-1] if job.get("turned") else one[1]
                assert pixels.tobytes() == want.tobytes()

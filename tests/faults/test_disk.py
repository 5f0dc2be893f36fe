"""The disks that the fault suite fills: writes fail while they are full, and succeed afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disk import Limit
from tests.support.processes import ROOT

WRITER = """
import sys
path = sys.argv[1]
for line in sys.stdin:
    try:
        with open(path, "ab", buffering=0) as file:
            file.write(bytes(8192))
            file.write(bytes(8192))
        print("written", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""

FILLS = """
import errno, os, sys
from pathlib import Path
from tests.faults.disk import enter_namespace, open_disk
enter_namespace(["-c", sys.argv[1], *sys.argv[1:]])
disk = open_disk(Path(sys.argv[2]))
if "tmpfs" not in disk.how:
    sys.exit(77)
out = disk.folder / "out"
out.write_bytes(b"before")
one, other = disk.fill(os.getpid()), disk.fill(os.getpid())
one()
try:
    out.write_bytes(bytes(8192))
except OSError as error:
    assert error.errno == errno.ENOSPC, error
else:
    raise AssertionError("it was written")
other()
out.write_bytes(bytes(1 << 20))
assert [path.name for path in disk.folder.iterdir()] == ["out"]
disk.close()
assert not any(Path(sys.argv[2]).iterdir())
"""


def test_a_limited_process_cannot_write_until_there_is_room_again(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def writes() -> str:
        assert writer.stdin is not None
        assert writer.stdout is not None
        print(file=writer.stdin, flush=True)
        return writer.stdout.readline().strip()

    with writer:
        disk = Limit(tmp_path / "disk")
        assert writes() == "written"
        one, other = disk.fill(writer.pid), disk.fill(writer.pid)
        assert writes() == "27"  # EFBIG
        one()
        assert writes() == "27"
        other()
        assert writes() == "written"
    one()  # nobody is there any more
    assert writer.returncode == 0


def test_a_full_tmpfs_has_no_room_until_all_that_fills_it_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    done = subprocess.run(
        [sys.executable, "-c", FILLS, FILLS, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("no unshare, or it may not mount: the suite limits the client's files instead")
    assert done.returncode == 0, done.stderr

"""Try Caffe in a child process first: on an error, Caffe ends the process that it runs in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ..errors import EngineError

_LIMIT_S = 300.0  # the first use of a GPU may take a minute
_SCRIPT = """
import json, sys
prototxt, gpu, path = sys.argv[1], *map(json.loads, sys.argv[2:])
sys.path[:] = path
try:
    import caffe
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
if gpu is None:
    caffe.set_mode_cpu()
else:
    caffe.set_mode_gpu()
    caffe.set_device(gpu)
print("device", flush=True)
caffe.Net(prototxt, caffe.TEST).forward()
"""
_NO_CAFFE = 3
_SAID = re.compile(r"^(?:F\d+ [^\]]*\] |\[libprotobuf ERROR [^\]]*\] )(.*)$", re.MULTILINE)


def try_caffe(deployed: Path, gpu: int | None, network: str) -> None:
    """Open the network in a child, and run it once; raises `EngineError` in one line.

    deployed: the text for Caffe; gpu: the GPU's number, None for the CPU; network: the file to name
    in an error.
    """
    words = [str(deployed), json.dumps(gpu), json.dumps(sys.path)]
    try:
        child = subprocess.run(
            [sys.executable, "-c", _SCRIPT, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "GLOG_minloglevel": "2", "GLOG_logtostderr": "1"},
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"want Caffe to open {network} in {_LIMIT_S:g} s, it did not") from None
    if child.returncode == 0:
        return
    lines = child.stderr.strip().splitlines() or [f"exit code {child.returncode}"]
    if child.returncode == _NO_CAFFE:
        raise no_caffe(lines[-1])
    reason = "; ".join(text.strip() for text in _SAID.findall(child.stderr)) or lines[-1]
    if "device" not in child.stdout:
        device = "cpu" if gpu is None else f"cuda:{gpu}"
        raise EngineError(
            f"want the device {device}, but this Caffe cannot use it ({reason}): use the device cpu"
        )
    raise EngineError(f"Caffe cannot open {network}, use the engine onnx: {reason}")


def no_caffe(error: object) -> EngineError:
    """Return the error that says how to get pycaffe."""
    return EngineError(
        f"want pycaffe for the engine caffe ({error}): put its folder into PYTHONPATH"
        " (docs/engines.md: how to get it), or use the engine onnx"
    )

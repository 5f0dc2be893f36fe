"""Run by tests in a process of its own: says, as JSON, what ROOT finds in a LArCV1 file.

A second implementation: its classes have LArCV1's names and members and are declared here, so
that ROOT fills them by the class names and checksums that the file's branches carry.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ROOT

CLASSES = """
#include <string>
#include <vector>
namespace larcv {
struct Point2D { double x, y; };
struct ImageMeta {
  unsigned short _image_id; Point2D _origin; double _width, _height;
  size_t _col_count, _row_count; unsigned short _plane;
};
struct Image2D {
  virtual ~Image2D() {}
  std::vector<float> _img; unsigned short _id; ImageMeta _meta;
};
struct EventBase {
  virtual ~EventBase() {}
  std::string _producer; size_t _run, _subrun, _event;
};
struct EventImage2D : EventBase {
  virtual ~EventImage2D() {}
  std::vector<Image2D> _image_v;
};
}
"""


def numbers(meta: Any) -> list[float]:
    sizes = [meta._width, meta._height, int(meta._row_count), int(meta._col_count)]
    return [*sizes, meta._origin.x, meta._origin.y, int(meta._plane)]


def image(one: Any) -> dict[str, Any]:
    pixels = np.array(one._img, dtype="<f4")
    return {
        "meta": numbers(one._meta),
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }


def entries(tree: Any) -> list[dict[str, Any]]:
    branch = tree.GetListOfBranches()[0]
    result = []
    for i in range(tree.GetEntries()):
        tree.GetEntry(i)
        event = getattr(tree, branch.GetName())
        rse = [int(event._run), int(event._subrun), int(event._event)]
        images = [image(one) for one in event._image_v]
        result.append({"producer": str(event._producer), "rse": rse, "images": images})
    return result


def main(path: str) -> None:
    ROOT.gInterpreter.Declare(CLASSES)
    file = ROOT.TFile.Open(path)
    report: dict[str, Any] = {"checksums": {}, "trees": {}}
    for info in file.GetStreamerInfoList():
        if hasattr(info, "GetCheckSum"):
            report["checksums"][info.GetName()] = info.GetCheckSum() & 0xFFFFFFFF
    for key in file.GetListOfKeys():
        tree = file.Get(key.GetName())
        branch = tree.GetListOfBranches()[0]
        report["trees"][key.GetName()] = {
            "branch": branch.GetName(),
            "class": branch.GetClassName(),
            "cycle": key.GetCycle(),
            "entries": entries(tree) if "Image2D" in branch.GetClassName() else tree.GetEntries(),
        }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])

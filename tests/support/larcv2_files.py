"""Run by tests in a process of its own: writes a LArCV2 file with ROOT, from events made here.

ROOT gets classes with LArCV2's names and members. `python larcv2_files.py OUT.root new 0,1,2`; with
`old`, the numbers of voxel sets and particles are 16 bits wide, as before LArCV2 v2_2_0.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

PROJECT = Path(__file__).resolve().parents[2]
RSES = [(7, 2, 11), (7, 2, 12), (7, 3, 4)]

CLASSES = """
#include <string>
#include <vector>
#include "TTree.h"
namespace larcv {
enum DistanceUnit_t { kUnitUnknown, kUnitCM, kUnitWireTime };
class Point2D { public: double x = 0, y = 0; };
class BBox2D {
 public:
  virtual ~BBox2D() {}
  void box(int id, double x1, double y1, double x2, double y2) {
    _id = id; _p1.x = x1; _p1.y = y1; _p2.x = x2; _p2.y = y2;
  }
 private:
  unsigned short _id = 65535;
  larcv::Point2D _p1, _p2;
};
class ImageMeta : public BBox2D {
 public:
  void set(size_t rows, size_t cols, int unit) {
    _row_count = rows; _col_count = cols; _unit = (larcv::DistanceUnit_t)unit;
  }
 protected:
  unsigned short _image_id = 4242;
  size_t _col_count = 0, _row_count = 0;
  larcv::DistanceUnit_t _unit = kUnitUnknown;
};
class Image2D {
 public:
  virtual ~Image2D() {}
  std::vector<float>& img() { return _img; }
  larcv::ImageMeta& meta() { return _meta; }
 private:
  std::vector<float> _img;
  unsigned short _id = 4242;
  larcv::ImageMeta _meta;
};
class EventBase {
 public:
  virtual ~EventBase() {}
  void set(const std::string& p, size_t r, size_t s, size_t e) {
    _producer = p; _run = r; _subrun = s; _event = e;
  }
 private:
  std::string _producer;
  size_t _run = 0, _subrun = 0, _event = 0;
};
class EventImage2D : public EventBase {
 public:
  std::vector<larcv::Image2D>& all() { return _image_v; }
 private:
  std::vector<larcv::Image2D> _image_v;
};
class Voxel {
 public:
  void set(unsigned long long id, float value) { _id = id; _value = value; }
 private:
  unsigned long long _id = 0;
  float _value = 0;
};
class VoxelSet {
 public:
  virtual ~VoxelSet() {}
  std::vector<larcv::Voxel>& voxels() { return _voxel_v; }
 private:
  NUMBER _id = 3;
  std::vector<larcv::Voxel> _voxel_v;
};
class VoxelSetArray {
 public:
  virtual ~VoxelSetArray() {}
  std::vector<larcv::VoxelSet>& sets() { return _voxel_vv; }
 private:
  std::vector<larcv::VoxelSet> _voxel_vv;
};
class SparseTensor2D : public VoxelSet {
 public:
  larcv::ImageMeta& meta() { return _meta; }
 private:
  larcv::ImageMeta _meta;
};
class ClusterPixel2D : public VoxelSetArray {
 public:
  larcv::ImageMeta& meta() { return _meta; }
 private:
  larcv::ImageMeta _meta;
};
class EventSparseTensor2D : public EventBase {
 public:
  std::vector<larcv::SparseTensor2D>& all() { return _tensor_v; }
 private:
  std::vector<larcv::SparseTensor2D> _tensor_v;
};
class EventClusterPixel2D : public EventBase {
 public:
  std::vector<larcv::ClusterPixel2D>& all() { return _cluster_v; }
 private:
  std::vector<larcv::ClusterPixel2D> _cluster_v;
};
class Particle {
 public:
  virtual ~Particle() {}
  std::vector<larcv::BBox2D>& boxes() { return _bb2d_v; }
 private:
  NUMBER _id = 3;
  unsigned short _mcst_index = 1;
  std::vector<larcv::BBox2D> _bb2d_v;
};
class ParticleSet {
 public:
  virtual ~ParticleSet() {}
  std::vector<larcv::Particle>& all() { return _part_v; }
 private:
  std::vector<larcv::Particle> _part_v;
};
class EventParticle : public EventBase, public ParticleSet {};
class EventBBox2D : public EventBase, public std::vector<larcv::BBox2D> {
 public:
  larcv::DistanceUnit_t unit = kUnitUnknown;
  std::string info;
};
}
"""

Corners = tuple[float, float, float, float]


class Made(NamedTuple):
    """An image as it is written: rows in LArCV2's order."""

    projection: int
    unit: int
    corners: Corners
    pixels: npt.NDArray[np.float32]


Boxes = list[tuple[int, Corners]]


def images(entry: int, projections: Sequence[int]) -> list[Made]:
    """The images of an entry; none at entry 1. Their corners are no round numbers, and the image
    of projection 4 is empty."""
    made = []
    for projection in () if entry == 1 else projections:
        rng = np.random.default_rng((entry, projection))
        rows, cols = 64, 96 - 32 * (projection % 2)
        charged = rng.random((rows, cols)) < (0 if projection == 4 else 0.05)
        pixels = charged * rng.uniform(20, 90, (rows, cols))
        x, y = 1000 * projection + 1 / 3, 2400 + 1e6 / 7
        corners = (x, y, x + cols * 0.3, y + rows * 6)
        made.append(Made(projection, 1 + entry % 2, corners, pixels.astype(np.float32)))
    return made


def voxel_sets(pixels: npt.NDArray[np.float32]) -> list[list[tuple[int, float]]]:
    """The pixels that are not zero, as three sets of voxels, of which the second is empty; none if
    all are zero."""
    flat = pixels.T.ravel()
    voxels = [(int(number), float(flat[number])) for number in np.flatnonzero(flat)]
    return [voxels[::2], [], voxels[1::2]] if voxels else []


def particles(made: Sequence[Made]) -> list[Boxes]:
    """One particle without boxes, one with a gap, and one on all projections."""
    boxes = [
        (one.projection, (x + 1.0, y + 30.0, x + 9.5, y + 90.0))
        for one in made
        for x, y, _, _ in [one.corners]
    ]
    gap: Boxes = [(65535, (0.0, 0.0, 0.0, 0.0))]
    return [[], gap + boxes[1:2], boxes] if made else []


def write(path: Path, layout: str, projections: Sequence[int]) -> Path:
    """Write a file in a process of its own; returns its path."""
    numbers = ",".join(map(str, projections))
    command = [sys.executable, "-m", "tests.support.larcv2_files", str(path), layout, numbers]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=120)
    return path


class _File:
    """Trees of one file, each with its event object."""

    def __init__(self, root: Any, path: str) -> None:
        self._root = root
        self._file = root.TFile.Open(path, "RECREATE", "", 101)
        self._trees: dict[str, tuple[Any, Any]] = {}

    def event(self, name: str, class_name: str) -> Any:
        if name not in self._trees:
            event = getattr(self._root.larcv, class_name)()
            tree = self._root.TTree(f"{name}_tree", f"{name} tree", 99, self._file)
            tree.Branch(f"{name}_branch", event, 32000, 99)
            self._trees[name] = tree, event
        return self._trees[name][1]

    def fill(self, rse: tuple[int, int, int]) -> None:
        for name, (tree, event) in self._trees.items():
            event.set(name.partition("_")[2], *rse)
            tree.Fill()

    def close(self) -> None:
        self._file.Write()
        self._file.Close()


def _set_meta(meta: Any, made: Made) -> None:
    meta.box(made.projection, *made.corners)
    meta.set(*made.pixels.shape, made.unit)


def _set_voxels(target: Any, voxels: Sequence[tuple[int, float]]) -> None:
    target.resize(len(voxels))
    for place, voxel in enumerate(voxels):
        target[place].set(*voxel)


def _set_boxes(target: Any, boxes: Boxes) -> None:
    target.resize(len(boxes))
    for place, (projection, corners) in enumerate(boxes):
        target[place].box(projection, *corners)


def _fill(file: _File, made: Sequence[Made]) -> None:
    wire, back = (file.event(f"image2d_{n}", "EventImage2D").all() for n in ("wire", "wire.back"))
    sparse = file.event("sparse2d_wire", "EventSparseTensor2D").all()
    cluster = file.event("cluster2d_wire", "EventClusterPixel2D").all()
    for target in (wire, back, sparse, cluster):
        target.resize(len(made))
        for place, one in enumerate(made):
            _set_meta(target[place].meta(), one)
    for place, one in enumerate(made):
        for target, pixels in ((wire, one.pixels), (back, one.pixels[::-1])):
            target[place].img().assign(pixels.T.ravel().tolist())
        sets = voxel_sets(one.pixels)
        _set_voxels(sparse[place].voxels(), sorted(voxel for one_set in sets for voxel in one_set))
        cluster[place].sets().resize(len(sets))
        for target, voxels in zip(cluster[place].sets(), sets, strict=True):
            _set_voxels(target.voxels(), voxels)
    its_particles = particles(made)
    target = file.event("particle_mcst", "EventParticle").all()
    target.resize(len(its_particles))
    for place, boxes in enumerate(its_particles):
        _set_boxes(target[place].boxes(), boxes)
    _set_boxes(file.event("bbox2d_croi", "EventBBox2D"), [b for p in its_particles for b in p][1:])


def main(path: str, layout: str, numbers: str) -> None:
    # it warns of classes without a dictionary, which it compiles and saves all the same
    warnings.simplefilter("ignore")
    import ROOT

    number = {"new": "unsigned long", "old": "unsigned short"}[layout]
    assert ROOT.gInterpreter.Declare(CLASSES.replace("NUMBER", number))
    file = _File(ROOT, path)
    for entry, rse in enumerate(RSES):
        _fill(file, images(entry, [int(number) for number in numbers.split(",")]))
        file.fill(rse)
    file.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

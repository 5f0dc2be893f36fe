// LArCV2's event classes as ROOT writes them. They have the same names, members and order, and so the
// same checksums (tests/lartpc/test_larcv2_write.py checks them). LArCV's methods are not here.
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "TTree.h"

namespace larcv {

const unsigned short kINVALID_USHORT = std::numeric_limits<unsigned short>::max();
const unsigned int kINVALID_UINT = std::numeric_limits<unsigned int>::max();
const unsigned long kINVALID_INSTANCE = std::numeric_limits<long>::max();
const double kINVALID_DOUBLE = std::numeric_limits<double>::max();

enum DistanceUnit_t { kUnitUnknown, kUnitCM, kUnitWireTime };
enum ShapeType_t {
  kShapeShower,
  kShapeTrack,
  kShapeMichel,
  kShapeDelta,
  kShapeLEScatter,
  kShapeGhost,
  kShapeUnknown
};

struct Point2D {
  double x = 0, y = 0;
};

struct Point3D {
  double x = 0, y = 0, z = 0;
};

class BBox2D {
 public:
  virtual ~BBox2D() {}
  BBox2D() {}
  BBox2D(double x1, double y1, double x2, double y2, unsigned short id) : _id(id) {
    _p1.x = x1;
    _p1.y = y1;
    _p2.x = x2;
    _p2.y = y2;
  }

 private:
  unsigned short _id = kINVALID_USHORT;
  larcv::Point2D _p1;
  larcv::Point2D _p2;
};

class BBox3D {
 public:
  virtual ~BBox3D() {}

 private:
  larcv::Point3D _p1;
  larcv::Point3D _p2;
};

class ImageMeta : public BBox2D {
 public:
  ImageMeta() {}
  ImageMeta(double x1, double y1, double x2, double y2, size_t rows, size_t cols, unsigned short id,
            int unit)
      : BBox2D(x1, y1, x2, y2, id), _col_count(cols), _row_count(rows), _unit(DistanceUnit_t(unit)) {}

 protected:
  unsigned short _image_id = kINVALID_USHORT;
  size_t _col_count = 0;
  size_t _row_count = 0;
  larcv::DistanceUnit_t _unit = kUnitUnknown;
};

class Image2D {
 public:
  virtual ~Image2D() {}
  // `pixels` is the address of rows x cols floats, column-major.
  void set(unsigned short id, const ImageMeta& meta, size_t pixels, size_t count) {
    _id = id;
    _meta = meta;
    _img.resize(count);  // reuses the memory of the last event
    std::memcpy(_img.data(), reinterpret_cast<const float*>(pixels), count * sizeof(float));
  }

 private:
  std::vector<float> _img;
  unsigned short _id = kINVALID_USHORT;
  larcv::ImageMeta _meta;
};

class EventBase {
 public:
  virtual ~EventBase() {}
  void set(const std::string& producer, size_t run, size_t subrun, size_t event) {
    _producer = producer;
    _run = run;
    _subrun = subrun;
    _event = event;
  }

 private:
  std::string _producer;
  size_t _run = 0;
  size_t _subrun = 0;
  size_t _event = 0;
};

class EventImage2D : public EventBase {
 public:
  virtual ~EventImage2D() {}
  void resize(size_t images) { _image_v.resize(images); }
  void clear() { std::vector<larcv::Image2D>().swap(_image_v); }
  larcv::Image2D& image(size_t i) { return _image_v.at(i); }

 private:
  std::vector<larcv::Image2D> _image_v;
};

class Voxel {
 private:
  unsigned long long _id = 0;
  float _value = 0;
};

class VoxelSet {
 public:
  virtual ~VoxelSet() {}
  void clear() { std::vector<larcv::Voxel>().swap(_voxel_v); }

 private:
  unsigned long _id = kINVALID_INSTANCE;
  std::vector<larcv::Voxel> _voxel_v;
};

class VoxelSetArray {
 public:
  virtual ~VoxelSetArray() {}
  void clear() { std::vector<larcv::VoxelSet>().swap(_voxel_vv); }

 private:
  std::vector<larcv::VoxelSet> _voxel_vv;
};

class SparseTensor2D : public VoxelSet {
 private:
  larcv::ImageMeta _meta;
};

class EventSparseTensor2D : public EventBase {
 public:
  void clear() { std::vector<larcv::SparseTensor2D>().swap(_tensor_v); }

 private:
  std::vector<larcv::SparseTensor2D> _tensor_v;
};

class ClusterPixel2D : public VoxelSetArray {
 private:
  larcv::ImageMeta _meta;
};

class EventClusterPixel2D : public EventBase {
 public:
  void clear() { std::vector<larcv::ClusterPixel2D>().swap(_cluster_v); }

 private:
  std::vector<larcv::ClusterPixel2D> _cluster_v;
};

class Vertex {
 public:
  virtual ~Vertex() {}

 private:
  double _x = 0, _y = 0, _z = 0, _t = 0;
};

class Particle {
 public:
  virtual ~Particle() {}
  void set(unsigned long id, unsigned short mcst_index) {
    _id = id;
    _mcst_index = mcst_index;
  }
  // LArCV2 finds a box by its projection, which is its place in the vector.
  void add_box(const ImageMeta& box, unsigned short projection) {
    if (_bb2d_v.size() <= projection) _bb2d_v.resize(projection + 1);
    _bb2d_v.at(projection) = box;
  }

 private:
  unsigned long _id = kINVALID_INSTANCE;
  unsigned short _mcst_index = kINVALID_USHORT;
  unsigned short _mct_index = kINVALID_USHORT;
  larcv::ShapeType_t _shape = kShapeUnknown;
  short _current_type = -1;
  short _interaction_type = -1;
  unsigned int _trackid = kINVALID_UINT;
  unsigned int _genid = kINVALID_UINT;
  int _pdg = 0;
  double _px = 0, _py = 0, _pz = 0;
  double _end_px = kINVALID_DOUBLE, _end_py = kINVALID_DOUBLE, _end_pz = kINVALID_DOUBLE;
  larcv::Vertex _vtx;
  larcv::Vertex _end_pt;
  larcv::Vertex _first_step;
  larcv::Vertex _last_step;
  double _dist_travel = -1;
  double _energy_init = 0;
  double _energy_deposit = 0;
  std::string _process;
  std::vector<larcv::BBox2D> _bb2d_v;
  larcv::BBox3D _bb3d;
  int _num_voxels = 0;
  unsigned int _parent_trackid = kINVALID_UINT;
  int _parent_pdg = 0;
  larcv::Vertex _parent_vtx;
  unsigned int _ancestor_trackid = kINVALID_UINT;
  int _ancestor_pdg = 0;
  larcv::Vertex _ancestor_vtx;
  std::string _ancestor_process;
  std::string _parent_process;
  unsigned long _parent_id = kINVALID_INSTANCE;
  std::vector<unsigned long> _children_id;
  unsigned long _group_id = kINVALID_INSTANCE;
  unsigned long _interaction_id = kINVALID_INSTANCE;
};

class ParticleSet {
 public:
  virtual ~ParticleSet() {}
  void resize(size_t particles) { _part_v.assign(particles, larcv::Particle()); }
  void clear() { std::vector<larcv::Particle>().swap(_part_v); }
  larcv::Particle& roi(size_t i) { return _part_v.at(i); }

 private:
  std::vector<larcv::Particle> _part_v;
};

class EventParticle : public EventBase, public ParticleSet {};

class EventBBox2D : public EventBase, public std::vector<larcv::BBox2D> {
 public:
  larcv::DistanceUnit_t unit = kUnitUnknown;
  std::string info;
};

class EventBBox3D : public EventBase, public std::vector<larcv::BBox3D> {};

class Voxel3DMeta : public BBox3D {
 private:
  bool _valid = false;
  size_t _num_element = 0;
  double _xlen = 0, _ylen = 0, _zlen = 0;
  size_t _xnum = 0, _ynum = 0, _znum = 0;
  larcv::DistanceUnit_t _unit = kUnitUnknown;
};

class SparseTensor3D : public VoxelSet {
 private:
  larcv::Voxel3DMeta _meta;
};

class EventSparseTensor3D : public EventBase, public SparseTensor3D {};

class ClusterVoxel3D : public VoxelSetArray {
 private:
  larcv::Voxel3DMeta _meta;
};

class EventClusterVoxel3D : public EventBase, public ClusterVoxel3D {};

}  // namespace larcv

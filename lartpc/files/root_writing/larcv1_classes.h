// LArCV1's event classes as ROOT writes them. They have the same names, members and order, and so the
// same checksums (tests/lartpc/test_larcv1_write.py checks them). LArCV's methods are not here.
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "TTree.h"

namespace larcv {

const unsigned short kINVALID_USHORT = std::numeric_limits<unsigned short>::max();

enum ShapeType_t { kShapeShower, kShapeTrack, kShapeUnknown };
enum ROIType_t { kROIUnknown };

struct Point2D {
  double x = 0, y = 0;
};

class ImageMeta {
 public:
  ImageMeta() {}
  ImageMeta(double width, double height, size_t rows, size_t cols, double x, double y,
            unsigned short plane)
      : _width(width), _height(height), _col_count(cols), _row_count(rows), _plane(plane) {
    _origin.x = x;
    _origin.y = y;
  }

 protected:
  unsigned short _image_id = kINVALID_USHORT;
  larcv::Point2D _origin;
  double _width = 0;
  double _height = 0;
  size_t _col_count = 0;
  size_t _row_count = 0;
  unsigned short _plane = kINVALID_USHORT;
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

class Vertex {
 public:
  virtual ~Vertex() {}

 private:
  double _x = 0, _y = 0, _z = 0, _t = 0;
};

class ROI {
 public:
  virtual ~ROI() {}
  void set(unsigned short index, unsigned short mcst_index) {
    _index = index;
    _mcst_index = mcst_index;
  }
  void add_box(const ImageMeta& box) { _bb_v.push_back(box); }

 private:
  unsigned short _index = 0;
  larcv::ShapeType_t _shape = kShapeUnknown;
  larcv::ROIType_t _type = kROIUnknown;
  unsigned short _mcst_index = kINVALID_USHORT;
  unsigned short _mct_index = kINVALID_USHORT;
  double _energy_deposit = 0;
  double _energy_init = 0;
  int _pdg = 0;
  int _parent_pdg = 0;
  unsigned int _trackid = std::numeric_limits<unsigned int>::max();
  unsigned int _parent_trackid = std::numeric_limits<unsigned int>::max();
  larcv::Vertex _vtx;
  double _px = 0, _py = 0, _pz = 0;
  larcv::Vertex _parent_vtx;
  double _parent_px = 0, _parent_py = 0, _parent_pz = 0;
  std::vector<larcv::ImageMeta> _bb_v;
  short _current_type = -1;
  short _interaction_type = -1;
  std::string _process;
  larcv::Vertex _end_pt;
  std::vector<float> _type_score_v;
  larcv::Vertex _first_step;
  larcv::Vertex _last_step;
  double _dist_travel = -1;
};

class EventROI : public EventBase {
 public:
  virtual ~EventROI() {}
  void resize(size_t rois) { _part_v.assign(rois, larcv::ROI()); }
  void clear() { std::vector<larcv::ROI>().swap(_part_v); }
  larcv::ROI& roi(size_t i) { return _part_v.at(i); }

 private:
  std::vector<larcv::ROI> _part_v;
};

}  // namespace larcv

#!/usr/bin/env bash
# Build a real pycaffe, for the CPU, from PyPI's source package and libraries of Debian or Ubuntu.
#
#   build_caffe.sh          build it, unless it is there, and print its folder for PYTHONPATH
#   build_caffe.sh where    only print the folder
#
# Environment: PYTHON (python3), a Python with numpy, protobuf and pip; JOBS, the number of cores.
# The folder is in the user's cache. Its name has a checksum of this script and the versions that
# matter, and it appears when it is complete. Missing libraries are installed with apt-get, as root
# or by sudo; otherwise the script says which they are.
#
# The package is not quite BVLC's Caffe: it is a fork with the layers of SSD, whose Eltwise and
# Scale check no shapes. What we serve is computed alike. Only our layers are compiled, and those
# without which Caffe cannot be linked; only in float; without CUDA, OpenCV, LMDB and LevelDB.
set -euo pipefail
package=brocolli-caffe version=9.0.2
layers="base_conv base_data batch_norm bias concat conv crop deconv dropout eltwise input lrn
 memory_data neuron pooling power relu scale sigmoid softmax split tanh"
utilities="bbox_util benchmark blocking_queue db hdf5 im2col insert_splits io math_functions
 signal_handler upgrade_proto"

say() { echo "build_caffe: $*" >&2; }
fail() { say "$*"; exit 1; }
python=$(command -v "${PYTHON:-python3}") || fail "want Python, got no ${PYTHON:-python3} (PYTHON)"
[ "${python:0:1}" = / ] || python=$PWD/$python
mapfile -t found < <("$python" -c '
import sys, sysconfig
import numpy, google.protobuf
print("%d%d" % sys.version_info[:2], numpy.__version__.split(".")[0], sep="\n")
print(sysconfig.get_path("include"), numpy.get_include(), sep="\n")
' 2>/dev/null)
[ ${#found[@]} = 4 ] || fail "want a Python with numpy and protobuf, got $python (PYTHON)"
abi=${found[0]} numpy=${found[1]} headers=${found[2]}
export CPLUS_INCLUDE_PATH=$headers:${found[3]}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ssnetserver
key=$(sha256sum <"${BASH_SOURCE[0]}" | cut -c1-12)
built=$cache/pycaffe-$key-python$abi-numpy$numpy-$(uname -m)
if [ "${1:-}" = where ] || [ -d "$built" ]; then echo "$built"; exit; fi
[ $# = 0 ] || fail "want nothing or where, got $*"

mkdir -p "$cache"
exec 9>"$built.lock"
flock 9 # another call may build it now
if [ -d "$built" ]; then echo "$built"; exit; fi

libraries=(g++ libboost-{dev,thread-dev,system-dev,filesystem-dev,python-dev} libprotobuf-dev
    protobuf-compiler libhdf5-dev libgoogle-glog-dev libgflags-dev libopenblas-dev)
if ! dpkg --status "${libraries[@]}" >/dev/null 2>&1; then
    get=(apt-get --yes --quiet=2 -o DPkg::Lock::Timeout=300)
    if [ "$(id -u)" != 0 ]; then
        sudo --non-interactive true 2>/dev/null ||
            fail "want these first: apt-get install ${libraries[*]}"
        get=(sudo --non-interactive "${get[@]}")
    fi
    export DEBIAN_FRONTEND=noninteractive
    exec 8>"${TMPDIR:-/tmp}/tests-apt-$(id -u).lock" && flock 8 # as other tools are installed
    { "${get[@]}" update && "${get[@]}" install --no-install-recommends "${libraries[@]}"; } >&2
    exec 8>&-
fi
triplet=$(g++ -print-multiarch)
[ -e "/usr/lib/$triplet/libboost_python$abi.so" ] ||
    fail "want the Python of this system, for which it has Boost.Python, got $abi (PYTHON)"
[ -e "$headers/Python.h" ] || fail "want $headers/Python.h: apt-get install python3-dev"

work=$built.part
rm -rf "$work" # of a call that was killed
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/source" "$work/units"
cd "$work"
"$python" -m pip --quiet --disable-pip-version-check download --no-deps --no-binary "$package" \
    "$package==$version" >&2
tar xzf "$package-$version.tar.gz" --strip-components 1 --directory source --no-same-owner
cd source

# protobuf 3.21 has one limit where 3.5 had two
sed -Ei 's/SetTotalBytesLimit\(([^,()]+), *[^()]+\)/SetTotalBytesLimit(\1)/' src/caffe/util/io.cpp
# what `import caffe` does not need may be missing
sed -Ei 's/^(import skimage\.io|from (scipy|skimage)\.\w+ import \w+)$/try:\n    \1\
except ImportError:\n    pass/' python/caffe/io.py
sed -Ei -e '/^import six$/d; s/six\.iteritems\(([^()]+)\)/\1.items()/; s/six\.next\(/next(/' \
    -e 's/six\.string_types/str/; s/six\.itervalues\(([^()]+)\)/iter(\1.values())/' \
    python/caffe/pycaffe.py python/caffe/net_spec.py
# without double: half of the compiling
sed -Ei '/^ *template class classname<double>/d; s/^( *template class classname<float>).*/\1/' \
    include/caffe/common.hpp
sed -Ei '/<double> g_creator_d_/d; s/(<float> g_creator_f_[^\\]*) *\\$/\1/' \
    include/caffe/layer_factory.hpp include/caffe/solver_factory.hpp

rm -f src/caffe/proto/*.pb.* python/caffe/proto/caffe_pb2.py
mkdir -p include/caffe/proto
protoc -Isrc/caffe/proto --cpp_out=include/caffe/proto --python_out=python/caffe/proto \
    src/caffe/proto/caffe.proto
touch python/caffe/proto/__init__.py

say "compiling $package $version with ${JOBS:=$(nproc)} jobs"
# the headers are most of the compiling, so there are few units
units=../units
printf '#include "%s"\n' src/caffe/*.cpp src/caffe/solvers/*.cpp >$units/core.cpp
# shellcheck disable=SC2086
printf '#include "src/caffe/util/%s.cpp"\n' $utilities >$units/utilities.cpp
# shellcheck disable=SC2086
printf '#include "src/caffe/layers/%s_layer.cpp"\n' $layers >$units/layers.cpp
mv python/caffe/_caffe.cpp include/caffe/proto/caffe.pb.cc $units
# hidden, in sections: what nothing uses is left out, with all that it would need
export FLAGS="-std=c++14 -O2 -fPIC -w -fvisibility=hidden -ffunction-sections -fdata-sections
 -DCPU_ONLY -DUSE_HDF5 -DCAFFE_VERSION=1.0.0 -DBOOST_BIND_GLOBAL_PLACEHOLDERS
 -DBOOST_ALLOW_DEPRECATED_HEADERS -I. -Iinclude -Iinclude/caffe/proto -Isrc
 -I/usr/include/hdf5/serial -I/usr/include/$triplet/openblas-pthread"
# shellcheck disable=SC2016
printf '%s\n' $units/*.c* | xargs -P "$JOBS" -I{} bash -c '
    [[ {} != *.pb.cc ]] || FLAGS="$FLAGS -O0" # it reads one text
    g++ $FLAGS -c {} -o {}.o'
g++ -shared -s -Wl,--gc-sections -o python/caffe/_caffe.so $units/*.o \
    -lboost_{thread,system,filesystem,"python$abi"} "-L/usr/lib/$triplet/hdf5/serial" \
    -lhdf5_hl -lhdf5 -lprotobuf -lopenblas -lglog -lgflags -lpthread

# a first pass, before it is called built
cat >check.prototxt <<'NET'
input: "data" input_shape { dim: 1 dim: 1 dim: 4 dim: 4 }
layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
NET
GLOG_minloglevel=2 PYTHONPATH=python "$python" -c '
import caffe, numpy
net = caffe.Net("check.prototxt", caffe.TEST)
net.blobs["data"].reshape(1, 1, 2, 6)
net.blobs["data"].data[...] = numpy.arange(-6, 6).reshape(1, 1, 2, 6)
net.forward()
assert net.blobs["r"].data.sum() == 15, net.blobs["r"].data
'
rm -rf python/caffe/{test,imagenet}
mkdir ../python
mv python/caffe ../python
mv ../python "$built"
say "built $package $version"
echo "$built"

#!/usr/bin/env bash
# Build a real LArCV for the tests: LArCV3 from PyPI, LArCV1 and LArCV2 from sources on this machine.
#
#   build_larcv.sh larcv3          build it, unless it is there, and print its folder for PYTHONPATH
#   build_larcv.sh larcv1          the same, from LARCV1_SOURCE: a checkout or a bare repository
#   build_larcv.sh larcv2          the same, from LARCV2_SOURCE
#   build_larcv.sh where NAME      only print the folder
#
# Environment: PYTHON, a Python with pip, or with ROOT for LArCV1 and LArCV2 (python3); JOBS (the number
# of cores); LARCV1_REVISION (v06_70_00d), LARCV2_REVISION (HEAD): which revision of a bare repository.
# The folder is in the user's cache, and its name has a checksum of this script, and the versions that
# matter. It appears when it is complete. Missing libraries are installed with apt-get, as root or by
# sudo. Compiled are only the classes of data, the IOManager, and what they need.
set -euo pipefail
say() { echo "build_larcv: $*" >&2; }
fail() { say "$*"; exit 1; }
where=
if [ "${1:-}" = where ]; then where=1; shift; fi
name=${1:-}
case "$name" in
    larcv1 | larcv2 | larcv3) [ $# = 1 ] ;;
    *) false ;;
esac || { say "want larcv1, larcv2 or larcv3, got ${*:-nothing}"; exit 2; }
python=$(command -v "${PYTHON:-python3}") || fail "want Python, got no ${PYTHON:-python3} (PYTHON)"
[ "${python:0:1}" = / ] || python=$PWD/$python
jobs=${JOBS:-$(nproc)}
suits=$("$python" - "$name" <<'END'
import sys
from importlib import metadata

print("python%d%d" % sys.version_info[:2], end="")
if sys.argv[1] != "larcv3":
    try:
        print("-root" + metadata.version("root"), end="")
    except metadata.PackageNotFoundError:
        pass  # a ROOT that pip did not install, or none
END
)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ssnetserver
key=$(sha256sum <"${BASH_SOURCE[0]}" | cut -c1-12)
built=$cache/$name-$key-$suits-$(uname -m)
if [ -n "$where" ] || [ -d "$built" ]; then echo "$built"; exit; fi

mkdir -p "$cache"
exec 9>"$built.lock"
flock 9 # another call may build it now
if [ -d "$built" ]; then echo "$built"; exit; fi

want() { # packages of Debian or Ubuntu
    if dpkg --status "$@" >/dev/null 2>&1; then return; fi
    local get=(apt-get --yes --quiet=2 -o DPkg::Lock::Timeout=300)
    if [ "$(id -u)" != 0 ]; then
        sudo --non-interactive true 2>/dev/null || fail "want these first: apt-get install $*"
        get=(sudo --non-interactive "${get[@]}")
    fi
    export DEBIAN_FRONTEND=noninteractive
    exec 8>"${TMPDIR:-/tmp}/tests-apt-$(id -u).lock" && flock 8 # other tools may be installed now
    { "${get[@]}" update && "${get[@]}" install --no-install-recommends "$@"; } >&2
    exec 8>&-
}

work=$(mktemp -d "$cache/.$name-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir objects python python/larcv

compile() { # the source files on standard input, with these options
    FLAGS="-fPIC -w $*" xargs -P "$jobs" -I{} sh -c \
        'exec g++ $FLAGS -c "{}" -o "$0/objects/$(echo "{}" | tr / _).o"' "$work"
}

# The release's own pybind11 is older than NumPy 2: with it, as_array() is one number in every pixel.
build_larcv3() {
    want g++ libhdf5-dev
    local pip=(tools/bin/pip --quiet --disable-pip-version-check) headers includes
    includes=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -e "$includes/Python.h" ] ||
        fail "want the headers of $python, got no $includes/Python.h: apt-get install python3-dev"
    "$python" -m venv tools
    "${pip[@]}" install scikit-build 'setuptools<81' wheel pybind11==2.13.6 >&2
    "${pip[@]}" download --no-deps --no-build-isolation --no-binary larcv larcv==3.5.1 >&2
    tar xzf larcv-3.5.1.tar.gz --strip-components 1 --one-top-level=source
    headers=$(tools/bin/python -c 'import pybind11; print(pybind11.get_include())')
    cd source/src
    # the headers are most of the compiling: once is enough
    printf '#include <%s>\n' pybind11/{pybind11,numpy,stl,operators}.h pybind11_json/pybind11_json.hpp \
        hdf5.h >all.hpp
    cat >module.cxx <<'END'
#include "larcv3/core/base/base.h"
#include "larcv3/core/dataformat/dataformat.h"
PYBIND11_MODULE(pylarcv, m) {
  init_base(m);
  init_dataformat(m);
}
END
    local flags="-std=c++14 -O0 -fvisibility=hidden -DLARCV_INTERNAL -I. -I$headers -Ijson/include
        -Ipybind11_json/include $(pkg-config --cflags hdf5 2>/dev/null || echo -I/usr/include/hdf5/serial)
        -I$includes"
    # shellcheck disable=SC2086
    g++ -fPIC -w $flags -x c++-header all.hpp
    # shellcheck disable=SC2086
    ls module.cxx larcv3/core/{base,dataformat}/*.cxx | compile $flags -include all.hpp
    g++ -shared -s -o "$work/python/larcv/pylarcv.so" "$work"/objects/*.o \
        "-L/usr/lib/$(g++ -print-multiarch)/hdf5/serial" -lhdf5
    echo 'from .pylarcv import *' >"$work/python/larcv/__init__.py"
    cd "$work"
    check '
import larcv
io = larcv.IOManager(larcv.IOManager.kWRITE); io.set_out_file("check.h5"); io.initialize()
image = larcv.Tensor2D(numpy.arange(6, dtype=numpy.float32).reshape(2, 3))
io.set_id(1, 2, 3); io.get_data("image2d", "wire").append(image); io.save_entry(); io.finalize()
io = larcv.IOManager(larcv.IOManager.kREAD); io.add_in_file("check.h5"); io.initialize()
io.read_entry(0)
assert io.get_data("image2d", "wire").tensor(0).as_vector() == list(range(6))'
}

# $1: the sources; $2: the revision, if they are a bare repository; $3: the folder that includes are
# relative to; $4: the folder of the packages in it; $5: what the IOManager calls images. Their own build
# files want OpenCV, NumPy's headers and Python 2.
build_with_root() {
    local wanted=$3/${4}DataFormat/IOManager.h root flags libraries package
    [ -n "$1" ] ||
        fail "$name is on no package index: want its checkout or bare repository in ${name^^}_SOURCE"
    if [ -e "$1/$wanted" ]; then
        cp -r "$1" source
    else
        mkdir source
        git -c safe.directory='*' -C "$1" archive "$2" | tar x -C source
    fi
    [ -e "source/$wanted" ] || fail "want $wanted in $1 at $2 (${name^^}_SOURCE)"
    want g++
    root=$("$python" -c 'import importlib.util as util; print(*util.find_spec("ROOT").submodule_search_locations)') ||
        fail "want a Python with ROOT, got $python (PYTHON)"
    [ ! -d "$root/bin" ] || PATH=$root/bin:$PATH
    # the root-config of ROOT's wheel names a folder that the wheel does not have
    flags=$(root-config --cflags | sed 's#/mock_site_packages/ROOT##g')
    libraries=$(root-config --libs | sed 's#/mock_site_packages/ROOT##g')
    cd "source/$3"
    for package in Base DataFormat; do
        rootcling -f "$work/$package.cxx" -s "$work/python/larcv/liblarcv$package" -rml liblarcv.so \
            -rmf "$work/$package.rootmap" -I. \
            $(ls "$4$package"/*.h | grep -v LinkDef.h) "$4$package/LinkDef.h" >&2
    done
    # shellcheck disable=SC2086
    ls "$4"{Base,DataFormat}/*.cxx "$work"/{Base,DataFormat}.cxx |
        compile -O1 $flags -I.
    # shellcheck disable=SC2086
    g++ -shared -s -o "$work/python/larcv/liblarcv.so" "$work"/objects/*.o $libraries
    mkdir "$work/python/larcv/include" # ROOT's interpreter reads them
    cp --parents "$4"{Base,DataFormat}/*.h "$work/python/larcv/include"
    cd "$work"
    cat >python/larcv/__init__.py <<'END'
import os
import ROOT

_here = os.path.dirname(os.path.abspath(__file__))
ROOT.gInterpreter.AddIncludePath(os.path.join(_here, "include"))
if ROOT.gSystem.Load(os.path.join(_here, "liblarcv.so")) < 0:
    raise ImportError("want liblarcv.so in %s loaded, ROOT cannot" % _here)
larcv = ROOT.larcv
larcv.IOManager  # ROOT reads the dictionaries now
END
    check "
from larcv import larcv
io = larcv.IOManager(larcv.IOManager.kWRITE); io.set_out_file('check.root'); io.initialize()
io.set_id(1, 2, 3); io.get_data($5, 'wire'); io.save_entry(); io.finalize()"
}

check() { PYTHONPATH=python "$python" -W ignore -c "import numpy$1" >&2; }

say "compiling $name with $jobs jobs"
case "$name" in
    larcv1)
        build_with_root "${LARCV1_SOURCE:-}" "${LARCV1_REVISION:-v06_70_00d}" core "" \
            larcv.kProductImage2D
        ;;
    larcv2) build_with_root "${LARCV2_SOURCE:-}" "${LARCV2_REVISION:-HEAD}" . larcv/core/ "'image2d'" ;;
    larcv3) build_larcv3 ;;
esac
mv python "$built"
say "built $name in $built"
echo "$built"

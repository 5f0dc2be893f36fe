#!/usr/bin/env bash
# Build a real LArCV for the tests, and print the folder that it is in.
#   build_larcv.sh larcv3          LArCV3, from the package index
#   build_larcv.sh larcv1          LArCV1, from LARCV1_SOURCE: a checkout or a bare repository
#   build_larcv.sh larcv2          LArCV2, from LARCV2_SOURCE
#   build_larcv.sh --where NAME    only prints the folder, which may not be there
# PYTHONPATH=FOLDER/python makes `larcv` importable for the PYTHON that built it. A second call finds
# what the first one built. The folder's name changes with this script, with the version of Python and
# with the version of ROOT, whose parts LArCV1 and LArCV2 are compiled against.
# Environment: PYTHON (python3; with ROOT and numpy), JOBS (all processors), LARCV1_REVISION
# (v06_70_00d) and LARCV2_REVISION (HEAD) of bare repositories.
set -euo pipefail
say() { echo "build_larcv: $*" >&2; }
fail() {
    say "$@"
    exit 1
}
where=
if [ "${1:-}" = --where ]; then
    where=1
    shift
fi
name=${1:-}
case "$name" in
    larcv1 | larcv2 | larcv3) ;;
    *)
        say "want larcv1, larcv2 or larcv3, got ${*:-nothing}"
        exit 2
        ;;
esac
python=$(command -v "${PYTHON:-python3}") || fail "no ${PYTHON:-python3}"
jobs=${JOBS:-$(nproc)}

# the ABI of Python, and the version of ROOT for the two that need it
suits=$("$python" - "$name" <<'END'
import sys
from importlib import metadata
try:
    root = metadata.version("root") if sys.argv[1] != "larcv3" else ""
except metadata.PackageNotFoundError:
    root = "elsewhere"
print(sys.implementation.cache_tag, root)
END
)
hash=$({ cat "$0" && echo "$suits"; } | sha256sum | cut -c 1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ssnetserver
folder=$cache/$name-$hash
if [ -n "$where" ] || [ -e "$folder" ]; then
    echo "$folder"
    exit
fi
mkdir -p "$cache"
exec 9>"$folder.lock" && flock 9
if [ -e "$folder" ]; then # another process has built it meanwhile
    echo "$folder"
    exit
fi
part=$folder.part
rm -rf "$part"
mkdir -p "$part/work" "$part/python"
log=$part/build.log

# what apt-get has to install, as root or by sudo
want_packages() {
    if dpkg --status "$@" >/dev/null 2>&1; then
        return
    fi
    local get=(apt-get --yes --quiet=2 -o DPkg::Lock::Timeout=300)
    [ "$(id -u)" = 0 ] || get=(sudo --non-interactive "${get[@]}")
    export DEBIAN_FRONTEND=noninteractive
    (
        exec 8>"${TMPDIR:-/tmp}/tests-apt-$(id -u).lock" && flock 8
        "${get[@]}" update && "${get[@]}" install --no-install-recommends "$@"
    ) >&2 || fail "want these first (apt-get install): $*"
}

show_log() {
    grep --max-count 5 --after-context 3 -i 'error' "$log" >&2 || tail -n 20 "$log" >&2
}

# LArCV3's release is a source archive. Its own pybind11 is older than NumPy 2: with it, as_array() and
# arrays that are given to Tensor2D are wrong numbers, without an error. Its CMake files are refused by
# CMake 4, so Debian's is used.
build_larcv3() {
    want_packages cmake g++ make libhdf5-dev
    local work=$part/work tools=$part/work/tools source
    "$python" -m venv "$tools"
    local pip=("$tools/bin/pip" --quiet --disable-pip-version-check)
    "${pip[@]}" install numpy scikit-build 'setuptools<81' wheel pybind11==2.13.6 >&2
    "${pip[@]}" download --dest "$work" --no-deps --no-build-isolation --no-binary larcv \
        larcv==3.5.1 >&2
    tar -xzf "$work/larcv-3.5.1.tar.gz" -C "$work"
    source=$work/larcv-3.5.1
    rm -rf "$source/_skbuild" "$source/src/pybind11/include/pybind11"
    cp -r "$("$tools/bin/python" -c 'import pybind11; print(pybind11.get_include())')/pybind11" \
        "$source/src/pybind11/include/"
    sed -i 's/-Wall -O3 -g/-w -O1/' "$source/src/CMakeLists.txt"
    (cd "$source" && PATH="$tools/bin:$PATH" MAKEFLAGS="-j$jobs" SKBUILD_BUILD_OPTIONS="-j$jobs" \
        "$tools/bin/pip" --disable-pip-version-check wheel --verbose --no-build-isolation --no-deps \
        --wheel-dir "$work" .) >"$log" 2>&1 || { show_log && fail "LArCV3 does not compile: $log"; }
    "${pip[@]}" install --no-deps --target "$part/python" "$work"/larcv-*.whl >&2
    find "$part/python" -name '*.so' -exec strip --strip-unneeded {} +
}

# $1: the variable that names the sources; $2: the revision, for a bare repository
unpack_source() {
    local from=${!1:-}
    [ -n "$from" ] || fail "$name is on no package index: want a checkout or a bare repository in $1"
    if [ -e "$from/$3" ]; then
        cp -r "$from/." "$part/source"
    else
        mkdir "$part/source"
        git -c safe.directory='*' -C "$from" archive "$2" | tar -x -C "$part/source"
    fi
    [ -e "$part/source/$3" ] || fail "want $3 in $from, of $1, at $2"
}

# Compile the two packages that hold the classes and the IOManager, with their dictionaries. Their own
# build files want OpenCV, NumPy's headers and Python 2.
# $1: the folder below which includes are found; $2: the folder of the packages, below the first
compile_packages() {
    want_packages g++
    local root=$("$python" -c '
import importlib.util
print(importlib.util.find_spec("ROOT").submodule_search_locations[0])') || fail "no ROOT in $python"
    [ ! -d "$root/bin" ] || PATH=$root/bin:$PATH
    # the root-config of ROOT's wheel names folders that the wheel does not have
    local flags=$(root-config --cflags | sed 's#/mock_site_packages/ROOT##g')
    local libraries=$(root-config --libs | sed 's#/mock_site_packages/ROOT##g')
    local build=$part/work package
    cd "$1"
    for package in Base DataFormat; do
        local headers=$(ls "$2$package"/*.h | grep -v LinkDef.h)
        rootcling -f "$build/$package.cxx" -s "$part/python/larcv/liblarcv$package" \
            -rml liblarcv.so -rmf "$build/$package.rootmap" -I. -I"$2$package" \
            $headers "$2$package/LinkDef.h"
        (cd "$build" && echo "$package.cxx") >>"$build/dictionaries"
    done
    { ls "$2"{Base,DataFormat}/*.cxx && sed "s#^#$build/#" "$build/dictionaries"; } |
        xargs -P "$jobs" -I{} sh -c 'exec g++ -c -fPIC -O1 -w "$@" -o "$0/$(echo {} | tr / _).o" {}' \
            "$build" $flags -I. -I"$2Base" -I"$2DataFormat"
    g++ -shared -o "$part/python/larcv/liblarcv.so" "$build"/*.o $libraries
    # cling reads the headers when the library is used
    mkdir "$part/python/larcv/include"
    cp --parents "$2"{Base,DataFormat}/*.h "$part/python/larcv/include"
}

build_with_root() {
    mkdir "$part/python/larcv"
    (compile_packages "$@") >"$log" 2>&1 || { show_log && fail "$name does not compile: $log"; }
    cat >"$part/python/larcv/__init__.py" <<'END'
"""LArCV's classes, from the library beside this file."""
import os
import ROOT

_here = os.path.dirname(os.path.abspath(__file__))
ROOT.gInterpreter.AddIncludePath(os.path.join(_here, "include"))
if ROOT.gSystem.Load(os.path.join(_here, "liblarcv.so")) < 0:
    raise ImportError(f"want liblarcv.so in {_here} loaded")
larcv = ROOT.larcv
END
}

say "building $name in $folder"
case "$name" in
    larcv1)
        unpack_source LARCV1_SOURCE "${LARCV1_REVISION:-v06_70_00d}" core/DataFormat/IOManager.h
        build_with_root "$part/source/core" ""
        ;;
    larcv2)
        unpack_source LARCV2_SOURCE "${LARCV2_REVISION:-HEAD}" larcv/core/DataFormat/IOManager.h
        build_with_root "$part/source" larcv/core/
        ;;
    larcv3) build_larcv3 ;;
esac
rm -rf "$part/work" "$part/source"
mv "$part" "$folder" # its name is there only with all of it
say "built $name: $(du -sh "$folder/python" | cut -f 1)"
echo "$folder"

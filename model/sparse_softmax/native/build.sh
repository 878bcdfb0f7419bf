#!/usr/bin/env bash
# build.sh [OPTION_OF_CMAKE...]
#
# Builds liblabelset.so beside this file, in build/. What it lacks, its last line says.
set -euo pipefail
# Before the change of folder: it may be a relative path.
headers=${ONNXRUNTIME_INCLUDE_DIR:+$(realpath --canonicalize-missing "$ONNXRUNTIME_INCLUDE_DIR")}
cd "$(dirname "$0")"

for command in cmake c++; do
    if ! command -v "$command" >/dev/null; then
        echo "error: $command must be there to build the compiled r-softmax; on Debian: apt-get install cmake g++ make" >&2
        exit 1
    fi
done

if [ -n "$headers" ] && [ ! -e "$headers/onnxruntime_c_api.h" ]; then
    echo "error: ONNXRUNTIME_INCLUDE_DIR must be a folder with onnxruntime_c_api.h, got $headers" >&2
    exit 1
fi
if [ -z "$headers" ] && [ -e /usr/include/onnxruntime/onnxruntime_c_api.h ]; then
    headers=/usr/include/onnxruntime
fi
if [ -z "$headers" ]; then
    headers=$(./fetch_headers.sh build/headers)
fi
# A checkout that was moved: CMake refuses a cache of elsewhere.
if [ -e build/CMakeCache.txt ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" build/CMakeCache.txt; then
    rm -rf build/CMakeCache.txt build/CMakeFiles
fi
cmake -S . -B build -DONNXRUNTIME_INCLUDE_DIR="$headers" "$@"
cmake --build build --parallel "$(nproc)"

# Renamed, not written over: a process may be running on the old one.
cp build/liblabelset.so liblabelset.so.new
mv liblabelset.so.new liblabelset.so
echo "built $PWD/liblabelset.so"

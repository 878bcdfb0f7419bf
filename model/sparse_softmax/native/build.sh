#!/usr/bin/env bash
# build.sh [OPTION_OF_CMAKE...]
#
# Builds liblabelset.so beside this file, in build/. What it lacks, its last line says.
set -euo pipefail
cd "$(dirname "$0")"

for command in cmake c++; do
    if ! command -v "$command" >/dev/null; then
        echo "error: $command must be there to build the compiled r-softmax; on Debian: apt-get install cmake g++ make" >&2
        exit 1
    fi
done

headers=${ONNXRUNTIME_INCLUDE_DIR:-/usr/include/onnxruntime}
if [ -z "${ONNXRUNTIME_INCLUDE_DIR:-}" ] && [ ! -e "$headers/onnxruntime_c_api.h" ]; then
    headers=$(./fetch_headers.sh build/headers)
fi
cmake -S . -B build -DONNXRUNTIME_INCLUDE_DIR="$headers" "$@"
cmake --build build --parallel "$(nproc)"

# Renamed, not written over: a process may be running on the old one.
cp build/liblabelset.so liblabelset.so.new
mv liblabelset.so.new liblabelset.so
echo "built $PWD/liblabelset.so"

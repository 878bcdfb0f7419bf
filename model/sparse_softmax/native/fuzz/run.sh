#!/usr/bin/env bash
# run.sh BUILD [OPTION_OF_FUZZ_ROWS...]
#
# Builds the library and the driver in one of three ways, beside the library itself, and runs the driver:
#   asan   AddressSanitizer and UndefinedBehaviorSanitizer; the first of either's reports ends it
#   tsan   ThreadSanitizer
#   arm64  a cross compiler's, in an emulator; on Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:?usage: run.sh asan|tsan|arm64 [OPTION_OF_FUZZ_ROWS...]}
shift
emulator=()
case $kind in
    asan) options=(-DLABELSET_SANITIZE=address,undefined,float-cast-overflow -DCMAKE_CXX_FLAGS_RELEASE="-O1 -g") ;;
    tsan) options=(-DLABELSET_SANITIZE=thread -DCMAKE_CXX_FLAGS_RELEASE="-O1 -g") ;;
    arm64)
        options=(-DCMAKE_TOOLCHAIN_FILE=fuzz/arm64.cmake)
        emulator=(qemu-aarch64-static -L /usr/aarch64-linux-gnu)
        ;;
    *)
        echo "error: the build must be asan, tsan or arm64, got $kind" >&2
        exit 2
        ;;
esac

# The headers are those that the library was built with.
[ -e build/CMakeCache.txt ] || ./build.sh >&2
headers=$(sed -n 's/^ONNXRUNTIME_INCLUDE_DIR:[A-Z]*=//p' build/CMakeCache.txt)
cmake -S . -B "build/$kind" -DONNXRUNTIME_INCLUDE_DIR="$headers" "${options[@]}" >/dev/null
cmake --build "build/$kind" --target fuzz_rows --parallel "$(nproc)" >/dev/null
exec "${emulator[@]}" "build/$kind/fuzz/fuzz_rows" "$@"

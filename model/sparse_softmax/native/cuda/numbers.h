// Arithmetic whose rounding matters, and the few operations that GPU and CPU spell differently.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#ifdef __CUDACC__
#define LABELSET_DEVICE __device__ __forceinline__
#else
#define LABELSET_DEVICE inline
#endif

namespace labelset {
namespace cuda {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kSmallestDenormal = 1.40129846e-45f;

// Below this many candidates a pass may as well look for the neighbours of its pivot.
constexpr int kFewCandidates = 32;
// Smooth rows are done by then; the others hold ties, or numbers of very different size.
constexpr int kPassesBeforeBisection = 12;

#ifdef __CUDA_ARCH__
// Never fused: every implementation rounds alike (SPEC 1.3).
LABELSET_DEVICE double multiply(double a, double b) { return __dmul_rn(a, b); }
LABELSET_DEVICE double add(double a, double b) { return __dadd_rn(a, b); }
LABELSET_DEVICE double subtract(double a, double b) { return __dsub_rn(a, b); }
LABELSET_DEVICE float round_to_float(double value) { return __double2float_rn(value); }
LABELSET_DEVICE unsigned bits_of(float value) { return __float_as_uint(value); }
LABELSET_DEVICE float from_bits(unsigned bits) { return __uint_as_float(bits); }
#else
LABELSET_DEVICE double multiply(double a, double b) { return a * b; }
LABELSET_DEVICE double add(double a, double b) { return a + b; }
LABELSET_DEVICE double subtract(double a, double b) { return a - b; }
LABELSET_DEVICE float round_to_float(double value) { return static_cast<float>(value); }
LABELSET_DEVICE unsigned bits_of(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
LABELSET_DEVICE float from_bits(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
#endif

LABELSET_DEVICE float interpolate(float lower, float upper, double fraction) {
    return round_to_float(add(lower, multiply(fraction, subtract(upper, lower))));
}

// Integers in the order of the numbers.
LABELSET_DEVICE unsigned order_key(float value) {
    const unsigned bits = bits_of(value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
LABELSET_DEVICE float from_order_key(unsigned key) { return from_bits(key >> 31 ? key & 0x7fffffffu : ~key); }

// The log-odds of lying among the `rank` largest of `size`, roughly.
LABELSET_DEVICE float rank_logit(float rank, int size) {
#ifdef __CUDA_ARCH__
    return __log2f(__fdividef(rank + 0.5f, float(size) - rank + 0.5f));
#else
    return log2f((rank + 0.5f) / (float(size) - rank + 0.5f));
#endif
}

}  // namespace cuda
}  // namespace labelset

// Four lanes in the compiler's own vector types: SSE2 on any x86-64, NEON on any arm64, and whatever another CPU has.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace labelset {

struct Portable {
    typedef float Floats __attribute__((vector_size(16)));
    typedef int32_t Mask __attribute__((vector_size(16)));
    using Counts = Mask;
    static constexpr int kLanes = 4;
#if defined(__aarch64__)
    static constexpr const char* kName = "neon";
#else
    static constexpr const char* kName = "portable";
#endif

    static Floats load(const float* from) {
        Floats v;
        std::memcpy(&v, from, sizeof v);
        return v;
    }
    // The first `count` < kLanes lanes; the others are `rest`.
    static Floats load_first(const float* from, int count, Floats rest) {
        for (int lane = 0; lane < count; ++lane) rest[lane] = from[lane];
        return rest;
    }
    static void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }
    static void store_first(float* to, int count, Floats v) {
        for (int lane = 0; lane < count; ++lane) to[lane] = v[lane];
    }

    static Floats all(float value) { return Floats{value, value, value, value}; }
    static Floats add(Floats a, Floats b) { return a + b; }
    static Floats sub(Floats a, Floats b) { return a - b; }
    static Floats mul(Floats a, Floats b) { return a * b; }
    static Floats div(Floats a, Floats b) { return a / b; }
    static Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
    static Floats min(Floats a, Floats b) { return a < b ? a : b; }
    static Floats max(Floats a, Floats b) { return a > b ? a : b; }
    // Add the integer in the last bits of `bits` to the exponent of v.
    static Floats add_to_exponent(Floats v, Floats bits) {
        return reinterpret_cast<Floats>(reinterpret_cast<Mask>(v) + (reinterpret_cast<Mask>(bits) << 23));
    }

    static Mask first(int count) { return Mask{0, 1, 2, 3} < Mask{count, count, count, count}; }
    static Mask above(Floats a, Floats b) { return a > b; }
    static Mask at_least(Floats a, Floats b) { return a >= b; }
    // At least, or NaN.
    static Mask not_below(Floats a, Floats b) { return ~(a < b); }
    static Mask equal(Floats a, Floats b) { return a == b; }
    static Mask both(Mask a, Mask b) { return a & b; }
    static Floats select(Mask mask, Floats yes, Floats no) { return mask ? yes : no; }
    static Floats keep(Mask mask, Floats v) { return reinterpret_cast<Floats>(reinterpret_cast<Mask>(v) & mask); }
    static uint32_t bits(Mask mask) { return (mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8); }
    static int count(Mask mask) { return -(mask[0] + mask[1] + mask[2] + mask[3]); }

    // The chosen lanes, one after another; up to kLanes are written.
    static void compress(float* to, Mask mask, Floats v) {
        for (int lane = 0; lane < kLanes; ++lane) {
            *to = v[lane];
            to -= mask[lane];
        }
    }
    // The reverse: chosen lanes take the next values, the others are 0; up to kLanes are read.
    static Floats expand(const float* from, Mask mask) {
        Floats v{};
        for (int lane = 0; lane < kLanes; ++lane) {
            v[lane] = *from;
            from -= mask[lane];
        }
        return keep(mask, v);
    }

    static Counts no_counts() { return Counts{}; }
    static Counts count_if(Counts counts, Mask mask) { return counts - mask; }
    static int64_t total(Counts counts) { return int64_t{counts[0]} + counts[1] + counts[2] + counts[3]; }
    static Mask below(Counts counts, int32_t limit) { return counts < Counts{limit, limit, limit, limit}; }

    static float sum(Floats v) { return (v[0] + v[2]) + (v[1] + v[3]); }
    static float lowest(Floats v) { return lesser(lesser(v[0], v[1]), lesser(v[2], v[3])); }
    static float highest(Floats v) { return -lowest(-v); }

   private:
    static float lesser(float a, float b) { return a < b ? a : b; }
};

}  // namespace labelset

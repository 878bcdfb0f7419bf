// Loops over a row, a vector at a time, and what every row kernel needs to know of float32.
//
// The row kernels are compiled once for each kind of CPU (path_*.cpp). What follows for all these headers:
// - None of the standard library's templates: the linker keeps one copy of each, perhaps one that this CPU cannot run.
//   Ours carry the kind `S` in their name, and what does not is small enough to be inlined.
// - A vector (S::Floats, S::Mask, S::Counts) is no parameter and no result of a function that is not LABELSET_INLINE:
//   GCC 12 leaves out the vzeroupper at the end of one, and its callers pay some 150 ns a row.
// - Loops that store vectors take what they need of a row into variables of their own: a vector may alias a pointer, which
//   would be loaded again each time.
#pragma once

#include <cstdint>
#include <cstring>

#define LABELSET_INLINE inline __attribute__((always_inline))
// What few rows need: kept apart, it leaves the way of most rows short.
#define LABELSET_APART __attribute__((noinline))

namespace labelset {

constexpr float kInfinity = __builtin_inff();
constexpr float kLargest = 3.40282347e38f;
constexpr float kSmallestNormal = 1.17549435e-38f;

// How far a vector store may reach beyond the values that it is meant for; buffers have this much room at their end.
constexpr int64_t kMargin = 64;

LABELSET_INLINE uint32_t as_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

LABELSET_INLINE float as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// log2 of a normal number, to two digits.
LABELSET_INLINE float rough_log2(float value) {
    const uint32_t bits = as_bits(value);
    const float mantissa = as_float((bits & 0x007FFFFF) | 0x3F800000);
    return static_cast<float>(static_cast<int>(bits >> 23) - 127) + (mantissa - 1) * (1.3465f - 0.3465f * (mantissa - 1));
}

// Call `visit(vector, offset)` over the row; lanes beyond its end are `rest`.
template <class S, class Visit>
LABELSET_INLINE void for_each_vector(const float* row, int64_t count, float rest, const Visit& visit) {
    int64_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) visit(S::load(row + i), i);
    if (i < count) visit(S::load_first(row + i, static_cast<int>(count - i), S::all(rest)), i);
}

// to[i] = change(from[i]), a vector at a time; lanes beyond the end are given as -inf and not written.
template <class S, class Change>
LABELSET_INLINE void map_vectors(const float* from, int64_t count, float* to, const Change& change) {
    int64_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) S::store(to + i, change(S::load(from + i)));
    if (i < count) {
        const int rest = static_cast<int>(count - i);
        S::store_first(to + i, rest, change(S::load_first(from + i, rest, S::all(-kInfinity))));
    }
}

// A vector of what is left of a row, `left` > 0 values; lanes beyond it are `rest`, and not stored.
template <class S>
LABELSET_INLINE typename S::Floats load_up_to(const float* from, int64_t left, float rest) {
    return left >= S::kLanes ? S::load(from) : S::load_first(from, static_cast<int>(left), S::all(rest));
}

template <class S>
LABELSET_INLINE void store_up_to(float* to, int64_t left, typename S::Floats v) {
    if (left >= S::kLanes) {
        S::store(to, v);
    } else {
        S::store_first(to, static_cast<int>(left), v);
    }
}

// Call `work(first, count)` on blocks over which a sum in float32 stays exact enough.
template <class S, class Work>
LABELSET_INLINE void in_blocks(int64_t count, const Work& work) {
    constexpr int64_t kSummed = 128 * S::kLanes;
    for (int64_t first = 0; first < count; first += kSummed)
        work(first, count - first < kSummed ? count - first : kSummed);
}

template <class S>
LABELSET_INLINE void fill(float* to, int64_t count, float value) {
    const auto v = S::all(value);
    int64_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) S::store(to + i, v);
    if (i < count) S::store_first(to + i, static_cast<int>(count - i), v);
}

// Append the values of a row that `choose(vector)` masks, which may change them; returns how many. Lanes beyond the end
// are given as `rest` and not appended. `to` may be `row` itself.
template <class S, class Choose>
LABELSET_INLINE int64_t collect(const float* row, int64_t count, float rest, float* to, const Choose& choose) {
    float* end = to;
    int64_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) {
        auto v = S::load(row + i);
        const auto mask = choose(v);
        S::compress(end, mask, v);
        end += S::count(mask);
    }
    if (i < count) {
        const int left = static_cast<int>(count - i);
        auto v = S::load_first(row + i, left, S::all(rest));
        const auto mask = S::both(choose(v), S::first(left));
        S::compress(end, mask, v);
        end += S::count(mask);
    }
    return end - to;
}

// -inf behind the last value of a buffer, up to the end of its last vector and of its last 16 values.
template <class S>
LABELSET_INLINE void pad(float* values, int64_t count) {
    for (int i = 0; i < 16; i += S::kLanes) S::store(values + count + i, S::all(-kInfinity));
}

}  // namespace labelset

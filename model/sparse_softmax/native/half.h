// Rows of float16.
#pragma once

#include <onnxruntime_float16.h>

#include <algorithm>
#include <cstdint>

namespace labelset {

// A float16 as it lies in memory: not every compiler has the type.
struct Half : onnxruntime_float16::Float16Impl<Half> {
    float to_float() const { return ToFloatImpl(); }

    // The nearest, but not 0 where the probability is above it (SPEC 1.4).
    static Half from_probability(float probability) {
        Half half;
        half.val = probability == 0 ? 0 : std::max<uint16_t>(1, ToUint16Impl(probability));
        return half;
    }
};

// `RowKernels::forward` for float16, computed in float32. Throws std::bad_alloc.
void forward_half(const Half* logits, const double* rates, int64_t rate_step, int64_t row_count, int64_t class_count,
                  Half* probabilities);

}  // namespace labelset

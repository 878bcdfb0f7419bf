#include "half.h"

#include <cstddef>
#include <vector>

#include "rows.h"

namespace labelset {
namespace {

// So many logits and their probabilities fit the first cache.
constexpr int64_t kLogitsAtOnce = 1 << 11;

// Rows in float32, logits and then probabilities: memory that a thread keeps.
thread_local std::vector<float> buffer;

}  // namespace

void forward_half(const Half* logits, const double* rates, int64_t rate_step, int64_t row_count, int64_t class_count,
                  Half* probabilities) {
    const int64_t rows_at_once = std::max<int64_t>(1, std::min(row_count, kLogitsAtOnce / class_count));
    const size_t needed = static_cast<size_t>(2 * rows_at_once * class_count);
    if (buffer.size() < needed) buffer.resize(needed);
    for (int64_t row = 0; row < row_count; row += rows_at_once) {
        const int64_t count = std::min(rows_at_once, row_count - row);
        const int64_t first = row * class_count, size = count * class_count;
        float* single_logits = buffer.data();
        float* single_probabilities = single_logits + size;
        for (int64_t i = 0; i < size; ++i) single_logits[i] = logits[first + i].to_float();
        row_kernels().forward(single_logits, rates + row * rate_step, rate_step, count, class_count,
                              single_probabilities, nullptr);
        for (int64_t i = 0; i < size; ++i)
            probabilities[first + i] = Half::from_probability(single_probabilities[i]);
    }
}

}  // namespace labelset

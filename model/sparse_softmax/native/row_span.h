// A row in memory, and what its length decides.
#pragma once

#include "row_maxima.h"

namespace labelset {

struct RowSpan {
    const float* logits;
    int64_t class_count;
    float* probabilities;
};

// Up to this length it pays to collect every candidate rather than to look for the blocks that hold one.
constexpr int64_t kShort = 128;
// From this length on, a row is looked at in blocks.
constexpr int64_t kLong = 4 * kBlock;
// So many logits ahead is memory asked for while a short row is computed: the next row is on its way by then.
constexpr int64_t kAhead = 1024;

}  // namespace labelset

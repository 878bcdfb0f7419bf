// The rows that are tried: their lengths, logits, masks, rates and gradients.
#pragma once

#include <cstdint>
#include <vector>

#include "random.h"

namespace fuzz {

struct Row {
    std::vector<float> logits;
    double rate;
    // For the report of a mismatch.
    const char* distribution;
    const char* spoiled_by;
    const char* rate_kind;
};

// The number of classes of a case: all of 1 ... 300 in turn, and now and then a large one, early on too.
int64_t class_count_of(int64_t case_index);

Row make_row(Random& random, int64_t class_count);

// The gradient that arrives at the probabilities of one row.
void fill_gradient(Random& random, float* gradient, int64_t class_count);

}  // namespace fuzz

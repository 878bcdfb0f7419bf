// How the logits of a row are spread: what models give, what breaks arithmetic, and what misleads a sample of a row.
#pragma once

#include <cmath>
#include <cstdint>

#include "random.h"

namespace fuzz {

struct Distribution {
    const char* name;
    void (*fill)(Random& random, float* row, int64_t count);
};

// One of all, drawn.
Distribution any_distribution(Random& random);

inline double any_scale(Random& random) { return std::pow(10, random.between(-3, 2)); }

}  // namespace fuzz

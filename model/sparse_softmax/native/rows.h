// Rows, on the instructions that this CPU has.
#pragma once

#include <cstdint>

namespace labelset {

// What the backward pass must know of a row's cut (SPEC 1.3): Q = lower + fraction (upper - lower), rounded once.
struct Cut {
    float value;      // Q; NaN where the row is NaN; 0 where every class is masked
    float lower;      // s_lo
    float upper;      // s_{lo+1}
    float highest;    // the maximum
    double fraction;  // h - lo
};

// The ways to compute rows on one kind of CPU.
struct RowKernels {
    const char* name;
    // Probabilities of rows that follow each other, class_count >= 1 apart; row i has the rate rates[i * rate_step].
    // `probabilities` must not overlap `logits`. `cuts`: one a row, or null.
    void (*forward)(const float* logits, const double* rates, int64_t rate_step, int64_t row_count, int64_t class_count,
                    float* probabilities, Cut* cuts);
    // The gradient of the logits of one row (SPEC 1.5), all but the part that moves the cut, which it returns: the sum
    // of the pulls through the weights.
    float (*backward)(const float* logits, const float* probabilities, float cut, const float* gradient,
                      int64_t class_count, float* logits_gradient);
    // The first class whose logit equals `value`; 0 where none does.
    int64_t (*find)(const float* logits, float value, int64_t class_count);
};

// The best that this CPU has, or what `choose_row_kernels` chose.
const RowKernels& row_kernels();

// Choose by name; false where the name is unknown or this CPU does not have the instructions.
bool choose_row_kernels(const char* name);

}  // namespace labelset

// The meaning once more, obvious and in double, and how far from it a result may lie. It shares no code with the rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fuzz {

// One row of r-softmax (SPEC 1.3, 1.4).
struct Reference {
    bool is_broken;     // The row is NaN, and nothing below counts.
    bool is_masked;     // All of it.
    float cut;          // Q
    float lower;        // s_lo
    float upper;        // s_{lo+1}
    float highest;      // The maximum.
    double fraction;    // h - lo
    std::vector<double> probabilities;
};

Reference r_softmax(const std::vector<float>& logits, double rate);

// What a row's gradient is computed from (SPEC 1.5): of the library's own results, so that an error shows once.
struct BackwardInputs {
    const float* logits;
    const float* probabilities;
    float cut;
    const int64_t* anchors;
    const float* shares;
    const float* gradient;
};

// Each gives what is wrong, or nothing.
std::string probabilities_error(const Reference& expected, const float* probabilities);
std::string cut_error(const Reference& expected, const float* logits, bool exact_gradient, float cut,
                      const int64_t* anchors, const float* shares);
std::string gradient_error(const Reference& expected, const BackwardInputs& inputs, const float* logits_gradient);

}  // namespace fuzz

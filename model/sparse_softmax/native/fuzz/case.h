// A few rows of one length, given to the library together and compared with the reference.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "inputs.h"
#include "placed.h"
#include "random.h"
#include "reference.h"

namespace fuzz {

// Made of a seed and an index alone.
class Case {
   public:
    Case(uint64_t seed, int64_t index);

    int64_t row_count() const { return row_count_; }
    int64_t class_count() const { return class_count_; }

    // Runs all functions of the library on its current path. Returns what is wrong, or nothing.
    std::string error();

   private:
    void forget_results();
    std::string forward_error();
    std::string training_error();
    bool is_intact() const;
    std::string in_row(int64_t row, const char* function, const std::string& error) const;

    Random random_;
    int64_t class_count_, row_count_;
    int thread_count_;
    bool exact_gradient_;
    int64_t rate_step_;
    Placed<float> logits_, probabilities_, gradient_, logits_gradient_;
    Placed<double> rates_;
    Placed<float> cuts_, shares_;
    Placed<int64_t> anchors_;
    std::vector<Row> rows_;
    std::vector<Reference> expected_;
};

}  // namespace fuzz

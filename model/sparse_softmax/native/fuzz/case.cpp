#include "case.h"

#include <algorithm>
#include <cstdio>

#include "../labelset.h"

namespace fuzz {

Case::Case(uint64_t seed, int64_t index)
    : random_(seed, static_cast<uint64_t>(index)),
      class_count_(class_count_of(index)),
      row_count_(random_.one_in(8) ? random_.between(2, 4) : 1),
      thread_count_(random_.one_in(4) ? 1 : 3),
      exact_gradient_(random_.one_in(2)),
      rate_step_(random_.one_in(4) ? 0 : 1),
      logits_(random_, row_count_ * class_count_),
      probabilities_(random_, row_count_ * class_count_),
      gradient_(random_, row_count_ * class_count_),
      logits_gradient_(random_, row_count_ * class_count_),
      rates_(random_, rate_step_ == 0 ? 1 : row_count_),
      cuts_(random_, row_count_),
      shares_(random_, 2 * row_count_),
      anchors_(random_, 2 * row_count_) {
    for (int64_t row = 0; row < row_count_; ++row) {
        rows_.push_back(make_row(random_, class_count_));
        if (rate_step_ == 0) rows_.back().rate = rows_.front().rate;
        rates_.data()[row * rate_step_] = rows_.back().rate;
        std::copy(rows_.back().logits.begin(), rows_.back().logits.end(), logits_.data() + row * class_count_);
        fill_gradient(random_, gradient_.data() + row * class_count_, class_count_);
        expected_.push_back(r_softmax(rows_.back().logits, rows_.back().rate));
    }
}

std::string Case::error() {
    std::string error = forward_error();
    if (error.empty()) error = training_error();
    if (error.empty() && !is_intact()) error = "memory beside an array must stay as it was";
    return error;
}

std::string Case::forward_error() {
    forget_results();
    labelset_r_softmax(logits_.data(), rates_.data(), rate_step_, row_count_, class_count_, probabilities_.data(),
                       thread_count_);
    std::string error;
    for (int64_t row = 0; row < row_count_ && error.empty(); ++row)
        error = in_row(row, "labelset_r_softmax",
                       probabilities_error(expected_[row], probabilities_.data() + row * class_count_));
    return error;
}

std::string Case::training_error() {
    forget_results();
    labelset_r_softmax_forward(logits_.data(), rates_.data(), rate_step_, row_count_, class_count_, exact_gradient_,
                               probabilities_.data(), cuts_.data(), anchors_.data(), shares_.data(), thread_count_);
    std::string error;
    for (int64_t row = 0; row < row_count_ && error.empty(); ++row) {
        const Reference& expected = expected_[row];
        const int64_t offset = row * class_count_;
        error = probabilities_error(expected, probabilities_.data() + offset);
        if (error.empty())
            error = cut_error(expected, logits_.data() + offset, exact_gradient_, cuts_.data()[row],
                              anchors_.data() + 2 * row, shares_.data() + 2 * row);
        error = in_row(row, "labelset_r_softmax_forward", error);
    }
    if (!error.empty()) return error;
    labelset_r_softmax_backward(logits_.data(), probabilities_.data(), cuts_.data(), anchors_.data(), shares_.data(),
                                gradient_.data(), row_count_, class_count_, logits_gradient_.data(), thread_count_);
    for (int64_t row = 0; row < row_count_ && error.empty(); ++row) {
        const int64_t offset = row * class_count_;
        const BackwardInputs inputs{logits_.data() + offset, probabilities_.data() + offset, cuts_.data()[row],
                                    anchors_.data() + 2 * row, shares_.data() + 2 * row, gradient_.data() + offset};
        error = in_row(row, "labelset_r_softmax_backward",
                       gradient_error(expected_[row], inputs, logits_gradient_.data() + offset));
    }
    return error;
}

// So that an element that is not written, or only added to, is seen.
void Case::forget_results() {
    for (Placed<float>* results : {&probabilities_, &logits_gradient_, &cuts_, &shares_}) results->fill(0.123f);
    anchors_.fill(-1);
}

bool Case::is_intact() const {
    const auto all_are = [](const auto&... arrays) { return (arrays.is_intact() && ...); };
    return all_are(logits_, probabilities_, gradient_, logits_gradient_, rates_, cuts_, shares_, anchors_);
}

std::string Case::in_row(int64_t row, const char* function, const std::string& error) const {
    if (error.empty()) return "";
    const Row& input = rows_[row];
    char place[256];
    std::snprintf(place, sizeof place, "\n  in row %lld: %s, spoiled by %s; rate %.17g = %a (%s); %s gradient",
                  static_cast<long long>(row), input.distribution, input.spoiled_by, input.rate, input.rate,
                  input.rate_kind, exact_gradient_ ? "exact" : "constant-t");
    return std::string(function) + ": " + error + place;
}

}  // namespace fuzz

#include "reference.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <limits>

namespace fuzz {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kTolerance = 1e-5;
// A probability that hardly fits its type needs to be above zero, not exact.
constexpr double kTiny = 8 * static_cast<double>(FLT_MIN);
// Through a weight near zero a gradient may; from here on anything goes.
constexpr double kLeavesType = FLT_MAX / 4;

__attribute__((format(printf, 1, 2))) std::string formatted(const char* format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

std::string different(const char* what, int64_t index, double expected, double actual) {
    return formatted("%s[%lld] must be %.9g (%a), got %.9g (%a)", what, static_cast<long long>(index), expected,
                     expected, actual, actual);
}

float weight(float logit, float cut) { return std::min(logit - cut, FLT_MAX); }

}  // namespace

Reference r_softmax(const std::vector<float>& logits, double rate) {
    Reference row{};
    row.is_broken = !(rate >= 0 && rate <= 1);
    std::vector<float> ascending;
    for (const float logit : logits) {
        if (std::isnan(logit) || logit == kInfinity) row.is_broken = true;
        if (logit != -kInfinity) ascending.push_back(logit);
    }
    row.is_masked = ascending.empty();
    row.probabilities.assign(logits.size(), 0);
    if (row.is_broken || row.is_masked) return row;
    // A lambda, so that this sort is compiled here and not shared with a library that is built with sanitizers.
    std::sort(ascending.begin(), ascending.end(), [](float a, float b) { return a < b; });

    const double position = rate * static_cast<double>(ascending.size() - 1);
    const size_t lower = static_cast<size_t>(std::floor(position));
    row.fraction = position - std::floor(position);
    row.lower = ascending[lower];
    row.upper = ascending[std::min(lower + 1, ascending.size() - 1)];
    row.highest = ascending.back();
    const double gap = static_cast<double>(row.upper) - static_cast<double>(row.lower);
    row.cut = static_cast<float>(static_cast<double>(row.lower) + row.fraction * gap);

    double sum = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
        double mass = 0;
        if (row.cut >= row.highest)
            mass = logits[i] == row.highest ? 1 : 0;
        else if (logits[i] > row.cut)
            mass = weight(logits[i], row.cut) * std::exp(static_cast<double>(logits[i]) - row.highest);
        row.probabilities[i] = mass;
        sum += mass;
    }
    for (size_t i = 0; i < logits.size(); ++i) {
        const bool survives = row.cut >= row.highest ? logits[i] == row.highest : logits[i] > row.cut;
        row.probabilities[i] = survives ? std::max(row.probabilities[i] / sum, static_cast<double>(FLT_MIN)) : 0;
    }
    return row;
}

std::string probabilities_error(const Reference& expected, const float* probabilities) {
    const auto class_count = static_cast<int64_t>(expected.probabilities.size());
    double sum = 0;
    for (int64_t i = 0; i < class_count; ++i) {
        const float actual = probabilities[i];
        if (expected.is_broken) {
            if (!std::isnan(actual)) return different("probabilities", i, NAN, actual);
            continue;
        }
        const double right = expected.probabilities[static_cast<size_t>(i)];
        const bool is_right = right == 0 ? actual == 0 && !std::signbit(actual)
                                         : actual >= FLT_MIN && std::fabs(actual - right) <= kTolerance * right + kTiny;
        if (!is_right) return different("probabilities", i, right, actual);
        sum += actual;
    }
    if (expected.is_broken || expected.is_masked || std::fabs(sum - 1) <= kTolerance) return "";
    return formatted("the sum of the probabilities must be 1, got %.9g", sum);
}

std::string cut_error(const Reference& expected, const float* logits, bool exact_gradient, float cut,
                      const int64_t* anchors, const float* shares) {
    const auto class_count = static_cast<int64_t>(expected.probabilities.size());
    for (int side = 0; side < 2; ++side)
        if (anchors[side] < 0 || anchors[side] >= class_count)
            return formatted("anchors[%d] must be a class, got %lld", side, static_cast<long long>(anchors[side]));
    if (expected.is_broken) return std::isnan(cut) ? "" : different("cut", 0, NAN, cut);
    // By value: +0 and -0 are one cut.
    if (cut != expected.cut) return different("cut", 0, expected.cut, cut);
    if (expected.is_masked) return "";
    const float anchored[2] = {exact_gradient ? expected.lower : expected.highest,
                               exact_gradient ? expected.upper : expected.highest};
    const double fraction = exact_gradient ? expected.fraction : 0;
    const float expected_shares[2] = {static_cast<float>(1 - fraction), static_cast<float>(fraction)};
    for (int side = 0; side < 2; ++side) {
        // An anchor that moves nothing may be any class.
        if (expected_shares[side] != 0 && logits[anchors[side]] != anchored[side])
            return different("logits[anchors]", side, anchored[side], logits[anchors[side]]);
        if (shares[side] != expected_shares[side])
            return different("shares", side, expected_shares[side], shares[side]);
    }
    return "";
}

std::string gradient_error(const Reference& expected, const BackwardInputs& inputs, const float* logits_gradient) {
    const auto class_count = static_cast<int64_t>(expected.probabilities.size());
    if (expected.is_broken) {
        for (int64_t i = 0; i < class_count; ++i)
            if (!std::isnan(logits_gradient[i])) return different("logits_gradient", i, NAN, logits_gradient[i]);
        return "";
    }
    const auto product = [&](int64_t i) { return static_cast<double>(inputs.probabilities[i]) * inputs.gradient[i]; };
    double mean = 0, mean_size = 0;
    for (int64_t i = 0; i < class_count; ++i) {
        mean += product(i);
        mean_size += std::fabs(product(i));
    }
    // `size` bounds the terms that a value is the sum of: what rounding is relative to.
    struct Sum {
        double value, size;
    };
    std::vector<Sum> right(static_cast<size_t>(class_count));
    Sum through_weights{0, 0};
    for (int64_t i = 0; i < class_count; ++i) {
        if (!(inputs.logits[i] > inputs.cut)) continue;
        const double pull = inputs.probabilities[i] * (inputs.gradient[i] - mean);
        // FLT_MIN here and below, since what is denormal is rounded more coarsely than its size says.
        const double size = inputs.probabilities[i] * (std::fabs(inputs.gradient[i]) + mean_size) + FLT_MIN;
        const double divisor = weight(inputs.logits[i], inputs.cut);
        right[static_cast<size_t>(i)] = {pull + pull / divisor, size + size / divisor};
        through_weights.value += pull / divisor;
        through_weights.size += size / divisor;
    }
    for (int side = 0; side < 2; ++side) {
        Sum& anchor = right[static_cast<size_t>(inputs.anchors[side])];
        anchor.value -= inputs.shares[side] * through_weights.value;
        // Once the sum itself leaves the type, so may any share of it, 0 included.
        const double share = through_weights.size > kLeavesType ? 1 : inputs.shares[side];
        anchor.size += share * through_weights.size;
    }
    for (int64_t i = 0; i < class_count; ++i) {
        const Sum& sum = right[static_cast<size_t>(i)];
        if (sum.size > kLeavesType) continue;
        if (!(std::fabs(logits_gradient[i] - sum.value) <= kTolerance * sum.size + FLT_MIN))
            return different("logits_gradient", i, sum.value, logits_gradient[i]);
    }
    return "";
}

}  // namespace fuzz

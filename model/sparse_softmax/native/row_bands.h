// Two thresholds between which the entry of a wanted rank most likely lies, told by a few of the entries or by counts.
//
// A guess: who takes it counts what lies above both, and asks again or searches the rest where it was wrong.
#pragma once

#include "row_search.h"
#include "vectors.h"

namespace labelset {

struct Band {
    float low, high;
};

// Two thresholds, and how many entries are above each; those that equal the low one count as above it.
struct Bracket {
    float low, high;
    int64_t above_low, above_high;
};

// A row as it is searched: itself, or negated.
template <class S, bool kNegated>
LABELSET_INLINE typename S::Floats searched(typename S::Floats v) {
    return kNegated ? S::sub(S::all(0), v) : v;
}

// The values of two ranks in a sample; behind it is room for another one and two margins.
template <class S>
Band band_in_sample(float* values, int64_t size, int64_t low_rank, int64_t high_rank) {
    using Floats = typename S::Floats;
    if (size <= 64) {
        const Neighbours found =
            at_ranks<S>(values, static_cast<int>(size), static_cast<int>(low_rank), static_cast<int>(high_rank));
        return {found.lower, found.upper};
    }
    Floats lowest = S::all(kLargest), highest = S::all(-kLargest);
    for_each_vector<S>(values, size, 0, [&](Floats v, int64_t) {
        lowest = S::min(v, lowest);
        highest = S::max(v, highest);
    });
    const float bottom = just_below(S::lowest(lowest)), top = S::highest(highest);
    const auto find = [&](int64_t rank) {
        return rank < 2 ? top : Search<S>(values, size, 0, rank, bottom, top, values + size + kMargin).run().lower;
    };
    return {find(low_rank), find(high_rank)};
}

// The band that a sample of the row tells. The rank scatters: `spread` says by how many deviations the low threshold
// stays below what is expected.
template <class S, bool kNegated>
LABELSET_INLINE Band band_of_sample(const float* row, int64_t count, int64_t rank, double spread, float* buffer) {
    const int64_t size = count < 4096 ? 32 : count < 32768 ? 64 : 1024;
    const int64_t stride = count / size * S::kLanes;
    for (int64_t i = 0, from = 0; i < size; i += S::kLanes, from += stride) {
        // Finite, whatever the row: the search relies on it, and what is masked (-inf) is never collected.
        const auto v = S::min(searched<S, kNegated>(S::load(row + from)), S::all(kLargest));
        S::store(buffer + i, S::max(v, S::all(-kLargest)));
    }
    const double share = static_cast<double>(rank) / static_cast<double>(count);
    const double expected = share * static_cast<double>(size), scatter = __builtin_sqrt(expected * (1 - share));
    const int64_t low = static_cast<int64_t>(expected + spread * scatter + 1.5);
    const int64_t high = static_cast<int64_t>(expected - 1.25 * scatter + 0.5);
    const Band band = band_in_sample<S>(buffer, size, low < size ? low : size, high > 1 ? high : 1);
    return {low <= size ? band.low : -kLargest, band.high};
}

// Of the odds of lying above a threshold that `above` of `class_count` entries lie above.
LABELSET_INLINE float log_odds(float above, int64_t class_count) {
    const float all = static_cast<float>(class_count);
    const float bounded = above < 0.5f ? 0.5f : above > all - 0.5f ? all - 0.5f : above;
    return rough_log2(bounded) - rough_log2(all - bounded);
}

// A closer band within a bracket, at most at `top`: where the rank should be if the entries near it were spread like
// the logistic distribution, whose log-odds are linear, and how far off that may be.
LABELSET_INLINE Band band_of_counts(const Bracket& bracket, int64_t class_count, int64_t rank, float top) {
    const float between = static_cast<float>(bracket.above_low - bracket.above_high);
    const float at_low = log_odds(static_cast<float>(bracket.above_low), class_count);
    const float at_high = log_odds(static_cast<float>(bracket.above_high), class_count);
    const float here = static_cast<float>(rank) - 0.5f, at_rank = log_odds(here, class_count);
    const float per_odds = (bracket.high - bracket.low) / (at_low - at_high);
    const float expected = bracket.low + per_odds * (at_low - at_rank);
    const bool above = rank - 1 <= bracket.above_high;
    float ranks = 0.9f * __builtin_sqrtf(between) + 0.025f * between + 1;
    if (above) ranks += 0.25f * static_cast<float>(bracket.above_high - rank + 1);
    const float reach = ranks * per_odds * (log_odds(here + 1, class_count) - at_rank);
    Band band{expected - reach, expected + reach};
    // Written so that a NaN, from thresholds that tie or are infinite, takes the safe side.
    const float safe_high = above ? top : bracket.high;
    if (!(band.low >= bracket.low)) band.low = bracket.low;
    if (!(band.high <= safe_high)) band.high = safe_high;
    return band;
}

}  // namespace labelset

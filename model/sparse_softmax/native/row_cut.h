// The cut of a row: where it lies, what it is (SPEC 1.3), and which classes count (SPEC 1.4).
#pragma once

#include "row_search.h"
#include "row_span.h"
#include "rows.h"
#include "vectors.h"

namespace labelset {

// Where the cut lies among the unmasked entries, ascending (SPEC 1.3).
struct Position {
    int64_t rank;     // of s_lo, from the largest
    double fraction;  // of the way to the entry above it
};

LABELSET_INLINE Position position_of(double rate, int64_t unmasked) {
    const double position = rate * static_cast<double>(unmasked - 1);
    const int64_t lower = static_cast<int64_t>(position);
    return {unmasked - lower, position - static_cast<double>(lower)};
}

LABELSET_INLINE Cut cut_between(Neighbours found, float highest, double fraction) {
    // Exactly these operations: every implementation rounds alike.
    const double lower = found.lower, gap = static_cast<double>(found.upper) - lower;
    return {static_cast<float>(lower + fraction * gap), found.lower, found.upper, highest, fraction};
}

// Where the cut is the maximum, what ties for it shares equally (SPEC 1.3, the ends).
LABELSET_INLINE bool is_tied(const Cut& cut) {
    return !(cut.value < cut.highest);
}

// How many classes are not masked; false where a NaN or a +inf spoils the row (SPEC 1.4).
template <class S>
bool count_unmasked(const RowSpan& row, int64_t& unmasked) {
    auto above_mask = S::no_counts(), sound = S::no_counts();
    for_each_vector<S>(row.logits, row.class_count, -kInfinity, [&](typename S::Floats v, int64_t) {
        above_mask = S::count_if(above_mask, S::above(v, S::all(-kInfinity)));
        sound = S::count_if(sound, S::above(S::all(kInfinity), v));
    });
    unmasked = S::total(above_mask);
    const int64_t lanes = (row.class_count + S::kLanes - 1) / S::kLanes * S::kLanes;
    return S::total(sound) == lanes;
}

}  // namespace labelset

// Rows of which every probability is computed where its logit stands: hard cases, ties, and rows with many survivors.
#pragma once

#include "row_cut.h"
#include "row_masses.h"
#include "row_span.h"
#include "rows.h"
#include "vectors.h"

namespace labelset {

// A NaN, a +inf or a rate outside [0, 1] makes the whole row NaN (SPEC 1.4).
template <class S>
Cut spoil(const RowSpan& row) {
    const float nan = __builtin_nanf("");
    fill<S>(row.probabilities, row.class_count, nan);
    return {nan, nan, nan, nan, 0};
}

// Every class is masked: all zeros (SPEC 1.4).
template <class S>
Cut clear_masked(const RowSpan& row) {
    fill<S>(row.probabilities, row.class_count, 0);
    return {0, 0, 0, -kInfinity, 0};
}

// The cut is the maximum: equal shares among the entries that equal it (SPEC 1.3, the ends).
template <class S>
void share_among_maxima(const RowSpan& row, float highest) {
    using Floats = typename S::Floats;
    const Floats maximum = S::all(highest);
    auto ties = S::no_counts();
    for_each_vector<S>(row.logits, row.class_count, -kInfinity, [&](Floats v, int64_t) {
        ties = S::count_if(ties, S::equal(v, maximum));
    });
    const Floats share = S::all(1.0f / static_cast<float>(S::total(ties)));
    map_vectors<S>(row.logits, row.class_count, row.probabilities,
                   [&](Floats v) { return S::keep(S::equal(v, maximum), share); });
}

// For rows of which most entries survive, and for short ones.
template <class S>
void weigh_in_place(const RowSpan& row, const Cut& cut) {
    using Floats = typename S::Floats;
    with_masses<S>(cut, [&](auto masses) {
        in_blocks<S>(row.class_count, [&](int64_t first, int64_t count) {
            map_vectors<S>(row.logits + first, count, row.probabilities + first,
                           [&](Floats v) { return masses.of(v); });
            masses.settle();
        });
        const Floats scale = masses.scale();
        map_vectors<S>(row.probabilities, row.class_count, row.probabilities,
                       [&](Floats mass) { return probability<S>(mass, scale); });
    });
}

template <class S>
LABELSET_INLINE void write_in_place(const RowSpan& row, const Cut& cut) {
    if (is_tied(cut)) {
        share_among_maxima<S>(row, cut.highest);
    } else {
        weigh_in_place<S>(row, cut);
    }
}

}  // namespace labelset

// A row that fits into a few vectors: every entry is ranked against every other, and nothing leaves the registers.
#pragma once

#include "row_cut.h"
#include "row_in_place.h"
#include "row_masses.h"
#include "row_search.h"
#include "row_span.h"
#include "vectors.h"

namespace labelset {

// The entries of the rank and of the one above it.
template <class S, int kVectors>
LABELSET_INLINE Neighbours rank_in_registers(const RowSpan& row, const typename S::Floats* vectors, int rank,
                                             float highest) {
    typename S::Counts above[kVectors];
    for (int part = 0; part < kVectors; ++part) above[part] = S::no_counts();
#pragma GCC unroll 4
    for (int i = 0; i < static_cast<int>(row.class_count); ++i) {
        const auto other = S::all(row.logits[i]);
        for (int part = 0; part < kVectors; ++part)
            above[part] = S::count_if(above[part], S::above(other, vectors[part]));
    }
    const auto infinity = S::all(kInfinity);
    auto lower = infinity, upper = infinity;
    for (int part = 0; part < kVectors; ++part) {
        lower = S::min(lower, S::select(S::below(above[part], rank), vectors[part], infinity));
        upper = S::min(upper, S::select(S::below(above[part], rank - 1), vectors[part], infinity));
    }
    return {S::lowest(lower), rank == 1 ? highest : S::lowest(upper)};
}

// From logits to probabilities, in the registers that hold them.
template <class S, int kVectors>
LABELSET_INLINE void weigh_in_registers(typename S::Floats* vectors, const Cut& cut) {
    with_masses<S>(cut, [&](auto masses) {
        for (int part = 0; part < kVectors; ++part) vectors[part] = masses.of(vectors[part]);
        masses.settle();
        const auto scale = masses.scale();
        for (int part = 0; part < kVectors; ++part) vectors[part] = probability<S>(vectors[part], scale);
    });
}

// A row of more than kVectors - 1 and at most kVectors vectors.
template <class S, int kVectors>
Cut compute_in_registers(const RowSpan& row, double rate) {
    using Floats = typename S::Floats;
    if (!(rate >= 0 && rate <= 1)) return spoil<S>(row);
    const Floats masked = S::all(-kInfinity), infinity = S::all(kInfinity);
    // The last vector is never empty, and may be whole.
    constexpr int64_t kLast = (kVectors - 1) * S::kLanes;
    const int64_t rest = row.class_count - kLast;
    Floats vectors[kVectors];
    for (int part = 0; part + 1 < kVectors; ++part) vectors[part] = S::load(row.logits + part * S::kLanes);
    vectors[kVectors - 1] = load_up_to<S>(row.logits + kLast, rest, -kInfinity);

    uint32_t unmasked_bits = 0, sound_bits = ~uint32_t{0};
    Floats maximum = masked;
    for (int part = 0; part < kVectors; ++part) {
        unmasked_bits |= S::bits(S::above(vectors[part], masked)) << (part * S::kLanes);
        sound_bits &= S::bits(S::above(infinity, vectors[part]));
        maximum = S::max(vectors[part], maximum);
    }
    if (sound_bits != S::bits(S::first(S::kLanes))) return spoil<S>(row);
    if (unmasked_bits == 0) return clear_masked<S>(row);

    const float highest = S::highest(maximum);
    const Position position = position_of(rate, __builtin_popcount(unmasked_bits));
    const Neighbours found =
        rank_in_registers<S, kVectors>(row, vectors, static_cast<int>(position.rank), highest);
    const Cut cut = cut_between(found, highest, position.fraction);
    if (is_tied(cut)) {
        share_among_maxima<S>(row, highest);
        return cut;
    }
    weigh_in_registers<S, kVectors>(vectors, cut);
    for (int part = 0; part + 1 < kVectors; ++part) S::store(row.probabilities + part * S::kLanes, vectors[part]);
    store_up_to<S>(row.probabilities + kLast, rest, vectors[kVectors - 1]);
    return cut;
}

}  // namespace labelset

// A cut anywhere in the row: a sample tells a threshold below it, what reaches that is collected, and the exact search
// goes on among the collected.
//
// Where most entries survive it is those that do not that are collected: the search goes through the negated row.
#pragma once

#include "row_bands.h"
#include "row_masses.h"
#include "row_search.h"
#include "row_span.h"
#include "rows.h"
#include "vectors.h"

namespace labelset {

LABELSET_INLINE bool survive_mostly(int64_t rank, int64_t class_count) {
    return 4 * rank > 3 * class_count;
}

template <class S>
class Collected {
   public:
    // Floats that it needs to compute in.
    static int64_t room(int64_t class_count) { return 2 * (class_count + kMargin); }

    // The row must stay where it is.
    Collected(const RowSpan& row, float* room) : row_(row), values_(room), buffer_(room + row.class_count + kMargin) {}

    // Collect what the search for the rank needs. False where it may be among others, or not all of the row is finite.
    bool collect_by_sample(int64_t rank) {
        negated_ = survive_mostly(rank, row_.class_count);
        // A first threshold misleads in one row of thirty, another one hardly ever.
        for (double spread = 1.75; spread < 8; spread *= 2) {
            const bool is_enough = negated_ ? collect_near<true>(row_.logits, row_.class_count, rank, spread)
                                            : collect_near<false>(row_.logits, row_.class_count, rank, spread);
            if (lowest_ == -kInfinity || highest_ == kInfinity) return false;
            if (is_enough) return true;
        }
        return false;
    }

    // For rows of which nothing better is known, as those with masked classes: first every entry that is not masked.
    LABELSET_APART void collect_unmasked(int64_t rank) {
        negated_ = false;
        const Band all{-kLargest, -kLargest};
        collect_from<false>(row_.logits, row_.class_count, all);
        const int64_t unmasked = bracket_.above_low;
        if (unmasked <= kRankable || collect_near<false>(values_, unmasked, rank, 3.5)) return;
        collect_from<false>(row_.logits, row_.class_count, all);
    }

    // The entries of the rank and of the one above it. False where a NaN or a +inf was collected.
    bool search(int64_t rank, Neighbours& found) const {
        found = {highest_, highest_};
        const float top = negated_ ? -lowest_ : highest_;
        if (!search_among(searched_rank(rank), top, found)) return false;
        if (negated_) found = {-found.upper, -found.lower};
        return true;
    }

    float highest() const { return highest_; }

    // Let go of what does not survive, where that is much.
    void keep_survivors(int64_t rank, float cut) {
        if (4 * bracket_.above_low <= 5 * rank) return;
        bracket_.low = just_above(cut);
        const Floats low = S::all(bracket_.low);
        bracket_.above_low = collect<S>(values_, bracket_.above_low, -kInfinity, values_,
                                        [&](Floats v) { return S::at_least(v, low); });
    }

    // The collected, all of the row that is at least bracket_.low, are computed side by side, and spread over zeros.
    void weigh(const Cut& cut) {
        float* collected = values_;
        const int64_t count = bracket_.above_low;
        pad<S>(collected, count);
        Floats scale;
        with_masses<S>(cut, [&](auto masses) {
            in_blocks<S>(count, [&](int64_t first, int64_t length) {
                for (int64_t i = first; i < first + length; i += S::kLanes)
                    S::store(collected + i, masses.of(S::load(collected + i)));
                masses.settle();
            });
            scale = masses.scale();
        });
        spread(scale);
    }

   private:
    using Floats = typename S::Floats;

    // In the negated row the neighbours change places.
    int64_t searched_rank(int64_t rank) const { return negated_ ? row_.class_count - rank + 2 : rank; }

    template <bool kNegated>
    bool collect_near(const float* row, int64_t count, int64_t rank, double spread) {
        const int64_t wanted = searched_rank(rank);
        collect_from<kNegated>(row, count, band_of_sample<S, kNegated>(row, count, wanted, spread, buffer_));
        return bracket_.above_low >= wanted;
    }

    // Collect what is at least the low threshold, and NaN, of a row or of what was collected before. Also finds the
    // highest and the lowest entry, NaN aside.
    template <bool kNegated>
    void collect_from(const float* row, int64_t row_count, Band band) {
        const Floats low = S::all(band.low), high = S::all(band.high);
        Floats lowest = S::all(kLargest), highest = S::all(-kLargest);
        auto above_high = S::no_counts();
        const float* ahead = row_.class_count < kLong ? row_.probabilities : row_.logits + 2 * kAhead;
        const int64_t count = collect<S>(row, row_count, kNegated ? -band.low : band.low, values_, [&](Floats& v) {
            lowest = S::min(v, lowest);
            highest = S::max(v, highest);
            v = searched<S, kNegated>(v);
            above_high = S::count_if(above_high, S::above(v, high));
            // The probabilities of a short row are written soon.
            __builtin_prefetch(ahead, 1);
            ahead += S::kLanes;
            return S::not_below(v, low);
        });
        lowest_ = S::lowest(lowest);
        highest_ = S::highest(highest);
        bracket_ = {band.low, band.high, count, S::total(above_high)};
    }

    // What was collected holds the neighbours of the cut, and all from bracket_.low on. `found` stays as it is for the
    // first rank.
    bool search_among(int64_t rank, float top, Neighbours& found) const {
        const int64_t count = bracket_.above_low;
        const Band band = band_of_counts(bracket_, row_.class_count, rank, top);
        const Floats low = S::all(band.low), high = S::all(band.high);
        auto counts = S::no_counts();
        // Stays 0 as long as all is finite.
        Floats zeros = S::all(0);
        const int64_t inside = collect<S>(values_, count, -kLargest, buffer_, [&](Floats v) {
            counts = S::count_if(counts, S::above(v, high));
            zeros = S::fma(v, S::all(0), zeros);
            return S::both(S::at_least(v, low), S::at_least(high, v));
        });
        if (!(S::sum(zeros) == 0)) return false;
        const int64_t above = S::total(counts);
        if (rank == 1) return true;
        if (above > rank - 2 || above + inside < rank) {  // the row is spread otherwise
            found = Search<S>(values_, count, 0, rank, just_below(bracket_.low), top, buffer_).run();
        } else if (inside <= 2 * kRankable) {
            pad<S>(buffer_, inside);
            const int wanted = static_cast<int>(rank - above);
            found = at_ranks<S>(buffer_, static_cast<int>(inside), wanted, wanted - 1);
        } else {
            found = Search<S>(buffer_, inside, above, rank, just_below(band.low), band.high, buffer_).run();
        }
        return true;
    }

    // The masses, one after another, go to the entries that were collected; everything else is 0.
    LABELSET_INLINE void spread(Floats scale) const {
        const int64_t class_count = row_.class_count;
        const Floats at_least = S::all(bracket_.low);
        const float* next = values_;
        // What is needed next: the row after the one that takes turns with this one, or the rest of a long row.
        const float* ahead = row_.logits + (class_count < kLong ? 2 * class_count : 2 * kAhead);
        const float* written_next = row_.probabilities + (class_count < kLong ? 0 : kAhead / 2);
        map_vectors<S>(row_.logits, class_count, row_.probabilities, [&](Floats v) {
            const auto mask = S::at_least(v, at_least);
            const Floats mass = S::expand(next, mask);
            next += S::count(mask);
            __builtin_prefetch(ahead, 0);
            __builtin_prefetch(written_next, 1);
            ahead += S::kLanes;
            written_next += S::kLanes;
            return probability<S>(mass, scale);
        });
    }

    const RowSpan& row_;
    // What reaches a threshold; and room for the search.
    float *values_, *buffer_;
    bool negated_ = false;
    float highest_ = 0, lowest_ = 0;
    Bracket bracket_{};
};

}  // namespace labelset

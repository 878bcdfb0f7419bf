// A cut near the maximum: the rank-th largest column is a threshold that at least `rank` entries reach, hardly more.
#pragma once

#include "row_cut.h"
#include "row_masses.h"
#include "row_maxima.h"
#include "row_search.h"
#include "row_span.h"
#include "rows.h"
#include "vectors.h"

namespace labelset {

// More candidates than this are not few.
constexpr int kCandidates = 128;

// Entries that may survive, and where they stand.
template <class S>
class Candidates {
   public:
    // The row must stay where it is; `room` is for class_count floats and the margin.
    Candidates(const RowSpan& row, float* room) : row_(row), room_(room) {}

    // Find the threshold; the zeros of a longer row are written on the way, what survives over them. Where not all of
    // the row is finite, `recount` gives the rank among the unmasked, or 0: nothing is left to do, and this is false.
    template <class Recount>
    bool look(int64_t rank, const Recount& recount) {
        Maxima<S> maxima;
        if (is_short()) {
            maxima.add(row_.logits, 0, row_.class_count, [](Floats, int64_t) {}, [](int64_t) {});
        } else {
            clear_and_add(maxima);
        }
        highest_ = threshold_ = S::highest(maxima.by_lane());
        rank_ = static_cast<int>(maxima.special() ? recount() : rank);
        if (rank_ == 0) return false;
        if (rank_ == 1) return true;
        float columns[kColumns];
        maxima.store_columns(columns);
        threshold_ = at_ranks<S>(columns, kColumns, rank_, rank_).lower;
        return true;
    }

    // The entries of the rank and of the one above it. False where the candidates are not few.
    bool find(Neighbours& found) { return is_short() ? find_in_short(found) : find_in_longer(found); }

    float highest() const { return highest_; }

    // Of a longer row: each candidate is written to its place among the zeros.
    void weigh(const Cut& cut) {
        float* probabilities = row_.probabilities;
        if (is_tied(cut)) {
            share(cut.highest);
        } else {
            with_masses<S>(cut, [&](auto masses) {
                change([&](Floats v) { return masses.of(v); });
                masses.settle();
                const Floats scale = masses.scale();
                change([&](Floats mass) { return probability<S>(mass, scale); });
            });
        }
        for (int i = 0; i < count_; ++i) probabilities[places_[i]] = values_[i];
    }

   private:
    using Floats = typename S::Floats;

    bool is_short() const { return row_.class_count <= kShort; }
    int64_t block_count() const { return row_.class_count < kLong ? 0 : row_.class_count / kBlock; }

    void clear_and_add(Maxima<S>& maxima) {
        // One by one: a copy of the whole span would wait until all of it, just written, has left the store buffer.
        const float* logits = row_.logits;
        float* probabilities = row_.probabilities;
        const int64_t class_count = row_.class_count;
        const Floats zero = S::all(0);
        const auto clear = [&](Floats, int64_t i) {
            S::store(probabilities + i, zero);
            __builtin_prefetch(probabilities + i + kAhead / 2, 1);
        };
        maxima.add_blocks(logits, block_count(), room_, [&](Floats v, int64_t i) {
            clear(v, i);
            __builtin_prefetch(logits + i + 2 * kAhead, 0);
        });
        maxima.add(logits, block_count() * kBlock, class_count, clear, [&](int64_t i) {
            S::store_first(probabilities + i, static_cast<int>(class_count - i), zero);
        });
    }

    // All that reaches the threshold is collected, without a branch on what that is.
    bool find_in_short(Neighbours& found) {
        const Floats at_least = S::all(threshold_);
        const int64_t count = collect<S>(row_.logits, row_.class_count, -kInfinity, room_,
                                         [&](Floats v) { return S::at_least(v, at_least); });
        if (count > kRankable) return false;
        pad<S>(room_, count);
        found = neighbours_among(room_, static_cast<int>(count));
        return true;
    }

    // The few places that reach the threshold are looked up.
    bool find_in_longer(Neighbours& found) {
        if (!look_up()) return false;
        pad<S>(values_, count_);
        found = neighbours_among(values_, count_);
        return true;
    }

    LABELSET_INLINE Neighbours neighbours_among(const float* values, int count) const {
        if (rank_ == 1) return {highest_, highest_};
        return at_ranks<S>(values, count, rank_, rank_ - 1);
    }

    LABELSET_INLINE bool look_up() {
        count_ = 0;
        const Floats at_least = S::all(threshold_);
        for (int64_t block = 0; block < block_count(); ++block) {
            if (S::bits(S::at_least(S::load(room_ + block * S::kLanes), at_least)) == 0) continue;
            if (!look_up(block * kBlock, (block + 1) * kBlock)) return false;
        }
        return look_up(block_count() * kBlock, row_.class_count);
    }

    LABELSET_INLINE bool look_up(int64_t first, int64_t last) {
        const float* logits = row_.logits;
        const int64_t class_count = row_.class_count;
        const Floats at_least = S::all(threshold_);
        const auto reached_from = [&](int64_t i, Floats v) {
            if (class_count < kLong) ask_for_next_row(i);
            return uint64_t{S::bits(S::at_least(v, at_least))};
        };
        int64_t i = first;
        for (; i + 4 * S::kLanes <= last; i += 4 * S::kLanes) {
            uint64_t reached = 0;
            for (int part = 0; part < 4; ++part) {
                const int64_t from = i + part * S::kLanes;
                reached |= reached_from(from, S::load(logits + from)) << (part * S::kLanes);
            }
            if (reached != 0 && !append(reached, i)) return false;
        }
        for (; i < last; i += S::kLanes) {
            const uint64_t reached = reached_from(i, load_up_to<S>(logits + i, last - i, -kInfinity));
            if (reached != 0 && !append(reached, i)) return false;
        }
        return true;
    }

    LABELSET_INLINE void ask_for_next_row(int64_t i) const {
        __builtin_prefetch(row_.logits + i + (row_.class_count > kAhead ? row_.class_count : kAhead), 0);
    }

    bool append(uint64_t reached, int64_t first) {
        if (count_ > kCandidates - 64) return false;
        do {
            const int64_t place = first + __builtin_ctzll(reached);
            values_[count_] = row_.logits[place];
            places_[count_++] = place;
            reached &= reached - 1;
        } while (reached != 0);
        return true;
    }

    template <class Change>
    LABELSET_INLINE void change(const Change& change_one) {
        for (int i = 0; i < count_; i += S::kLanes) S::store(values_ + i, change_one(S::load(values_ + i)));
    }

    // Equal shares among the candidates that equal the maximum.
    void share(float highest) {
        Floats ties = S::all(0);
        change([&](Floats v) {
            const Floats tie = S::keep(S::equal(v, S::all(highest)), S::all(1));
            ties = S::add(ties, tie);
            return tie;
        });
        const Floats share = S::all(1.0f / S::sum(ties));
        change([&](Floats tie) { return S::mul(tie, share); });
    }

    const RowSpan& row_;
    // The candidates of a short row, or the maxima of the blocks of a long one.
    float* room_;
    float highest_ = 0, threshold_ = 0;
    int rank_ = 0, count_ = 0;
    float values_[kCandidates + kMargin];
    int64_t places_[kCandidates];
};

}  // namespace labelset

// r-softmax of rows (SPEC 1.3, 1.4), for any vector type `S` (simd_*.h); compiled once for each kind of CPU.
//
// Only the two entries next to the cut have to be found, not the order of all. A first look at the row gives a threshold
// a little below the cut and collects what reaches it; the exact search goes on among those; exponentials are taken of
// what survives, not of the row.
#pragma once

#include "row_candidates.h"
#include "row_collected.h"
#include "row_cut.h"
#include "row_in_place.h"
#include "row_in_registers.h"
#include "row_maxima.h"
#include "row_span.h"
#include "rows.h"
#include "scratch.h"
#include "vectors.h"

namespace labelset {

// Up to this rank, the columns of a scan give the threshold.
constexpr int kFew = 12;

// A row of more vectors than fit into registers, in three steps, so that rows may take turns: while one waits for its
// last few numbers, another one computes.
template <class S>
class Row {
   public:
    // Floats of its own that a row needs to compute in.
    static int64_t room(int64_t class_count) { return Collected<S>::room(class_count); }

    Row(const RowSpan& row, float* room) : row_(row), collected_(row_, room), candidates_(row_, room) {}
    Row(const Row&) = delete;  // its parts point to row_

    void look(double rate) {
        rate_ = rate;
        if (!(rate >= 0 && rate <= 1)) return spoil_row();
        // As if nothing were masked: whether that is so is found out on the way.
        position_ = position_of(rate, row_.class_count);
        if (position_.rank == row_.class_count && position_.fraction == 0) return look_at_extremes();
        if (position_.rank > kFew) return look_at_sample();
        look_at_columns();
        // Here a turn of another row would cost more cache than it saves time.
        if (row_.class_count > kShort * 4) find_cut(), write();
    }

    void find_cut() {
        if (next_ == Next::kCandidates) return find_candidates();
        if (next_ == Next::kSearch) return search_collected();
    }

    const Cut& write() {
        const Next next = next_;
        next_ = Next::kNothing;
        switch (next) {
            case Next::kInPlace: write_in_place<S>(row_, cut_); break;
            case Next::kCollected: collected_.weigh(cut_); break;
            case Next::kPlaces: candidates_.weigh(cut_); break;
            default: break;
        }
        return cut_;
    }

   private:
    // What is left to do; nothing where the row is written.
    enum class Next { kNothing, kCandidates, kSearch, kInPlace, kCollected, kPlaces };

    // r = 0: the cut is the smallest entry.
    void look_at_extremes() {
        using Floats = typename S::Floats;
        Maxima<S> maxima;
        Floats smallest = S::all(kLargest);
        const auto take = [&](Floats v, int64_t) { smallest = S::min(smallest, v); };
        maxima.add(row_.logits, 0, row_.class_count, take, [&](int64_t i) {
            take(S::load_first(row_.logits + i, static_cast<int>(row_.class_count - i), S::all(kLargest)), i);
        });
        if (maxima.special()) return collect_unmasked();
        const float lowest = S::lowest(smallest);
        set_cut({lowest, lowest}, S::highest(maxima.by_lane()));
    }

    void look_at_columns() {
        const auto recount = [&] { return count_masked() ? position_.rank : 0; };
        if (candidates_.look(position_.rank, recount)) next_ = Next::kCandidates;
    }

    void look_at_sample() {
        if (!collected_.collect_by_sample(position_.rank)) return collect_unmasked();
        next_ = Next::kSearch;
    }

    LABELSET_APART void collect_unmasked() {
        if (!count_masked()) return;
        collected_.collect_unmasked(position_.rank);
        next_ = Next::kSearch;
    }

    void find_candidates() {
        Neighbours found;
        if (candidates_.find(found)) {
            set_cut(found, candidates_.highest());
            if (row_.class_count > kShort) next_ = Next::kPlaces;
        } else {
            collected_.collect_unmasked(position_.rank);
            search_collected();
        }
    }

    void search_collected() {
        Neighbours found;
        if (!collected_.search(position_.rank, found)) return spoil_row();
        set_cut(found, collected_.highest());
        if (is_tied(cut_) || survive_mostly(position_.rank, row_.class_count)) return;
        collected_.keep_survivors(position_.rank, cut_.value);
        next_ = Next::kCollected;
    }

    void set_cut(Neighbours found, float highest) {
        cut_ = cut_between(found, highest, position_.fraction);
        next_ = Next::kInPlace;
    }

    // Not all of the row is finite. False where that settled it: it is spoiled, or masked as a whole.
    LABELSET_APART bool count_masked() {
        int64_t unmasked;
        if (!count_unmasked<S>(row_, unmasked)) {
            spoil_row();
        } else if (unmasked == 0) {
            cut_ = clear_masked<S>(row_);
            next_ = Next::kNothing;
        } else {
            position_ = position_of(rate_, unmasked);
            return true;
        }
        return false;
    }

    LABELSET_APART void spoil_row() {
        cut_ = spoil<S>(row_);
        next_ = Next::kNothing;
    }

    RowSpan row_;
    Next next_ = Next::kNothing;
    double rate_ = 0;
    Position position_{};
    Cut cut_{};
    Collected<S> collected_;
    // They share the room: when these turn out not to be few, they are forgotten.
    Candidates<S> candidates_;
};

// rows.h: RowKernels::forward.
template <class S>
void forward(const float* logits, const double* rates, int64_t rate_step, int64_t row_count, int64_t class_count,
             float* probabilities, Cut* cuts) {
    const auto span = [&](int64_t row) {
        return RowSpan{logits + row * class_count, class_count, probabilities + row * class_count};
    };
    int64_t row = 0;
    if (class_count <= 2 * S::kLanes) {
        for (; row < row_count; ++row) {
            const double rate = rates[row * rate_step];
            const Cut cut = class_count <= S::kLanes ? compute_in_registers<S, 1>(span(row), rate)
                                                     : compute_in_registers<S, 2>(span(row), rate);
            if (cuts != nullptr) cuts[row] = cut;
        }
        return;
    }
    const int64_t room = Row<S>::room(class_count);
    const bool paired = class_count < kLong;
    float* rooms = scratch(paired ? 2 * room : room);
    for (; paired && row + 2 <= row_count; row += 2) {
        Row<S> first(span(row), rooms), second(span(row + 1), rooms + room);
        first.look(rates[row * rate_step]);
        second.look(rates[(row + 1) * rate_step]);
        first.find_cut();
        second.find_cut();
        const Cut &first_cut = first.write(), &second_cut = second.write();
        if (cuts != nullptr) cuts[row] = first_cut, cuts[row + 1] = second_cut;
    }
    for (; row < row_count; ++row) {
        Row<S> only(span(row), rooms);
        only.look(rates[row * rate_step]);
        only.find_cut();
        const Cut& cut = only.write();
        if (cuts != nullptr) cuts[row] = cut;
    }
}

}  // namespace labelset

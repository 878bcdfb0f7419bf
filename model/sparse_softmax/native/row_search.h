// Finds the two entries between which the cut of a row lies, without sorting the row (SPEC 1.3).
//
// Ranks count from the largest entry, which has rank 1. "above" is strict.
#pragma once

#include "vectors.h"

namespace labelset {

// The entries next to the cut: s_lo and s_{lo+1}.
struct Neighbours {
    float lower, upper;
};

// The search ends by ranking so many values against each other.
constexpr int kRankable = 32;

// The values of two ranks among few, by comparing each with each. `values` has -inf behind its last one (`pad`).
template <class S>
LABELSET_INLINE Neighbours at_ranks(const float* values, int count, int lower_rank, int upper_rank) {
    // A number of rounds that varies little is one that the CPU foresees.
    count = (count + 15) & ~15;
    const auto infinity = S::all(kInfinity);
    auto lower = infinity, upper = infinity;
    const auto take = [&](typename S::Floats v, typename S::Counts above) {
        lower = S::min(lower, S::select(S::below(above, lower_rank), v, infinity));
        upper = S::min(upper, S::select(S::below(above, upper_rank), v, infinity));
    };
    int base = 0;
    for (; base + S::kLanes < count; base += 2 * S::kLanes) {
        const auto first = S::load(values + base), second = S::load(values + base + S::kLanes);
        auto above_first = S::no_counts(), above_second = S::no_counts();
#pragma GCC unroll 4
        for (int i = 0; i < count; ++i) {
            const auto other = S::all(values[i]);
            above_first = S::count_if(above_first, S::above(other, first));
            above_second = S::count_if(above_second, S::above(other, second));
        }
        take(first, above_first);
        take(second, above_second);
    }
    if (base < count) {
        const auto v = S::load(values + base);
        auto above = S::no_counts();
#pragma GCC unroll 4
        for (int i = 0; i < count; ++i) above = S::count_if(above, S::above(S::all(values[i]), v));
        take(v, above);
    }
    return {S::lowest(lower), S::lowest(upper)};
}

// Floats as integers in the same order, so that an interval of them can be halved.
LABELSET_INLINE int64_t order_of(float value) {
    const int64_t bits = as_bits(value) & 0x7FFFFFFF;
    return value < 0 ? -bits : bits;
}

LABELSET_INLINE float at_order(int64_t order) {
    return order < 0 ? as_float(static_cast<uint32_t>(-order) | 0x80000000) : as_float(static_cast<uint32_t>(order));
}

LABELSET_INLINE float just_above(float value) {
    return at_order(order_of(value) + 1);
}

LABELSET_INLINE float just_below(float value) {
    return at_order(order_of(value) - 1);
}

// Narrows the interval (bottom, top] in which both neighbours lie until few values are left in it.
template <class S>
class Search {
   public:
    // All `count` values are above `bottom` and at most `top`; `buffer` has room for them and the margin.
    // `dropped` values that are not here rank before them.
    Search(const float* values, int64_t count, int64_t dropped, int64_t rank, float bottom, float top, float* buffer)
        : values_(values), count_(count), dropped_(dropped), rank_(rank), bottom_(bottom), top_(top),
          above_bottom_(dropped + count), above_top_(dropped), buffer_(buffer) {}

    Neighbours run() {
        for (int step = 0;; ++step) {
            const int64_t inside = above_bottom_ - above_top_;
            if (inside <= kRankable) return rank_inside();
            if (2 * inside < count_) shrink();
            float low, high;
            if (step % 4 == 3 || !interpolate(inside, low, high)) {
                // Whatever the distribution: the interval has 2^32 floats at most, and this halves it.
                const int64_t middle = (order_of(bottom_) + order_of(top_)) >> 1;
                if (middle == order_of(bottom_)) return {top_, top_};
                low = high = at_order(middle);
            }
            if (narrow(low, high)) return found_;
        }
    }

   private:
    // Two thresholds around the place where the rank should be if the values were spread evenly.
    bool interpolate(int64_t inside, float& low, float& high) const {
        const double width = static_cast<double>(top_) - bottom_;
        const double slope = width / static_cast<double>(inside);
        const double expected = top_ - slope * (static_cast<double>(rank_ - above_top_) - 0.5);
        // The rank of a value scatters by the root of their number.
        const double reach = slope * (__builtin_sqrtf(static_cast<float>(inside)) + 1);
        low = static_cast<float>(expected - reach);
        high = static_cast<float>(expected + reach);
        if (!(low > bottom_)) low = high;
        if (!(high < top_)) high = low;
        return low > bottom_ && high < top_;
    }

    // Take what lies above two thresholds into account; true when that gave the answer.
    bool narrow(float low, float high) {
        auto above_low = S::no_counts(), above_high = S::no_counts();
        const auto low_v = S::all(low), high_v = S::all(high);
        for_each_vector<S>(values_, count_, -kInfinity, [&](typename S::Floats v, int64_t) {
            above_low = S::count_if(above_low, S::above(v, low_v));
            above_high = S::count_if(above_high, S::above(v, high_v));
        });
        return take(high, dropped_ + S::total(above_high)) || take(low, dropped_ + S::total(above_low));
    }

    bool take(float threshold, int64_t above) {
        if (above >= rank_) {
            if (threshold > bottom_) bottom_ = threshold, above_bottom_ = above;
        } else if (above <= rank_ - 2) {
            if (threshold < top_) top_ = threshold, above_top_ = above;
        } else {  // it lies between the two
            auto lower = S::all(-kInfinity), upper = S::all(kInfinity);
            const auto t = S::all(threshold);
            for_each_vector<S>(values_, count_, -kInfinity, [&](typename S::Floats v, int64_t) {
                const auto is_above = S::above(v, t);
                lower = S::max(lower, S::select(is_above, S::all(-kInfinity), v));
                upper = S::min(upper, S::select(is_above, v, S::all(kInfinity)));
            });
            found_ = {S::highest(lower), S::lowest(upper)};
            return true;
        }
        return false;
    }

    int64_t collect_inside(float* to) const {
        const auto bottom = S::all(bottom_), top = S::all(top_);
        return collect<S>(values_, count_, -kInfinity, to, [&](typename S::Floats v) {
            return S::both(S::above(v, bottom), S::at_least(top, v));
        });
    }

    void shrink() {
        count_ = collect_inside(buffer_);
        values_ = buffer_;
        dropped_ = above_top_;
    }

    Neighbours rank_inside() const {
        float inside[kRankable + kMargin];
        const int count = static_cast<int>(collect_inside(inside));
        pad<S>(inside, count);
        const int rank = static_cast<int>(rank_ - above_top_);
        return at_ranks<S>(inside, count, rank, rank - 1);
    }

    const float* values_;
    int64_t count_, dropped_, rank_;
    float bottom_, top_;
    int64_t above_bottom_, above_top_;
    float* buffer_;
    Neighbours found_{};
};

}  // namespace labelset

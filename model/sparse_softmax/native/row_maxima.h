// One look at a row: its maximum, the maxima of its parts, and whether all of it is finite.
#pragma once

#include "vectors.h"

namespace labelset {

// So many columns does a scan divide a row into, whatever the vector.
constexpr int kColumns = 16;
// Of a long row, so many entries share maxima: where these do not reach a threshold they need no second look.
constexpr int64_t kBlock = 256;

// Running maxima of four vectors' width, and sums that are 0 as long as all is finite.
template <class S>
class Maxima {
   public:
    // `also(vector, offset)` sees every whole vector; `rest(offset)` the values of the last one where it is not whole.
    template <class Also, class Rest>
    LABELSET_INLINE void add(const float* row, int64_t first, int64_t count, const Also& also, const Rest& rest) {
        int64_t i = first;
        for (; i + 4 * S::kLanes <= count; i += 4 * S::kLanes) {
            for (int part = 0; part < 4; ++part) {
                const auto v = S::load(row + i + part * S::kLanes);
                take(part, v);
                also(v, i + part * S::kLanes);
            }
        }
        for (int part = 0; i + S::kLanes <= count; ++part, i += S::kLanes) {
            const auto v = S::load(row + i);
            take(part, v);
            also(v, i);
        }
        if (i < count) {
            take(3, S::load_first(row + i, static_cast<int>(count - i), S::all(-kLargest)));
            rest(i);
        }
    }

    // As `add`, for whole blocks: also stores the maxima of every block, kLanes for each.
    template <class Also>
    LABELSET_INLINE void add_blocks(const float* row, int64_t block_count, float* block_maxima, const Also& also) {
        for (int64_t block = 0; block < block_count; ++block, row += kBlock, block_maxima += S::kLanes) {
            Maxima inside;
            for (int64_t i = 0; i < kBlock; i += 4 * S::kLanes) {
                for (int part = 0; part < 4; ++part) {
                    const auto v = S::load(row + i + part * S::kLanes);
                    inside.take(part, v);
                    also(v, block * kBlock + i + part * S::kLanes);
                }
            }
            S::store(block_maxima, inside.by_lane());
            for (int part = 0; part < 4; ++part) {
                highest_[part] = S::max(highest_[part], inside.highest_[part]);
                zeros_[part] = S::add(zeros_[part], inside.zeros_[part]);
            }
        }
    }

    // The maximum of every kLanes-th value.
    typename S::Floats by_lane() const {
        return S::max(S::max(highest_[0], highest_[1]), S::max(highest_[2], highest_[3]));
    }

    // Whether a NaN or an infinity was among them: all else is void then.
    bool special() const {
        return !(S::sum(S::add(S::add(zeros_[0], zeros_[1]), S::add(zeros_[2], zeros_[3]))) == 0);
    }

    // The maximum of every kColumns-th value.
    void store_columns(float* columns) const {
        constexpr int kKept = kColumns / S::kLanes;
        for (int part = 0; part < kKept; ++part) {
            auto v = highest_[part];
            for (int other = part + kKept; other < 4; other += kKept) v = S::max(v, highest_[other]);
            S::store(columns + part * S::kLanes, v);
        }
    }

   private:
    LABELSET_INLINE void take(int part, typename S::Floats v) {
        highest_[part] = S::max(highest_[part], v);
        zeros_[part] = S::fma(v, S::all(0), zeros_[part]);
    }

    typename S::Floats highest_[4] = {S::all(-kLargest), S::all(-kLargest), S::all(-kLargest), S::all(-kLargest)};
    typename S::Floats zeros_[4] = {S::all(0), S::all(0), S::all(0), S::all(0)};
};

}  // namespace labelset

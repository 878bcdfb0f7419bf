// r-softmax of one row, for any vector type `S` (simd_*.h); compiled once for each kind of CPU.
//
// Only the two entries next to the cut have to be found, not the order of all. One look at the row gives its maximum and
// a threshold a little below the cut; a second one collects what is above it; the exact search goes on among those.
// Exponentials are taken of what was collected, not of the row.
#pragma once

#include "row_search.h"
#include "rows.h"
#include "scratch.h"
#include "vectors.h"

namespace labelset {

// Up to this rank, the columns of a scan give the threshold.
constexpr int kFew = 12;
// More candidates than this are not few.
constexpr int kCandidates = 128;
// Up to this length it pays to collect every candidate rather than to look for the blocks that hold one.
constexpr int64_t kShort = 128;
// From this length on, a row is looked at in blocks.
constexpr int64_t kLong = 16 * kBlock;
// So many logits ahead is memory asked for while a short row is computed: the next row is on its way by then.
constexpr int64_t kAhead = 1024;

// Where the cut lies among the unmasked entries, ascending (SPEC 1.3).
struct Position {
    int64_t rank;     // of s_lo, from the largest
    double fraction;  // of the way to the entry above it
};

inline Position position_of(double rate, int64_t unmasked) {
    const double position = rate * static_cast<double>(unmasked - 1);
    const int64_t lower = static_cast<int64_t>(position);
    return {unmasked - lower, position - static_cast<double>(lower)};
}

inline Cut cut_between(Neighbours found, float highest, double fraction) {
    // Exactly these operations: every implementation rounds alike.
    const double lower = found.lower, gap = static_cast<double>(found.upper) - lower;
    return {static_cast<float>(lower + fraction * gap), found.lower, found.upper, highest, fraction};
}

// e^x for x <= 0 to about a unit in the last place. From e^-86.9 on it falls no further, at -inf either: a number below the
// normal ones would cost as much as the rest of the row, and no probability is one (SPEC 1.4).
template <class S>
LABELSET_INLINE typename S::Floats exp(typename S::Floats x) {
    x = S::max(x, S::all(-86.9f));
    // A sum with 1.5 * 2^23 has no room for a fraction: its last bits are the nearest integer.
    const auto magic = S::all(12582912.0f);
    const auto rounded = S::fma(x, S::all(1.44269504f), magic);
    const auto exponent = S::sub(rounded, magic);
    // ln 2 in two parts: the product of the first with an exponent is exact.
    auto r = S::fma(exponent, S::all(-0.693359375f), x);
    r = S::fma(exponent, S::all(2.12194440e-4f), r);
    // Least relative error (1e-7) for |r| <= ln(2) / 2 among those that start with 1 + r.
    auto e = S::fma(S::all(8.31252e-3f), r, S::all(4.189016e-2f));
    e = S::fma(e, r, S::all(1.6667115e-1f));
    e = S::fma(e, r, S::all(4.9999231e-1f));
    e = S::fma(e, r, S::all(1.0f));
    e = S::fma(e, r, S::all(1.0f));
    return S::add_to_exponent(e, rounded);
}

// Probabilities before they are divided by their sum: weight times exponential. A survivor's is never 0, the others' is.
// `kExtreme`: for any weights; else for those of a maximum between 2^-20 and 2^60, which is every row in practice.
template <class S, bool kExtreme>
class Masses {
   public:
    using Floats = typename S::Floats;

    explicit Masses(const Cut& cut)
        : cut_(S::all(cut.value)), highest_(S::all(cut.highest)), unit_(S::all(unit(cut.highest - cut.value))) {}

    LABELSET_INLINE Floats of(Floats logits) {
        Floats weight = S::sub(logits, cut_);
        // Two finite entries may lie further apart than the largest number.
        if (kExtreme) weight = S::mul(S::min(weight, S::all(kLargest)), unit_);
        const Floats mass = S::mul(weight, exp<S>(S::sub(logits, highest_)));
        const Floats kept = S::keep(S::above(logits, cut_), S::max(mass, S::all(kSmallestNormal)));
        sum_ = S::add(sum_, kept);
        return kept;
    }

    // Thousands of float32 terms may add up, not millions: the sum so far goes to one in double.
    void settle() {
        total_ += S::sum(sum_);
        sum_ = S::all(0);
    }

    // 1 / the sum of all masses, once it is settled.
    Floats scale() const { return S::all(static_cast<float>(1 / total_)); }

   private:
    // A power of two that brings the weight of the maximum to about 1: no sum of weights leaves the type.
    static float unit(float distance) {
        const uint32_t exponent = as_bits(distance < kLargest ? distance : kLargest) >> 23;
        return as_float((exponent < 1 ? 253 : exponent > 253 ? 1 : 254 - exponent) << 23);
    }

    Floats cut_, highest_, unit_;
    Floats sum_ = S::all(0);
    double total_ = 0;
};

// Call `work` with the masses that suit the cut.
template <class S, class Work>
LABELSET_INLINE void with_masses(const Cut& cut, const Work& work) {
    const float distance = cut.highest - cut.value;
    if (distance > 0x1p-20f && distance < 0x1p60f) {
        work(Masses<S, false>(cut));
    } else {
        work(Masses<S, true>(cut));
    }
}

// The share of a mass, which a survivor sees as at least the smallest normal number (SPEC 1.4).
template <class S>
LABELSET_INLINE typename S::Floats probability(typename S::Floats mass, typename S::Floats scale) {
    return S::keep(S::above(mass, S::all(0)), S::max(S::mul(mass, scale), S::all(kSmallestNormal)));
}

template <class S>
class Row {
   public:
    Row(const float* logits, int64_t class_count, float* probabilities)
        : logits_(logits), class_count_(class_count), probabilities_(probabilities) {}

    Cut forward(double rate) {
        if (!(rate >= 0 && rate <= 1)) return all_nan();
        if (class_count_ <= S::kLanes) return forward_in_registers<1>(rate);
        if (class_count_ <= 2 * S::kLanes) return forward_in_registers<2>(rate);
        // As if nothing were masked: that is found out on the way.
        const Position position = position_of(rate, class_count_);
        return position.rank <= kFew ? forward_few(rate, position) : forward_many(rate, position);
    }

   private:
    using Floats = typename S::Floats;

    Cut all_nan() {
        const float nan = __builtin_nanf("");
        fill<S>(probabilities_, class_count_, nan);
        return {nan, nan, nan, nan, 0};
    }

    Cut all_masked() {
        fill<S>(probabilities_, class_count_, 0);
        return {0, 0, 0, -kInfinity, 0};
    }

    // False where a NaN or a +inf spoils the row.
    bool count_unmasked(int64_t& unmasked) const {
        auto above_mask = S::no_counts(), sound = S::no_counts();
        for_each_vector<S>(logits_, class_count_, -kInfinity, [&](Floats v, int64_t) {
            above_mask = S::count_if(above_mask, S::above(v, S::all(-kInfinity)));
            sound = S::count_if(sound, S::above(S::all(kInfinity), v));
        });
        unmasked = S::total(above_mask);
        const int64_t lanes = (class_count_ + S::kLanes - 1) / S::kLanes * S::kLanes;
        return S::total(sound) == lanes;
    }

    // A row that fits into few vectors: every entry is ranked against every other.
    template <int kVectors>
    Cut forward_in_registers(double rate) {
        const Floats masked = S::all(-kInfinity), infinity = S::all(kInfinity);
        // The last vector is never empty, and may be whole.
        const int rest = static_cast<int>(class_count_) - (kVectors - 1) * S::kLanes;
        Floats row[kVectors];
        for (int part = 0; part + 1 < kVectors; ++part) row[part] = S::load(logits_ + part * S::kLanes);
        row[kVectors - 1] = load_some(logits_ + (kVectors - 1) * S::kLanes, rest);

        uint32_t unmasked_bits = 0, sound_bits = ~uint32_t{0};
        Floats maximum = masked;
        for (int part = 0; part < kVectors; ++part) {
            unmasked_bits |= S::bits(S::above(row[part], masked)) << (part * S::kLanes);
            sound_bits &= S::bits(S::above(infinity, row[part]));
            maximum = S::max(row[part], maximum);
        }
        if (sound_bits != S::bits(S::first(S::kLanes))) return all_nan();
        if (unmasked_bits == 0) return all_masked();
        highest_ = S::highest(maximum);
        const Position position = position_of(rate, __builtin_popcount(unmasked_bits));

        typename S::Counts above[kVectors];
        for (int part = 0; part < kVectors; ++part) above[part] = S::no_counts();
#pragma GCC unroll 4
        for (int i = 0; i < static_cast<int>(class_count_); ++i) {
            const Floats other = S::all(logits_[i]);
            for (int part = 0; part < kVectors; ++part)
                above[part] = S::count_if(above[part], S::above(other, row[part]));
        }
        Floats lower = infinity, upper = infinity;
        const int rank = static_cast<int>(position.rank);
        for (int part = 0; part < kVectors; ++part) {
            lower = S::min(lower, S::select(S::below(above[part], rank), row[part], infinity));
            upper = S::min(upper, S::select(S::below(above[part], rank - 1), row[part], infinity));
        }
        const Neighbours found{S::lowest(lower), rank == 1 ? highest_ : S::lowest(upper)};
        const Cut cut = cut_between(found, highest_, position.fraction);
        if (cut.value >= highest_) {
            share_among_maxima();
            return cut;
        }
        with_masses<S>(cut, [&](auto masses) {
            for (int part = 0; part < kVectors; ++part) row[part] = masses.of(row[part]);
            masses.settle();
            const Floats scale = masses.scale();
            for (int part = 0; part < kVectors; ++part) row[part] = probability<S>(row[part], scale);
        });
        for (int part = 0; part + 1 < kVectors; ++part) S::store(probabilities_ + part * S::kLanes, row[part]);
        store_some(probabilities_ + (kVectors - 1) * S::kLanes, rest, row[kVectors - 1]);
        return cut;
    }

    static Floats load_some(const float* from, int count) {
        return count == S::kLanes ? S::load(from) : S::load_first(from, count, S::all(-kInfinity));
    }

    static void store_some(float* to, int count, Floats v) {
        if (count == S::kLanes) S::store(to, v);
        else S::store_first(to, count, v);
    }

    // Entries that may survive, and where they stand.
    struct Candidates {
        float values[kCandidates + kMargin];
        int64_t places[kCandidates];
        int count = 0;
    };

    // A cut near the maximum. The rank-th largest column is a threshold that at least `rank` entries reach, and hardly
    // more.
    Cut forward_few(double rate, Position position) {
        Maxima<S> maxima;
        const bool is_short = class_count_ <= kShort;
        // The zeros of a longer row are written on the way, the candidates over them.
        const int64_t blocks = class_count_ < kLong ? 0 : class_count_ / kBlock;
        float* block_maxima = blocks == 0 ? nullptr : scratch(2 * (class_count_ + kMargin));
        if (is_short) {
            maxima.add(logits_, 0, class_count_, [](Floats, int64_t) {}, [](int64_t) {});
        } else {
            scan_and_clear(blocks, block_maxima, maxima);
        }
        highest_ = S::highest(maxima.by_lane());
        if (maxima.special()) {
            int64_t unmasked;
            if (!count_unmasked(unmasked)) return all_nan();
            if (unmasked == 0) return all_masked();
            position = position_of(rate, unmasked);
        }
        const int rank = static_cast<int>(position.rank);
        float threshold = highest_;
        if (rank > 1) {
            float columns[kColumns];
            maxima.store_columns(columns);
            threshold = at_ranks<S>(columns, kColumns, rank, rank).lower;
        }
        return is_short ? finish_short(position, threshold) : finish_few(position, threshold, block_maxima, blocks);
    }

    void scan_and_clear(int64_t blocks, float* block_maxima, Maxima<S>& maxima) {
        const Floats zero = S::all(0);
        const auto clear = [&](Floats, int64_t i) { S::store(probabilities_ + i, zero); };
        maxima.add_blocks(logits_, blocks, block_maxima, [&](Floats v, int64_t i) {
            clear(v, i);
            __builtin_prefetch(logits_ + i + 2 * kAhead, 0);
            __builtin_prefetch(probabilities_ + i + kAhead / 2, 1);
        });
        maxima.add(logits_, blocks * kBlock, class_count_, clear, [&](int64_t i) {
            S::store_first(probabilities_ + i, static_cast<int>(class_count_ - i), zero);
        });
    }

    // A short row: all that reaches the threshold is collected, without a branch on what that is.
    Cut finish_short(const Position& position, float threshold) {
        float candidates[kShort + kMargin];
        const float lowest = threshold > -kLargest ? threshold : -kLargest;
        const Floats at_least = S::all(lowest);
        const int64_t count = collect<S>(logits_, class_count_, -kInfinity, candidates,
                                         [&](Floats v) { return S::at_least(v, at_least); });
        if (count > kRankable) return choose_from_all(position);
        pad<S>(candidates, count);
        const int rank = static_cast<int>(position.rank);
        Neighbours found{highest_, highest_};
        if (rank > 1) found = at_ranks<S>(candidates, static_cast<int>(count), rank, rank - 1);
        const Cut cut = cut_between(found, highest_, position.fraction);
        if (cut.value >= highest_) {
            share_among_maxima();
        } else {
            weigh_in_place(cut);
        }
        return cut;
    }

    // A longer row: the few places that reach the threshold are looked up; blocks that do not are not read again.
    Cut finish_few(const Position& position, float threshold, const float* block_maxima, int64_t blocks) {
        Candidates candidates;
        if (!find_candidates(threshold, block_maxima, blocks, candidates)) return choose_from_all(position);
        pad<S>(candidates.values, candidates.count);
        const int rank = static_cast<int>(position.rank);
        Neighbours found{highest_, highest_};
        if (rank > 1) found = at_ranks<S>(candidates.values, candidates.count, rank, rank - 1);
        const Cut cut = cut_between(found, highest_, position.fraction);
        if (cut.value >= highest_) {
            share_among_maxima(candidates, highest_);
        } else {
            with_masses<S>(cut, [&](auto masses) {
                map(candidates, [&](Floats v) { return masses.of(v); });
                masses.settle();
                const Floats scale = masses.scale();
                map(candidates, [&](Floats v) { return probability<S>(v, scale); });
            });
        }
        for (int i = 0; i < candidates.count; ++i) probabilities_[candidates.places[i]] = candidates.values[i];
        return cut;
    }

    template <class Change>
    static void map(Candidates& candidates, const Change& change) {
        for (int i = 0; i < candidates.count; i += S::kLanes)
            S::store(candidates.values + i, change(S::load(candidates.values + i)));
    }

    static void share_among_maxima(Candidates& candidates, float highest) {
        Floats ties = S::all(0);
        map(candidates, [&](Floats v) {
            const Floats tie = S::keep(S::equal(v, S::all(highest)), S::all(1));
            ties = S::add(ties, tie);
            return tie;
        });
        const Floats scale = S::all(1.0f / S::sum(ties));
        map(candidates, [&](Floats v) { return S::mul(v, scale); });
    }

    bool find_candidates(float threshold, const float* block_maxima, int64_t blocks, Candidates& candidates) const {
        const Floats at_least = S::all(threshold);
        for (int64_t block = 0; block < blocks; ++block) {
            if (S::bits(S::at_least(S::load(block_maxima + block * S::kLanes), at_least)) == 0) continue;
            const int64_t first = block * kBlock;
            if (!find_candidates(threshold, first, first + kBlock, candidates)) return false;
        }
        return find_candidates(threshold, blocks * kBlock, class_count_, candidates);
    }

    bool find_candidates(float threshold, int64_t first, int64_t last, Candidates& candidates) const {
        const Floats at_least = S::all(threshold);
        int64_t i = first;
        for (; i + 4 * S::kLanes <= last; i += 4 * S::kLanes) {
            uint64_t reached = 0;
            for (int part = 0; part < 4; ++part) {
                const uint64_t bits = S::bits(S::at_least(S::load(logits_ + i + part * S::kLanes), at_least));
                reached |= bits << (part * S::kLanes);
                if (class_count_ < kLong) ask_for_next_row(i + part * S::kLanes);
            }
            if (reached != 0 && !append(reached, i, candidates)) return false;
        }
        for (; i < last; i += S::kLanes) {
            const int count = static_cast<int>(last - i < S::kLanes ? last - i : S::kLanes);
            const uint64_t reached = S::bits(S::at_least(load_some(logits_ + i, count), at_least));
            if (class_count_ < kLong) ask_for_next_row(i);
            if (reached != 0 && !append(reached, i, candidates)) return false;
        }
        return true;
    }

    LABELSET_INLINE void ask_for_next_row(int64_t i) const {
        const int64_t ahead = i + (class_count_ > kAhead ? class_count_ : kAhead);
        __builtin_prefetch(logits_ + ahead, 0);
        __builtin_prefetch(probabilities_ + ahead, 1);
    }

    bool append(uint64_t reached, int64_t first, Candidates& candidates) const {
        if (candidates.count > kCandidates - 64) return false;
        do {
            const int64_t place = first + __builtin_ctzll(reached);
            candidates.values[candidates.count] = logits_[place];
            candidates.places[candidates.count++] = place;
            reached &= reached - 1;
        } while (reached != 0);
        return true;
    }

    // Any cut. A sample tells a threshold below it; what reaches the threshold is collected, and the row is not read again
    // until its probabilities are written.
    Cut forward_many(double rate, Position position) {
        if (position.rank == class_count_ && position.fraction == 0) return forward_all(rate);  // r = 0
        float* collected = scratch(2 * (class_count_ + kMargin));
        // A first threshold misleads in one row of thirty, another one hardly ever.
        for (double spread = 1.75; spread < 8; spread *= 2) {
            const Bracket bracket = collect_between(sample(position.rank, spread, collected), collected);
            if (lowest_ == -kInfinity || highest_ == kInfinity) return forward_special(rate);
            if (bracket.above_low < position.rank) continue;
            Cut cut;
            return choose(position, collected, bracket, cut) ? cut : forward_special(rate);
        }
        return choose_from_all(position);
    }

    // As many, with masked classes, or spoiled.
    Cut forward_special(double rate) {
        int64_t unmasked;
        if (!count_unmasked(unmasked)) return all_nan();
        if (unmasked == 0) return all_masked();
        Maxima<S> maxima;
        maxima.add(logits_, 0, class_count_, [](Floats, int64_t) {}, [](int64_t) {});
        highest_ = S::highest(maxima.by_lane());
        return choose_from_all(position_of(rate, unmasked));
    }

    // Every entry that is not masked is collected: for the rare rows of which nothing better is known.
    Cut choose_from_all(Position position) {
        float* collected = scratch(2 * (class_count_ + kMargin));
        Cut cut;
        choose(position, collected, collect_between({-kLargest, -kLargest}, collected), cut);
        return cut;
    }

    struct Band {
        float low, high;
    };

    // Two thresholds, and how many entries are above each; those that equal the low one count as above it.
    struct Bracket {
        float low, high;
        int64_t above_low, above_high;
    };

    // Thresholds between which the entry of this rank most likely lies; `values` has room for the sample.
    Band sample(int64_t rank, double spread, float* values) const {
        const int64_t size = class_count_ < kLong ? 32 : class_count_ < 8 * kLong ? 64 : 1024;
        const int64_t stride = class_count_ / size * S::kLanes;
        for (int64_t i = 0, from = 0; i < size; i += S::kLanes, from += stride) S::store(values + i, S::load(logits_ + from));
        const double share = static_cast<double>(rank) / static_cast<double>(class_count_);
        const double expected = share * static_cast<double>(size), scatter = __builtin_sqrt(expected * (1 - share));
        const int64_t low = static_cast<int64_t>(expected + spread * scatter + 1.5);
        const int64_t high = static_cast<int64_t>(expected - 1.25 * scatter + 0.5);
        const Neighbours found = of_sample(values, size, low < size ? low : size, high > 1 ? high : 1);
        // Above -inf: what is masked is never collected.
        return {low <= size && found.lower > -kLargest ? found.lower : -kLargest,
                found.upper > -kLargest ? found.upper : -kLargest};
    }

    static Neighbours of_sample(float* values, int64_t size, int64_t low, int64_t high) {
        if (size <= 64) return at_ranks<S>(values, static_cast<int>(size), static_cast<int>(low), static_cast<int>(high));
        // A NaN or an infinity may be among them: the thresholds are any then, the row is found out later.
        Floats lowest = S::all(kLargest), highest = S::all(-kLargest);
        for_each_vector<S>(values, size, 0, [&](Floats v, int64_t) {
            lowest = S::min(v, lowest);
            highest = S::max(v, highest);
        });
        const float bottom = just_below(S::lowest(lowest)), top = S::highest(highest);
        const auto find = [&](int64_t rank) {
            return rank < 2 ? top : Search<S>(values, size, 0, rank, bottom, top, values + size + kMargin).run().lower;
        };
        return {find(low), find(high)};
    }

    // Collect what is at least the low threshold, and NaN. Also finds the highest and the lowest entry, NaN aside.
    Bracket collect_between(Band band, float* collected) {
        const Floats low = S::all(band.low), high = S::all(band.high);
        Floats lowest = S::all(kLargest), highest = S::all(-kLargest);
        auto above_high = S::no_counts();
        const float* ahead = probabilities_;
        const int64_t count = collect<S>(logits_, class_count_, band.low, collected, [&](Floats v) {
            lowest = S::min(v, lowest);
            highest = S::max(v, highest);
            above_high = S::count_if(above_high, S::above(v, high));
            // Its own probabilities are written a row's time from now.
            __builtin_prefetch(ahead, 1);
            ahead += S::kLanes;
            return S::not_below(v, low);
        });
        lowest_ = S::lowest(lowest);
        highest_ = S::highest(highest);
        return {band.low, band.high, count, S::total(above_high)};
    }

    // `collected` holds at least `rank` values, all of the row that are at least bracket.low. False where a NaN is one.
    bool choose(Position position, float* collected, const Bracket& bracket, Cut& cut) {
        int64_t count = bracket.above_low;
        float* buffer = collected + class_count_ + kMargin;
        Neighbours found{highest_, highest_};
        if (!search(collected, position.rank, bracket, buffer, found)) return false;
        cut = cut_between(found, highest_, position.fraction);
        if (cut.value >= highest_) {
            share_among_maxima();
        } else if (4 * position.rank > 3 * class_count_) {
            weigh_in_place(cut);
        } else {
            float from = bracket.low;
            if (4 * count > 5 * position.rank) {  // many of the collected do not survive
                from = just_above(cut.value);
                count = collect<S>(collected, count, -kInfinity, collected,
                                   [&](Floats v) { return S::at_least(v, S::all(from)); });
            }
            weigh_collected(cut, from, collected, count);
        }
        return true;
    }

    bool search(const float* collected, int64_t rank, const Bracket& bracket, float* buffer, Neighbours& found) const {
        const int64_t count = bracket.above_low;
        const Band band = band_of(bracket, rank);
        const Floats low = S::all(band.low), high = S::all(band.high);
        auto counts = S::no_counts();
        Floats zeros = S::all(0);
        const int64_t inside = collect<S>(collected, count, -kLargest, buffer, [&](Floats v) {
            counts = S::count_if(counts, S::above(v, high));
            zeros = S::fma(v, S::all(0), zeros);
            return S::both(S::at_least(v, low), S::at_least(high, v));
        });
        if (!(S::sum(zeros) == 0)) return false;
        const int64_t above = S::total(counts);
        if (rank == 1) return true;
        if (above > rank - 2 || above + inside < rank) {  // the row is spread otherwise
            found = Search<S>(collected, count, 0, rank, just_below(bracket.low), highest_, buffer).run();
        } else if (inside <= 2 * kRankable) {
            pad<S>(buffer, inside);
            const int wanted = static_cast<int>(rank - above);
            found = at_ranks<S>(buffer, static_cast<int>(inside), wanted, wanted - 1);
        } else {
            found = Search<S>(buffer, inside, above, rank, just_below(band.low), band.high, buffer).run();
        }
        return true;
    }

    // Two thresholds closer to the cut: where it should be if the entries near it were spread like the logistic
    // distribution, whose log-odds are linear, and how far off that may be.
    Band band_of(const Bracket& bracket, int64_t rank) const {
        const float between = static_cast<float>(bracket.above_low - bracket.above_high);
        const float at_low = log_odds(static_cast<float>(bracket.above_low));
        const float at_high = log_odds(static_cast<float>(bracket.above_high));
        const float here = static_cast<float>(rank) - 0.5f, at_rank = log_odds(here);
        const float per_odds = (bracket.high - bracket.low) / (at_low - at_high);
        const float expected = bracket.low + per_odds * (at_low - at_rank);
        const bool above = rank - 1 <= bracket.above_high;
        float ranks = 0.9f * __builtin_sqrtf(between) + 0.025f * between + 1;
        if (above) ranks += 0.25f * static_cast<float>(bracket.above_high - rank + 1);
        const float reach = ranks * per_odds * (log_odds(here + 1) - at_rank);
        Band band{expected - reach, expected + reach};
        // Written so that a NaN, from thresholds that tie or are infinite, takes the safe side.
        const float safe_high = above ? highest_ : bracket.high;
        if (!(band.low >= bracket.low)) band.low = bracket.low;
        if (!(band.high <= safe_high)) band.high = safe_high;
        return band;
    }

    float log_odds(float above) const {
        const float all = static_cast<float>(class_count_);
        const float bounded = above < 0.5f ? 0.5f : above > all - 0.5f ? all - 0.5f : above;
        return rough_log2(bounded) - rough_log2(all - bounded);
    }

    // r = 0: the cut is the smallest entry.
    Cut forward_all(double rate) {
        Maxima<S> maxima;
        Floats smallest = S::all(kLargest);
        const auto take = [&](Floats v, int64_t) { smallest = S::min(smallest, v); };
        maxima.add(logits_, 0, class_count_, take, [&](int64_t i) {
            take(S::load_first(logits_ + i, static_cast<int>(class_count_ - i), S::all(kLargest)), i);
        });
        highest_ = S::highest(maxima.by_lane());
        float lowest = S::lowest(smallest);
        if (maxima.special()) {
            int64_t unmasked;
            if (!count_unmasked(unmasked)) return all_nan();
            if (unmasked == 0) return all_masked();
            if (unmasked < class_count_) return choose_from_all(position_of(rate, unmasked));
        }
        const Cut cut = cut_between({lowest, lowest}, highest_, 0);
        cut.value >= highest_ ? share_among_maxima() : weigh_in_place(cut);
        return cut;
    }

    // The cut is the maximum: equal shares among the entries that equal it (SPEC 1.3, the ends).
    void share_among_maxima() {
        const Floats highest = S::all(highest_);
        auto ties = S::no_counts();
        for_each_vector<S>(logits_, class_count_, -kInfinity, [&](Floats v, int64_t) {
            ties = S::count_if(ties, S::equal(v, highest));
        });
        const Floats share = S::all(1.0f / static_cast<float>(S::total(ties)));
        map_vectors<S>(logits_, class_count_, probabilities_,
                       [&](Floats v) { return S::keep(S::equal(v, highest), share); });
    }

    // Most entries survive: every entry is computed where it stands.
    void weigh_in_place(const Cut& cut) {
        with_masses<S>(cut, [&](auto masses) {
            in_blocks(class_count_, [&](int64_t first, int64_t count) {
                map_vectors<S>(logits_ + first, count, probabilities_ + first, [&](Floats v) { return masses.of(v); });
                masses.settle();
            });
            const Floats scale = masses.scale();
            map_vectors<S>(probabilities_, class_count_, probabilities_,
                           [&](Floats mass) { return probability<S>(mass, scale); });
        });
    }

    // Few survive: what was collected, all that is at least `from`, is computed side by side, and spread over zeros.
    void weigh_collected(const Cut& cut, float from, float* collected, int64_t count) {
        pad<S>(collected, count);
        Floats scale;
        with_masses<S>(cut, [&](auto masses) {
            in_blocks(count, [&](int64_t first, int64_t length) {
                for (int64_t i = first; i < first + length; i += S::kLanes)
                    S::store(collected + i, masses.of(S::load(collected + i)));
                masses.settle();
            });
            scale = masses.scale();
        });
        const Floats at_least = S::all(from);
        const float* next = collected;
        const float* ahead = logits_ + (class_count_ > kAhead ? class_count_ : kAhead);
        map_vectors<S>(logits_, class_count_, probabilities_, [&](Floats v) {
            const auto mask = S::at_least(v, at_least);
            const Floats mass = S::expand(next, mask);
            next += S::count(mask);
            __builtin_prefetch(ahead);
            ahead += S::kLanes;
            return probability<S>(mass, scale);
        });
    }

    // A sum over one block stays exact enough in float32.
    template <class Work>
    static void in_blocks(int64_t count, const Work& work) {
        constexpr int64_t kSummed = 2048;
        for (int64_t first = 0; first < count; first += kSummed)
            work(first, count - first < kSummed ? count - first : kSummed);
    }

    const float* logits_;
    int64_t class_count_;
    float* probabilities_;
    float highest_ = 0, lowest_ = 0;
};

template <class S>
Cut forward(const float* logits, double rate, int64_t class_count, float* probabilities) {
    return Row<S>(logits, class_count, probabilities).forward(rate);
}

}  // namespace labelset

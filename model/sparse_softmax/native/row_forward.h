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

// e^x for x <= 0 to about a unit in the last place; the smallest normal number from there on, -inf included: a number
// below it would cost as much as the rest of the row, and no probability is smaller (SPEC 1.4).
template <class S>
LABELSET_INLINE typename S::Floats exp(typename S::Floats x) {
    x = S::max(x, S::all(-87.3365402f));
    const auto exponent = S::nearest_integer(S::mul(x, S::all(1.44269504f)));
    // ln 2 in two parts: the product of the first with an exponent is exact.
    auto r = S::fma(exponent, S::all(-0.693359375f), x);
    r = S::fma(exponent, S::all(2.12194440e-4f), r);
    auto e = S::all(1.9875691500e-4f);
    e = S::fma(e, r, S::all(1.3981999507e-3f));
    e = S::fma(e, r, S::all(8.3334519073e-3f));
    e = S::fma(e, r, S::all(4.1665795894e-2f));
    e = S::fma(e, r, S::all(1.6666665459e-1f));
    e = S::fma(e, r, S::all(5.0000001201e-1f));
    e = S::add(S::fma(e, S::mul(r, r), r), S::all(1.0f));
    return S::scale(e, exponent);
}

// Probabilities before they are divided by their sum: weight times exponential. A survivor's is never 0, the others' is.
template <class S>
class Masses {
   public:
    using Floats = typename S::Floats;

    explicit Masses(const Cut& cut)
        : cut_(S::all(cut.value)), highest_(S::all(cut.highest)), unit_(S::all(unit(cut.highest - cut.value))) {}

    LABELSET_INLINE Floats of(Floats logits) {
        // Two finite entries may lie further apart than the largest number.
        const Floats weight = S::mul(S::min(S::sub(logits, cut_), S::all(kLargest)), unit_);
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
        if (class_count_ <= 2 * S::kLanes) return forward_short(rate);
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

    // A row that fits into two vectors: every entry is ranked against every other.
    Cut forward_short(double rate) {
        const int count = static_cast<int>(class_count_);
        float values[2 * S::kLanes + kMargin];
        const bool two = count > S::kLanes;
        const Floats none = S::all(-kInfinity);
        const Floats first = load_some(logits_, two ? S::kLanes : count), second =
            two ? load_some(logits_ + S::kLanes, count - S::kLanes) : none;
        S::store(values, first);
        S::store(values + S::kLanes, second);
        const int unmasked = S::count(S::above(first, none)) + S::count(S::above(second, none));
        const Floats infinity = S::all(kInfinity);
        if (S::count(S::above(infinity, first)) + S::count(S::above(infinity, second)) != 2 * S::kLanes) return all_nan();
        if (unmasked == 0) return all_masked();
        const Position position = position_of(rate, unmasked);
        const int rank = static_cast<int>(position.rank);
        Neighbours found = at_ranks<S>(values, count, rank, rank - 1);
        const float highest = S::highest(S::max(first, second));
        if (rank == 1) found.upper = found.lower;
        const Cut cut = cut_between(found, highest, position.fraction);
        Floats a, b, scale;
        if (cut.value >= highest) {
            const auto top = S::all(highest);
            a = S::keep(S::equal(first, top), S::all(1)), b = S::keep(S::equal(second, top), S::all(1));
            scale = S::all(1.0f / S::sum(S::add(a, b)));
        } else {
            Masses<S> masses(cut);
            a = masses.of(first), b = masses.of(second);
            masses.settle();
            scale = masses.scale();
        }
        store_some(probabilities_, two ? S::kLanes : count, probability<S>(a, scale));
        if (two) store_some(probabilities_ + S::kLanes, count - S::kLanes, probability<S>(b, scale));
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
    // more; blocks that do not reach it are not read again.
    Cut forward_few(double rate, Position position) {
        Maxima<S> maxima;
        const Floats zero = S::all(0);
        const auto clear = [&](Floats, int64_t i) { S::store(probabilities_ + i, zero); };
        const auto clear_rest = [&](int64_t i) {
            S::store_first(probabilities_ + i, static_cast<int>(class_count_ - i), zero);
        };
        const int64_t blocks = class_count_ < kLong ? 0 : class_count_ / kBlock;
        float* block_maxima = nullptr;
        if (blocks > 0) {
            block_maxima = scratch(2 * (class_count_ + kMargin));
            maxima.add_blocks(logits_, blocks, block_maxima, clear);
        }
        maxima.add(logits_, blocks * kBlock, class_count_, clear, clear_rest);
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
        Candidates candidates;
        if (!find_candidates(threshold, block_maxima, blocks, candidates)) return choose_from_all(position);
        pad_with<S>(candidates.values, candidates.count, -kInfinity);
        Neighbours found{highest_, highest_};
        if (rank > 1) found = at_ranks<S>(candidates.values, candidates.count, rank, rank - 1);
        const Cut cut = cut_between(found, highest_, position.fraction);
        if (cut.value >= highest_) {
            share_among_maxima(candidates, highest_);
        } else {
            Masses<S> masses(cut);
            map(candidates, [&](Floats v) { return masses.of(v); });
            masses.settle();
            const Floats scale = masses.scale();
            map(candidates, [&](Floats v) { return probability<S>(v, scale); });
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
            if (!find_candidates(at_least, first, first + kBlock, candidates)) return false;
        }
        return find_candidates(at_least, blocks * kBlock, class_count_, candidates);
    }

    bool find_candidates(Floats at_least, int64_t first, int64_t last, Candidates& candidates) const {
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
            const Band sampled = sample(position.rank, spread, collected);
            float lowest;
            const int64_t count = collect_from(sampled.low, collected, lowest);
            Bracket bracket{sampled.low, sampled.high, count, 0};
            // All that is not finite shows: -inf as the lowest entry, the rest among the collected.
            if (look_at_collected(collected, count, bracket) || lowest == -kInfinity) return forward_special(rate);
            if (count >= position.rank) return choose(position, collected, bracket);
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

    // Every entry that is not masked is collected: for the rare rows in which nothing better is known.
    Cut choose_from_all(Position position) {
        if (position.rank == 1) return finish_tied({highest_, highest_, highest_, highest_, 0});
        float* collected = scratch(2 * (class_count_ + kMargin));
        float lowest;
        Bracket bracket{-kLargest, -kLargest, collect_from(-kLargest, collected, lowest), 0};
        look_at_collected(collected, bracket.above_low, bracket);
        return choose(position, collected, bracket);
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

    // Collect what is at least the threshold, NaN included; also the lowest entry of the row, NaN aside.
    int64_t collect_from(float threshold, float* collected, float& lowest) const {
        const Floats low = S::all(threshold);
        Floats minimum = S::all(kLargest);
        const float* ahead = probabilities_;
        const int64_t count = collect<S>(logits_, class_count_, kLargest, collected, [&](Floats v) {
            minimum = S::min(v, minimum);
            // Its own probabilities are written a row's time from now.
            __builtin_prefetch(ahead, 1);
            ahead += S::kLanes;
            return S::not_below(v, low);
        });
        lowest = S::lowest(minimum);
        return count;
    }

    // Their maximum, and how many are above bracket.high; true where one of them is not finite.
    bool look_at_collected(float* collected, int64_t count, Bracket& bracket) {
        pad_with<S>(collected, count, -kLargest);
        const Floats high = S::all(bracket.high);
        Floats maximum = S::all(-kLargest), zeros = S::all(0);
        auto above_high = S::no_counts();
        for (int64_t i = 0; i < count; i += S::kLanes) {
            const Floats v = S::load(collected + i);
            maximum = S::max(maximum, v);
            zeros = S::fma(v, S::all(0), zeros);
            above_high = S::count_if(above_high, S::above(v, high));
        }
        highest_ = S::highest(maximum);
        bracket.above_high = S::total(above_high);
        return !(S::sum(zeros) == 0);
    }

    // `collected` holds at least `rank` values, all of the row that are at least bracket.low.
    Cut choose(Position position, float* collected, const Bracket& bracket) {
        const int64_t count = bracket.above_low;
        float* buffer = collected + class_count_ + kMargin;
        Neighbours found{highest_, highest_};
        if (position.rank > 1) found = search(collected, position.rank, bracket, buffer);
        const Cut cut = cut_between(found, highest_, position.fraction);
        if (cut.value >= highest_) return finish_tied(cut);
        if (4 * position.rank > 3 * class_count_) return weigh_in_place(cut);
        const Floats threshold = S::all(cut.value);
        const int64_t survivors =
            collect<S>(collected, count, -kInfinity, buffer, [&](Floats v) { return S::above(v, threshold); });
        return weigh_collected(cut, buffer, survivors);
    }

    Neighbours search(const float* collected, int64_t rank, const Bracket& bracket, float* buffer) const {
        const int64_t count = bracket.above_low;
        const Band band = band_of(bracket, rank);
        const Floats low = S::all(band.low), high = S::all(band.high);
        auto counts = S::no_counts();
        const int64_t inside = collect<S>(collected, count, -kInfinity, buffer, [&](Floats v) {
            counts = S::count_if(counts, S::above(v, high));
            return S::both(S::at_least(v, low), S::at_least(high, v));
        });
        const int64_t above = S::total(counts);
        if (above > rank - 2 || above + inside < rank)  // the row is spread otherwise
            return Search<S>(collected, count, 0, rank, just_below(bracket.low), highest_, buffer).run();
        if (inside <= 2 * kRankable) {
            pad_with<S>(buffer, inside, -kInfinity);
            const int wanted = static_cast<int>(rank - above);
            return at_ranks<S>(buffer, static_cast<int>(inside), wanted, wanted - 1);
        }
        return Search<S>(buffer, inside, above, rank, just_below(band.low), band.high, buffer).run();
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
        float ranks = 1.25f * __builtin_sqrtf(between) + 0.04f * between + 2;
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
        return cut.value >= highest_ ? finish_tied(cut) : weigh_in_place(cut);
    }

    // The cut is the maximum: equal shares among the entries that equal it (SPEC 1.3, the ends).
    Cut finish_tied(const Cut& cut) {
        const Floats highest = S::all(cut.highest);
        auto ties = S::no_counts();
        for_each_vector<S>(logits_, class_count_, -kInfinity, [&](Floats v, int64_t) {
            ties = S::count_if(ties, S::equal(v, highest));
        });
        const Floats share = S::all(1.0f / static_cast<float>(S::total(ties)));
        map_vectors<S>(logits_, class_count_, probabilities_,
                       [&](Floats v) { return S::keep(S::equal(v, highest), share); });
        return cut;
    }

    // Most entries survive: every entry is computed where it stands.
    Cut weigh_in_place(const Cut& cut) {
        Masses<S> masses(cut);
        in_blocks(class_count_, [&](int64_t first, int64_t count) {
            map_vectors<S>(logits_ + first, count, probabilities_ + first, [&](Floats v) { return masses.of(v); });
            masses.settle();
        });
        const Floats scale = masses.scale();
        map_vectors<S>(probabilities_, class_count_, probabilities_,
                       [&](Floats mass) { return probability<S>(mass, scale); });
        return cut;
    }

    // Few survive: they are computed side by side, and spread over zeros.
    Cut weigh_collected(const Cut& cut, float* survivors, int64_t count) {
        pad_with<S>(survivors, count, -kInfinity);
        Masses<S> masses(cut);
        in_blocks(count, [&](int64_t first, int64_t length) {
            for (int64_t i = first; i < first + length; i += S::kLanes)
                S::store(survivors + i, masses.of(S::load(survivors + i)));
            masses.settle();
        });
        const Floats scale = masses.scale();
        for (int64_t i = 0; i < count; i += S::kLanes)
            S::store(survivors + i, probability<S>(S::load(survivors + i), scale));
        const Floats threshold = S::all(cut.value);
        const float* next = survivors;
        const float* ahead = logits_ + (class_count_ > kAhead ? class_count_ : kAhead);
        map_vectors<S>(logits_, class_count_, probabilities_, [&](Floats v) {
            const auto mask = S::above(v, threshold);
            const Floats p = S::expand(next, mask);
            next += S::count(mask);
            __builtin_prefetch(ahead);
            ahead += S::kLanes;
            return p;
        });
        return cut;
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
    float highest_ = 0;
};

template <class S>
Cut forward(const float* logits, double rate, int64_t class_count, float* probabilities) {
    return Row<S>(logits, class_count, probabilities).forward(rate);
}

}  // namespace labelset

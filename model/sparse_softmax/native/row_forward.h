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
// So many entries tell where the cut of a row should be.
constexpr int kSample = 32;

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

    // 1 / the sum of all masses so far.
    Floats scale() const { return S::all(1.0f / S::sum(sum_)); }

   private:
    // A power of two that brings the weight of the maximum to about 1: no sum of weights leaves the type.
    static float unit(float distance) {
        const uint32_t exponent = as_bits(distance < kLargest ? distance : kLargest) >> 23;
        return as_float((exponent < 1 ? 253 : exponent > 253 ? 1 : 254 - exponent) << 23);
    }

    Floats cut_, highest_, unit_;
    Floats sum_ = S::all(0);
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
        if (!find_candidates(threshold, block_maxima, blocks, candidates)) return choose_among_many(position);
        pad<S>(candidates.values, candidates.count);
        Neighbours found{highest_, highest_};
        if (rank > 1) found = at_ranks<S>(candidates.values, candidates.count, rank, rank - 1);
        const Cut cut = cut_between(found, highest_, position.fraction);
        if (cut.value >= highest_) {
            share_among_maxima(candidates, highest_);
        } else {
            Masses<S> masses(cut);
            map(candidates, [&](Floats v) { return masses.of(v); });
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

    // Any cut.
    Cut forward_many(double rate, Position position) {
        if (position.rank == class_count_ && position.fraction == 0) return forward_all(rate);  // r = 0
        Bracket bracket = sample(position.rank);
        Maxima<S> maxima;
        bracket_row(bracket, maxima);
        highest_ = S::highest(maxima.by_lane());
        if (!maxima.special()) return choose_among_many(position, bracket);
        int64_t unmasked;
        if (!count_unmasked(unmasked)) return all_nan();
        if (unmasked == 0) return all_masked();
        return choose_among_many(position_of(rate, unmasked));
    }

    // Two thresholds, and how many entries are above each.
    struct Bracket {
        float low, high;
        int64_t above_low, above_high;
    };

    // Thresholds between which the entry of this rank most likely lies.
    Bracket sample(int64_t rank) const {
        float values[kSample + kMargin];
        const int64_t stride = class_count_ / kSample * S::kLanes;
        for (int i = 0, from = 0; i < kSample; i += S::kLanes, from += stride) S::store(values + i, S::load(logits_ + from));
        const double share = static_cast<double>(rank) / static_cast<double>(class_count_), expected = share * kSample;
        const double scatter = 1.5 * __builtin_sqrt(expected * (1 - share));
        const int low = static_cast<int>(expected + scatter + 1.5), high = static_cast<int>(expected - scatter + 0.5);
        const Neighbours found = at_ranks<S>(values, kSample, low < kSample ? low : kSample, high > 1 ? high : 1);
        // Above -inf: what is masked is never collected.
        return {found.lower > -kLargest ? found.lower : -kLargest, found.upper > -kLargest ? found.upper : -kLargest, 0, 0};
    }

    void bracket_row(Bracket& bracket, Maxima<S>& maxima) const {
        auto above_low = S::no_counts(), above_high = S::no_counts();
        const Floats low = S::all(bracket.low), high = S::all(bracket.high);
        const auto count = [&](Floats v, int64_t) {
            above_low = S::count_if(above_low, S::above(v, low));
            above_high = S::count_if(above_high, S::above(v, high));
        };
        maxima.add(logits_, 0, class_count_, count, [&](int64_t i) {
            count(S::load_first(logits_ + i, static_cast<int>(class_count_ - i), S::all(-kInfinity)), i);
        });
        bracket.above_low = S::total(above_low);
        bracket.above_high = S::total(above_high);
    }

    Cut choose_among_many(Position position) {
        if (position.rank == 1) return finish_tied({highest_, highest_, highest_, highest_, 0});
        Bracket bracket = sample(position.rank);
        Maxima<S> unused;
        bracket_row(bracket, unused);
        return choose_among_many(position, bracket);
    }

    Cut choose_among_many(Position position, const Bracket& bracket) {
        float* collected = scratch(2 * (class_count_ + kMargin));
        float* buffer = collected + class_count_ + kMargin;
        Band band = band_of(bracket, position.rank);
        int64_t count = collect_from(band.low, collected);
        if (count < position.rank) {  // the row is spread otherwise
            band.low = bracket.above_low >= position.rank ? bracket.low : -kLargest;
            count = collect_from(band.low, collected);
        }
        const Neighbours found = search(collected, count, position.rank, band, highest_, buffer);
        const Cut cut = cut_between(found, highest_, position.fraction);
        if (cut.value >= highest_) return finish_tied(cut);
        if (4 * position.rank > 3 * class_count_) return weigh_in_place(cut);
        return weigh_collected(cut, band.low, collected, count);
    }

    struct Band {
        float low, high;
    };

    // Two thresholds closer to the cut: where it should be if the entries near it were spread like the logistic
    // distribution, whose log-odds are linear, and how far off that may be.
    Band band_of(const Bracket& bracket, int64_t rank) const {
        const double between = static_cast<double>(bracket.above_low - bracket.above_high);
        const double at_low = log_odds(bracket.above_low), at_high = log_odds(bracket.above_high);
        const double width = static_cast<double>(bracket.high) - bracket.low;
        const double per_odds = width / (at_low - at_high);
        const double expected = bracket.low + per_odds * (at_low - log_odds(rank - 0.5));
        double reach = 1.25 * __builtin_sqrt(between) + 0.04 * between + 2;
        const bool below = rank > bracket.above_low, above = rank - 1 <= bracket.above_high;
        if (below) reach += 0.25 * static_cast<double>(rank - bracket.above_low);
        if (above) reach += 0.25 * static_cast<double>(bracket.above_high - rank + 1);
        reach *= per_odds * (log_odds(rank + 0.5) - log_odds(rank - 0.5));
        Band band{static_cast<float>(expected - reach), static_cast<float>(expected + reach)};
        // Written so that a NaN, from thresholds that tie or are infinite, takes the safe side.
        const float safe_low = below ? -kLargest : bracket.low, safe_high = above ? highest_ : bracket.high;
        if (!(band.low >= safe_low)) band.low = safe_low;
        if (!(band.high <= safe_high)) band.high = safe_high;
        return band;
    }

    double log_odds(double above) const {
        const double bounded = above < 0.5 ? 0.5 : above > class_count_ - 0.5 ? class_count_ - 0.5 : above;
        return rough_log2(static_cast<float>(bounded)) - rough_log2(static_cast<float>(class_count_ - bounded));
    }

    int64_t collect_from(float threshold, float* collected) const {
        const Floats at_least = S::all(threshold);
        return collect<S>(logits_, class_count_, collected, [&](Floats v) { return S::at_least(v, at_least); });
    }

    // `collected` holds `count` >= `rank` values from band.low on.
    static Neighbours search(const float* collected, int64_t count, int64_t rank, Band band, float highest, float* buffer) {
        const float bottom = at_order(order_of(band.low) - 1);
        const Floats high = S::all(band.high);
        const int64_t inside = collect<S>(collected, count, buffer, [&](Floats v) { return S::at_least(high, v); });
        const int64_t above = count - inside;
        if (above <= rank - 2) return Search<S>(buffer, inside, above, rank, bottom, band.high, buffer).run();
        // It lies higher than the sample said.
        return Search<S>(collected, count, 0, rank, bottom, highest, buffer).run();
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
            if (unmasked < class_count_) return choose_among_many(position_of(rate, unmasked));
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
        map_vectors<S>(logits_, class_count_, probabilities_, [&](Floats v) { return masses.of(v); });
        const Floats scale = masses.scale();
        map_vectors<S>(probabilities_, class_count_, probabilities_,
                       [&](Floats mass) { return probability<S>(mass, scale); });
        return cut;
    }

    // Few survive: what was collected from `threshold` on is computed, and spread over zeros.
    Cut weigh_collected(const Cut& cut, float threshold, float* collected, int64_t count) {
        pad<S>(collected, count);
        Masses<S> masses(cut);
        for (int64_t i = 0; i < count; i += S::kLanes) S::store(collected + i, masses.of(S::load(collected + i)));
        const Floats scale = masses.scale();
        for (int64_t i = 0; i < count; i += S::kLanes)
            S::store(collected + i, probability<S>(S::load(collected + i), scale));
        const Floats at_least = S::all(threshold);
        const float* next = collected;
        map_vectors<S>(logits_, class_count_, probabilities_, [&](Floats v) {
            const auto mask = S::at_least(v, at_least);
            const Floats p = S::expand(next, mask);
            next += S::count(mask);
            return p;
        });
        return cut;
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

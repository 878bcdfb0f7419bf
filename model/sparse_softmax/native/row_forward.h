// r-softmax of rows, for any vector type `S` (simd_*.h); compiled once for each kind of CPU.
//
// Only the two entries next to the cut have to be found, not the order of all. A first look at the row gives a threshold
// a little below the cut and collects what reaches it; the exact search goes on among those; exponentials are taken of
// what survives, not of the row.
#pragma once

#include "row_masses.h"
#include "row_maxima.h"
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
constexpr int64_t kLong = 4 * kBlock;
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

template <class S>
class Row {
   public:
    // Floats of its own that a row needs to compute in.
    static int64_t room(int64_t class_count) { return 2 * (class_count + kMargin); }

    Row(const float* logits, int64_t class_count, float* probabilities, float* room)
        : logits_(logits), class_count_(class_count), probabilities_(probabilities), collected_(room),
          buffer_(room + class_count + kMargin) {}

    // Three steps, so that rows may take turns: while one waits for its last few numbers, another one computes.
    void look(double rate) {
        rate_ = rate;
        if (!(rate >= 0 && rate <= 1)) return spoil();
        if (class_count_ <= S::kLanes) return compute_in_registers<1>();
        if (class_count_ <= 2 * S::kLanes) return compute_in_registers<2>();
        // As if nothing were masked: whether that is so is found out on the way.
        position_ = position_of(rate, class_count_);
        if (position_.rank == class_count_ && position_.fraction == 0) return look_at_extremes();
        if (position_.rank > kFew) return look_at_sample();
        look_at_columns();
        // Here a turn of another row would cost more cache than it saves time.
        if (class_count_ > kShort * 4) find_cut(), write();
    }

    void find_cut() {
        if (next_ == Next::kSearch) return search_collected();
        if (next_ == Next::kCandidates) return class_count_ <= kShort ? collect_candidates() : look_candidates_up();
    }

    const Cut& write() {
        const Next next = next_;
        next_ = Next::kNothing;
        switch (next) {
            case Next::kInPlace: weigh_in_place(); break;
            case Next::kCollected: weigh_collected(); break;
            case Next::kPlaces: weigh_candidates(); break;
            case Next::kTied: share_among_maxima(); break;
            default: break;
        }
        return cut_;
    }

   private:
    using Floats = typename S::Floats;

    // What is left to do; nothing where the row is written.
    enum class Next { kNothing, kCandidates, kSearch, kInPlace, kCollected, kPlaces, kTied };

    struct Band {
        float low, high;
    };

    // Two thresholds, and how many entries are above each; those that equal the low one count as above it.
    struct Bracket {
        float low, high;
        int64_t above_low, above_high;
    };

    // Entries that may survive, and where they stand.
    struct Candidates {
        float values[kCandidates + kMargin];
        int64_t places[kCandidates];
        int count;
    };

    void spoil() {
        const float nan = __builtin_nanf("");
        fill<S>(probabilities_, class_count_, nan);
        cut_ = {nan, nan, nan, nan, 0};
        next_ = Next::kNothing;
    }

    void clear_masked() {
        fill<S>(probabilities_, class_count_, 0);
        cut_ = {0, 0, 0, -kInfinity, 0};
        next_ = Next::kNothing;
    }

    // False where the cut is the maximum: what ties for it shares equally (SPEC 1.3, the ends).
    bool set_cut(Neighbours found) {
        cut_ = cut_between(found, highest_, position_.fraction);
        return cut_.value < highest_;
    }

    // Not all of the row is finite. False where that settled it: it is spoiled, or masked as a whole.
    bool count_masked() {
        int64_t unmasked;
        if (!count_unmasked(unmasked)) {
            spoil();
        } else if (unmasked == 0) {
            clear_masked();
        } else {
            position_ = position_of(rate_, unmasked);
            return true;
        }
        return false;
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
    void compute_in_registers() {
        const Floats masked = S::all(-kInfinity), infinity = S::all(kInfinity);
        // The last vector is never empty, and may be whole.
        const int rest = static_cast<int>(class_count_) - (kVectors - 1) * S::kLanes;
        Floats row[kVectors];
        for (int part = 0; part + 1 < kVectors; ++part) row[part] = S::load(logits_ + part * S::kLanes);
        row[kVectors - 1] = load_up_to<S>(logits_ + (kVectors - 1) * S::kLanes, rest, -kInfinity);

        uint32_t unmasked_bits = 0, sound_bits = ~uint32_t{0};
        Floats maximum = masked;
        for (int part = 0; part < kVectors; ++part) {
            unmasked_bits |= S::bits(S::above(row[part], masked)) << (part * S::kLanes);
            sound_bits &= S::bits(S::above(infinity, row[part]));
            maximum = S::max(row[part], maximum);
        }
        if (sound_bits != S::bits(S::first(S::kLanes))) return spoil();
        if (unmasked_bits == 0) return clear_masked();
        highest_ = S::highest(maximum);
        position_ = position_of(rate_, __builtin_popcount(unmasked_bits));

        typename S::Counts above[kVectors];
        for (int part = 0; part < kVectors; ++part) above[part] = S::no_counts();
#pragma GCC unroll 4
        for (int i = 0; i < static_cast<int>(class_count_); ++i) {
            const Floats other = S::all(logits_[i]);
            for (int part = 0; part < kVectors; ++part)
                above[part] = S::count_if(above[part], S::above(other, row[part]));
        }
        Floats lower = infinity, upper = infinity;
        const int rank = static_cast<int>(position_.rank);
        for (int part = 0; part < kVectors; ++part) {
            lower = S::min(lower, S::select(S::below(above[part], rank), row[part], infinity));
            upper = S::min(upper, S::select(S::below(above[part], rank - 1), row[part], infinity));
        }
        const Neighbours found{S::lowest(lower), rank == 1 ? highest_ : S::lowest(upper)};
        if (!set_cut(found)) return share_among_maxima();
        with_masses<S>(cut_, [&](auto masses) {
            for (int part = 0; part < kVectors; ++part) row[part] = masses.of(row[part]);
            masses.settle();
            const Floats scale = masses.scale();
            for (int part = 0; part < kVectors; ++part) row[part] = probability<S>(row[part], scale);
        });
        for (int part = 0; part + 1 < kVectors; ++part) S::store(probabilities_ + part * S::kLanes, row[part]);
        store_up_to<S>(probabilities_ + (kVectors - 1) * S::kLanes, rest, row[kVectors - 1]);
    }

    // r = 0: the cut is the smallest entry.
    void look_at_extremes() {
        Maxima<S> maxima;
        Floats smallest = S::all(kLargest);
        const auto take = [&](Floats v, int64_t) { smallest = S::min(smallest, v); };
        maxima.add(logits_, 0, class_count_, take, [&](int64_t i) {
            take(S::load_first(logits_ + i, static_cast<int>(class_count_ - i), S::all(kLargest)), i);
        });
        highest_ = S::highest(maxima.by_lane());
        if (maxima.special()) {
            if (count_masked()) collect_all();
            return;
        }
        const float lowest = S::lowest(smallest);
        next_ = set_cut({lowest, lowest}) ? Next::kInPlace : Next::kTied;
    }

    // A cut near the maximum: the rank-th largest column is a threshold that at least `rank` entries reach, and hardly more.
    void look_at_columns() {
        Maxima<S> maxima;
        if (class_count_ <= kShort) {
            maxima.add(logits_, 0, class_count_, [](Floats, int64_t) {}, [](int64_t) {});
        } else {
            clear_and_add(maxima);
        }
        highest_ = threshold_ = S::highest(maxima.by_lane());
        if (maxima.special() && !count_masked()) return;
        next_ = Next::kCandidates;
        const int rank = static_cast<int>(position_.rank);
        if (rank == 1) return;
        float columns[kColumns];
        maxima.store_columns(columns);
        threshold_ = at_ranks<S>(columns, kColumns, rank, rank).lower;
        // Where fewer columns than the rank hold an unmasked entry.
        if (threshold_ < -kLargest) threshold_ = -kLargest;
    }

    // The zeros of a longer row are written on the way, what survives over them.
    void clear_and_add(Maxima<S>& maxima) {
        const Floats zero = S::all(0);
        const auto clear = [&](Floats, int64_t i) {
            S::store(probabilities_ + i, zero);
            __builtin_prefetch(probabilities_ + i + kAhead / 2, 1);
        };
        maxima.add_blocks(logits_, block_count(), buffer_, [&](Floats v, int64_t i) {
            clear(v, i);
            __builtin_prefetch(logits_ + i + 2 * kAhead, 0);
        });
        maxima.add(logits_, block_count() * kBlock, class_count_, clear, [&](int64_t i) {
            S::store_first(probabilities_ + i, static_cast<int>(class_count_ - i), zero);
        });
    }

    int64_t block_count() const { return class_count_ < kLong ? 0 : class_count_ / kBlock; }

    // A short row: all that reaches the threshold is collected, without a branch on what that is.
    void collect_candidates() {
        const Floats at_least = S::all(threshold_);
        const int64_t count = collect<S>(logits_, class_count_, -kInfinity, collected_,
                                         [&](Floats v) { return S::at_least(v, at_least); });
        if (count > kRankable) return search_all();
        pad<S>(collected_, count);
        next_ = set_cut(neighbours_among(collected_, static_cast<int>(count))) ? Next::kInPlace : Next::kTied;
    }

    // A longer row: the few places that reach the threshold are looked up.
    void look_candidates_up() {
        if (!find_candidates()) return search_all();
        pad<S>(candidates_.values, candidates_.count);
        set_cut(neighbours_among(candidates_.values, candidates_.count));
        next_ = Next::kPlaces;
    }

    Neighbours neighbours_among(const float* values, int count) const {
        const int rank = static_cast<int>(position_.rank);
        if (rank == 1) return {highest_, highest_};
        return at_ranks<S>(values, count, rank, rank - 1);
    }

    bool find_candidates() {
        candidates_.count = 0;
        const Floats at_least = S::all(threshold_);
        for (int64_t block = 0; block < block_count(); ++block) {
            if (S::bits(S::at_least(S::load(buffer_ + block * S::kLanes), at_least)) == 0) continue;
            if (!find_candidates(block * kBlock, (block + 1) * kBlock)) return false;
        }
        return find_candidates(block_count() * kBlock, class_count_);
    }

    bool find_candidates(int64_t first, int64_t last) {
        const Floats at_least = S::all(threshold_);
        int64_t i = first;
        for (; i + 4 * S::kLanes <= last; i += 4 * S::kLanes) {
            uint64_t reached = 0;
            for (int part = 0; part < 4; ++part) {
                const uint64_t bits = S::bits(S::at_least(S::load(logits_ + i + part * S::kLanes), at_least));
                reached |= bits << (part * S::kLanes);
                if (class_count_ < kLong) ask_for_next_row(i + part * S::kLanes);
            }
            if (reached != 0 && !append(reached, i)) return false;
        }
        for (; i < last; i += S::kLanes) {
            const uint64_t reached = S::bits(S::at_least(load_up_to<S>(logits_ + i, last - i, -kInfinity), at_least));
            if (class_count_ < kLong) ask_for_next_row(i);
            if (reached != 0 && !append(reached, i)) return false;
        }
        return true;
    }

    LABELSET_INLINE void ask_for_next_row(int64_t i) const {
        __builtin_prefetch(logits_ + i + (class_count_ > kAhead ? class_count_ : kAhead), 0);
    }

    bool append(uint64_t reached, int64_t first) {
        if (candidates_.count > kCandidates - 64) return false;
        do {
            const int64_t place = first + __builtin_ctzll(reached);
            candidates_.values[candidates_.count] = logits_[place];
            candidates_.places[candidates_.count++] = place;
            reached &= reached - 1;
        } while (reached != 0);
        return true;
    }

    // Any cut: a sample tells a threshold below it, and what reaches that is collected.
    void look_at_sample() {
        next_ = Next::kSearch;
        negated_ = survive_mostly();
        // A first threshold misleads in one row of thirty, another one hardly ever.
        for (double spread = 1.75; spread < 8; spread *= 2) {
            const bool is_enough = negated_ ? collect_by_sample<true>(logits_, class_count_, spread)
                                            : collect_by_sample<false>(logits_, class_count_, spread);
            if (lowest_ == -kInfinity || highest_ == kInfinity) break;
            if (is_enough) return;
        }
        if (count_masked()) collect_all();
    }

    // Then it is those that do not that are collected: the search goes through the negated row.
    bool survive_mostly() const { return 4 * position_.rank > 3 * class_count_; }

    // The rank that the search is for. In the negated row the neighbours change places.
    int64_t searched_rank() const { return negated_ ? class_count_ - position_.rank + 2 : position_.rank; }

    // For rows of which nothing better is known, as those with masked classes: first every entry that is not masked.
    void collect_all() {
        next_ = Next::kSearch;
        negated_ = false;
        const Band all{-kLargest, -kLargest};
        collect_between<false>(logits_, class_count_, all);
        const int64_t unmasked = bracket_.above_low;
        if (unmasked <= kRankable || collect_by_sample<false>(collected_, unmasked, 3.5)) return;
        collect_between<false>(logits_, class_count_, all);
    }

    template <bool kNegated>
    bool collect_by_sample(const float* row, int64_t count, double spread) {
        collect_between<kNegated>(row, count, sample<kNegated>(row, count, spread));
        return bracket_.above_low >= searched_rank();
    }

    template <bool kNegated>
    static Floats searched(Floats v) {
        return kNegated ? S::sub(S::all(0), v) : v;
    }

    void search_all() {
        collect_all();
        search_collected();
    }

    // Thresholds between which the entry of the wanted rank most likely lies.
    template <bool kNegated>
    Band sample(const float* row, int64_t count, double spread) const {
        const int64_t size = count < 4096 ? 32 : count < 32768 ? 64 : 1024;
        const int64_t stride = count / size * S::kLanes;
        for (int64_t i = 0, from = 0; i < size; i += S::kLanes, from += stride) {
            // Finite, whatever the row: the search relies on it, and what is masked (-inf) is never collected.
            const Floats v = S::min(searched<kNegated>(S::load(row + from)), S::all(kLargest));
            S::store(buffer_ + i, S::max(v, S::all(-kLargest)));
        }
        const double share = static_cast<double>(searched_rank()) / static_cast<double>(count);
        const double expected = share * static_cast<double>(size), scatter = __builtin_sqrt(expected * (1 - share));
        const int64_t low = static_cast<int64_t>(expected + spread * scatter + 1.5);
        const int64_t high = static_cast<int64_t>(expected - 1.25 * scatter + 0.5);
        const Neighbours found = of_sample(buffer_, size, low < size ? low : size, high > 1 ? high : 1);
        return {low <= size ? found.lower : -kLargest, found.upper};
    }

    static Neighbours of_sample(float* values, int64_t size, int64_t low, int64_t high) {
        if (size <= 64) return at_ranks<S>(values, static_cast<int>(size), static_cast<int>(low), static_cast<int>(high));
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

    // Collect what is at least the low threshold, and NaN, of a row or of what was collected before. Also finds the highest
    // and the lowest entry, NaN aside.
    template <bool kNegated>
    void collect_between(const float* row, int64_t row_count, Band band) {
        const Floats low = S::all(band.low), high = S::all(band.high);
        Floats lowest = S::all(kLargest), highest = S::all(-kLargest);
        auto above_high = S::no_counts();
        const float* ahead = class_count_ < kLong ? probabilities_ : logits_ + 2 * kAhead;
        const int64_t count = collect<S>(row, row_count, kNegated ? -band.low : band.low, collected_, [&](Floats& v) {
            lowest = S::min(v, lowest);
            highest = S::max(v, highest);
            v = searched<kNegated>(v);
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

    // What was collected holds the neighbours of the cut, and all from bracket_.low on.
    void search_collected() {
        Neighbours found{highest_, highest_};
        if (!search(found)) {  // a NaN
            count_masked();
            return;
        }
        if (negated_) found = {-found.upper, -found.lower};
        if (!set_cut(found)) {
            next_ = Next::kTied;
        } else if (survive_mostly()) {
            next_ = Next::kInPlace;
        } else {
            next_ = Next::kCollected;
            if (4 * bracket_.above_low <= 5 * position_.rank) return;
            // Many of the collected do not survive.
            bracket_.low = just_above(cut_.value);
            const Floats low = S::all(bracket_.low);
            bracket_.above_low = collect<S>(collected_, bracket_.above_low, -kInfinity, collected_,
                                            [&](Floats v) { return S::at_least(v, low); });
        }
    }

    // False where a NaN was collected.
    bool search(Neighbours& found) const {
        const int64_t rank = searched_rank(), count = bracket_.above_low;
        const float top = negated_ ? -lowest_ : highest_;
        const Band band = band_of(bracket_, rank, top);
        const Floats low = S::all(band.low), high = S::all(band.high);
        auto counts = S::no_counts();
        Floats zeros = S::all(0);
        const int64_t inside = collect<S>(collected_, count, -kLargest, buffer_, [&](Floats v) {
            counts = S::count_if(counts, S::above(v, high));
            zeros = S::fma(v, S::all(0), zeros);
            return S::both(S::at_least(v, low), S::at_least(high, v));
        });
        if (!(S::sum(zeros) == 0)) return false;
        const int64_t above = S::total(counts);
        if (rank == 1) return true;
        if (above > rank - 2 || above + inside < rank) {  // the row is spread otherwise
            found = Search<S>(collected_, count, 0, rank, just_below(bracket_.low), top, buffer_).run();
        } else if (inside <= 2 * kRankable) {
            pad<S>(buffer_, inside);
            const int wanted = static_cast<int>(rank - above);
            found = at_ranks<S>(buffer_, static_cast<int>(inside), wanted, wanted - 1);
        } else {
            found = Search<S>(buffer_, inside, above, rank, just_below(band.low), band.high, buffer_).run();
        }
        return true;
    }

    // Two thresholds closer to the cut: where it should be if the entries near it were spread like the logistic
    // distribution, whose log-odds are linear, and how far off that may be.
    Band band_of(const Bracket& bracket, int64_t rank, float top) const {
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
        const float safe_high = above ? top : bracket.high;
        if (!(band.low >= bracket.low)) band.low = bracket.low;
        if (!(band.high <= safe_high)) band.high = safe_high;
        return band;
    }

    float log_odds(float above) const {
        const float all = static_cast<float>(class_count_);
        const float bounded = above < 0.5f ? 0.5f : above > all - 0.5f ? all - 0.5f : above;
        return rough_log2(bounded) - rough_log2(all - bounded);
    }

    // The cut is the maximum: equal shares among the entries that equal it.
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
    void weigh_in_place() {
        with_masses<S>(cut_, [&](auto masses) {
            in_blocks(class_count_, [&](int64_t first, int64_t count) {
                map_vectors<S>(logits_ + first, count, probabilities_ + first, [&](Floats v) { return masses.of(v); });
                masses.settle();
            });
            const Floats scale = masses.scale();
            map_vectors<S>(probabilities_, class_count_, probabilities_,
                           [&](Floats mass) { return probability<S>(mass, scale); });
        });
    }

    // Few survive: what was collected, all that is at least bracket_.low, is computed side by side, and spread over zeros.
    void weigh_collected() {
        float* collected = collected_;
        const int64_t count = bracket_.above_low;
        pad<S>(collected, count);
        Floats scale;
        with_masses<S>(cut_, [&](auto masses) {
            in_blocks(count, [&](int64_t first, int64_t length) {
                for (int64_t i = first; i < first + length; i += S::kLanes)
                    S::store(collected + i, masses.of(S::load(collected + i)));
                masses.settle();
            });
            scale = masses.scale();
        });
        const Floats at_least = S::all(bracket_.low);
        const float* next = collected;
        // What is needed next: the row after the one that takes turns with this one, or the rest of a long row.
        const float* ahead = logits_ + (class_count_ < kLong ? 2 * class_count_ : 2 * kAhead);
        const float* written_next = probabilities_ + (class_count_ < kLong ? 0 : kAhead / 2);
        map_vectors<S>(logits_, class_count_, probabilities_, [&](Floats v) {
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

    // Hardly any survive: each is written to its place among the zeros.
    void weigh_candidates() {
        float* values = candidates_.values;
        const auto change = [&](const auto& change_one) {
            for (int i = 0; i < candidates_.count; i += S::kLanes) S::store(values + i, change_one(S::load(values + i)));
        };
        if (cut_.value < highest_) {
            with_masses<S>(cut_, [&](auto masses) {
                change([&](Floats v) { return masses.of(v); });
                masses.settle();
                const Floats scale = masses.scale();
                change([&](Floats mass) { return probability<S>(mass, scale); });
            });
        } else {
            Floats ties = S::all(0);
            change([&](Floats v) {
                const Floats tie = S::keep(S::equal(v, S::all(highest_)), S::all(1));
                ties = S::add(ties, tie);
                return tie;
            });
            const Floats share = S::all(1.0f / S::sum(ties));
            change([&](Floats tie) { return S::mul(tie, share); });
        }
        for (int i = 0; i < candidates_.count; ++i) probabilities_[candidates_.places[i]] = values[i];
    }

    const float* logits_;
    int64_t class_count_;
    float* probabilities_;
    // What reaches a threshold; and room for the search, or the maxima of the blocks.
    float *collected_, *buffer_;

    Next next_ = Next::kNothing;
    bool negated_ = false;
    double rate_ = 0;
    Position position_{};
    float highest_ = 0, lowest_ = 0, threshold_ = 0;
    Bracket bracket_{};
    Candidates candidates_;
    Cut cut_{};
};

// rows.h: RowKernels::forward.
template <class S>
void forward(const float* logits, const double* rates, int64_t rate_step, int64_t row_count, int64_t class_count,
             float* probabilities, Cut* cuts) {
    const int64_t room = Row<S>::room(class_count);
    const bool paired = class_count < kLong;
    float* rooms = scratch(paired ? 2 * room : room);
    const auto make = [&](int64_t row, float* own) {
        return Row<S>(logits + row * class_count, class_count, probabilities + row * class_count, own);
    };
    int64_t row = 0;
    for (; paired && row + 2 <= row_count; row += 2) {
        Row<S> first = make(row, rooms), second = make(row + 1, rooms + room);
        first.look(rates[row * rate_step]);
        second.look(rates[(row + 1) * rate_step]);
        first.find_cut();
        second.find_cut();
        const Cut &first_cut = first.write(), &second_cut = second.write();
        if (cuts != nullptr) cuts[row] = first_cut, cuts[row + 1] = second_cut;
    }
    for (; row < row_count; ++row) {
        Row<S> only = make(row, rooms);
        only.look(rates[row * rate_step]);
        only.find_cut();
        const Cut& cut = only.write();
        if (cuts != nullptr) cuts[row] = cut;
    }
}

}  // namespace labelset

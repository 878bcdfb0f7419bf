// r-softmax of one row by a team of threads that hold it in pieces: the whole algorithm, free of CUDA.
//
// The same text compiles for the GPU (rows.cu) and, with an emulated team, for the CPU (fuzz_rows.cpp).
// A `Team` offers `sum`, `min` and `max` over all its threads, each thread receiving the result. A `Row` offers this
// thread's piece of it: `read` (once, first), `for_each`, `replace` and `write`. A thread that holds fewer logits than
// others sees -inf in their place: masked, and never counted.
#pragma once

#include <cfloat>
#include <climits>
#include <cmath>

#include "../rows.h"
#include "numbers.h"

namespace labelset {
namespace cuda {

using labelset::Cut;

struct Summary {
    float highest;  // +inf where the row holds a NaN or +inf
    float lowest;   // of the unmasked
    int unmasked;
};

// How the row lies around a pivot.
struct Split {
    int above_count;
    float above;  // the smallest entry above the pivot
    float below;  // the largest not above it
};

// Both s_lo and s_{lo+1} lie in [low, high].
struct Bracket {
    float low;
    float high;
    int from_low;    // this many entries are low or above
    int above_high;  // this many are above high
};

struct Neighbours {
    float lower;  // s_lo
    float upper;  // s_{lo+1}
};

template <class Row, class Team>
LABELSET_DEVICE Summary read_and_summarise(Row& row, Team& team) {
    Summary own{-kInfinity, kInfinity, 0};
    bool broken = false;
    row.read([&](float logit) {
        broken |= !(logit < kInfinity);
        own.highest = fmaxf(own.highest, logit);
        if (logit > -kInfinity) {
            own.lowest = fminf(own.lowest, logit);
            ++own.unmasked;
        }
    });
    return {team.max(broken ? kInfinity : own.highest), team.min(own.lowest), team.sum(own.unmasked)};
}

template <class Row, class Team>
LABELSET_DEVICE int count_above(const Row& row, float pivot, Team& team) {
    int count = 0;
    row.for_each([&](float logit) { count += logit > pivot; });
    return team.sum(count);
}

template <class Row, class Team>
LABELSET_DEVICE Split split_at(const Row& row, float pivot, Team& team) {
    Split own{0, kInfinity, -kInfinity};
    row.for_each([&](float logit) {
        if (logit > pivot) {
            ++own.above_count;
            own.above = fminf(own.above, logit);
        } else {
            own.below = fmaxf(own.below, logit);
        }
    });
    return {team.sum(own.above_count), team.min(own.above), team.max(own.below)};
}

// Where in [low, high) the `rank`-th largest may lie. Any answer is correct; a good one saves passes.
LABELSET_DEVICE float choose_pivot(const Bracket& bracket, int rank, int size, int pass, bool halved) {
    float pivot;
    if (pass >= kPassesBeforeBisection && pass % 2 == 0) {
        // Numbers of any size have at most 32 halvings between them.
        const unsigned low = order_key(bracket.low), high = order_key(bracket.high);
        pivot = from_order_key(low + (high - low) / 2);
    } else if (!halved) {
        pivot = 0.5f * bracket.low + 0.5f * bracket.high;
    } else {
        // An end far from the cut is best moved by a pivot just beyond the cut: as far as the near end is.
        const int above = rank - bracket.above_high, below = bracket.from_low - rank;
        const float beyond = below > 4 * above ? 1.0f + above : above > 4 * below ? -1.0f - below : 0.0f;
        // Against the logit of the rank, the quantiles of most rows lie close to a line, also in the tails.
        const float low = rank_logit(bracket.from_low, size), high = rank_logit(bracket.above_high, size);
        const float part = (low - rank_logit(rank - 0.5f + beyond, size)) / (low - high);
        pivot = bracket.low + part * (bracket.high - bracket.low);
    }
    // Written so that a NaN, of a range that overflows, also ends at `low`.
    return pivot > bracket.low && pivot < bracket.high ? pivot : bracket.low;
}

// The `rank`-th largest entry, rank >= 2, and the next larger one, among `size` unmasked. Every pass over the row
// narrows the bracket. The first ones only count. The last ones also move its ends onto entries, so that it ends.
template <class Row, class Team>
LABELSET_DEVICE Neighbours find_neighbours(const Row& row, Bracket bracket, int rank, int size, Team& team) {
    bool halved = true;
    for (int pass = 0; bracket.low < bracket.high; ++pass) {
        const int candidates = bracket.from_low - bracket.above_high;
        const float pivot = choose_pivot(bracket, rank, size, pass, halved);
        const bool only_count = candidates > kFewCandidates && pass < kPassesBeforeBisection && pivot > bracket.low;
        Split split{0, pivot, pivot};
        if (only_count) split.above_count = count_above(row, pivot, team);
        if (!only_count || split.above_count == rank - 1) split = split_at(row, pivot, team);
        if (split.above_count == rank - 1) return {split.below, split.above};
        if (split.above_count >= rank) {
            bracket.low = split.above;
            bracket.from_low = split.above_count;
        } else {
            bracket.high = split.below;
            bracket.above_high = split.above_count;
        }
        halved = 2 * (bracket.from_low - bracket.above_high) <= candidates;
    }
    return {bracket.low, bracket.low};
}

// Sets every entry that equals the maximum to an equal share: the limit t -> 0 (SPEC 1.3).
template <class Row, class Team>
LABELSET_DEVICE void share_among_highest(Row& row, float highest, float smallest, Team& team) {
    int own = 0;
    row.for_each([&](float logit) { own += logit == highest; });
    const float share = fmaxf(1.0f / float(team.sum(own)), smallest);
    row.write([&](float logit) { return logit == highest ? share : 0.0f; });
}

// The unnormalised probability of an entry: 0 outside the support, above 0 in it.
struct Mass {
    float cut;
    float highest;
    float scale;  // A power of two that takes the largest weight to about 1: no sum of weights leaves the type.

    LABELSET_DEVICE Mass(float row_cut, float row_highest) : cut(row_cut), highest(row_highest) {
        const int exponent = ilogbf(fminf(highest - cut, FLT_MAX));
        scale = ldexpf(1.0f, exponent > 126 ? -126 : exponent < -126 ? 126 : -exponent);
    }

    LABELSET_DEVICE float operator()(float logit) const {
        if (!(logit > cut)) return 0;
        const float weight = fminf(logit - cut, FLT_MAX) * scale;
        return fmaxf(weight * expf(logit - highest), kSmallestDenormal);
    }
};

// mass / total, rounded well enough that a lone survivor gets exactly 1.
LABELSET_DEVICE float divide(float mass, float total, float inverse) {
    const float quotient = mass * inverse;
    return fmaf(fmaf(-quotient, total, mass), inverse, quotient);
}

template <class Row, class Team>
LABELSET_DEVICE void weigh(Row& row, const Mass& mass_of, float smallest, Team& team) {
    float own = 0;
    const auto add = [&](float logit) {
        const float mass = mass_of(logit);
        own += mass;
        return mass;
    };
    if constexpr (Row::kHoldsRow) {
        row.replace(add);
    } else {
        row.for_each(add);
    }
    const float total = team.sum(own), inverse = 1.0f / total;
    row.write([&](float entry) {
        const float mass = Row::kHoldsRow ? entry : mass_of(entry);
        return mass > 0 ? fmaxf(divide(mass, total, inverse), smallest) : 0.0f;
    });
}

// Probabilities of one row; returns its cut. `smallest`: the least probability of a survivor (SPEC 1.4).
template <class Row, class Team>
LABELSET_DEVICE Cut map_row(Row& row, double rate, float smallest, Team& team) {
    const Summary summary = read_and_summarise(row, team);
    if (summary.highest == kInfinity || !(rate >= 0 && rate <= 1)) {
        row.write([](float) { return kNan; });
        return {kNan, kNan, kNan, kNan, 0};
    }
    if (summary.unmasked == 0) {
        row.write([](float) { return 0.0f; });
        return {0, 0, 0, -kInfinity, 0};
    }
    const double position = multiply(rate, double(summary.unmasked - 1));
    const double below = floor(position);
    const double fraction = subtract(position, below);
    const int rank = summary.unmasked - int(below);
    const Bracket whole{summary.lowest, summary.highest, summary.unmasked, 0};
    const Neighbours neighbours = rank == 1 ? Neighbours{summary.highest, summary.highest}
                                            : row.find_neighbours(whole, rank, summary.unmasked, team);
    const float cut = interpolate(neighbours.lower, neighbours.upper, fraction);
    if (cut >= summary.highest) {
        share_among_highest(row, summary.highest, smallest, team);
    } else {
        weigh(row, Mass(cut, summary.highest), smallest, team);
    }
    return {cut, neighbours.lower, neighbours.upper, summary.highest, fraction};
}

}  // namespace cuda
}  // namespace labelset

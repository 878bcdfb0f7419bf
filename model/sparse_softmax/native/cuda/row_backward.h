// The gradient of one row (SPEC 1.5), by a team of threads that read its arrays from global memory or the caches.
#pragma once

#include "rows_in_pieces.h"

namespace labelset {
namespace cuda {

// The first class whose logit equals `value`; 0 where none does.
template <class T, int kWidth, class Team>
LABELSET_DEVICE int find_class(const Pieces<const T, kWidth>& logits, float value, Team& team) {
    int first = INT_MAX;
    for (int piece = logits.first; piece < logits.piece_count; piece += logits.stride) {
        float values[kWidth];
        logits.load(piece, values);
#pragma unroll
        for (int i = kWidth - 1; i >= 0; --i) {
            if (values[i] == value && piece * kWidth + i < first) first = piece * kWidth + i;
        }
    }
    first = team.min(first);
    return first == INT_MAX ? 0 : first;
}

// Where the cut moves with the logits: by `shares` with the entries `classes`.
struct Anchors {
    int classes[2];
    float shares[2];
};

template <class T, int kWidth, class Team>
LABELSET_DEVICE Anchors find_anchors(const Pieces<const T, kWidth>& logits, const Cut& cut, bool exact_gradient,
                                     Team& team) {
    if (exact_gradient) {
        return {{find_class(logits, cut.lower, team), find_class(logits, cut.upper, team)},
                {float(1 - cut.fraction), float(cut.fraction)}};
    }
    const int highest = find_class(logits, cut.highest, team);
    return {{highest, highest}, {1, 0}};
}

template <class T, int kWidth>
struct BackwardRow {
    Pieces<const T, kWidth> logits;
    Pieces<const T, kWidth> probabilities;
    Pieces<const T, kWidth> gradient;
    Pieces<T, kWidth> logits_gradient;
    float cut;
    Anchors anchors;
};

// How a probability is had again: a float32 one is read; a float16 one is too coarse to be divided by a small weight.
struct SavedProbabilities {
    LABELSET_DEVICE float operator()(float, float saved) const { return saved; }
};

struct RecomputedProbabilities {
    Mass mass_of;
    float total;

    template <class T, int kWidth, class Team>
    LABELSET_DEVICE RecomputedProbabilities(const BackwardRow<T, kWidth>& row, Team& team) : mass_of(0, 1) {
        float highest = -kInfinity, own = 0;
        visit_logits(row, [&](float logit) { highest = fmaxf(highest, logit); });
        mass_of = Mass(row.cut, team.max(highest));
        visit_logits(row, [&](float logit) { own += mass_of(logit); });
        total = team.sum(own);
    }

    LABELSET_DEVICE float operator()(float logit, float) const { return mass_of(logit) / total; }

private:
    template <class T, int kWidth, class Visit>
    LABELSET_DEVICE static void visit_logits(const BackwardRow<T, kWidth>& row, const Visit& visit) {
        for (int piece = row.logits.first; piece < row.logits.piece_count; piece += row.logits.stride) {
            float values[kWidth];
            row.logits.load(piece, values);
#pragma unroll
            for (int i = 0; i < kWidth; ++i) visit(values[i]);
        }
    }
};

// Calls `visit(piece, i, weight, probability, gradient)` on this thread's entries; off the support the weight is not
// above 0. In a row of NaN no entry is off it.
template <class T, int kWidth, class Probabilities, class Visit, class EndPiece>
LABELSET_DEVICE void visit_entries(const BackwardRow<T, kWidth>& row, const Probabilities& probability_of,
                                   const Visit& visit, const EndPiece& end_piece) {
    for (int piece = row.logits.first; piece < row.logits.piece_count; piece += row.logits.stride) {
        float logits[kWidth], saved[kWidth], gradients[kWidth];
        row.logits.load(piece, logits);
        row.probabilities.load(piece, saved);
        row.gradient.load(piece, gradients);
#pragma unroll
        for (int i = 0; i < kWidth; ++i)
            visit(piece, i, logits[i] - row.cut, probability_of(logits[i], saved[i]), gradients[i]);
        end_piece(piece);
    }
}

template <class T, int kWidth, class Probabilities, class Team>
LABELSET_DEVICE void map_gradient(const BackwardRow<T, kWidth>& row, const Probabilities& probability_of, Team& team) {
    const auto nothing = [](int) {};
    float own_mean = 0, own_pull = 0;
    visit_entries(
        row, probability_of,
        [&](int, int, float, float probability, float gradient) { own_mean += probability * gradient; }, nothing);
    const float mean = team.sum(own_mean);
    visit_entries(
        row, probability_of,
        [&](int, int, float weight, float probability, float gradient) {
            if (!(weight <= 0)) own_pull += probability * (gradient - mean) / weight;
        },
        nothing);
    const float pull = team.sum(own_pull);
    float results[kWidth];
    visit_entries(
        row, probability_of,
        [&](int piece, int i, float weight, float probability, float gradient) {
            const float own = probability * (gradient - mean);
            float result = !(weight <= 0) ? own + own / weight : 0;
#pragma unroll
            for (int anchor = 0; anchor < 2; ++anchor)
                if (piece * kWidth + i == row.anchors.classes[anchor]) result -= row.anchors.shares[anchor] * pull;
            results[i] = result;
        },
        [&](int piece) { row.logits_gradient.store(piece, results); });
}

}  // namespace cuda
}  // namespace labelset

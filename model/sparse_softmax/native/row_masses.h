// From logits and a cut to probabilities: weight times exponential, divided by the sum (SPEC 1.1, 1.3, 1.4).
#pragma once

#include "rows.h"
#include "vectors.h"

namespace labelset {

// e^x for x <= 0 to about a unit in the last place. From e^-86.9 on it falls no further, at -inf either: a number below
// the normal ones would cost as much as the rest of the row, and no probability is one (SPEC 1.4).
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

// Probabilities before they are divided by their sum: weight times exponential; above 0 for survivors only.
// `kExtreme`: for any weights; else for those of a maximum between 1/8 and 2^60, which is every row in practice.
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
    if (distance > 0x1p-3f && distance < 0x1p60f) {
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

}  // namespace labelset

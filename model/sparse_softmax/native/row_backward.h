// The gradient of one row of r-softmax, for any vector type `S` (simd_*.h). SPEC 1.5.
#pragma once

#include "vectors.h"

namespace labelset {

// a = p (g - sum g p) and b = a / (x - cut) on the support, 0 elsewhere: writes a + b, returns the sum of all b.
template <class S>
float backward(const float* logits, const float* probabilities, float cut, const float* gradient, int64_t class_count,
               float* logits_gradient) {
    using Floats = typename S::Floats;
    if (cut != cut) {
        fill<S>(logits_gradient, class_count, cut);
        return cut;
    }
    Floats products = S::all(0);
    int64_t i = 0;
    for (; i + S::kLanes <= class_count; i += S::kLanes)
        products = S::fma(S::load(probabilities + i), S::load(gradient + i), products);
    const int rest = static_cast<int>(class_count - i);
    if (rest > 0) {
        const Floats none = S::all(0);
        products = S::fma(S::load_first(probabilities + i, rest, none), S::load_first(gradient + i, rest, none), products);
    }
    const Floats mean = S::all(S::sum(products)), cut_v = S::all(cut);
    Floats pulls = S::all(0);
    const auto gradient_of = [&](Floats x, Floats p, Floats g) {
        const auto survives = S::above(x, cut_v);
        const Floats a = S::mul(p, S::sub(g, mean));
        const Floats b = S::keep(survives, S::div(a, S::sub(x, cut_v)));
        pulls = S::add(pulls, b);
        return S::add(S::keep(survives, a), b);
    };
    for (i = 0; i + S::kLanes <= class_count; i += S::kLanes) {
        const Floats x = S::load(logits + i), p = S::load(probabilities + i), g = S::load(gradient + i);
        S::store(logits_gradient + i, gradient_of(x, p, g));
    }
    if (rest > 0) {
        const Floats x = S::load_first(logits + i, rest, S::all(-kInfinity)), none = S::all(0);
        const Floats p = S::load_first(probabilities + i, rest, none), g = S::load_first(gradient + i, rest, none);
        S::store_first(logits_gradient + i, rest, gradient_of(x, p, g));
    }
    return S::sum(pulls);
}

// The first class whose logit equals `value`; 0 where none does.
template <class S>
int64_t find(const float* logits, float value, int64_t class_count) {
    const auto wanted = S::all(value);
    int64_t i = 0;
    for (; i + S::kLanes <= class_count; i += S::kLanes) {
        const uint32_t bits = S::bits(S::equal(S::load(logits + i), wanted));
        if (bits != 0) return i + __builtin_ctz(bits);
    }
    for (; i < class_count; ++i) {
        if (logits[i] == value) return i;
    }
    return 0;
}

}  // namespace labelset

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
    // Thousands of float32 terms may add up, not millions: the sum of a block goes to one in double.
    double product = 0, pull = 0;
    in_blocks<S>(class_count, [&](int64_t first, int64_t count) {
        Floats products = S::all(0);
        for_each_vector<S>(probabilities + first, count, 0, [&](Floats p, int64_t i) {
            products = S::fma(p, load_up_to<S>(gradient + first + i, count - i, 0), products);
        });
        product += S::sum(products);
    });
    const Floats mean = S::all(static_cast<float>(product)), cut_v = S::all(cut);
    in_blocks<S>(class_count, [&](int64_t first, int64_t count) {
        Floats pulls = S::all(0);
        for_each_vector<S>(logits + first, count, -kInfinity, [&](Floats x, int64_t i) {
            const int64_t left = count - i;
            const auto survives = S::above(x, cut_v);
            const Floats p = load_up_to<S>(probabilities + first + i, left, 0);
            const Floats g = load_up_to<S>(gradient + first + i, left, 0);
            const Floats a = S::mul(p, S::sub(g, mean));
            const Floats b = S::keep(survives, S::div(a, S::sub(x, cut_v)));
            pulls = S::add(pulls, b);
            store_up_to<S>(logits_gradient + first + i, left, S::add(S::keep(survives, a), b));
        });
        pull += S::sum(pulls);
    });
    return static_cast<float>(pull);
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

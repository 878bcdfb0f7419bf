// Sixteen lanes of AVX-512 (F, BW, DQ, VL), under the names that the row kernels use.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace labelset {

struct Avx512 {
    using Floats = __m512;
    using Mask = __mmask16;
    static constexpr int kLanes = 16;
    static constexpr const char* kName = "avx512";

    static Floats load(const float* from) { return _mm512_loadu_ps(from); }
    // The first `count` <= kLanes lanes; the others are `rest`.
    static Floats load_first(const float* from, int count, Floats rest) {
        return _mm512_mask_loadu_ps(rest, first(count), from);
    }
    static void store(float* to, Floats v) { _mm512_storeu_ps(to, v); }
    static void store_first(float* to, int count, Floats v) { _mm512_mask_storeu_ps(to, first(count), v); }

    static Floats all(float value) { return _mm512_set1_ps(value); }
    static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
    static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
    static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
    static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
    static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
    static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
    // Add the integer in the last bits of `bits` to the exponent of v.
    static Floats add_to_exponent(Floats v, Floats bits) {
        return _mm512_castsi512_ps(
            _mm512_add_epi32(_mm512_castps_si512(v), _mm512_slli_epi32(_mm512_castps_si512(bits), 23)));
    }

    static Mask first(int count) { return static_cast<Mask>((1u << count) - 1); }
    static Mask above(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
    static Mask at_least(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
    // At least, or NaN.
    static Mask not_below(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
    static Mask equal(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
    static Mask both(Mask a, Mask b) { return _kand_mask16(a, b); }
    static Floats select(Mask mask, Floats yes, Floats no) { return _mm512_mask_blend_ps(mask, no, yes); }
    static Floats keep(Mask mask, Floats v) { return _mm512_maskz_mov_ps(mask, v); }
    static uint32_t bits(Mask mask) { return _cvtmask16_u32(mask); }
    static int count(Mask mask) { return __builtin_popcount(bits(mask)); }

    // The chosen lanes, one after another; up to kLanes are written.
    static void compress(float* to, Mask mask, Floats v) { _mm512_storeu_ps(to, _mm512_maskz_compress_ps(mask, v)); }
    // The reverse: chosen lanes take the next values, the others are 0; up to kLanes are read.
    static Floats expand(const float* from, Mask mask) {
        return _mm512_maskz_expand_ps(mask, _mm512_loadu_ps(from));
    }

    // Lane-wise counters.
    using Counts = __m512i;
    static Counts no_counts() { return _mm512_setzero_si512(); }
    static Counts count_if(Counts counts, Mask mask) {
        return _mm512_mask_sub_epi32(counts, mask, counts, _mm512_set1_epi32(-1));
    }
    static int64_t total(Counts counts) { return _mm512_reduce_add_epi32(counts); }
    static Mask below(Counts counts, int32_t limit) { return _mm512_cmplt_epi32_mask(counts, _mm512_set1_epi32(limit)); }

    static float sum(Floats v) { return _mm512_reduce_add_ps(v); }
    static float lowest(Floats v) { return _mm512_reduce_min_ps(v); }
    static float highest(Floats v) { return _mm512_reduce_max_ps(v); }
};

}  // namespace labelset

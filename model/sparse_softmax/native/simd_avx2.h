// Eight lanes of AVX2 and FMA, under the names that the row kernels use.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace labelset {

struct Avx2 {
    using Floats = __m256;
    using Mask = __m256;
    using Counts = __m256i;
    static constexpr int kLanes = 8;
    static constexpr const char* kName = "avx2";

    static Floats load(const float* from) { return _mm256_loadu_ps(from); }
    // The first `count` < kLanes lanes; the others are `rest`.
    static Floats load_first(const float* from, int count, Floats rest) {
        const Mask mask = first(count);
        return select(mask, _mm256_maskload_ps(from, _mm256_castps_si256(mask)), rest);
    }
    static void store(float* to, Floats v) { _mm256_storeu_ps(to, v); }
    static void store_first(float* to, int count, Floats v) {
        _mm256_maskstore_ps(to, _mm256_castps_si256(first(count)), v);
    }

    static Floats all(float value) { return _mm256_set1_ps(value); }
    static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
    static Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
    static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    static Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
    static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
    static Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
    static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
    // Add the integer in the last bits of `bits` to the exponent of v.
    static Floats add_to_exponent(Floats v, Floats bits) {
        return _mm256_castsi256_ps(
            _mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_castps_si256(bits), 23)));
    }

    static Mask first(int count) {
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes));
    }
    static Mask above(Floats a, Floats b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
    static Mask at_least(Floats a, Floats b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
    // At least, or NaN.
    static Mask not_below(Floats a, Floats b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
    static Mask equal(Floats a, Floats b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
    static Mask both(Mask a, Mask b) { return _mm256_and_ps(a, b); }
    static Floats select(Mask mask, Floats yes, Floats no) { return _mm256_blendv_ps(no, yes, mask); }
    static Floats keep(Mask mask, Floats v) { return _mm256_and_ps(mask, v); }
    static uint32_t bits(Mask mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
    static int count(Mask mask) { return __builtin_popcount(bits(mask)); }

    // The chosen lanes, one after another; up to kLanes are written.
    static void compress(float* to, Mask mask, Floats v) {
        _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(v, lanes(kMoves.compress[bits(mask)])));
    }
    // The reverse: chosen lanes take the next values, the others are 0; up to kLanes are read.
    static Floats expand(const float* from, Mask mask) {
        return keep(mask, _mm256_permutevar8x32_ps(_mm256_loadu_ps(from), lanes(kMoves.expand[bits(mask)])));
    }

    // Lane-wise counters.
    static Counts no_counts() { return _mm256_setzero_si256(); }
    static Counts count_if(Counts counts, Mask mask) { return _mm256_sub_epi32(counts, _mm256_castps_si256(mask)); }
    static int64_t total(Counts counts) {
        const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(counts), _mm256_extracti128_si256(counts, 1));
        const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
        return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
    }
    static Mask below(Counts counts, int32_t limit) {
        return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(limit), counts));
    }

    static float sum(Floats v) {
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    static float lowest(Floats v) {
        const __m128 four = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)));
    }
    static float highest(Floats v) {
        const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    }

   private:
    // AVX2 cannot compress: which lane each lane takes its value from, for each of the 256 masks.
    struct Moves {
        uint8_t compress[256][kLanes];
        uint8_t expand[256][kLanes];
    };
    static constexpr Moves list_moves() {
        Moves moves{};
        for (int mask = 0; mask < 256; ++mask) {
            int chosen = 0;
            for (int lane = 0; lane < kLanes; ++lane) {
                if (!(mask >> lane & 1)) continue;
                moves.compress[mask][chosen] = static_cast<uint8_t>(lane);
                moves.expand[mask][lane] = static_cast<uint8_t>(chosen);
                ++chosen;
            }
        }
        return moves;
    }
    static const Moves kMoves;
    static __m256i lanes(const uint8_t* moves) {
        return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(moves)));
    }
};

inline constexpr Avx2::Moves Avx2::kMoves = Avx2::list_moves();

}  // namespace labelset

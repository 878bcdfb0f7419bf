// The library's own C interface, for callers other than onnxruntime (training, benchmarks, tests).
//
// All arrays are contiguous, row-major and in host memory. A row is one slice along the class axis; rows never
// influence each other. The meaning of the map, and of every hard case, is in ../SPEC.md.
//
// What computes returns 0, or -1 where there is no memory for the scratch of a row; the results are void then.
#ifndef LABELSET_H
#define LABELSET_H

#include <stdint.h>

#if defined(__GNUC__)
#define LABELSET_EXPORT __attribute__((visibility("default")))
#else
#define LABELSET_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Which instructions the rows run on: "avx512", "avx2", "neon" or "portable".
LABELSET_EXPORT const char* labelset_cpu_path(void);

// Choose them by name instead (tests, benchmarks). Returns 0, or -1 where this CPU does not have them.
LABELSET_EXPORT int labelset_set_cpu_path(const char* name);

// r-softmax (SPEC 1.3, 1.4) of `row_count` rows of `class_count` >= 1 logits.
//
// `rates`: the sparsity rate of row i is rates[i * rate_step]; `rate_step` is 0 (one rate for all) or 1.
// `probabilities`: [row_count, class_count]; must not overlap the logits.
// `thread_count`: at most so many threads; 1 computes on the caller's.
LABELSET_EXPORT int labelset_r_softmax(const float* logits, const double* rates, int64_t rate_step, int64_t row_count,
                                       int64_t class_count, float* probabilities, int thread_count);

// The same for training: also what the backward pass needs (SPEC 1.5).
//
// `cut`: [row_count], Q, or NaN where the row is NaN.
// `anchors`, `shares`: [row_count, 2], the classes that the cut moves with and how much: with `exact_gradient` 0 the
// maximum (share 1) twice (share 0), else the two neighbours of the quantile.
LABELSET_EXPORT int labelset_r_softmax_forward(const float* logits, const double* rates, int64_t rate_step,
                                               int64_t row_count, int64_t class_count, int exact_gradient,
                                               float* probabilities, float* cut, int64_t* anchors, float* shares,
                                               int thread_count);

// The gradient of the logits from `gradient`, that of the probabilities; both [row_count, class_count].
LABELSET_EXPORT int labelset_r_softmax_backward(const float* logits, const float* probabilities, const float* cut,
                                                const int64_t* anchors, const float* shares, const float* gradient,
                                                int64_t row_count, int64_t class_count, float* logits_gradient,
                                                int thread_count);

#ifdef __cplusplus
}
#endif

#endif

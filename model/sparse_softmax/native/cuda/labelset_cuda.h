// The CUDA kernels' C interface: as labelset.h, for arrays in device memory and with float32 or float16 logits.
//
// Every call only launches on `stream` (a cudaStream_t): it neither waits nor allocates, and the result is there when
// the stream has come so far. It returns a cudaError_t: 0, or why nothing was launched (cudaErrorInvalidValue: an
// argument that is not allowed). `is_half`: logits, probabilities and gradients are float16, else float32.
#ifndef LABELSET_CUDA_H
#define LABELSET_CUDA_H

#include <stdint.h>

#include "../labelset.h"

#ifdef __cplusplus
extern "C" {
#endif

// r-softmax of `row_count` rows of `class_count` logits, 1 <= class_count <= 2^30. `rate_step` is 0 (one rate for all)
// or 1. `probabilities` must not overlap the logits.
LABELSET_EXPORT int labelset_cuda_r_softmax(const void* logits, int is_half, const double* rates, int64_t rate_step,
                                            int64_t row_count, int64_t class_count, void* probabilities, void* stream);

// The same for training: also [row_count] `cut`, and [row_count, 2] `anchors` and `shares`.
LABELSET_EXPORT int labelset_cuda_r_softmax_forward(const void* logits, int is_half, const double* rates,
                                                    int64_t rate_step, int64_t row_count, int64_t class_count,
                                                    int exact_gradient, void* probabilities, float* cut,
                                                    int64_t* anchors, float* shares, void* stream);

// The gradient of the logits from `gradient`, that of the probabilities. float16 probabilities are too coarse to be
// divided by a small weight: for them `probabilities` is not read.
LABELSET_EXPORT int labelset_cuda_r_softmax_backward(const void* logits, int is_half, const void* probabilities,
                                                     const float* cut, const int64_t* anchors, const float* shares,
                                                     const void* gradient, int64_t row_count, int64_t class_count,
                                                     void* logits_gradient, void* stream);

#ifdef __cplusplus
}
#endif

#endif

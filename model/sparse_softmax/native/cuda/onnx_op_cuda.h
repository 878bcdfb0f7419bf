// The operator ai.labelset::RSoftmax for onnxruntime's CUDA provider.
#pragma once

#include <onnxruntime_c_api.h>

#include <array>

namespace labelset {

// One for float32 logits and one for float16. The runtime merges operators of one name, over all providers, into one
// schema that allows the types of each, as long as they have as many inputs and outputs; a node gets the kernel whose
// provider and types are its own.
std::array<const OrtCustomOp*, 2> cuda_custom_ops();

}  // namespace labelset

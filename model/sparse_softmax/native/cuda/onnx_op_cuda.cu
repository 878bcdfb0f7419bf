// onnxruntime's side of the CUDA kernels: launches them on the session's stream.
//
// Only what the C API had at version 17 is used, as in ../onnx_op.cpp. No device code is here.
#include "onnx_op_cuda.h"

#include <cuda_runtime_api.h>

#include <cinttypes>
#include <cstdio>
#include <memory>

#include "labelset_cuda.h"

namespace labelset {
namespace {

constexpr uint32_t kApiVersion = 17;
// As many axes as numpy allows.
constexpr size_t kMaxRank = 64;

// Leave the function with the runtime's error, if there is one.
#define RETURN_IF_ERROR(expression) \
    if (OrtStatus* status = (expression)) return status

struct Tensor {
    void* data = nullptr;
    int64_t sizes[kMaxRank];
    size_t rank = 0;

    int64_t elements(size_t axes) const {
        int64_t count = 1;
        for (size_t axis = 0; axis < axes; ++axis) count *= sizes[axis];
        return count;
    }
};

OrtStatus* read_input(const OrtApi& api, OrtKernelContext* context, size_t index, Tensor& tensor) {
    const OrtValue* value = nullptr;
    RETURN_IF_ERROR(api.KernelContext_GetInput(context, index, &value));
    OrtTensorTypeAndShapeInfo* raw_info = nullptr;
    RETURN_IF_ERROR(api.GetTensorTypeAndShape(value, &raw_info));
    const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(api.ReleaseTensorTypeAndShapeInfo)> info(
        raw_info, api.ReleaseTensorTypeAndShapeInfo);
    RETURN_IF_ERROR(api.GetDimensionsCount(raw_info, &tensor.rank));
    if (tensor.rank > kMaxRank) {
        char message[128];
        std::snprintf(message, sizeof(message), "RSoftmax: input %zu must have at most %zu axes, got %zu", index,
                      kMaxRank, tensor.rank);
        return api.CreateStatus(ORT_INVALID_ARGUMENT, message);
    }
    RETURN_IF_ERROR(api.GetDimensions(raw_info, tensor.sizes, tensor.rank));
    // The API has no access to a tensor that is only read.
    return api.GetTensorMutableData(const_cast<OrtValue*>(value), &tensor.data);
}

// As in the function that a model file carries (SPEC 1.4).
OrtStatus* check_shapes(const OrtApi& api, const Tensor& logits, int64_t row_count, int64_t rate_count) {
    if (logits.rank == 0)
        return api.CreateStatus(ORT_INVALID_ARGUMENT, "RSoftmax: logits must have a class axis, got a scalar");
    if (logits.sizes[logits.rank - 1] == 0)
        return api.CreateStatus(ORT_INVALID_ARGUMENT, "RSoftmax: logits must have at least one class, got none");
    if (rate_count != 1 && rate_count != row_count) {
        char message[160];
        std::snprintf(message, sizeof(message),
                      "RSoftmax: rate must be one value or one for each of %" PRId64 " rows, got %" PRId64 " values",
                      row_count, rate_count);
        return api.CreateStatus(ORT_INVALID_ARGUMENT, message);
    }
    return nullptr;
}

OrtStatus* compute(const OrtApi& api, OrtKernelContext* context, bool is_half) {
    Tensor logits, rates;
    RETURN_IF_ERROR(read_input(api, context, 0, logits));
    RETURN_IF_ERROR(read_input(api, context, 1, rates));
    const size_t class_axis = logits.rank == 0 ? 0 : logits.rank - 1;
    const int64_t row_count = logits.elements(class_axis), rate_count = rates.elements(rates.rank);
    RETURN_IF_ERROR(check_shapes(api, logits, row_count, rate_count));

    OrtValue* output = nullptr;
    void *probabilities = nullptr, *stream = nullptr;
    RETURN_IF_ERROR(api.KernelContext_GetOutput(context, 0, logits.sizes, logits.rank, &output));
    if (row_count == 0) return nullptr;
    RETURN_IF_ERROR(api.GetTensorMutableData(output, &probabilities));
    RETURN_IF_ERROR(api.KernelContext_GetGPUComputeStream(context, &stream));
    const int error = labelset_cuda_r_softmax(logits.data, is_half, static_cast<const double*>(rates.data),
                                              rate_count == 1 ? 0 : 1, row_count, logits.sizes[class_axis],
                                              probabilities, stream);
    if (error == cudaSuccess) return nullptr;
    char message[160];
    std::snprintf(message, sizeof(message), "RSoftmax: the launch on the GPU failed: %s",
                  cudaGetErrorString(static_cast<cudaError_t>(error)));
    return api.CreateStatus(ORT_FAIL, message);
}

// A kernel has no state but the runtime's API, from which it is made anew for each node; the type is the operator's.
template <ONNXTensorElementDataType kLogitsType>
struct CudaOp : OrtCustomOp {
    CudaOp() : OrtCustomOp{} {
        version = kApiVersion;
        GetName = [](const OrtCustomOp*) { return "RSoftmax"; };
        GetExecutionProviderType = [](const OrtCustomOp*) { return "CUDAExecutionProvider"; };
        GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return 2; };
        GetInputType = [](const OrtCustomOp*, size_t index) {
            return index == 0 ? kLogitsType : ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
        };
        GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
        GetOutputType = [](const OrtCustomOp*, size_t) { return kLogitsType; };
        GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        // The provider's default: both inputs in device memory.
        GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
        CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo*, void** kernel) -> OrtStatus* {
            *kernel = const_cast<OrtApi*>(api);
            return nullptr;
        };
        KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
            return compute(*static_cast<const OrtApi*>(kernel), context,
                           kLogitsType == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
        };
        KernelDestroy = [](void*) {};
        GetStartVersion = [](const OrtCustomOp*) { return 1; };
        GetEndVersion = [](const OrtCustomOp*) { return 1; };
    }
};

}  // namespace

std::array<const OrtCustomOp*, 2> cuda_custom_ops() {
    static const CudaOp<ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT> single;
    static const CudaOp<ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16> half;
    return {&single, &half};
}

}  // namespace labelset

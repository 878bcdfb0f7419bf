// onnxruntime's side: the operator ai.labelset::RSoftmax on the CPU, and the entry point that registers it.
//
// Only what the C API had at version 17 is used, so that one binary runs on every later runtime, whatever headers it
// was built with. Nothing here allocates while a model runs, and nothing throws into the runtime.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

#include "half.h"
#include "labelset.h"
#include "rows.h"
#ifdef LABELSET_WITH_CUDA
#include "cuda/onnx_op_cuda.h"
#endif

namespace {

using labelset::Half;

constexpr uint32_t kApiVersion = 17;
constexpr char kDomain[] = "ai.labelset";

// Some 4 us of work; to hand a chunk to another thread of the runtime's pool costs about one.
constexpr int64_t kLogitsPerChunk = 1 << 13;

// As many axes as numpy allows.
constexpr size_t kMaxRank = 64;

struct Shape {
    int64_t sizes[kMaxRank];
    size_t rank;
};

// A shape as text, as "[3, 5]"; what does not fit is cut off.
struct ShapeText {
    char text[128] = "[";

    explicit ShapeText(const Shape& shape) {
        size_t length = 1;
        for (size_t axis = 0; axis < shape.rank && length < sizeof(text) - 1; ++axis)
            length += static_cast<size_t>(std::snprintf(text + length, sizeof(text) - length, "%s%" PRId64,
                                                        axis == 0 ? "" : ", ", shape.sizes[axis]));
        if (length < sizeof(text) - 1) std::snprintf(text + length, sizeof(text) - length, "]");
    }
};

// Leave the function with the runtime's error, if there is one.
#define RETURN_IF_ERROR(expression) \
    if (OrtStatus* status = (expression)) return status

OrtStatus* read_shape(const OrtApi& api, const OrtValue& value, const char* name, Shape& shape) {
    OrtTensorTypeAndShapeInfo* raw_info = nullptr;
    RETURN_IF_ERROR(api.GetTensorTypeAndShape(&value, &raw_info));
    const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(api.ReleaseTensorTypeAndShapeInfo)> info(
        raw_info, api.ReleaseTensorTypeAndShapeInfo);
    RETURN_IF_ERROR(api.GetDimensionsCount(raw_info, &shape.rank));
    if (shape.rank > kMaxRank) {
        char message[128];
        std::snprintf(message, sizeof(message), "RSoftmax: %s must have at most %zu axes, got %zu", name, kMaxRank,
                      shape.rank);
        return api.CreateStatus(ORT_INVALID_ARGUMENT, message);
    }
    return api.GetDimensions(raw_info, shape.sizes, shape.rank);
}

int64_t product(const int64_t* sizes, size_t count) {
    int64_t result = 1;
    for (size_t axis = 0; axis < count; ++axis) result *= sizes[axis];
    return result;
}

void forward(const float* logits, const double* rates, int64_t rate_step, int64_t row_count, int64_t class_count,
             float* probabilities) {
    labelset::row_kernels().forward(logits, rates, rate_step, row_count, class_count, probabilities, nullptr);
}

void forward(const Half* logits, const double* rates, int64_t rate_step, int64_t row_count, int64_t class_count,
             Half* probabilities) {
    labelset::forward_half(logits, rates, rate_step, row_count, class_count, probabilities);
}

// One call of the operator: `row_count` rows, in chunks that the runtime's threads share.
template <typename Number>
struct Rows {
    const Number* logits;
    const double* rates;
    int64_t rate_step;  // 0: one rate for all
    int64_t row_count;
    int64_t class_count;
    Number* probabilities;
    int64_t chunk_count = 1;
    std::atomic<bool> out_of_memory{false};

    void compute_chunk(int64_t chunk) noexcept {
        const int64_t first = row_count * chunk / chunk_count, last = row_count * (chunk + 1) / chunk_count;
        try {
            forward(logits + first * class_count, rates + first * rate_step, rate_step, last - first, class_count,
                    probabilities + first * class_count);
        } catch (const std::bad_alloc&) {  // a thread's first long row takes memory
            out_of_memory = true;
        }
    }
};

// The count of rates must be 1 or that of the rows, as in the function that a model file carries (SPEC 1.4).
OrtStatus* check_shapes(const OrtApi& api, const Shape& logits, const Shape& rate, int64_t row_count,
                        int64_t rate_count) {
    char message[512];
    if (logits.rank == 0) {
        return api.CreateStatus(ORT_INVALID_ARGUMENT, "RSoftmax: logits must have a class axis, got a scalar");
    }
    if (logits.sizes[logits.rank - 1] == 0) {
        std::snprintf(message, sizeof(message), "RSoftmax: logits must have at least one class, got the shape %s",
                      ShapeText(logits).text);
        return api.CreateStatus(ORT_INVALID_ARGUMENT, message);
    }
    if (rate_count != 1 && rate_count != row_count) {
        std::snprintf(message, sizeof(message),
                      "RSoftmax: rate must be one value or one for each of the %" PRId64
                      " rows of logits %s, got %" PRId64 " values (shape %s)",
                      row_count, ShapeText(logits).text, rate_count, ShapeText(rate).text);
        return api.CreateStatus(ORT_INVALID_ARGUMENT, message);
    }
    return nullptr;
}

template <typename Number>
OrtStatus* compute_rows(const OrtApi& api, OrtKernelContext* context, Rows<Number>& rows) {
    rows.chunk_count =
        std::max<int64_t>(1, std::min(rows.row_count, rows.row_count * rows.class_count / kLogitsPerChunk));
    if (rows.chunk_count == 1) {
        rows.compute_chunk(0);
    } else {
        const auto compute_chunk = [](void* data, size_t chunk) {
            static_cast<Rows<Number>*>(data)->compute_chunk(static_cast<int64_t>(chunk));
        };
        RETURN_IF_ERROR(api.KernelContext_ParallelFor(context, compute_chunk, static_cast<size_t>(rows.chunk_count), 0,
                                                      &rows));
    }
    if (rows.out_of_memory) return api.CreateStatus(ORT_FAIL, "RSoftmax: no memory for the scratch of a row");
    return nullptr;
}

template <typename Number>
OrtStatus* compute(const OrtApi& api, OrtKernelContext* context) {
    const OrtValue* logits = nullptr;
    const OrtValue* rate = nullptr;
    RETURN_IF_ERROR(api.KernelContext_GetInput(context, 0, &logits));
    RETURN_IF_ERROR(api.KernelContext_GetInput(context, 1, &rate));
    Shape logits_shape, rate_shape;
    RETURN_IF_ERROR(read_shape(api, *logits, "logits", logits_shape));
    RETURN_IF_ERROR(read_shape(api, *rate, "rate", rate_shape));
    const size_t class_axis = logits_shape.rank == 0 ? 0 : logits_shape.rank - 1;
    const int64_t row_count = product(logits_shape.sizes, class_axis);
    const int64_t rate_count = product(rate_shape.sizes, rate_shape.rank);
    RETURN_IF_ERROR(check_shapes(api, logits_shape, rate_shape, row_count, rate_count));

    OrtValue* probabilities = nullptr;
    RETURN_IF_ERROR(
        api.KernelContext_GetOutput(context, 0, logits_shape.sizes, logits_shape.rank, &probabilities));
    if (row_count == 0) return nullptr;
    // The API has no access to a tensor that is only read.
    void *logits_data = nullptr, *rate_data = nullptr, *probabilities_data = nullptr;
    RETURN_IF_ERROR(api.GetTensorMutableData(const_cast<OrtValue*>(logits), &logits_data));
    RETURN_IF_ERROR(api.GetTensorMutableData(const_cast<OrtValue*>(rate), &rate_data));
    RETURN_IF_ERROR(api.GetTensorMutableData(probabilities, &probabilities_data));

    Rows<Number> rows{};
    rows.logits = static_cast<const Number*>(logits_data);
    rows.rates = static_cast<const double*>(rate_data);
    rows.rate_step = rate_count == 1 ? 0 : 1;
    rows.row_count = row_count;
    rows.class_count = logits_shape.sizes[class_axis];
    rows.probabilities = static_cast<Number*>(probabilities_data);
    return compute_rows(api, context, rows);
}

// The probabilities have the shape of the logits. A shape that is not known looks like a scalar's here, and a scalar is
// refused when the model runs.
OrtStatus* infer_shape(const OrtApi& api, OrtShapeInferContext* context) {
    OrtTensorTypeAndShapeInfo* logits = nullptr;  // the context's own
    RETURN_IF_ERROR(api.ShapeInferContext_GetInputTypeShape(context, 0, &logits));
    size_t rank = 0;
    RETURN_IF_ERROR(api.GetDimensionsCount(logits, &rank));
    return rank == 0 ? nullptr : api.ShapeInferContext_SetOutputTypeShape(context, 0, logits);
}

// The operator as the runtime sees it. A kernel has no state: what stands for it is the runtime's API.
template <typename Number>
struct CpuOp : OrtCustomOp {
    static constexpr ONNXTensorElementDataType kType =
        std::is_same_v<Number, Half> ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

    const OrtApi* api;

    explicit CpuOp(const OrtApi* runtime) : OrtCustomOp{}, api(runtime) {
        version = kApiVersion;
        GetName = [](const OrtCustomOp*) { return "RSoftmax"; };
        GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
        GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return 2; };
        GetInputType = [](const OrtCustomOp*, size_t index) {
            return index == 0 ? kType : ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
        };
        GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
        GetOutputType = [](const OrtCustomOp*, size_t) { return kType; };
        GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
        CreateKernelV2 = [](const OrtCustomOp* op, const OrtApi*, const OrtKernelInfo*, void** kernel) -> OrtStatus* {
            *kernel = const_cast<OrtApi*>(static_cast<const CpuOp*>(op)->api);
            return nullptr;
        };
        KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
            return compute<Number>(*static_cast<const OrtApi*>(kernel), context);
        };
        KernelDestroy = [](void*) {};
        InferOutputShapeFn = [](const OrtCustomOp* op, OrtShapeInferContext* context) {
            return infer_shape(*static_cast<const CpuOp*>(op)->api, context);
        };
        GetStartVersion = [](const OrtCustomOp*) { return 1; };
        GetEndVersion = [](const OrtCustomOp*) { return 1; };
    }
};

OrtStatus* fill_domain(const OrtApi& api, OrtCustomOpDomain* domain) {
    // The CUDA kernels let models have float16 logits. On a CPU without a kernel for these the runtime would cast, and
    // survivors too small for float16 would be 0. It does so still, as with every operator, to a node whose neighbours
    // on both sides are given casts: the model then runs in float32 until its results are cast.
    static const CpuOp<float> single(&api);
    static const CpuOp<Half> half(&api);
    RETURN_IF_ERROR(api.CustomOpDomain_Add(domain, &single));
    RETURN_IF_ERROR(api.CustomOpDomain_Add(domain, &half));
#ifdef LABELSET_WITH_CUDA
    // The same operator for sessions on a GPU: a domain can be registered once only, so one library holds both.
    for (const OrtCustomOp* cuda_op : labelset::cuda_custom_ops())
        RETURN_IF_ERROR(api.CustomOpDomain_Add(domain, cuda_op));
#endif
    return nullptr;
}

// The domain, made when it is first asked for. The runtime keeps no more than a pointer to it, so that all options share
// the one; it is released when the library is unloaded.
OrtStatus* shared_domain(const OrtApi& api, OrtCustomOpDomain** domain) {
    using Owner = std::unique_ptr<OrtCustomOpDomain, decltype(api.ReleaseCustomOpDomain)>;
    static std::mutex mutex;
    static Owner shared(nullptr, api.ReleaseCustomOpDomain);
    const std::lock_guard<std::mutex> lock(mutex);
    if (!shared) {
        OrtCustomOpDomain* made = nullptr;
        RETURN_IF_ERROR(api.CreateCustomOpDomain(kDomain, &made));
        Owner owner(made, api.ReleaseCustomOpDomain);
        RETURN_IF_ERROR(fill_domain(api, made));
        shared = std::move(owner);
    }
    *domain = shared.get();
    return nullptr;
}

}  // namespace

// The name that the runtime looks for in a library of custom operators.
extern "C" LABELSET_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
    const OrtApi* api = base->GetApi(kApiVersion);
    if (api == nullptr) {
        char message[128];
        std::snprintf(message, sizeof(message), "RSoftmax: onnxruntime must be 1.%u or newer, got %s", kApiVersion,
                      base->GetVersionString());
        return base->GetApi(1)->CreateStatus(ORT_NOT_IMPLEMENTED, message);
    }
    OrtCustomOpDomain* domain = nullptr;
    RETURN_IF_ERROR(shared_domain(*api, &domain));
    return api->AddCustomOpDomain(options, domain);
}

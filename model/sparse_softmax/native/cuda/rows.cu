// The CUDA kernels of r-softmax, and how one is chosen for a shape.
//
// A row of up to 1024 classes is a warp's, in its registers. A larger one is a block's, in its shared memory; where a
// row is too large for one block, or rows are too few to fill the device, blocks of a cluster (Hopper on) share it. A
// row that does not fit even so is streamed. But for that case every logit is read once and every result written once.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "labelset_cuda.h"
#include "row_backward.h"
#include "teams.cuh"

namespace labelset {
namespace cuda {
namespace {

constexpr int kWarpsInBlock = 4;
constexpr int kMostClassesOfWarp = 1024;
constexpr int kMostThreads = 512;
constexpr int kClassesOfThread = 32;
// Two blocks of so much on a multiprocessor: while one waits for memory the other computes.
constexpr int64_t kComfortableSharedBytes = 100 * 1024;
// A smaller part of a row is not worth a block.
constexpr int64_t kLeastClassesOfBlock = 8192;
// An index of a class, and one step beyond the last, must fit an int.
constexpr int64_t kMostClasses = int64_t(1) << 30;
// Of a block's shared memory: the team's, and what alignment takes.
constexpr int64_t kSharedBytesOfTeam = 1024;
static_assert(sizeof(BlockTeamMemory) + 16 <= kSharedBytesOfTeam);

struct Batch {
    const void* logits;
    const double* rates;
    int64_t rate_step;
    int64_t row_count;
    int class_count;
    void* probabilities;
};

// What training needs besides; `cut` is null where nothing is.
struct Saved {
    float* cut;
    int64_t* anchors;
    float* shares;
    bool exact_gradient;
};

struct Gradients {
    const void* logits;
    const void* probabilities;
    const float* cut;
    const int64_t* anchors;
    const float* shares;
    const void* gradient;
    int64_t row_count;
    int class_count;
    void* logits_gradient;
};

// The least probability of a survivor (SPEC 1.4).
__device__ float smallest_probability(float) { return FLT_MIN; }
__device__ float smallest_probability(__half) { return 0x1p-24f; }

template <class T, int kWidth, class Team>
__device__ Pieces<T, kWidth> row_of(void* array, int64_t row, int class_count, const Team& team) {
    return {static_cast<T*>(array) + row * class_count, class_count, team};
}
template <class T, int kWidth, class Team>
__device__ Pieces<const T, kWidth> row_of(const void* array, int64_t row, int class_count, const Team& team) {
    return {static_cast<const T*>(array) + row * class_count, class_count, team};
}

template <class T, int kWidth, class Team>
__device__ void save(const Saved& saved, int64_t row, const Pieces<const T, kWidth>& logits, const Cut& cut,
                     Team& team) {
    if (saved.cut == nullptr) return;
    const Anchors anchors = find_anchors(logits, cut, saved.exact_gradient, team);
    if (team.rank() != 0) return;
    saved.cut[row] = cut.value;
    for (int i = 0; i < 2; ++i) {
        saved.anchors[2 * row + i] = anchors.classes[i];
        saved.shares[2 * row + i] = anchors.shares[i];
    }
}

template <class T, int kWidth, int kPieces>
__global__ void __launch_bounds__(kWarpsInBlock* kWarpSize) forward_by_warps(Batch batch, Saved saved) {
    const int64_t row = int64_t(blockIdx.x) * kWarpsInBlock + threadIdx.x / kWarpSize;
    if (row >= batch.row_count) return;
    WarpTeam team;
    const auto logits = row_of<T, kWidth>(batch.logits, row, batch.class_count, team);
    RegisterRow<T, kWidth, kPieces> pieces(logits,
                                           row_of<T, kWidth>(batch.probabilities, row, batch.class_count, team));
    const Cut cut = map_row(pieces, batch.rates[row * batch.rate_step], smallest_probability(T()), team);
    save(saved, row, logits, cut, team);
}

extern __shared__ float4 shared_storage[];

template <class T, int kWidth>
__global__ void __launch_bounds__(kMostThreads, 2) forward_by_blocks(Batch batch, Saved saved) {
    __shared__ BlockTeamMemory memory;
    BlockTeam team(memory);
    const int64_t row = blockIdx.x / team.block_count();
    const auto logits = row_of<T, kWidth>(batch.logits, row, batch.class_count, team);
    SharedRow<T, kWidth> pieces(logits, row_of<T, kWidth>(batch.probabilities, row, batch.class_count, team),
                                reinterpret_cast<float*>(shared_storage), team);
    const Cut cut = map_row(pieces, batch.rates[row * batch.rate_step], smallest_probability(T()), team);
    save(saved, row, logits, cut, team);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kMostThreads) forward_streamed(Batch batch, Saved saved, int capacity) {
    __shared__ BlockTeamMemory memory;
    BlockTeam team(memory);
    const int64_t row = blockIdx.x / team.block_count();
    const double rate = batch.rates[row * batch.rate_step];
    const auto logits = row_of<T, kWidth>(batch.logits, row, batch.class_count, team);
    StreamedRow<T, kWidth, BlockTeam> pieces(
        logits, row_of<T, kWidth>(batch.probabilities, row, batch.class_count, team), rate,
        reinterpret_cast<float*>(shared_storage), capacity, team);
    const Cut cut = map_row(pieces, rate, smallest_probability(T()), team);
    save(saved, row, logits, cut, team);
}

template <class T, int kWidth, class Team>
__device__ void backward_row(const Gradients& batch, int64_t row, Team& team) {
    const int classes = batch.class_count;
    const BackwardRow<T, kWidth> pieces{
        row_of<T, kWidth>(batch.logits, row, classes, team),
        row_of<T, kWidth>(batch.probabilities, row, classes, team),
        row_of<T, kWidth>(batch.gradient, row, classes, team),
        row_of<T, kWidth>(batch.logits_gradient, row, classes, team),
        batch.cut[row],
        {{int(batch.anchors[2 * row]), int(batch.anchors[2 * row + 1])},
         {batch.shares[2 * row], batch.shares[2 * row + 1]}}};
    if constexpr (sizeof(T) == sizeof(float)) {
        map_gradient(pieces, SavedProbabilities{}, team);
    } else {
        map_gradient(pieces, RecomputedProbabilities(pieces, team), team);
    }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kWarpsInBlock* kWarpSize) backward_by_warps(Gradients batch) {
    const int64_t row = int64_t(blockIdx.x) * kWarpsInBlock + threadIdx.x / kWarpSize;
    if (row >= batch.row_count) return;
    WarpTeam team;
    backward_row<T, kWidth>(batch, row, team);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kMostThreads) backward_by_blocks(Gradients batch) {
    __shared__ BlockTeamMemory memory;
    BlockTeam team(memory);
    backward_row<T, kWidth>(batch, blockIdx.x, team);
}

struct Device {
    int multiprocessors;
    int64_t shared_bytes;  // the most that a row can have of a block's
    bool has_clusters;
};

cudaError_t current_device(Device& device) {
    int id = 0, shared_bytes = 0, major = 0;
    cudaError_t error = cudaGetDevice(&id);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&device.multiprocessors, cudaDevAttrMultiProcessorCount, id);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, id);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, id);
    device.shared_bytes = shared_bytes - kSharedBytesOfTeam;
    device.has_clusters = major >= 9;
    return error;
}

int threads_for(int64_t classes_of_block) {
    int threads = kWarpsInBlock * kWarpSize;
    while (threads < kMostThreads && threads * kClassesOfThread < classes_of_block) threads *= 2;
    return threads;
}

// How a row is spread over blocks.
struct Plan {
    int blocks;  // to a row
    int threads;
    int64_t shared_bytes;
    bool streamed;
};

Plan plan_for(const Device& device, int64_t row_count, int64_t class_count, int width) {
    const auto share = [&](int blocks) { return (class_count + blocks - 1) / blocks; };
    const auto bytes = [&](int blocks) {
        const int threads = threads_for(share(blocks));
        return shared_floats(class_count / width, width, threads, int64_t(threads) * blocks) * int64_t(sizeof(float));
    };
    const auto crowded = [&](int blocks) { return bytes(blocks) > std::min(kComfortableSharedBytes, device.shared_bytes); };
    const auto idle = [&](int blocks) {
        return row_count * blocks < device.multiprocessors && share(2 * blocks) >= kLeastClassesOfBlock;
    };
    int blocks = 1;
    while (device.has_clusters && blocks < kMostBlocksInCluster && (crowded(blocks) || idle(blocks))) blocks *= 2;
    if (bytes(blocks) <= device.shared_bytes) return {blocks, threads_for(share(blocks)), bytes(blocks), false};
    return {blocks, kMostThreads, std::min(kComfortableSharedBytes, device.shared_bytes), true};
}

bool grid_for(int64_t block_count, dim3& grid) {
    if (block_count > INT32_MAX) return false;
    grid = dim3(unsigned(block_count));
    return true;
}

// Launches `kernel` with `plan.blocks` blocks, a cluster where they are several, for each row.
template <class... Parameters, class... Arguments>
cudaError_t launch_by_rows(void (*kernel)(Parameters...), const Plan& plan, int64_t row_count, cudaStream_t stream,
                           Arguments... arguments) {
    cudaLaunchConfig_t configuration{};
    if (!grid_for(row_count * plan.blocks, configuration.gridDim)) return cudaErrorInvalidValue;
    configuration.blockDim = dim3(unsigned(plan.threads));
    configuration.dynamicSmemBytes = size_t(plan.shared_bytes);
    configuration.stream = stream;
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = unsigned(plan.blocks);
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    configuration.attrs = &cluster;
    configuration.numAttrs = plan.blocks > 1 ? 1 : 0;
    return cudaLaunchKernelEx(&configuration, kernel, arguments...);
}

// The same for every launch, so that those of other threads do not undo it.
template <class Kernel>
cudaError_t allow_shared_memory(Kernel* kernel, const Device& device) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(device.shared_bytes));
    if (error != cudaSuccess) return error;
    return cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                int(cudaSharedmemCarveoutMaxShared));
}

template <class... Parameters, class... Arguments>
cudaError_t launch_by_warps(void (*kernel)(Parameters...), int64_t row_count, cudaStream_t stream,
                            Arguments... arguments) {
    dim3 grid;
    if (!grid_for((row_count + kWarpsInBlock - 1) / kWarpsInBlock, grid)) return cudaErrorInvalidValue;
    kernel<<<grid, kWarpsInBlock * kWarpSize, 0, stream>>>(arguments...);
    return cudaGetLastError();
}

// The registers of a warp in four sizes, of which the row takes the smallest that holds it.
template <class T, int kWidth>
cudaError_t launch_forward_by_warps(const Batch& batch, const Saved& saved, cudaStream_t stream) {
    constexpr int kMostPieces = kMostClassesOfWarp / kWarpSize / kWidth;
    constexpr auto at_least_one = [](int pieces) { return pieces > 1 ? pieces : 1; };
    void (*kernel)(Batch, Saved) = forward_by_warps<T, kWidth, kMostPieces>;
    if (batch.class_count <= kMostClassesOfWarp / 8) {
        kernel = forward_by_warps<T, kWidth, at_least_one(kMostPieces / 8)>;
    } else if (batch.class_count <= kMostClassesOfWarp / 4) {
        kernel = forward_by_warps<T, kWidth, at_least_one(kMostPieces / 4)>;
    } else if (batch.class_count <= kMostClassesOfWarp / 2) {
        kernel = forward_by_warps<T, kWidth, at_least_one(kMostPieces / 2)>;
    }
    return launch_by_warps(kernel, batch.row_count, stream, batch, saved);
}

template <class T, int kWidth>
cudaError_t launch_forward(const Batch& batch, const Saved& saved, cudaStream_t stream) {
    if (batch.class_count <= kMostClassesOfWarp) return launch_forward_by_warps<T, kWidth>(batch, saved, stream);
    Device device{};
    cudaError_t error = current_device(device);
    if (error != cudaSuccess) return error;
    const Plan plan = plan_for(device, batch.row_count, batch.class_count, kWidth);
    if (plan.streamed) {
        error = allow_shared_memory(forward_streamed<T, kWidth>, device);
        if (error != cudaSuccess) return error;
        const int capacity = int(plan.shared_bytes / int64_t(sizeof(float)));
        return launch_by_rows(forward_streamed<T, kWidth>, plan, batch.row_count, stream, batch, saved, capacity);
    }
    error = allow_shared_memory(forward_by_blocks<T, kWidth>, device);
    if (error != cudaSuccess) return error;
    return launch_by_rows(forward_by_blocks<T, kWidth>, plan, batch.row_count, stream, batch, saved);
}

template <class T, int kWidth>
cudaError_t launch_backward(const Gradients& batch, cudaStream_t stream) {
    if (batch.class_count <= kMostClassesOfWarp)
        return launch_by_warps(backward_by_warps<T, kWidth>, batch.row_count, stream, batch);
    const Plan plan{1, threads_for(batch.class_count), 0, false};
    return launch_by_rows(backward_by_blocks<T, kWidth>, plan, batch.row_count, stream, batch);
}

// Whether all rows of all arrays begin at a multiple of 16 bytes.
template <class... Arrays>
bool aligned(int64_t row_bytes, const Arrays*... arrays) {
    return ((uint64_t(row_bytes) | ... | reinterpret_cast<uintptr_t>(arrays)) & 15) == 0;
}

bool allowed(int64_t row_count, int64_t class_count) {
    return row_count >= 0 && class_count >= 1 && class_count <= kMostClasses;
}

cudaError_t forward(const Batch& batch, int is_half, const Saved& saved, cudaStream_t stream) {
    if (batch.row_count == 0) return cudaSuccess;
    if (is_half) {
        return aligned(batch.class_count * int64_t(sizeof(__half)), batch.logits, batch.probabilities)
                   ? launch_forward<__half, 8>(batch, saved, stream)
                   : launch_forward<__half, 1>(batch, saved, stream);
    }
    return aligned(batch.class_count * int64_t(sizeof(float)), batch.logits, batch.probabilities)
               ? launch_forward<float, 4>(batch, saved, stream)
               : launch_forward<float, 1>(batch, saved, stream);
}

cudaError_t backward(const Gradients& batch, int is_half, cudaStream_t stream) {
    if (batch.row_count == 0) return cudaSuccess;
    if (is_half) {
        return aligned(batch.class_count * int64_t(sizeof(__half)), batch.logits, batch.gradient, batch.logits_gradient)
                   ? launch_backward<__half, 8>(batch, stream)
                   : launch_backward<__half, 1>(batch, stream);
    }
    return aligned(batch.class_count * int64_t(sizeof(float)), batch.logits, batch.probabilities, batch.gradient,
                   batch.logits_gradient)
               ? launch_backward<float, 4>(batch, stream)
               : launch_backward<float, 1>(batch, stream);
}

}  // namespace
}  // namespace cuda
}  // namespace labelset

using labelset::cuda::Batch;
using labelset::cuda::Gradients;
using labelset::cuda::Saved;

int labelset_cuda_r_softmax(const void* logits, int is_half, const double* rates, int64_t rate_step, int64_t row_count,
                            int64_t class_count, void* probabilities, void* stream) {
    if (!labelset::cuda::allowed(row_count, class_count)) return cudaErrorInvalidValue;
    const Batch batch{logits, rates, rate_step, row_count, int(class_count), probabilities};
    return labelset::cuda::forward(batch, is_half, Saved{}, static_cast<cudaStream_t>(stream));
}

int labelset_cuda_r_softmax_forward(const void* logits, int is_half, const double* rates, int64_t rate_step,
                                    int64_t row_count, int64_t class_count, int exact_gradient, void* probabilities,
                                    float* cut, int64_t* anchors, float* shares, void* stream) {
    if (!labelset::cuda::allowed(row_count, class_count)) return cudaErrorInvalidValue;
    const Batch batch{logits, rates, rate_step, row_count, int(class_count), probabilities};
    const Saved saved{cut, anchors, shares, exact_gradient != 0};
    return labelset::cuda::forward(batch, is_half, saved, static_cast<cudaStream_t>(stream));
}

int labelset_cuda_r_softmax_backward(const void* logits, int is_half, const void* probabilities, const float* cut,
                                     const int64_t* anchors, const float* shares, const void* gradient,
                                     int64_t row_count, int64_t class_count, void* logits_gradient, void* stream) {
    if (!labelset::cuda::allowed(row_count, class_count)) return cudaErrorInvalidValue;
    const Gradients batch{logits,    probabilities,    cut,          anchors, shares, gradient, row_count,
                          int(class_count), logits_gradient};
    return labelset::cuda::backward(batch, is_half, static_cast<cudaStream_t>(stream));
}

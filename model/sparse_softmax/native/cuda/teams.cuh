// The teams of threads that work on one row: a warp, or a block with the other blocks of its cluster.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include "numbers.h"

namespace labelset {
namespace cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kWarpSize = 32;
constexpr int kMostWarps = 32;
constexpr int kMostBlocksInCluster = 8;

// Reductions over the 32 lanes, on the bits of the values; every lane receives the same result.
struct SumIntegers {
    static constexpr unsigned kIdentity = 0;
    __device__ static unsigned over_warp(unsigned bits) { return __reduce_add_sync(kAllLanes, bits); }
};
struct SumFloats {
    static constexpr unsigned kIdentity = 0;
    __device__ static unsigned over_warp(unsigned bits) {
        float sum = __uint_as_float(bits);
#pragma unroll
        for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
            sum += __shfl_xor_sync(kAllLanes, sum, distance);
        return __float_as_uint(sum);
    }
};
struct MinKeys {
    static constexpr unsigned kIdentity = 0xffffffffu;
    __device__ static unsigned over_warp(unsigned bits) { return __reduce_min_sync(kAllLanes, bits); }
};
struct MaxKeys {
    static constexpr unsigned kIdentity = 0;
    __device__ static unsigned over_warp(unsigned bits) { return __reduce_max_sync(kAllLanes, bits); }
};

// What every team offers, over its own `reduce<Operation>(bits)`.
template <class Team>
class Reductions {
public:
    __device__ int sum(int value) { return int(self().template reduce<SumIntegers>(unsigned(value))); }
    __device__ float sum(float value) {
        return __uint_as_float(self().template reduce<SumFloats>(__float_as_uint(value)));
    }
    // Of numbers that are not negative.
    __device__ int min(int value) { return int(self().template reduce<MinKeys>(unsigned(value))); }
    __device__ float min(float value) {
        return from_order_key(self().template reduce<MinKeys>(order_key(value)));
    }
    __device__ float max(float value) {
        return from_order_key(self().template reduce<MaxKeys>(order_key(value)));
    }

private:
    __device__ Team& self() { return static_cast<Team&>(*this); }
};

class WarpTeam : public Reductions<WarpTeam> {
public:
    __device__ int rank() const { return int(threadIdx.x % kWarpSize); }
    __device__ static constexpr int size() { return kWarpSize; }

    template <class Operation>
    __device__ unsigned reduce(unsigned bits) {
        return Operation::over_warp(bits);
    }
};

// In shared memory. A reduction writes the slots that the one before it did not use: whoever still reads those has not
// yet reached the barrier of the next.
struct BlockTeamMemory {
    unsigned of_warps[2][kMostWarps];
    unsigned of_blocks[2][kMostBlocksInCluster];
    int claimed;
};

class BlockTeam : public Reductions<BlockTeam> {
public:
    // Every thread of the cluster constructs its team at the same place. One row a team: the counter is set once.
    __device__ explicit BlockTeam(BlockTeamMemory& memory) : memory_(memory) {
#if __CUDA_ARCH__ >= 900
        const auto cluster = cooperative_groups::this_cluster();
        blocks_ = int(cluster.num_blocks());
        block_ = int(cluster.block_rank());
#endif
        if (threadIdx.x == 0) memory_.claimed = 0;
        // No block may write to another that has not begun.
        sync_all();
    }

    __device__ int rank() const { return block_ * block_size() + block_rank(); }
    __device__ int size() const { return blocks_ * block_size(); }
    __device__ int block_rank() const { return int(threadIdx.x); }
    __device__ int block_size() const { return int(blockDim.x); }
    __device__ int block_count() const { return blocks_; }

    // The threads of this block.
    __device__ void sync() { __syncthreads(); }

    // The next number of this block's counter.
    __device__ int claim() { return atomicAdd(&memory_.claimed, 1); }
    __device__ int claimed() const { return memory_.claimed; }

    template <class Operation>
    __device__ unsigned reduce(unsigned bits) {
        const unsigned lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
        turn_ ^= 1;
        bits = Operation::over_warp(bits);
        if (lane == 0) memory_.of_warps[turn_][warp] = bits;
        __syncthreads();
        bits = lane < blockDim.x / kWarpSize ? memory_.of_warps[turn_][lane] : Operation::kIdentity;
        bits = Operation::over_warp(bits);
#if __CUDA_ARCH__ >= 900
        if (blocks_ > 1) {
            const auto cluster = cooperative_groups::this_cluster();
            unsigned* slots = memory_.of_blocks[turn_];
            if (threadIdx.x < unsigned(blocks_)) cluster.map_shared_rank(slots, threadIdx.x)[block_] = bits;
            cluster.sync();
            bits = Operation::over_warp(lane < unsigned(blocks_) ? slots[lane] : Operation::kIdentity);
        }
#endif
        return bits;
    }

private:
    __device__ void sync_all() {
#if __CUDA_ARCH__ >= 900
        if (blocks_ > 1) {
            cooperative_groups::this_cluster().sync();
            return;
        }
#endif
        __syncthreads();
    }

    BlockTeamMemory& memory_;
    int turn_ = 0;
    int blocks_ = 1;
    int block_ = 0;
};

}  // namespace cuda
}  // namespace labelset

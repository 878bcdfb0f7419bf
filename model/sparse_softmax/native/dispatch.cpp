// Chooses the row kernels when the library is first used.
#include <atomic>
#include <cstring>

#include "rows.h"

namespace labelset {

extern const RowKernels kPortableKernels;
#if defined(__x86_64__)
extern const RowKernels kAvx512Kernels, kAvx2Kernels;
#endif

namespace {

struct Path {
    const RowKernels* kernels;
    bool supported;
};

template <typename Visit>
void for_each_path(const Visit& visit) {  // the best first
#if defined(__x86_64__)
    __builtin_cpu_init();
    visit(Path{&kAvx512Kernels, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")});
    visit(Path{&kAvx2Kernels, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")});
#endif
    visit(Path{&kPortableKernels, true});
}

const RowKernels* best() {
    const RowKernels* best = nullptr;
    for_each_path([&](const Path& path) {
        if (best == nullptr && path.supported) best = path.kernels;
    });
    return best;
}

std::atomic<const RowKernels*>& chosen() {
    static std::atomic<const RowKernels*> kernels{best()};
    return kernels;
}

}  // namespace

const RowKernels& row_kernels() { return *chosen().load(std::memory_order_relaxed); }

bool choose_row_kernels(const char* name) {
    const RowKernels* named = nullptr;
    for_each_path([&](const Path& path) {
        if (path.supported && std::strcmp(path.kernels->name, name) == 0) named = path.kernels;
    });
    if (named == nullptr) return false;
    chosen().store(named, std::memory_order_relaxed);
    return true;
}

}  // namespace labelset

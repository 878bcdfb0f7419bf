// The C interface over the row kernels, and the threads of callers that bring none.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <new>
#include <thread>

#include "labelset.h"
#include "rows.h"

namespace {

// A thread takes longer to start than fewer logits than these to compute.
constexpr int64_t kLogitsPerThread = 1 << 17;
constexpr int64_t kMaxThreads = 256;
// Cuts that a thread keeps until it has found their anchors.
constexpr int64_t kRowsAtOnce = 16;

// Call `work(first_row, last_row)` on contiguous shares of the rows. Returns 0, or -1 where a thread has no memory for
// the scratch of a row.
template <typename Work>
int share_rows(int64_t row_count, int64_t class_count, int thread_count, const Work& work) noexcept {
    const int64_t worthwhile = row_count * class_count / kLogitsPerThread;
    const int64_t shares = std::max<int64_t>(1, std::min<int64_t>({thread_count, row_count, worthwhile, kMaxThreads}));
    const auto first_row = [&](int64_t share) { return row_count * share / shares; };
    std::atomic<int> code{0};
    const auto compute = [&](int64_t first_share, int64_t last_share) noexcept {
        try {
            work(first_row(first_share), first_row(last_share));
        } catch (const std::bad_alloc&) {
            code = -1;
        }
    };
    std::thread threads[kMaxThreads];
    int64_t started = 1;
    try {
        for (; started < shares; ++started) threads[started] = std::thread(compute, started, started + 1);
    } catch (const std::exception&) {
        // No more threads are to be had: what is left is the caller's.
    }
    compute(0, 1);
    if (started < shares) compute(started, shares);
    for (int64_t share = 1; share < started; ++share) threads[share].join();
    return code;
}

}  // namespace

const char* labelset_cpu_path() { return labelset::row_kernels().name; }

int labelset_set_cpu_path(const char* name) { return labelset::choose_row_kernels(name) ? 0 : -1; }

int labelset_r_softmax(const float* logits, const double* rates, int64_t rate_step, int64_t row_count,
                       int64_t class_count, float* probabilities, int thread_count) {
    const labelset::RowKernels& kernels = labelset::row_kernels();
    return share_rows(row_count, class_count, thread_count, [&](int64_t first, int64_t last) {
        kernels.forward(logits + first * class_count, rates + first * rate_step, rate_step, last - first, class_count,
                        probabilities + first * class_count, nullptr);
    });
}

int labelset_r_softmax_forward(const float* logits, const double* rates, int64_t rate_step, int64_t row_count,
                               int64_t class_count, int exact_gradient, float* probabilities, float* cut,
                               int64_t* anchors, float* shares, int thread_count) {
    const labelset::RowKernels& kernels = labelset::row_kernels();
    return share_rows(row_count, class_count, thread_count, [&](int64_t first, int64_t last) {
        labelset::Cut cuts[kRowsAtOnce];
        for (int64_t row = first; row < last; row += kRowsAtOnce) {
            const int64_t count = std::min(kRowsAtOnce, last - row);
            kernels.forward(logits + row * class_count, rates + row * rate_step, rate_step, count, class_count,
                            probabilities + row * class_count, cuts);
            for (int64_t i = 0; i < count; ++i) {
                const float* row_logits = logits + (row + i) * class_count;
                cut[row + i] = cuts[i].value;
                int64_t* two_anchors = anchors + 2 * (row + i);
                float* two_shares = shares + 2 * (row + i);
                if (exact_gradient) {
                    two_anchors[0] = kernels.find(row_logits, cuts[i].lower, class_count);
                    two_anchors[1] = kernels.find(row_logits, cuts[i].upper, class_count);
                    two_shares[0] = static_cast<float>(1 - cuts[i].fraction);
                    two_shares[1] = static_cast<float>(cuts[i].fraction);
                } else {
                    two_anchors[0] = two_anchors[1] = kernels.find(row_logits, cuts[i].highest, class_count);
                    two_shares[0] = 1;
                    two_shares[1] = 0;
                }
            }
        }
    });
}

int labelset_r_softmax_backward(const float* logits, const float* probabilities, const float* cut,
                                const int64_t* anchors, const float* shares, const float* gradient, int64_t row_count,
                                int64_t class_count, float* logits_gradient, int thread_count) {
    const labelset::RowKernels& kernels = labelset::row_kernels();
    return share_rows(row_count, class_count, thread_count, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) {
            const int64_t offset = row * class_count;
            float* row_gradient = logits_gradient + offset;
            const float pull = kernels.backward(logits + offset, probabilities + offset, cut[row], gradient + offset,
                                                class_count, row_gradient);
            row_gradient[anchors[2 * row]] -= shares[2 * row] * pull;
            row_gradient[anchors[2 * row + 1]] -= shares[2 * row + 1] * pull;
        }
    });
}

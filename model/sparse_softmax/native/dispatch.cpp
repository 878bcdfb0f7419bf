// Chooses the row kernels when the library is first used.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <cmath>
#include <limits>
#include <vector>

#include "rows.h"

namespace labelset {
namespace {

// TEMPORARY: a naive portable row, until the vector kernels stand.
Cut naive_forward(const float* x, double rate, int64_t n, float* p) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    std::vector<float> s;
    bool broken = !(rate >= 0 && rate <= 1);
    for (int64_t i = 0; i < n; ++i) {
        if (x[i] != x[i] || x[i] == inf) broken = true;
        if (x[i] != -inf) s.push_back(x[i]);
    }
    if (broken) { std::fill(p, p + n, nan); return {nan, nan, nan, nan, 0}; }
    if (s.empty()) { std::fill(p, p + n, 0.f); return {0, 0, 0, -inf, 0}; }
    std::sort(s.begin(), s.end());
    double h = rate * double(s.size() - 1), lo = std::floor(h), f = h - lo;
    float a = s[size_t(lo)], b = s[std::min(size_t(lo) + 1, s.size() - 1)], hi = s.back();
    float q = float(double(a) + f * (double(b) - double(a)));
    double sum = 0;
    std::vector<double> w(size_t(n), 0.0);
    for (int64_t i = 0; i < n; ++i) {
        if (q >= hi) w[size_t(i)] = x[i] == hi;
        else if (x[i] > q) w[size_t(i)] = double(std::min(x[i] - q, std::numeric_limits<float>::max())) * std::exp(double(x[i]) - hi);
        sum += w[size_t(i)];
    }
    for (int64_t i = 0; i < n; ++i) {
        bool on = q >= hi ? x[i] == hi : x[i] > q;
        p[i] = on ? std::max(float(w[size_t(i)] / sum), std::numeric_limits<float>::min()) : 0.f;
    }
    return {q, a, b, hi, f};
}

float naive_backward(const float* x, const float* p, float cut, const float* g, int64_t n, float* out) {
    double dot = 0, total = 0;
    for (int64_t i = 0; i < n; ++i) dot += double(p[i]) * g[i];
    for (int64_t i = 0; i < n; ++i) {
        if (x[i] <= cut) { out[i] = 0; continue; }
        double a = p[i] * (g[i] - dot), b = a / (double(x[i]) - cut);
        total += b;
        out[i] = float(a + b);
    }
    return float(total);
}

int64_t naive_find(const float* x, float v, int64_t n) {
    for (int64_t i = 0; i < n; ++i) if (x[i] == v) return i;
    return 0;
}

const RowKernels portable{"portable", naive_forward, naive_backward, naive_find};

std::atomic<const RowKernels*> chosen{&portable};

}  // namespace

const RowKernels& row_kernels() { return *chosen.load(std::memory_order_relaxed); }

bool choose_row_kernels(const char* name) {
    if (std::strcmp(name, portable.name) != 0) return false;
    chosen.store(&portable);
    return true;
}

}  // namespace labelset

#include "distributions.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

namespace fuzz {
namespace {

float to_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

void normal(Random& random, float* row, int64_t count) {
    const double scale = any_scale(random), center = random.one_in(2) ? 0 : 10 * random.normal();
    for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(center + scale * random.normal());
}

void uniform(Random& random, float* row, int64_t count) {
    const double scale = any_scale(random), lowest = random.one_in(2) ? 0 : -scale / 2;
    for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(lowest + scale * random.uniform());
}

void a_few_labels(Random& random, float* row, int64_t count) {
    for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(random.normal() - 6);
    for (int64_t label = random.between(1, 5); label > 0; --label)
        row[random.below(count)] = static_cast<float>(random.normal() + 4);
}

void few_values(Random& random, float* row, int64_t count) {
    const int64_t values = random.between(2, 8);
    const double step = any_scale(random);
    for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(step * static_cast<double>(random.below(values)));
}

void constant(Random& random, float* row, int64_t count) {
    std::fill(row, row + count, static_cast<float>(any_scale(random) * random.normal()));
}

void ascending(Random& random, float* row, int64_t count) {
    (random.one_in(3) ? few_values : normal)(random, row, count);
    std::sort(row, row + count);
}

void descending(Random& random, float* row, int64_t count) {
    ascending(random, row, count);
    std::reverse(row, row + count);
}

void two_clusters(Random& random, float* row, int64_t count) {
    const double distance = any_scale(random), share = random.uniform();
    for (int64_t i = 0; i < count; ++i)
        row[i] = static_cast<float>((random.uniform() < share ? 0 : distance) + 1e-3 * random.normal());
}

void one_outlier(Random& random, float* row, int64_t count) {
    (random.one_in(2) ? constant : normal)(random, row, count);
    row[random.below(count)] = (random.one_in(2) ? 1.0f : -1.0f) * random.pick({30.0f, 1e4f, 1e30f});
}

void geometric(Random& random, float* row, int64_t count) {
    const int lowest = static_cast<int>(random.between(-149, 100));
    const int exponents = static_cast<int>(random.between(1, 127 - lowest));
    const bool signs = random.one_in(2), shuffled = random.one_in(2);
    for (int64_t i = 0; i < count; ++i) {
        const int step = static_cast<int>(shuffled ? random.below(exponents) : i % exponents);
        row[i] = std::ldexp(signs && random.one_in(2) ? -1.0f : 1.0f, lowest + step);
    }
}

void denormal(Random& random, float* row, int64_t count) {
    const int64_t largest = random.pick({3, 100, 0x7FFFFF});
    for (int64_t i = 0; i < count; ++i)
        row[i] = static_cast<float>(random.between(-largest, largest)) * FLT_TRUE_MIN;
}

void huge(Random& random, float* row, int64_t count) {
    const int64_t extremes = random.below(3);  // All of them, some, none.
    for (int64_t i = 0; i < count; ++i) {
        const float size = random.below(2) < extremes ? static_cast<float>(random.uniform()) : 1.0f;
        row[i] = (random.one_in(2) ? FLT_MAX : -FLT_MAX) * size;
    }
}

void adjacent(Random& random, float* row, int64_t count) {
    const float base = static_cast<float>(any_scale(random) * random.normal());
    const int64_t spread = random.one_in(2) ? 5 : 2 * count;
    uint32_t bits;
    std::memcpy(&bits, &base, sizeof bits);
    for (int64_t i = 0; i < count; ++i) row[i] = to_float(bits + static_cast<uint32_t>(random.below(spread)));
}

void signed_zeros(Random& random, float* row, int64_t count) {
    const bool only_zeros = random.one_in(2);
    for (int64_t i = 0; i < count; ++i)
        row[i] = only_zeros ? random.pick({0.0f, -0.0f})
                            : random.pick({0.0f, -0.0f, FLT_TRUE_MIN, -FLT_TRUE_MIN, 1.0f});
}

void any_bits(Random& random, float* row, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        do row[i] = to_float(static_cast<uint32_t>(random.bits()));
        while (!std::isfinite(row[i]));
    }
}

// Raise, or lower, what a strided sample or one lane of a vector might see.
void shift_some(Random& random, float* row, int64_t count, bool (*is_chosen)(int64_t i, int64_t period, int64_t phase),
                int64_t period) {
    const float shift = random.one_in(2) ? 20.0f : -20.0f;
    const int64_t phase = random.below(period);
    normal(random, row, count);
    for (int64_t i = 0; i < count; ++i)
        if (is_chosen(i, period, phase)) row[i] += shift;
}

void periodic(Random& random, float* row, int64_t count) {
    shift_some(random, row, count, [](int64_t i, int64_t period, int64_t phase) { return i % period == phase; },
               random.pick({2, 4, 8, 16, 32, 64, 128}));
}

void lanes(Random& random, float* row, int64_t count) {
    shift_some(random, row, count, [](int64_t i, int64_t period, int64_t phase) { return i % period > phase; },
               random.pick({4, 8, 16}));
}

void sampled(Random& random, float* row, int64_t count) {
    const int64_t stride = std::max<int64_t>(1, count / random.pick({8, 16, 32, 64, 128, 256}));
    shift_some(random, row, count, [](int64_t i, int64_t period, int64_t phase) {
        return i % period == 0 || i % period == period / 2 || i % period == phase;
    }, stride);
}

void block(Random& random, float* row, int64_t count) {
    normal(random, row, count);
    const int64_t first = random.below(count), last = random.between(first, count);
    const float shift = random.one_in(2) ? 20.0f : -20.0f;
    for (int64_t i = first; i < last; ++i) row[i] += shift;
}

void saw_tooth(Random& random, float* row, int64_t count) {
    const int64_t period = random.between(2, 100);
    const double slope = random.one_in(2) ? 0 : 1e-3 * random.normal();
    for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(static_cast<double>(i % period) + slope * i);
}

constexpr Distribution kDistributions[] = {
    {"normal", normal},           {"uniform", uniform},       {"a few labels", a_few_labels},
    {"few values", few_values},   {"constant", constant},     {"ascending", ascending},
    {"descending", descending},   {"clusters", two_clusters}, {"one outlier", one_outlier},
    {"geometric", geometric},     {"denormal", denormal},     {"huge", huge},
    {"adjacent", adjacent},       {"zeros", signed_zeros},    {"any bits", any_bits},
    {"periodic", periodic},       {"lanes", lanes},           {"sampled", sampled},
    {"block", block},             {"saw-tooth", saw_tooth},
};

}  // namespace

Distribution any_distribution(Random& random) { return random.pick(kDistributions); }

}  // namespace fuzz

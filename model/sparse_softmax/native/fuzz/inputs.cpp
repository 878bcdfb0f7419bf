#include "inputs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "distributions.h"

namespace fuzz {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

void mask_share(Random& random, float* row, int64_t count) {
    const double share = random.pick({0.1, 0.5, 0.9, 0.99});
    for (int64_t i = 0; i < count; ++i)
        if (random.uniform() < share) row[i] = -kInfinity;
}

void mask_run(Random& random, float* row, int64_t count) {
    const int64_t first = random.one_in(2) ? 0 : random.below(count);
    const int64_t last = random.one_in(2) ? count : random.between(first, count);
    std::fill(row + first, row + last, -kInfinity);
}

void mask_all_but_one(Random& random, float* row, int64_t count) {
    const int64_t kept = random.below(count);
    const float value = row[kept];
    std::fill(row, row + count, -kInfinity);
    row[kept] = value;
}

// A kernel is likeliest to overlook the ends of a row.
int64_t any_place(Random& random, int64_t count) {
    const int64_t place = random.below(4);
    return place == 0 ? 0 : place == 1 ? count - 1 : random.below(count);
}

// Masks, and what makes a row NaN.
constexpr Distribution kSpoilers[] = {
    {"one mask", [](Random& random, float* row, int64_t count) { row[any_place(random, count)] = -kInfinity; }},
    {"a share of masks", mask_share},
    {"a run of masks", mask_run},
    {"all masks but one", mask_all_but_one},
    {"masks", [](Random&, float* row, int64_t count) { std::fill(row, row + count, -kInfinity); }},
    {"NaN", [](Random& random, float* row, int64_t count) {
         row[any_place(random, count)] = random.one_in(2) ? kNan : -kNan;
     }},
    {"+inf", [](Random& random, float* row, int64_t count) { row[any_place(random, count)] = kInfinity; }},
    {"masks and NaN", [](Random& random, float* row, int64_t count) {
         mask_share(random, row, count);
         row[any_place(random, count)] = random.one_in(2) ? kNan : kInfinity;
     }},
};

double with_zeros(int64_t zeros, int64_t count) { return static_cast<double>(zeros) / static_cast<double>(count); }

double choose_rate(Random& random, int64_t unmasked, const char*& kind) {
    const int64_t count = std::max<int64_t>(unmasked, 1);
    switch (random.below(10)) {
        case 0:
            kind = "end";
            return random.pick({0.0, -0.0, 1.0});
        case 1:
            kind = "share";
            return random.pick({0.1, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999});
        case 2:
        case 3:
            kind = "k labels";
            return with_zeros(std::max<int64_t>(count - random.between(1, 12), 0), count);
        case 4:
            kind = "m / n";
            return with_zeros(random.between(0, count), count);
        case 5:
            kind = "beside m / n";
            return std::nextafter(with_zeros(random.between(1, count), count), random.pick({0.0, 1.0}));
        case 6:
            kind = "extreme";
            return random.pick({1 - 0x1p-53, 1 - 0x1p-24, 0x1p-53, 1e-300, std::numeric_limits<double>::denorm_min()});
        case 7:
            if (!random.one_in(4)) break;
            kind = "invalid";
            return random.pick({-0.1, 1.5, 1 + 0x1p-52, -std::numeric_limits<double>::denorm_min(),
                                std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                                -std::numeric_limits<double>::infinity()});
        default:
            break;
    }
    kind = "uniform";
    return random.uniform();
}

}  // namespace

int64_t class_count_of(int64_t case_index) {
    constexpr int64_t large[] = {1000, 1023, 1024, 1025, 4095, 4096, 4097};
    if (case_index % 100'000 == 0) return 1'000'000;
    if (case_index % 10'000 == 1) return case_index / 10'000 % 2 ? 65'537 : 100'003;
    if (case_index % 2'000 == 2) return 10'007;
    if (case_index % 200 == 3) return large[case_index / 200 % 7];
    if (case_index % 200 == 4) return 301 + 997 * (case_index / 200) % 9'000;
    return 1 + case_index % 300;
}

Row make_row(Random& random, int64_t class_count) {
    Row row{std::vector<float>(static_cast<size_t>(class_count)), 0, "", "", ""};
    float* logits = row.logits.data();
    const Distribution distribution = any_distribution(random);
    row.distribution = distribution.name;
    distribution.fill(random, logits, class_count);
    row.spoiled_by = "nothing";
    if (random.one_in(4)) {
        const Distribution spoiler = random.pick(kSpoilers);
        row.spoiled_by = spoiler.name;
        spoiler.fill(random, logits, class_count);
    }
    const auto masked = std::count(row.logits.begin(), row.logits.end(), -kInfinity);
    row.rate = choose_rate(random, class_count - masked, row.rate_kind);
    return row;
}

void fill_gradient(Random& random, float* gradient, int64_t class_count) {
    const double scale = any_scale(random);
    const int64_t kind = random.below(4);
    for (int64_t i = 0; i < class_count; ++i)
        gradient[i] = kind == 0 ? 0 : static_cast<float>(scale * random.normal());
    // That of a loss that looks at one probability.
    if (kind == 0) gradient[random.below(class_count)] = static_cast<float>(scale);
}

}  // namespace fuzz

// Runs the row algorithm of the GPU on the CPU, by emulated teams, against a plain sort.
//
// usage: fuzz_rows [ROW_COUNT] [SEED]
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "emulated_team.h"
#include "row_backward.h"

namespace {

using namespace labelset::cuda;
using Floats = std::vector<float>;

constexpr float kSmallest = FLT_MIN;

struct Result {
    Cut cut;
    Floats probabilities;
};

// SPEC 1.3 and 1.4, by sorting.
Result sorted_row(const Floats& logits, double rate) {
    Floats sorted;
    bool broken = !(rate >= 0 && rate <= 1);
    for (const float logit : logits) {
        broken |= !(logit < kInfinity);
        if (logit > -kInfinity) sorted.push_back(logit);
    }
    if (broken) return {{kNan, kNan, kNan, kNan, 0}, Floats(logits.size(), kNan)};
    if (sorted.empty()) return {{0, 0, 0, -kInfinity, 0}, Floats(logits.size(), 0.0f)};
    std::sort(sorted.begin(), sorted.end());
    const double position = rate * double(sorted.size() - 1), below = std::floor(position);
    const float lower = sorted[size_t(below)], upper = sorted[std::min(size_t(below) + 1, sorted.size() - 1)];
    const float highest = sorted.back();
    const float cut = float(double(lower) + (position - below) * (double(upper) - double(lower)));
    std::vector<double> masses;
    for (const float logit : logits) {
        double mass = 0;
        if (cut >= highest) {
            mass = logit == highest;
        } else if (logit > cut) {
            const double weight = std::min(logit - cut, FLT_MAX) / double(std::min(highest - cut, FLT_MAX));
            mass = std::max(weight * std::exp(double(logit) - highest), 1e-300);
        }
        masses.push_back(mass);
    }
    const double total = std::accumulate(masses.begin(), masses.end(), 0.0);
    Floats probabilities;
    for (const double mass : masses)
        probabilities.push_back(mass > 0 ? std::max(float(mass / total), kSmallest) : 0.0f);
    return {{cut, lower, upper, highest, position - below}, probabilities};
}

// SPEC 1.5, in float64 but for the distances from the cut.
std::vector<double> plain_gradient(const Floats& logits, const Result& row, const Anchors& anchors,
                                   const Floats& gradient) {
    double mean = 0, pull = 0;
    for (size_t i = 0; i < logits.size(); ++i) mean += double(row.probabilities[i]) * gradient[i];
    std::vector<double> result(logits.size());
    for (size_t i = 0; i < logits.size(); ++i) {
        if (logits[i] <= row.cut.value) continue;
        const double own = row.probabilities[i] * (gradient[i] - mean), through_weight = own / (logits[i] - row.cut.value);
        result[i] = own + through_weight;
        pull += through_weight;
    }
    for (int anchor = 0; anchor < 2; ++anchor)
        result[size_t(anchors.classes[anchor])] -= double(anchors.shares[anchor]) * pull;
    return result;
}

struct Trial {
    std::string name;
    Floats logits;
    double rate;
};

class Trials {
public:
    explicit Trials(unsigned seed) : random_(seed) {}

    Trial next() {
        const int size = chance(50) ? between(1, 40) : chance(96) ? between(1, 300) : between(300, 6000);
        Trial trial{"", Floats(size_t(size)), rate_for(size)};
        fill(trial);
        if (chance(15)) {
            const int masked_percent = between(0, 100);
            for (float& logit : trial.logits)
                if (chance(masked_percent)) logit = -kInfinity;
            trial.name += ", masked";
        }
        if (chance(3)) trial.logits[size_t(between(0, size - 1))] = chance(50) ? kNan : -kNan;
        if (chance(3)) trial.logits[size_t(between(0, size - 1))] = kInfinity;
        return trial;
    }

    int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
    bool chance(int percent) { return between(0, 99) < percent; }
    float normal() { return std::normal_distribution<float>()(random_); }

private:
    double rate_for(int size) {
        switch (between(0, 7)) {
            case 0: return double(between(0, size)) / size;
            case 1: return double(std::max(size - between(1, 6), 0)) / size;
            case 2: return 0;
            case 3: return 1;
            case 4: return chance(80) ? 1 - 0x1p-53 : chance(50) ? -0.1 : chance(50) ? 1.5 : double(kNan);
            case 5: return 0.9;
            default: return std::uniform_real_distribution<double>()(random_);
        }
    }

    void fill(Trial& trial) {
        Floats& logits = trial.logits;
        const int kind = between(0, 11);
        const float scale = std::exp(3 * normal());
        const int distinct = between(1, 9), period = between(2, 12);
        float step = 3 * normal();
        for (size_t i = 0; i < logits.size(); ++i) {
            switch (kind) {
                case 0: trial.name = "normal", logits[i] = scale * normal(); break;
                case 1: trial.name = "heavy tails", logits[i] = normal() * std::exp(4 * normal()); break;
                case 2: trial.name = "few values", logits[i] = float(between(0, distinct)) * scale; break;
                case 3: trial.name = "many zeros", logits[i] = chance(80) ? (chance(50) ? 0.0f : -0.0f) : normal(); break;
                case 4: trial.name = "ascending", logits[i] = scale * float(i); break;
                case 5: trial.name = "descending", logits[i] = -scale * float(i); break;
                case 6: trial.name = "largest", logits[i] = FLT_MAX * float(between(-8, 8)) / 8; break;
                case 7: trial.name = "smallest", logits[i] = kSmallestDenormal * float(between(-9, 9)); break;
                case 8:
                    trial.name = "neighbours";
                    if (chance(70)) step = std::nextafter(step, chance(50) ? kInfinity : -kInfinity);
                    logits[i] = step;
                    break;
                // What a strided sample sees may be nothing like the rest.
                case 10: trial.name = "periodic", logits[i] = normal() + (int(i) % period == 0 ? step : 0.0f); break;
                case 9: trial.name = "all sizes", logits[i] = std::ldexp(normal(), between(-140, 120)); break;
                default: trial.name = "peaks", logits[i] = normal() + (chance(2) ? 20.0f : 0.0f); break;
            }
        }
    }

    std::mt19937 random_;
};

// What one emulated run leaves: as the kernels of rows.cu would.
struct Outputs {
    Cut cut;
    Anchors anchors;
    Floats probabilities;
    Floats logits_gradient;
};

template <int kWidth>
void run_backward(const Floats& logits, const Floats& gradient, bool exact, bool recomputed, EmulatedTeam& team,
                  Outputs& outputs) {
    const int size = int(logits.size());
    const Pieces<const float, kWidth> pieces(logits.data(), size, team);
    const Anchors anchors = find_anchors(pieces, outputs.cut, exact, team);
    const BackwardRow<float, kWidth> row{pieces,
                                         {outputs.probabilities.data(), size, team},
                                         {gradient.data(), size, team},
                                         {outputs.logits_gradient.data(), size, team},
                                         outputs.cut.value,
                                         anchors};
    if (recomputed) {
        map_gradient(row, RecomputedProbabilities(row, team), team);
    } else {
        map_gradient(row, SavedProbabilities{}, team);
    }
    outputs.anchors = anchors;
}

class Fuzz {
public:
    explicit Fuzz(unsigned seed) : trials_(seed), seed_(seed) {
        for (const int blocks : {1, 3})
            for (const int threads : {1, 4, 16}) teams_.push_back({blocks, threads});
    }

    void one_row() {
        const Trial trial = trials_.next();
        const Result expected = sorted_row(trial.logits, trial.rate);
        const int size = int(trial.logits.size());
        if (size % 8 == 0 && trials_.chance(50)) return with_width<8>(trial, expected);
        if (size % 4 == 0 && trials_.chance(70)) return with_width<4>(trial, expected);
        with_width<1>(trial, expected);
    }

private:
    struct Team {
        int blocks;
        int threads;
    };

    template <int kWidth>
    void with_width(const Trial& trial, const Result& expected) {
        constexpr int kPieces = 24 / kWidth;
        const int size = int(trial.logits.size());
        const Team chosen = teams_[size_t(trials_.between(0, int(teams_.size()) - 1))];
        Emulation emulation(chosen.blocks, chosen.threads, ++seed_);
        const int team_size = chosen.blocks * chosen.threads;
        enum { kRegisters, kShared, kStreamed } storage = trials_.chance(50) ? kStreamed : kShared;
        if (size <= team_size * kWidth * kPieces && trials_.chance(60)) storage = kRegisters;
        const bool exact = trials_.chance(50), recomputed = trials_.chance(50);
        const int capacity = trials_.chance(20) ? trials_.between(0, 20) : 2 * size;

        Floats gradient;
        for (int i = 0; i < size; ++i) gradient.push_back(trials_.normal());
        Outputs outputs{{}, {}, Floats(size_t(size), -7.0f), Floats(size_t(size), -7.0f)};
        const int64_t block_floats =
            std::max<int64_t>(shared_floats(size / kWidth, kWidth, chosen.threads, team_size), capacity);
        std::vector<Floats> shared(size_t(chosen.blocks), Floats(size_t(block_floats)));
        emulation.run([&](EmulatedTeam& team) {
            const Pieces<const float, kWidth> logits(trial.logits.data(), size, team);
            const Pieces<float, kWidth> probabilities(outputs.probabilities.data(), size, team);
            float* storage_of_block = shared[size_t(team.block())].data();
            const auto map = [&](auto&& row) { return map_row(row, trial.rate, kSmallest, team); };
            const Cut cut =
                storage == kRegisters ? map(RegisterRow<float, kWidth, kPieces>(logits, probabilities))
                : storage == kShared
                    ? map(SharedRow<float, kWidth>(logits, probabilities, storage_of_block, team))
                    : map(StreamedRow<float, kWidth, EmulatedTeam>(logits, probabilities, trial.rate, storage_of_block,
                                                                   capacity, team));
            if (team.rank() == 0) outputs.cut = cut;
            team.sync();
            run_backward<kWidth>(trial.logits, gradient, exact, recomputed, team, outputs);
        });
        compare(trial, expected, outputs, exact);
        compare_gradient(trial, {expected.cut, outputs.probabilities}, outputs, gradient);
    }

    void compare(const Trial& trial, const Result& expected, const Outputs& outputs, bool exact) {
        const Cut &cut = outputs.cut, &wanted = expected.cut;
        require(trial, "cut", same(cut.value, wanted.value));
        require(trial, "lower neighbour", same(cut.lower, wanted.lower));
        require(trial, "upper neighbour", same(cut.upper, wanted.upper));
        require(trial, "maximum", same(cut.highest, wanted.highest));
        require(trial, "fraction", cut.fraction == wanted.fraction);
        for (size_t i = 0; i < trial.logits.size(); ++i) {
            const float found = outputs.probabilities[i], right = expected.probabilities[i];
            require(trial, "zero pattern", std::isnan(right) ? std::isnan(found) : (found == 0) == (right == 0));
            // In float32 the exponent itself is rounded, and a team of one thread adds all masses in one chain.
            const double exponent = double(wanted.highest) - trial.logits[i];
            const double tolerance = (1e-6 + 0x1p-24 * (exponent + 0.5 * double(trial.logits.size()))) * right + 1e-37;
            require(trial, "probability", std::isnan(right) || right == 0 || std::fabs(found - right) <= tolerance);
        }
        const float moving[2] = {exact ? wanted.lower : wanted.highest, exact ? wanted.upper : wanted.highest};
        for (int anchor = 0; anchor < 2; ++anchor) {
            const auto first = std::find(trial.logits.begin(), trial.logits.end(), moving[anchor]);
            const auto index = first == trial.logits.end() ? 0 : first - trial.logits.begin();
            require(trial, "anchor", outputs.anchors.classes[anchor] == index);
        }
    }

    void compare_gradient(const Trial& trial, const Result& row, const Outputs& outputs, const Floats& gradient) {
        const std::vector<double> expected = plain_gradient(trial.logits, row, outputs.anchors, gradient);
        double largest = 0, least_weight = kInfinity;
        for (size_t i = 0; i < expected.size(); ++i) {
            largest = std::max(largest, std::fabs(expected[i]));
            if (trial.logits[i] > row.cut.value)
                least_weight = std::min(least_weight, double(trial.logits[i]) - row.cut.value);
        }
        // A division by next to nothing leaves float32 no digits to compare.
        const bool tame = least_weight > 1e-4 && largest < 1e4;
        for (size_t i = 0; i < expected.size(); ++i) {
            const float found = outputs.logits_gradient[i];
            if (std::isnan(row.cut.value)) {
                require(trial, "gradient of a row of NaN", std::isnan(found));
            } else if (tame) {
                require(trial, "gradient", std::fabs(found - expected[i]) <= 1e-4 * largest + 1e-6);
            }
        }
    }

    static bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

    static void require(const Trial& trial, const char* what, bool holds) {
        if (holds) return;
        std::fprintf(stderr, "wrong %s: row of %zu (%s), rate %.17g\n", what, trial.logits.size(), trial.name.c_str(),
                     trial.rate);
        std::abort();
    }

    Trials trials_;
    unsigned seed_;
    std::vector<Team> teams_;
};

}  // namespace

int main(int argument_count, char** arguments) {
    const long rows = argument_count > 1 ? std::atol(arguments[1]) : 100000;
    const unsigned seed = argument_count > 2 ? unsigned(std::atol(arguments[2])) : 0;
    Fuzz fuzz(seed);
    for (long row = 0; row < rows; ++row) fuzz.one_row();
    std::printf("%ld rows agree with sorting, seed %u\n", rows, seed);
}

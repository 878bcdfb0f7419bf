// A generator small enough to start anew for every case, so that any case can be repeated alone.
#pragma once

#include <cmath>
#include <cstdint>

namespace fuzz {

// splitmix64 (Steele, Lea, Flood 2014).
class Random {
   public:
    Random(uint64_t seed, uint64_t stream) : state_(seed * 0x9E3779B97F4A7C15 ^ (stream + 1) * 0xD1342543DE82EF95) {}

    uint64_t bits() {
        uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    // In [0, count).
    int64_t below(int64_t count) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(count)); }

    // In [lowest, highest].
    int64_t between(int64_t lowest, int64_t highest) { return lowest + below(highest - lowest + 1); }

    bool one_in(int64_t count) { return below(count) == 0; }

    // In [0, 1).
    double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

    double normal() {
        const double radius = std::sqrt(-2 * std::log(1 - uniform()));
        return radius * std::cos(6.283185307179586 * uniform());
    }

    template <typename T, int64_t count>
    T pick(const T (&choices)[count]) {
        return choices[below(count)];
    }

   private:
    uint64_t state_;
};

}  // namespace fuzz

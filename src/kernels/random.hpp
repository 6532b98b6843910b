// SplitMix64 (Steele, Lea, Flood 2014): a stream of its own for every piece of work, so that threads change nothing.
// In an unnamed namespace for the reason given in simd.hpp.
#pragma once
#include <cmath>
#include <cstdint>

namespace {

class Random {
public:
    Random(uint64_t seed, uint64_t stream) : state_(mix(seed + GOLDEN) + mix(stream * GOLDEN + 1)) {}

    uint64_t next() { return mix(state_ += GOLDEN); }
    double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // in [0, 1)
    double normal() {  // Box and Muller 1958, one of its two
        const double length = std::sqrt(-2 * std::log(1 - uniform()));
        return length * std::cos(6.283185307179586 * uniform());
    }
    int64_t below(int64_t count) {  // Lemire 2019, without the rejection: its bias is count / 2^64
        return static_cast<int64_t>((static_cast<unsigned __int128>(next()) * static_cast<uint64_t>(count)) >> 64);
    }

private:
    static constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15;

    static uint64_t mix(uint64_t value) {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }

    uint64_t state_;
};

}  // namespace

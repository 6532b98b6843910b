// Learning to rank by stochastic descent: a liked item is to score above one drawn at random (BPR, WARP).
#pragma once
#include <cmath>

#include "least_squares.hpp"
#include "random.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

constexpr int REFUSED = 16;  // draws in a row that the person likes too: they like nearly everything
constexpr int64_t ROUND = 1024;  // steps with a generator of their own: they draw the same whichever thread takes them

inline bool among(const int32_t *rising, int64_t count, int32_t wanted) {
    while (count > 0) {
        const int64_t half = count / 2;
        if (rising[half] == wanted) return true;
        if (rising[half] < wanted) {
            rising += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return false;
}

struct Rival {  // an item that is not liked, and how hard it is to be pushed below the liked one
    const float *item;
    float force;
};

// BPR: whatever comes first, by the slope of log(1 + exp(-margin)). WARP: the first within a margin of 1, the harder the
// sooner one was found (Weston, Bengio, Usunier 2011); force 0 = none was.
inline Rival rival(const PairwiseJob &job, Random &chance, const int32_t *own, int64_t count, const float *user, float score) {
    const int32_t draws = job.trials ? job.trials : REFUSED;
    for (int32_t n = 1; n <= draws; ++n) {
        const int32_t drawn = job.pool[chance.below(job.pool_size)];
        if (among(own, count, drawn)) continue;
        const float *item = job.item + drawn * job.stride;
        const float margin = score - dot(user, item, job.stride);
        if (!job.trials) return {item, 1 / (1 + std::exp(margin))};
        if (margin < 1) return {item, std::log1p(static_cast<float>(job.pool_size / n)) / std::log1p(static_cast<float>(job.pool_size))};
    }
    return {nullptr, 0};
}

// One step for one liking; the last column of `user` in use stays 1, so that of an item is its bias.
template <bool FROZEN>
inline void step(const PairwiseJob &job, Random &chance, const int32_t *own, int64_t count, int32_t liked, float *user, float rate) {
    float *good = job.item + liked * job.stride;
    const Rival found = rival(job, chance, own, count, user, dot(user, good, job.stride));
    if (found.force <= 0) return;
    float *bad = const_cast<float *>(found.item);
    const Vec push = splat(rate * found.force), keep = splat(1 - rate * job.reg);
    for (int64_t d = 0; d < job.stride; d += LANES) {
        const Vec x = load(user + d), y = load(good + d), z = load(bad + d);
        store(user + d, keep * x + push * (y - z));
        if (!FROZEN) {
            store(good + d, keep * y + push * x);
            store(bad + d, keep * z - push * x);
        }
    }
    user[job.bias] = 1;
}

// Steps begin .. end of an epoch, a liking drawn for each by its weight. Threads write over one another now and then,
// which costs no quality (Hogwild; Niu, Recht, Re, Wright 2011).
void pairwise_epoch(const PairwiseJob &job, int64_t begin, int64_t end) {
    const int64_t entries = job.rows.ptr[job.users];
    for (int64_t first = begin; first < end; first += ROUND) {
        Random chance(job.seed, static_cast<uint64_t>(first));
        for (int64_t at = first; at < smaller(end, first + ROUND); ++at) {
            int64_t entry = chance.below(entries);
            while (static_cast<float>(chance.uniform()) * job.heaviest > job.rows.value[entry]) entry = chance.below(entries);
            const int32_t row = job.owner[entry];
            const int64_t start = job.rows.ptr[row];
            step<false>(job, chance, job.own + start, job.rows.ptr[row + 1] - start, job.rows.index[entry], job.user + row * job.stride, job.rate);
        }
    }
}

// The people begin .. end from nothing, the items as they are; each draws as if alone.
void pairwise_fold(const PairwiseJob &job, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
        const int64_t start = job.rows.ptr[row], count = job.rows.ptr[row + 1] - start;
        if (!count) continue;
        float *user = job.user + row * job.stride, heaviest = 0;
        for (int64_t at = start; at < start + count; ++at) heaviest = job.rows.value[at] > heaviest ? job.rows.value[at] : heaviest;
        user[job.bias] = 1;
        Random chance(job.seed, 0);
        for (int64_t at = 0; at < job.steps; ++at) {
            const auto draw = [&] { return start + chance.below(count); };
            int64_t entry = draw();
            while (static_cast<float>(chance.uniform()) * heaviest > job.rows.value[entry]) entry = draw();
            const float rate = job.rate * (1 - static_cast<float>(at) / static_cast<float>(job.steps));
            step<true>(job, chance, job.own + start, count, job.rows.index[entry], user, rate);
        }
    }
}

}  // namespace

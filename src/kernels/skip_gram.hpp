// Skip-gram with negative sampling (Mikolov et al., NIPS 2013): the items around a place learn to tell the item there from
// noise. All of them meet the same noise (Ji et al., "Parallelizing Word2Vec in Shared and Distributed Memory", 2016): it
// stays in the cache. Several threads write the same vectors without locks (Niu et al., Hogwild, NIPS 2011).
#pragma once
#include "random.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

constexpr int MEETINGS = 64;  // an item and its noise

// 1 / (1 + exp(-x)) by a Padé approximant of tanh, off by less than 1e-4
inline Vec sigmoid(Vec x) {
    const Vec limit = splat(4.97f);
    Vec half = x * 0.5f;
    half = half > limit ? limit : half;
    half = half < -limit ? -limit : half;
    const Vec square = half * half;
    const Vec above = half * (((square + 378.0f) * square + 17325.0f) * square + 135135.0f);
    const Vec below = ((square * 28.0f + 3150.0f) * square + 62370.0f) * square + 135135.0f;
    return above / below * 0.5f + 0.5f;
}

// One step of x and the vectors it meets, y[0] as true and the rest as noise. PARTS = dim / LANES, 0 = any.
template <int PARTS> void meet(float *x, float *const *y, int count, int64_t dim, float rate, float *change) {
    const int64_t parts = PARTS ? PARTS : dim / LANES;
    Vec product[MEETINGS];
    alignas(64) float gain[MEETINGS];
    for (int i = 0; i < count; ++i) {
        Vec sum{};
        for (int64_t d = 0; d < parts; ++d) sum += load(x + d * LANES) * load(y[i] + d * LANES);
        product[i] = sum;
    }
    for (int i = count; i < (count + 3) / 4 * 4; ++i) product[i] = Vec{};
    for (int i = 0; i < count; i += 4) sum4(product + i, gain + i);
    for (int i = 0; i < count; i += LANES) store(gain + i, sigmoid(load(gain + i)) * -rate);
    gain[0] += rate;
    for (int64_t d = 0; d < parts; ++d) {
        const Vec own = load(x + d * LANES);
        Vec sum{};
        for (int i = 0; i < count; ++i) {
            const Vec theirs = load(y[i] + d * LANES);
            sum += splat(gain[i]) * theirs;
            store(y[i] + d * LANES, theirs + splat(gain[i]) * own);
        }
        store(change + d * LANES, own + sum);
    }
    std::memcpy(x, change, static_cast<size_t>(dim) * sizeof(float));
}

void skip_gram(const SkipGramJob &job, int64_t begin, int64_t end, uint64_t seed, float rate) {
    const auto work = job.dim == LANES       ? meet<1>
                      : job.dim == 2 * LANES ? meet<2>
                      : job.dim == 4 * LANES ? meet<4>
                      : job.dim == 8 * LANES ? meet<8>
                                             : meet<0>;
    Random chance(seed, static_cast<uint64_t>(begin));
    int64_t longest = 0;
    for (int64_t list = begin; list < end; ++list)
        if (job.ptr[list + 1] - job.ptr[list] > longest) longest = job.ptr[list + 1] - job.ptr[list];
    Buffer<int32_t> kept(longest);
    Buffer<float> change(job.dim);
    float *met[MEETINGS];
    for (int64_t list = begin; list < end; ++list) {
        int64_t length = 0;
        for (int64_t at = job.ptr[list]; at < job.ptr[list + 1]; ++at) {
            const int32_t item = job.item[at];
            if (job.keep[item] >= 1 || chance.uniform() < job.keep[item]) kept[length++] = item;
        }
        for (int64_t here = 0; here < length; ++here) {
            const int32_t item = kept[here];
            int count = 1;
            met[0] = job.output + item * job.dim;
            for (int i = 0; i < job.negatives; ++i) {
                const int64_t drawn = chance.below(job.width);
                const int64_t noise = chance.uniform() < job.share[drawn] ? drawn : job.other[drawn];
                if (noise != item) met[count++] = job.output + noise * job.dim;
            }
            const int64_t reach = 1 + chance.below(job.window);
            const int64_t last = here + reach < length ? here + reach : length - 1;
            for (int64_t there = here > reach ? here - reach : 0; there <= last; ++there)
                if (kept[there] != item) work(job.input + kept[there] * job.dim, met, count, job.dim, rate, change);
        }
    }
}

}  // namespace

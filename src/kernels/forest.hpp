// Boosted trees for many rows at once, without following them node by node (Lucchese et al., QuickScorer, SIGIR 2015).
//
// A node that sends a row to the right puts the leaves to its left out of reach; of those left over the first is the
// row's. So all nodes are looked at, column by column, for ROWS_TOGETHER rows side by side.
#pragma once
#include <limits>

#include "simd.hpp"
#include "table.hpp"

namespace {

constexpr int64_t ROWS_TOGETHER = 16;
typedef float Values __attribute__((vector_size(ROWS_TOGETHER * sizeof(float))));
typedef uint32_t Words __attribute__((vector_size(ROWS_TOGETHER * sizeof(uint32_t))));

void forest(const ForestJob &job, int64_t begin, int64_t end) {
    Buffer<Words> reach(job.words);
    for (int64_t first = begin; first < end; first += ROWS_TOGETHER) {
        const int64_t count = end - first < ROWS_TOGETHER ? end - first : ROWS_TOGETHER;
        std::memset(static_cast<void *>(reach), 0xff, static_cast<size_t>(job.words) * sizeof(Words));
        Values value = {};
        int32_t held = -1;
        for (const Condition *at = job.condition; at < job.condition + job.conditions; ++at) {
            if (at->column != held) {
                held = at->column;
                const float nothing = (held & 1 ? -1.0f : 1.0f) * std::numeric_limits<float>::infinity();
                for (int64_t row = 0; row < count; ++row) {
                    const float x = job.value[(first + row) * job.width + (held >> 1)];
                    value[row] = x == x ? x : nothing;
                }
            }
            const Words right = reinterpret_cast<Words>(value > at->threshold);
            reach[at->word] &= at->kept | ~right;
        }
        for (int64_t row = 0; row < count; ++row) {
            double sum = 0;
            for (int64_t tree = 0; tree < job.trees; ++tree) {
                int64_t word = job.word[tree];
                while (!reach[word][row]) ++word;
                sum += job.leaf[(word << 5) + __builtin_ctz(reach[word][row])];
            }
            job.out[first + row] = sum;
        }
    }
}

}  // namespace

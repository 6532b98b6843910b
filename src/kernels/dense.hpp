// Dense layers for few rows at a time: each row of the result is summed over the inputs in their order, so that it has
// the same bits alone, in any batch, and when its first inputs were summed beforehand.
#pragma once
#include "simd.hpp"
#include "table.hpp"

namespace {

inline Vec load_some(const float *from, int64_t count) {
    if (count >= LANES) return load(from);
    float part[LANES] = {};
    std::memcpy(part, from, static_cast<size_t>(count) * sizeof(float));
    return load(part);
}

inline void store_some(float *to, Vec v, int64_t count) {
    if (count >= LANES) return store(to, v);
    float part[LANES];
    store(part, v);
    std::memcpy(to, part, static_cast<size_t>(count) * sizeof(float));
}

// Rows begin .. begin + ROWS, columns from `column` on.
template <int ROWS, int VECS> void dense_tile(const DenseJob &job, int64_t begin, int64_t column) {
    Vec sum[ROWS][VECS];
    const float *x[ROWS];
    for (int r = 0; r < ROWS; ++r) {
        const float *start = job.start + (job.owner ? job.owner[begin + r] : 0) * job.columns + column;
        x[r] = job.x + (begin + r) * job.width;
        for (int v = 0; v < VECS; ++v) sum[r][v] = load_some(start + v * LANES, job.columns - column - v * LANES);
    }
    const float *weight = job.weight + column;
    for (int64_t k = 0; k < job.width; ++k, weight += job.stride) {
        Vec w[VECS];
        for (int v = 0; v < VECS; ++v) w[v] = load(weight + v * LANES);
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < VECS; ++v) sum[r][v] += x[r][k] * w[v];
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECS; ++v) {
            const int64_t left = job.columns - column - v * LANES, at = (begin + r) * job.columns + column + v * LANES;
            Vec made = sum[r][v];
            if (job.relu) made = made > 0 ? made : Vec{};
            if (job.times) made = load_some(job.times + at, left) * made + load_some(job.plus + at, left);
            store_some(job.out + at, made, left);
        }
}

template <int VECS> void dense_columns(const DenseJob &job, int64_t begin, int64_t end, int64_t column) {
    for (; begin + TILE_USERS <= end; begin += TILE_USERS) dense_tile<TILE_USERS, VECS>(job, begin, column);
    for (; begin < end; ++begin) dense_tile<1, VECS>(job, begin, column);
}

void dense(const DenseJob &job, int64_t begin, int64_t end) {
    int64_t column = 0;
    for (; job.columns - column > LANES; column += 2 * LANES) dense_columns<2>(job, begin, end, column);
    if (column < job.columns) dense_columns<1>(job, begin, end, column);
}

}  // namespace

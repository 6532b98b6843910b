// Dense layers for few rows at a time: each row of the result is summed over the inputs in their order, so that it has
// the same bits alone, in any batch, and when its first inputs were summed beforehand.
#pragma once
#include "buffer.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

// Rows begin .. begin + ROWS, columns from `column` on.
template <int ROWS, int VECS> void dense_tile(const DenseJob &job, int64_t begin, int64_t column) {
    Vec sum[ROWS][VECS];
    const float *x[ROWS];
    for (int r = 0; r < ROWS; ++r) {
        const float *start = job.start + (job.owner ? job.owner[begin + r] : 0) * job.columns + column;
        x[r] = job.x + (begin + r) * job.width;
        for (int v = 0; v < VECS; ++v) sum[r][v] = load(start + v * LANES);
    }
    const float *weight = job.weight + column;
    for (int64_t k = 0; k < job.width; ++k, weight += job.columns) {
        Vec w[VECS];
        for (int v = 0; v < VECS; ++v) w[v] = load(weight + v * LANES);
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < VECS; ++v) sum[r][v] += x[r][k] * w[v];
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECS; ++v) {
            const int64_t at = (begin + r) * job.columns + column + v * LANES;
            Vec made = sum[r][v];
            if (job.relu) made = made > 0 ? made : Vec{};
            if (job.times) made = load(job.times + at) * made + load(job.plus + at);
            store(job.out + at, made);
        }
}

// The last tile goes back over rows that are done already, rather than taking what is left one by one.
template <int VECS> void dense_columns(const DenseJob &job, int64_t begin, int64_t end, int64_t column) {
    if (end - begin < TILE_USERS) {
        for (; begin < end; ++begin) dense_tile<1, VECS>(job, begin, column);
        return;
    }
    for (int64_t row = begin; row < end; row += TILE_USERS)
        dense_tile<TILE_USERS, VECS>(job, smaller(row, end - TILE_USERS), column);
}

// `columns` is at least LANES; the last columns go back over others in the same way.
void dense(const DenseJob &job, int64_t begin, int64_t end) {
    int64_t column = 0;
    for (; column + 2 * LANES <= job.columns; column += 2 * LANES) dense_columns<2>(job, begin, end, column);
    if (job.columns - column > LANES) {
        dense_columns<1>(job, begin, end, column);
        column += LANES;
    }
    if (column < job.columns) dense_columns<1>(job, begin, end, job.columns - LANES);
}

}  // namespace

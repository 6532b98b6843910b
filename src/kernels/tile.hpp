// The matrix product at the heart of everything dense: a few rows with a panel of columns, held in registers.
#pragma once
#include "simd.hpp"

namespace {

constexpr int PANEL = 2 * LANES;

// One panel: columns are the rows of `item` at `row` (-1 = padding), to be read dimension by dimension.
void pack(const float *item, int64_t dim, const int32_t *row, int64_t columns, float *panel) {
    for (int64_t column = 0; column < columns; ++column)
        for (int64_t d = 0; d < dim; ++d) panel[d * columns + column] = row[column] < 0 ? 0 : item[row[column] * dim + d];
}

// Inner products of TILE_USERS users, packed [dimension][user], with one panel, all held in registers.
struct Tile {
    Vec at[TILE_USERS][2];

    void multiply(const float *user, const float *panel, int64_t dim) {
        Vec sum[TILE_USERS][2] = {};
        for (int64_t d = 0; d < dim; ++d) {
            const Vec low = load(panel), high = load(panel + LANES);
#pragma GCC unroll 12
            for (int u = 0; u < TILE_USERS; ++u) {
                const Vec x = splat(user[u]);
                sum[u][0] += x * low;
                sum[u][1] += x * high;
            }
            panel += PANEL;
            user += TILE_USERS;
        }
#pragma GCC unroll 12
        for (int u = 0; u < TILE_USERS; ++u) {
            at[u][0] = sum[u][0];
            at[u][1] = sum[u][1];
        }
    }
};

}  // namespace

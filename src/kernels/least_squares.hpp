// One half of alternating least squares: every row solves (gram + sum weight y y' + reg I) x = sum target y.
#pragma once
#include <cmath>

#include "simd.hpp"
#include "table.hpp"

namespace {

constexpr int GROUP = 4;  // rows of `other` whose loads are shared

// out += sum over the row's entries of coefficient(entry, y . p) * y, each y read once from memory
template <typename Coefficient>
inline void gather(const SolveJob &job, int64_t row, const float *p, float *out, Coefficient coefficient) {
    const int64_t stop = job.rows.ptr[row + 1], stride = job.stride;
    int64_t at = job.rows.ptr[row];
    for (; at + GROUP <= stop; at += GROUP) {
        const float *y[GROUP];
        Vec sums[GROUP] = {};
        for (int g = 0; g < GROUP; ++g) {
            y[g] = job.other + job.rows.index[at + g] * stride;
            const int64_t ahead = smaller(at + g + 4 * GROUP, stop - 1);
            __builtin_prefetch(job.other + job.rows.index[ahead] * stride);
        }
        for (int64_t d = 0; d < stride; d += LANES) {
            const Vec x = load(p + d);
            for (int g = 0; g < GROUP; ++g) sums[g] += x * load(y[g] + d);
        }
        float scale[GROUP];
        for (int g = 0; g < GROUP; ++g) scale[g] = coefficient(at + g, sum(sums[g]));
        for (int64_t d = 0; d < stride; d += LANES) {
            Vec x = load(out + d);
            for (int g = 0; g < GROUP; ++g) x += scale[g] * load(y[g] + d);
            store(out + d, x);
        }
    }
    for (; at < stop; ++at) {
        const float *y = job.other + job.rows.index[at] * stride;
        Vec sums = {};
        for (int64_t d = 0; d < stride; d += LANES) sums += load(p + d) * load(y + d);
        const float scale = coefficient(at, sum(sums));
        for (int64_t d = 0; d < stride; d += LANES) store(out + d, load(out + d) + scale * load(y + d));
    }
}

// out = gram p + reg p
inline void damp(const SolveJob &job, float reg, const float *p, float *out) {
    const int64_t stride = job.stride;
    for (int64_t d = 0; d < stride; d += LANES) store(out + d, reg * load(p + d));
    for (int64_t c = 0; c < stride; c += 4) {  // gram is symmetric: columns are rows
        const float *column = job.gram + c * stride;
        for (int64_t d = 0; d < stride; d += LANES)
            store(out + d, load(out + d) + p[c] * load(column + d) + p[c + 1] * load(column + stride + d) +
                               p[c + 2] * load(column + 2 * stride + d) + p[c + 3] * load(column + 3 * stride + d));
    }
}

inline float square(const float *p, int64_t stride) {
    Vec sums = {};
    for (int64_t d = 0; d < stride; d += LANES) sums += load(p + d) * load(p + d);
    return sum(sums);
}

// Conjugate gradients from the present solution (Takacs, Pilaszy, Tikk 2011).
void descend(const SolveJob &job, int64_t begin, int64_t end) {
    const int64_t stride = job.stride;
    Buffer<float> residual(stride), direction(stride), product(stride);
    for (int64_t row = begin; row < end; ++row) {
        float *x = job.x + row * stride;
        if (job.rows.ptr[row] == job.rows.ptr[row + 1]) {
            std::memset(x, 0, static_cast<size_t>(stride) * sizeof(float));
            continue;
        }
        damp(job, job.reg[row], x, residual);
        for (int64_t d = 0; d < stride; d += LANES) store(residual + d, -load(residual + d));
        gather(job, row, x, residual, [&](int64_t at, float dot) { return job.target[at] - job.rows.value[at] * dot; });
        std::memcpy(direction, residual, static_cast<size_t>(stride) * sizeof(float));
        float error = square(residual, stride);
        for (int step = 0; step < job.steps && error > 1e-20f; ++step) {
            damp(job, job.reg[row], direction, product);
            gather(job, row, direction, product, [&](int64_t at, float dot) { return job.rows.value[at] * dot; });
            Vec sums = {};
            for (int64_t d = 0; d < stride; d += LANES) sums += load(direction + d) * load(product + d);
            const float length = error / sum(sums);
            for (int64_t d = 0; d < stride; d += LANES) {
                store(x + d, load(x + d) + length * load(direction + d));
                store(residual + d, load(residual + d) - length * load(product + d));
            }
            const float next = square(residual, stride);
            const float keep = next / error;
            for (int64_t d = 0; d < stride; d += LANES) store(direction + d, load(residual + d) + keep * load(direction + d));
            error = next;
        }
    }
}

// Cholesky factor of the lower triangle of `a` (n, n), in place, then a x = b, in place in b.
inline void cholesky(float *a, float *b, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
        float *row = a + j * n;
        for (int64_t i = 0; i < j; ++i) {  // row j of L, entry by entry; rows are read along their length
            const float *other = a + i * n;
            Vec sums = {};
            int64_t d = 0;
            for (; d + LANES <= i; d += LANES) sums += load(row + d) * load(other + d);
            float total = sum(sums);
            for (; d < i; ++d) total += row[d] * other[d];
            row[i] = (row[i] - total) / other[i];
        }
        float pivot = row[j];
        for (int64_t d = 0; d < j; ++d) pivot -= row[d] * row[d];
        row[j] = std::sqrt(pivot > 1e-12f ? pivot : 1e-12f);
    }
    for (int64_t i = 0; i < n; ++i) {
        float total = b[i];
        for (int64_t d = 0; d < i; ++d) total -= a[i * n + d] * b[d];
        b[i] = total / a[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; --i) {
        b[i] /= a[i * n + i];
        for (int64_t d = 0; d < i; ++d) b[d] -= a[i * n + d] * b[i];
    }
}

void solve(const SolveJob &job, int64_t begin, int64_t end) {
    const int64_t n = job.stride;
    Buffer<float> a(n * n);
    for (int64_t row = begin; row < end; ++row) {
        float *x = job.x + row * n;
        std::memset(x, 0, static_cast<size_t>(n) * sizeof(float));
        const int64_t start = job.rows.ptr[row], stop = job.rows.ptr[row + 1];
        if (start == stop) continue;
        std::memcpy(a, job.gram, static_cast<size_t>(n * n) * sizeof(float));
        for (int64_t d = 0; d < n; ++d) a[d * n + d] += job.reg[row];
        int64_t at = start;
        for (; at + GROUP <= stop; at += GROUP) {
            const float *y[GROUP];
            const float *weight = job.rows.value + at, *target = job.target + at;
            for (int g = 0; g < GROUP; ++g) y[g] = job.other + job.rows.index[at + g] * n;
            for (int64_t i = 0; i < n; ++i) {
                float scale[GROUP];
                for (int g = 0; g < GROUP; ++g) {
                    scale[g] = weight[g] * y[g][i];
                    x[i] += target[g] * y[g][i];
                }
                for (int64_t d = 0; d <= i; d += LANES) {  // the lower triangle, rounded up to whole vectors
                    Vec sums = load(a + i * n + d);
                    for (int g = 0; g < GROUP; ++g) sums += scale[g] * load(y[g] + d);
                    store(a + i * n + d, sums);
                }
            }
        }
        for (; at < stop; ++at) {
            const float *y = job.other + job.rows.index[at] * n;
            for (int64_t i = 0; i < n; ++i) {
                x[i] += job.target[at] * y[i];
                const float scale = job.rows.value[at] * y[i];
                for (int64_t d = 0; d <= i; d += LANES) store(a + i * n + d, load(a + i * n + d) + scale * load(y + d));
            }
        }
        cholesky(a, x, n);
    }
}

}  // namespace

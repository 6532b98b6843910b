// One half of alternating least squares: every row solves (gram + sum weight y y' + reg I) x = sum target y.
#pragma once
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "simd.hpp"
#include "table.hpp"
#include "tile.hpp"

namespace {

// sum of scale[g] * y[g] at d, in two chains that do not wait for the result of the group before
template <int G> inline Vec blend(const float *scale, const float *const *y, int64_t d) {
    Vec even = scale[0] * load(y[0] + d), odd = scale[1] * load(y[1] + d);
#pragma GCC unroll 4
    for (int g = 2; g < G; g += 2) {
        even += scale[g] * load(y[g] + d);
        odd += scale[g + 1] * load(y[g + 1] + d);
    }
    return even + odd;
}

constexpr int GROUP = 8;  // rows of `other` worked on together: their latencies overlap

// out += sum of coefficient(entry, y . p) * y over G entries from `at` on; those from `stop` on weigh nothing
template <int G, typename Coefficient>
inline void gather_group(const SolveJob &job, int64_t at, int64_t stop, const float *p, float *out, Coefficient coefficient) {
    const int64_t stride = job.stride;
    const float *y[G];
    Vec sums[G] = {};
    float scale[G];
    for (int g = 0; g < G; ++g) y[g] = job.other + job.rows.index[smaller(at + g, stop - 1)] * stride;
    for (int64_t d = 0; d < stride; d += LANES) {
        const Vec x = load(p + d);
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) sums[g] += x * load(y[g] + d);
    }
    for (int64_t next = at + G; next < smaller(job.entries, at + G + GROUP); ++next)  // of the next row, when this one ends
        for (int64_t d = 0; d < stride; d += 16) __builtin_prefetch(job.other + job.rows.index[next] * stride + d);
    for (int g = 0; g < G; g += 4) sum4(sums + g, scale + g);
    for (int g = 0; g < G; ++g) scale[g] = at + g < stop ? coefficient(at + g, scale[g]) : 0;
    for (int64_t d = 0; d < stride; d += LANES) store(out + d, load(out + d) + blend<G>(scale, y, d));
}

// out += sum over the row's entries of coefficient(entry, y . p) * y, each y read once from memory
template <typename Coefficient>
inline void gather(const SolveJob &job, int64_t row, const float *p, float *out, Coefficient coefficient) {
    const int64_t stop = job.rows.ptr[row + 1];
    int64_t at = job.rows.ptr[row];
    for (; at + GROUP <= stop; at += GROUP) gather_group<GROUP>(job, at, stop, p, out, coefficient);
    for (; at < stop; at += GROUP / 2) gather_group<GROUP / 2>(job, at, stop, p, out, coefficient);
}

inline float dot(const float *a, const float *b, int64_t stride) {
    Vec sums = {};
    for (int64_t d = 0; d < stride; d += LANES) sums += load(a + d) * load(b + d);
    return sum(sums);
}

// a += scale * b
inline void add(float *a, float scale, const float *b, int64_t stride) {
    for (int64_t d = 0; d < stride; d += LANES) store(a + d, load(a + d) + scale * load(b + d));
}

// Conjugate gradients from the present solutions (Takacs, Pilaszy, Tikk 2011), TILE_USERS rows in step: they share the
// product with the gram matrix, which costs more than all else where rows are short.
class Descent {
public:
    explicit Descent(const SolveJob &job)
        : job_(job), packed_(TILE_USERS * job.stride), x_(TILE_USERS * job.stride), residual_(TILE_USERS * job.stride),
          direction_(TILE_USERS * job.stride), product_(TILE_USERS * job.stride) {}

    void run(int64_t first, int rows) {
        const int64_t stride = job_.stride;
        const size_t bytes = static_cast<size_t>(rows * stride) * sizeof(float);
        float error[TILE_USERS] = {};
        std::memcpy(x_, job_.x + first * stride, bytes);
        damp(first, rows, x_, residual_);
        for (int r = 0; r < rows; ++r) {
            float *x = x_ + r * stride, *residual = residual_ + r * stride;
            for (int64_t d = 0; d < stride; d += LANES) store(residual + d, -load(residual + d));
            gather(job_, first + r, x, residual,
                   [&](int64_t at, float score) { return job_.target[at] - job_.rows.value[at] * score; });
            error[r] = dot(residual, residual, stride);
            if (job_.rows.ptr[first + r] == job_.rows.ptr[first + r + 1]) {
                std::memset(x, 0, static_cast<size_t>(stride) * sizeof(float));
                error[r] = 0;
            }
        }
        std::memcpy(direction_, residual_, bytes);
        for (int step = 0; step < job_.steps; ++step) {
            damp(first, rows, direction_, product_);
            for (int r = 0; r < rows; ++r)
                if (error[r] > 1e-20f) error[r] = descend(first + r, r * stride, error[r]);
        }
        std::memcpy(job_.x + first * stride, x_, bytes);
    }

private:
    // out = gram p + reg p for each row
    void damp(int64_t first, int rows, const float *p, float *out) {
        const int64_t stride = job_.stride;
        for (int r = 0; r < rows; ++r)
            for (int64_t d = 0; d < stride; ++d) packed_[d * TILE_USERS + r] = p[r * stride + d];
        for (int64_t d = 0; d < stride; d += PANEL) {
            Tile tile;
            tile.multiply(packed_, job_.panel + d * stride, stride);
            for (int r = 0; r < rows; ++r)
                for (int half = 0; half < 2 && d + half * LANES < stride; ++half) {
                    const int64_t at = r * stride + d + half * LANES;
                    store(out + at, tile.at[r][half] + job_.reg[first + r] * load(p + at));
                }
        }
    }

    float descend(int64_t row, int64_t at, float error) {
        const int64_t stride = job_.stride;
        float *direction = direction_ + at, *product = product_ + at, *residual = residual_ + at;
        gather(job_, row, direction, product, [&](int64_t entry, float score) { return job_.rows.value[entry] * score; });
        const float length = error / dot(direction, product, stride);
        add(x_ + at, length, direction, stride);
        add(residual, -length, product, stride);
        const float next = dot(residual, residual, stride);
        const Vec keep = splat(next / error);
        for (int64_t d = 0; d < stride; d += LANES) store(direction + d, load(residual + d) + keep * load(direction + d));
        return next;
    }

    const SolveJob &job_;
    Buffer<float> packed_, x_, residual_, direction_, product_;
};

void descend(const SolveJob &job, int64_t begin, int64_t end) {
    Descent descent(job);
    for (int64_t first = begin; first < end; first += TILE_USERS) descent.run(first, static_cast<int>(smaller(TILE_USERS, end - first)));
}

// Cholesky factor of the upper triangle of `a` (n, n), in place: a = U'U. What is below the diagonal is spoilt.
inline void factor(float *a, int64_t n) {
    for (int64_t k = 0; k < n; ++k) {
        float *row = a + k * n;
        const float pivot = std::sqrt(row[k] > 1e-12f ? row[k] : 1e-12f);
        for (int64_t d = k; d < n; ++d) row[d] /= pivot;
        row[k] = pivot;
        for (int64_t i = k + 1; i < n; ++i) {
            const Vec scale = splat(row[i]);
            for (int64_t d = i / LANES * LANES; d < n; d += LANES) store(a + i * n + d, load(a + i * n + d) - scale * load(row + d));
        }
    }
}

// a x = b for LANES right sides at once, in place in `b` (n, LANES), `a` factored.
inline void substitute(const float *a, float *b, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        const Vec x = load(b + i * LANES) / splat(a[i * n + i]);
        store(b + i * LANES, x);
        for (int64_t d = i + 1; d < n; ++d) store(b + d * LANES, load(b + d * LANES) - splat(a[i * n + d]) * x);
    }
    for (int64_t i = n - 1; i >= 0; --i) {
        const Vec x = load(b + i * LANES) / splat(a[i * n + i]);
        store(b + i * LANES, x);
        for (int64_t d = 0; d < i; ++d) store(b + d * LANES, load(b + d * LANES) - splat(a[d * n + i]) * x);
    }
}

// The system of a row that has entries: `a` (n, n), upper triangle, and its right side x.
inline void assemble(const SolveJob &job, int64_t row, float *a, float *x) {
    const int64_t n = job.stride, start = job.rows.ptr[row], stop = job.rows.ptr[row + 1];
    std::memcpy(a, job.gram, static_cast<size_t>(n * n) * sizeof(float));
    for (int64_t d = 0; d < n; ++d) a[d * n + d] += job.reg[row];
    for (int64_t at = start; at < stop; at += GROUP) {
        const float *y[GROUP];
        float scale[GROUP], weight[GROUP] = {}, target[GROUP] = {};  // beyond the row's end: weight 0
        for (int g = 0; g < GROUP; ++g) {
            const int64_t entry = smaller(at + g, stop - 1);
            y[g] = job.other + job.rows.index[entry] * n;
            if (at + g < stop) {
                weight[g] = job.rows.value[entry];
                target[g] = job.target[entry];
            }
        }
        for (int64_t d = 0; d < n; d += LANES) store(x + d, load(x + d) + blend<GROUP>(target, y, d));
        for (int64_t i = 0; i < n; ++i) {
            for (int g = 0; g < GROUP; ++g) scale[g] = weight[g] * y[g][i];
            for (int64_t d = i / LANES * LANES; d < n; d += LANES)  // the upper triangle, rounded up to whole vectors
                store(a + i * n + d, load(a + i * n + d) + blend<GROUP>(scale, y, d));
        }
    }
}

void solve(const SolveJob &job, int64_t begin, int64_t end) {
    const int64_t n = job.stride;
    Buffer<float> a(n * n), side(n * LANES);  // of which one lane is used
    for (int64_t row = begin; row < end; ++row) {
        float *x = job.x + row * n;
        std::memset(x, 0, static_cast<size_t>(n) * sizeof(float));
        if (job.rows.ptr[row] == job.rows.ptr[row + 1]) continue;
        assemble(job, row, a, x);
        factor(a, n);
        for (int64_t d = 0; d < n; ++d) side[d * LANES] = x[d];
        substitute(a, side, n);
        for (int64_t d = 0; d < n; ++d) x[d] = side[d * LANES];
    }
}

// For each wanted y of a row the entry with the largest part weight y_entry' a^-1 y above 0, the last of equals; or -1.
void strongest_of_squares(const SolveJob &job, const Lists &wanted, int64_t others, int64_t *strongest, int64_t begin, int64_t end) {
    constexpr int ENTRIES = 4;  // at a time: their sums do not wait for one another
    const int64_t n = job.stride;
    Buffer<float> a(n * n), x(n * LANES), spare(n);
    for (int64_t row = begin; row < end; ++row) {
        const int64_t start = job.rows.ptr[row], stop = job.rows.ptr[row + 1];
        std::fill(strongest + wanted.ptr[row], strongest + wanted.ptr[row + 1], int64_t{-1});
        if (start == stop || wanted.ptr[row] == wanted.ptr[row + 1]) continue;
        assemble(job, row, a, spare);
        factor(a, n);
        for (int64_t first = wanted.ptr[row]; first < wanted.ptr[row + 1]; first += LANES) {
            std::memset(x, 0, static_cast<size_t>(n * LANES) * sizeof(float));
            for (int64_t at = first; at < smaller(first + LANES, wanted.ptr[row + 1]); ++at) {
                if (wanted.item[at] < 0 || wanted.item[at] >= others) continue;
                for (int64_t d = 0; d < n; ++d) x[d * LANES + at - first] = job.other[wanted.item[at] * n + d];
            }
            substitute(a, x, n);
            float most[LANES];
            std::fill(most, most + LANES, FLT_MIN);
            for (int64_t entry = start; entry < stop; entry += ENTRIES) {
                const float *y[ENTRIES];
                for (int e = 0; e < ENTRIES; ++e) y[e] = job.other + job.rows.index[smaller(entry + e, stop - 1)] * n;
                Vec part[ENTRIES] = {};
                for (int64_t d = 0; d < n; ++d)
                    for (int e = 0; e < ENTRIES; ++e) part[e] += y[e][d] * load(x + d * LANES);
                for (int64_t e = 0; e < smaller(ENTRIES, stop - entry); ++e) {
                    const Vec spoken = part[e] * job.rows.value[entry + e];
                    for (uint32_t mask = at_least(spoken, load(most)); mask; mask &= mask - 1) {
                        const int lane = __builtin_ctz(mask);
                        most[lane] = spoken[lane];
                        strongest[first + lane] = entry + e;
                    }
                }
            }
        }
    }
}

constexpr int BAND = 4;  // rows of the gram matrix summed together
constexpr int64_t CHUNK = 128;  // vectors that stay in cache meanwhile

// out[begin .. end) (rows of n, zeroed) of y' y, begin and end multiples of BAND
void gram(const float *y, int64_t count, int64_t n, float *out, int64_t begin, int64_t end) {
    for (int64_t first = 0; first < count; first += CHUNK)
        for (int64_t i = begin; i < end; i += BAND)
            for (int64_t d = 0; d < n; d += LANES) {
                Vec sums[BAND];
                for (int b = 0; b < BAND; ++b) sums[b] = load(out + (i + b) * n + d);
                for (int64_t row = first; row < smaller(count, first + CHUNK); ++row) {
                    const Vec right = load(y + row * n + d);
#pragma GCC unroll 4
                    for (int b = 0; b < BAND; ++b) sums[b] += y[row * n + i + b] * right;
                }
                for (int b = 0; b < BAND; ++b) store(out + (i + b) * n + d, sums[b]);
            }
}

}  // namespace

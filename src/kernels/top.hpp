// The k best of many: of dense rows, of inner products, of weighted sums of sparse rows. Exact; ties by item row.
#pragma once
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "simd.hpp"
#include "table.hpp"

namespace {

struct Better {
    bool operator()(const Slot &a, const Slot &b) const {
        return a.score > b.score || (a.score == b.score && a.item < b.item);
    }
};

// Collects everything at or above a rising threshold and cuts back to the k best whenever the buffer is full.
struct Local : Slot {};  // of this file only, see simd.hpp

class Best {
public:
    Best(int32_t k) : k_(k), room_(2 * static_cast<int64_t>(k) + 32), slot_(room_) {}

    void start(float least) {
        count_ = 0;
        threshold_ = least;
    }

    float threshold() const { return threshold_; }

    void push(float score, int32_t item) {
        slot_[count_].score = score;
        slot_[count_].item = item;
        if (++count_ == room_) cut();
    }

    void finish(const Top &top, int64_t query) {
        if (count_ > k_) cut();
        Local *slot = slot_;
        std::sort(slot, slot + count_, Better{});
        Slot *out = top.out + query * top.k;
        for (int64_t i = 0; i < count_; ++i) out[i] = slot[i];
        top.count[query] = static_cast<int32_t>(count_);
    }

private:
    void cut() {
        Local *slot = slot_;
        std::nth_element(slot, slot + k_ - 1, slot + count_, Better{});
        count_ = k_;
        threshold_ = slot[k_ - 1].score;
    }

    int64_t k_, room_, count_ = 0;
    float threshold_ = -FLT_MAX;
    Buffer<Local> slot_;
};

inline bool contains(const Lists &lists, int64_t query, int32_t item) {
    int64_t low = lists.ptr[query], high = lists.ptr[query + 1];
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (lists.item[middle] < item)
            low = middle + 1;
        else
            high = middle;
    }
    return low < lists.ptr[query + 1] && lists.item[low] == item;
}

inline bool permits(const bool *allowed, int64_t size, int64_t item) { return item >= size || allowed[item]; }

// push(score, item) for every score[i] >= best.threshold() of a row
template <typename Push> void scan(const float *score, int64_t width, const Best &best, Push push) {
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
        uint32_t mask = at_least(load(score + i), splat(best.threshold()));
        for (; mask; mask &= mask - 1) {
            const int64_t at = i + __builtin_ctz(mask);
            push(score[at], static_cast<int32_t>(at));
        }
    }
    for (; i < width; ++i)
        if (score[i] >= best.threshold()) push(score[i], static_cast<int32_t>(i));
}

void top_of_matrix(const MatrixJob &job, int64_t begin, int64_t end) {
    Best best(job.top.k);
    for (int64_t query = begin; query < end; ++query) {
        best.start(-FLT_MAX);
        scan(job.score + query * job.width, job.width, best, [&](float score, int32_t item) { best.push(score, item); });
        best.finish(job.top, query);
    }
}

constexpr int PANEL = 2 * LANES;

// One panel: columns are the items at `row` (-1 = padding), to be read dimension by dimension.
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

constexpr int BLOCK_TILES = 8;

// A block of users stays in cache while the panels stream by. Panels come by falling norm, so a tile is done when none of
// its users can find a longer product than the k-th they hold (Cauchy-Schwarz).
void top_of_product(const ProductJob &job, int64_t begin, int64_t end) {
    constexpr int BLOCK = BLOCK_TILES * TILE_USERS;
    const int64_t dim = job.dim;
    Buffer<float> packed(BLOCK * dim), norm(BLOCK);
    Buffer<Best *> best(BLOCK);
    for (int u = 0; u < BLOCK; ++u) best[u] = new Best(job.top.k);
    for (int64_t first = begin; first < end; first += BLOCK) {
        const int users = static_cast<int>(smaller(BLOCK, end - first));
        const int tiles = (users + TILE_USERS - 1) / TILE_USERS;
        for (int u = 0; u < tiles * TILE_USERS; ++u) {
            float *to = packed + (u / TILE_USERS) * TILE_USERS * dim + u % TILE_USERS;
            double square = 0;
            for (int64_t d = 0; d < dim; ++d) {
                const float x = u < users ? job.user[(first + u) * dim + d] : 0;
                to[d * TILE_USERS] = x;
                square += static_cast<double>(x) * x;
            }
            norm[u] = static_cast<float>(std::sqrt(square)) * (1 + 1e-5f);  // room for rounding of the products
            best[u]->start(square > 0 ? -FLT_MAX : INFINITY);  // a zero vector has no opinion
        }
        bool done[BLOCK_TILES] = {};
        int left = tiles;
        for (int64_t p = 0; p < job.packed.panels && left; ++p) {
            const float *panel = job.packed.panel + p * PANEL * dim;
            const int32_t *item = job.packed.item + p * PANEL;
            for (int t = 0; t < tiles; ++t) {
                if (done[t]) continue;
                Best **holder = best + t * TILE_USERS;
                bool hope = false;
                for (int u = 0; u < TILE_USERS; ++u)
                    hope |= norm[t * TILE_USERS + u] * job.packed.bound[p] >= holder[u]->threshold();
                if (!hope) {
                    done[t] = true;
                    --left;
                    continue;
                }
                Tile tile;
                tile.multiply(packed + t * TILE_USERS * dim, panel, dim);
                for (int u = 0; u < TILE_USERS; ++u) {
                    Best &mine = *holder[u];
                    const Vec least = splat(mine.threshold());
                    uint32_t mask = at_least(tile.at[u][0], least) | at_least(tile.at[u][1], least) << LANES;
                    if (!mask) continue;
                    float score[PANEL];
                    store(score, tile.at[u][0]);
                    store(score + LANES, tile.at[u][1]);
                    for (; mask; mask &= mask - 1) {
                        const int at = __builtin_ctz(mask);
                        if (score[at] < mine.threshold() || item[at] < 0) continue;
                        if (!contains(job.exclude, first + t * TILE_USERS + u, item[at])) mine.push(score[at], item[at]);
                    }
                }
            }
        }
        for (int u = 0; u < users; ++u) best[u]->finish(job.top, first + u);
    }
    for (int u = 0; u < BLOCK; ++u) delete best[u];
}

inline float dot(const float *a, const float *b, int64_t dim) {
    Vec sums = {};
    int64_t d = 0;
    for (; d + LANES <= dim; d += LANES) sums += load(a + d) * load(b + d);
    float total = sum(sums);
    for (; d < dim; ++d) total += a[d] * b[d];
    return total;
}

void top_of_product_direct(const ProductJob &job, int64_t begin, int64_t end) {
    Best best(job.top.k);
    for (int64_t query = begin; query < end; ++query) {
        const float *user = job.user + query * job.dim;
        best.start(dot(user, user, job.dim) > 0 ? -FLT_MAX : INFINITY);
        for (int64_t item = 0; item < job.width; ++item) {
            if (!permits(job.allowed, job.allowed_size, item)) continue;
            const float score = dot(user, job.item + item * job.dim, job.dim);
            if (score >= best.threshold() && !contains(job.exclude, query, static_cast<int32_t>(item)))
                best.push(score, static_cast<int32_t>(item));
        }
        best.finish(job.top, query);
    }
}

// acc += weight * row of `matrix`
inline void spread_row(const Csr &matrix, int64_t row, float weight, float *acc) {
    const int64_t stop = matrix.ptr[row + 1];
    for (int64_t at = matrix.ptr[row]; at < stop; ++at) acc[matrix.index[at]] += weight * matrix.value[at];
}

void top_of_spread(const SpreadJob &job, int64_t begin, int64_t end) {
    Best best(job.top.k);
    Buffer<float> acc(job.width);
    for (int64_t query = begin; query < end; ++query) {
        for (int64_t at = job.query.ptr[query]; at < job.query.ptr[query + 1]; ++at) {
            const int32_t row = job.query.index[at];
            if (row >= 0 && row < job.height) spread_row(job.matrix, row, job.query.value[at], acc);
        }
        for (int64_t at = job.exclude.ptr[query]; at < job.exclude.ptr[query + 1]; ++at)
            if (job.exclude.item[at] >= 0 && job.exclude.item[at] < job.width) acc[job.exclude.item[at]] = 0;
        best.start(FLT_MIN);  // nothing spoke for an item: not proposed
        scan(acc, job.width, best, [&](float score, int32_t item) {
            if (permits(job.allowed, job.allowed_size, item)) best.push(score, item);
        });
        best.finish(job.top, query);
        std::memset(acc, 0, static_cast<size_t>(job.width) * sizeof(float));
    }
}

// `row` (count) lists the rows of one thread. Rows with little to add remember what they touched; the others are scanned.
void neighbours(const NeighbourJob &job, const int32_t *row, int64_t count) {
    Best best(job.top.k);
    Buffer<float> acc(job.width);
    Buffer<int32_t> touched(job.width / 8 + 1);
    for (int64_t n = 0; n < count; ++n) {
        const int32_t i = row[n];
        const int64_t start = job.left.ptr[i], stop = job.left.ptr[i + 1];
        int64_t work = 0;
        for (int64_t at = start; at < stop; ++at) work += job.right.ptr[job.left.index[at] + 1] - job.right.ptr[job.left.index[at]];
        const float norm = job.row_norm[i];
        best.start(FLT_MIN);
        const auto push = [&](float score, int32_t item) {
            if (item != i && score >= best.threshold()) best.push(score, item);
        };
        if (work < job.width / 8) {
            int64_t seen = 0;
            for (int64_t at = start; at < stop; ++at) {
                const float weight = job.left.value[at];
                const int32_t user = job.left.index[at];
                for (int64_t to = job.right.ptr[user]; to < job.right.ptr[user + 1]; ++to) {
                    const int32_t item = job.right.index[to];
                    if (acc[item] == 0) touched[seen++] = item;
                    acc[item] += weight * job.right.value[to];
                }
            }
            for (int64_t t = 0; t < seen; ++t) {
                const int32_t item = touched[t];
                push(acc[item] / (norm * job.column_norm[item] + job.shrink), item);
                acc[item] = 0;
            }
        } else {
            for (int64_t at = start; at < stop; ++at) spread_row(job.right, job.left.index[at], job.left.value[at], acc);
            int64_t item = 0;
            for (; item + LANES <= job.width; item += LANES) {
                const Vec score = load(acc + item) / (norm * load(job.column_norm + item) + job.shrink);
                uint32_t mask = at_least(score, splat(best.threshold()));
                for (; mask; mask &= mask - 1) {
                    const int lane = __builtin_ctz(mask);
                    push(score[lane], static_cast<int32_t>(item + lane));
                }
            }
            for (; item < job.width; ++item)
                push(acc[item] / (norm * job.column_norm[item] + job.shrink), static_cast<int32_t>(item));
            std::memset(acc, 0, static_cast<size_t>(job.width) * sizeof(float));
        }
        best.finish(job.top, i);
    }
}

}  // namespace

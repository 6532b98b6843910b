// The k best of many: of dense rows, of inner products, of weighted sums of sparse rows. Exact; ties by item row.
#pragma once
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

#include "simd.hpp"
#include "table.hpp"
#include "tile.hpp"

namespace {

struct Local : Slot {};  // of this file only, see simd.hpp

// A score and its item as one number, the better the smaller: bits of floats, their sign turned, compare as integers do.
struct Ranked {
    uint64_t key;

    Ranked() = default;
    Ranked(float score, int32_t item) {
        score += 0.0f;  // -0 is 0
        uint32_t bits;
        std::memcpy(&bits, &score, sizeof bits);
        key = static_cast<uint64_t>(bits ^ (bits >> 31 ? 0 : 0x7fffffff)) << 32 | static_cast<uint32_t>(item);
    }

    float score() const {
        const auto turned = static_cast<uint32_t>(key >> 32);
        const uint32_t bits = turned ^ (turned >> 31 ? 0 : 0x7fffffff);
        float score;
        std::memcpy(&score, &bits, sizeof score);
        return score;
    }
    int32_t item() const { return static_cast<int32_t>(key); }
    bool operator<(const Ranked &other) const { return key < other.key; }
};

// Collects everything at or above a rising threshold and cuts back to the k best whenever the buffer is full.

class Best {
public:
    Best(int32_t k) : k_(k), room_(2 * static_cast<int64_t>(k) + 32), slot_(room_) {}

    void start(float least) {
        count_ = 0;
        threshold_ = least;
    }

    int64_t k() const { return k_; }
    float threshold() const { return threshold_; }

    void push(float score, int32_t item) {
        slot_[count_] = Ranked(score, item);
        if (++count_ == room_) cut();
    }

    void finish(const Top &top, int64_t query) {
        if (count_ > k_) cut();
        Ranked *slot = slot_;
        std::sort(slot, slot + count_);
        Slot *out = top.out + query * top.k;
        for (int64_t i = 0; i < count_; ++i) out[i] = {slot[i].score(), slot[i].item()};
        top.count[query] = static_cast<int32_t>(count_);
    }

private:
    void cut() {
        Ranked *slot = slot_;
        std::nth_element(slot, slot + k_ - 1, slot + count_);
        count_ = k_;
        threshold_ = slot[k_ - 1].score();
    }

    int64_t k_, room_, count_ = 0;
    float threshold_ = -FLT_MAX;
    Buffer<Ranked> slot_;
};

// The first of the rising numbers in [low, high) that is not below `value`.
inline const int32_t *reach(const int32_t *low, const int32_t *high, int32_t value) {
    while (low < high) {
        const int32_t *middle = low + (high - low) / 2;
        if (*middle < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// A number, not below `least`, that at least `count` scores of a row reach, and rarely many more; else `least`.
inline float reached(const float *score, int64_t width, int64_t count, float least) {
    Vec low = splat(FLT_MAX), high = splat(-FLT_MAX);
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
        const Vec each = load(score + i);
        low = each >= splat(least) && each < low ? each : low;
        high = each > high ? each : high;
    }
    float bottom = FLT_MAX, top = -FLT_MAX;
    for (int lane = 0; lane < LANES; ++lane) {
        if (low[lane] < bottom) bottom = low[lane];
        if (high[lane] > top) top = high[lane];
    }
    float found = least;
    for (int step = 0; step < 32; ++step) {  // by halves of the range of the scores
        const float middle = bottom / 2 + top / 2;
        int64_t reach = 0;
        for (i = 0; i + LANES <= width; i += LANES) reach += __builtin_popcount(at_least(load(score + i), splat(middle)));
        (reach < count ? top : bottom) = middle;
        if (reach >= count && middle > found) found = middle;
        if (reach >= count && reach <= count + count / 4) break;
    }
    return found;
}

// Offers the scores of a row; NaN is none.
inline void offer(const float *score, int64_t width, float least, Best &best) {
    best.start(reached(score, width, best.k(), least));
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
        uint32_t mask = at_least(load(score + i), splat(best.threshold()));
        for (; mask; mask &= mask - 1) {
            const int64_t at = i + __builtin_ctz(mask);
            best.push(score[at], static_cast<int32_t>(at));
        }
    }
    for (; i < width; ++i)
        if (score[i] >= best.threshold()) best.push(score[i], static_cast<int32_t>(i));
}

// NaN for what a query must not be shown.
inline void forbid(float *score, int64_t width, const bool *allowed, int64_t allowed_size, const Lists &exclude, int64_t query) {
    for (int64_t i = 0; i < smaller(width, allowed_size); ++i) score[i] = allowed[i] ? score[i] : NAN;
    for (int64_t at = exclude.ptr[query]; at < exclude.ptr[query + 1]; ++at)
        if (exclude.item[at] >= 0 && exclude.item[at] < width) score[exclude.item[at]] = NAN;
}

void top_of_matrix(const MatrixJob &job, int64_t begin, int64_t end) {
    Best best(job.top.k);
    Buffer<float> row(job.width);
    for (int64_t query = begin; query < end; ++query) {
        std::memcpy(row, job.score + query * job.width, static_cast<size_t>(job.width) * sizeof(float));
        forbid(row, job.width, job.allowed, job.allowed_size, job.exclude, query);
        offer(row, job.width, job.least, best);
        best.finish(job.top, query);
    }
}

// Several rows a pass, so that the sums stay in registers; each is added in its turn, so that the result is that of one by one.
void sum_of_rows(const RowsJob &job, int64_t begin, int64_t end) {
    constexpr int ROWS = 8;
    for (int64_t query = begin; query < end; ++query) {
        float *out = job.out + query * job.width;
        int64_t at = job.query.ptr[query];
        const int64_t stop = job.query.ptr[query + 1];
        while (at < stop) {
            const float *row[ROWS];
            float weight[ROWS];
            int rows = 0;
            for (; at < stop && rows < ROWS; ++at) {
                const int32_t r = job.query.index[at];
                if (r < 0 || r >= job.height) continue;
                row[rows] = job.matrix + r * job.width;
                weight[rows++] = job.query.value[at];
            }
            int64_t i = 0;
            if (rows == ROWS)
                for (; i + LANES <= job.width; i += LANES) {
                    Vec total = load(out + i);
                    for (int r = 0; r < ROWS; ++r) total += splat(weight[r]) * load(row[r] + i);
                    store(out + i, total);
                }
            for (int r = 0; r < rows; ++r)  // columns that fill no vector, rows that are too few
                for (int64_t rest = i; rest < job.width; ++rest) out[rest] += weight[r] * row[r][rest];
        }
    }
}

constexpr int BLOCK = 8 * TILE_USERS;  // users that stay in cache while the panels stream by

// One block of users against all panels.
class ProductBlock {
public:
    explicit ProductBlock(const ProductJob &job)
        : job_(job), user_(BLOCK * job.dim), norm_(BLOCK), least_(BLOCK), excluded_(BLOCK * job.packed.panels), best_(BLOCK) {
        for (int u = 0; u < BLOCK; ++u) new (best_ + u) Best(job.top.k);
    }
    ~ProductBlock() {
        for (int u = 0; u < BLOCK; ++u) best_[u].~Best();
    }

    void run(int64_t first, int users) {
        pack_users(first, users);
        mark(first, users, true);
        const int tiles = (users + TILE_USERS - 1) / TILE_USERS;
        bool done[BLOCK / TILE_USERS] = {};
        int left = tiles;
        for (int64_t panel = 0; panel < job_.packed.panels && left; ++panel)
            for (int t = 0; t < tiles; ++t) {
                if (done[t]) continue;
                if (hopeless(t * TILE_USERS, job_.packed.bound[panel])) {
                    done[t] = true;
                    --left;
                } else {
                    meet(t * TILE_USERS, panel);
                }
            }
        mark(first, users, false);
        for (int u = 0; u < users; ++u) best_[u].finish(job_.top, first + u);
    }

private:
    void pack_users(int64_t first, int users) {
        for (int u = 0; u < (users + TILE_USERS - 1) / TILE_USERS * TILE_USERS; ++u) {
            float *to = user_ + (u / TILE_USERS) * TILE_USERS * job_.dim + u % TILE_USERS;
            double square = 0;
            for (int64_t d = 0; d < job_.dim; ++d) {
                const float x = u < users ? job_.user[(first + u) * job_.dim + d] : 0;
                to[d * TILE_USERS] = x;
                square += static_cast<double>(x) * x;
            }
            norm_[u] = static_cast<float>(std::sqrt(square)) * (1 + 1e-5f);  // room for rounding of the products
            least_[u] = square > 0 ? -FLT_MAX : INFINITY;  // a vector of zeros has no opinion
            best_[u].start(least_[u]);
        }
    }

    // One word of flags per panel and user: an excluded item costs nothing when its score is looked at.
    void mark(int64_t first, int users, bool value) {
        for (int u = 0; u < users; ++u)
            for (int64_t at = job_.exclude.ptr[first + u]; at < job_.exclude.ptr[first + u + 1]; ++at) {
                const int32_t item = job_.exclude.item[at];
                const int32_t place = item >= 0 && item < job_.width ? job_.packed.place[item] : -1;
                if (place < 0) continue;
                uint32_t &word = excluded_[place / PANEL * BLOCK + u];
                word = value ? word | 1u << place % PANEL : 0;
            }
    }

    // Cauchy-Schwarz: no product with this or a later panel can reach what any user of the tile holds already.
    bool hopeless(int first, float bound) {
        bool hope = false;
        for (int u = first; u < first + TILE_USERS; ++u) hope |= norm_[u] * bound >= least_[u];
        return !hope;
    }

    void meet(int first, int64_t panel) {
        Tile tile;
        tile.multiply(user_ + first * job_.dim, job_.packed.panel + panel * PANEL * job_.dim, job_.dim);
        for (int u = 0; u < TILE_USERS; ++u) {
            const Vec least = splat(least_[first + u]);
            uint32_t mask = at_least(tile.at[u][0], least) | at_least(tile.at[u][1], least) << LANES;
            if (mask) mask &= ~excluded_[panel * BLOCK + first + u];
            if (!mask) continue;
            float score[PANEL];
            store(score, tile.at[u][0]);
            store(score + LANES, tile.at[u][1]);
            Best &best = best_[first + u];
            const int32_t *item = job_.packed.item + panel * PANEL;
            for (; mask; mask &= mask - 1) {
                const int at = __builtin_ctz(mask);
                if (item[at] >= 0) best.push(score[at], item[at]);
            }
            least_[first + u] = best.threshold();
        }
    }

    const ProductJob &job_;
    Buffer<float> user_, norm_, least_;  // user_: tiles of [dimension][user]
    Buffer<uint32_t> excluded_;  // [panel][user]
    Buffer<Best> best_;
};

// Panels come by falling norm, so that the thresholds rise early and a tile is done early.
void top_of_product(const ProductJob &job, int64_t begin, int64_t end) {
    ProductBlock block(job);
    for (int64_t first = begin; first < end; first += BLOCK) block.run(first, static_cast<int>(smaller(BLOCK, end - first)));
}

inline float inner(const float *a, const float *b, int64_t dim) {
    Vec sums = {};
    int64_t d = 0;
    for (; d + LANES <= dim; d += LANES) sums += load(a + d) * load(b + d);
    float total = sum(sums);
    for (; d < dim; ++d) total += a[d] * b[d];
    return total;
}

void products(const PairJob &job, int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
        const float *user = job.user + job.query[at] * job.dim;
        const int32_t item = job.wanted[at];
        const bool known = item >= 0 && item < job.width && inner(user, user, job.dim) > 0;
        job.out[at] = known ? inner(user, job.item + item * job.dim, job.dim) : NAN;
    }
}

void top_of_product_direct(const ProductJob &job, int64_t begin, int64_t end) {
    Best best(job.top.k);
    Buffer<float> score(job.width);
    for (int64_t query = begin; query < end; ++query) {
        const float *user = job.user + query * job.dim;
        int64_t item = 0;
        for (; job.dim % LANES == 0 && item + 4 <= job.width; item += 4) {
            const float *y = job.item + item * job.dim;
            Vec sums[4] = {};
            for (int64_t d = 0; d < job.dim; d += LANES) {
                const Vec x = load(user + d);
                for (int i = 0; i < 4; ++i) sums[i] += x * load(y + i * job.dim + d);
            }
            sum4(sums, score + item);
        }
        for (; item < job.width; ++item) score[item] = inner(user, job.item + item * job.dim, job.dim);
        forbid(score, job.width, job.allowed, job.allowed_size, job.exclude, query);
        offer(score, job.width, inner(user, user, job.dim) > 0 ? -FLT_MAX : INFINITY, best);
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
        forbid(acc, job.width, job.allowed, job.allowed_size, job.exclude, query);
        offer(acc, job.width, FLT_MIN, best);  // what nothing spoke for is not proposed
        best.finish(job.top, query);
        std::memset(acc, 0, static_cast<size_t>(job.width) * sizeof(float));
    }
}

void sum_of_spread(const SumsJob &job, int64_t begin, int64_t end) {
    for (int64_t query = begin; query < end; ++query)
        for (int64_t at = job.query.ptr[query]; at < job.query.ptr[query + 1]; ++at) {
            const int32_t row = job.query.index[at];
            if (row >= 0 && row < job.height) spread_row(job.matrix, row, job.query.value[at], job.out + query * job.width);
        }
}

void upper_product(const CrossJob &job, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
        float *out = job.out + row * job.width;
        for (int64_t entry = job.left.ptr[row]; entry < job.left.ptr[row + 1]; ++entry) {
            const int32_t middle = job.left.index[entry];
            const float weight = job.left.value[entry];
            const int32_t *stop = job.right.index + job.right.ptr[middle + 1];
            const int32_t *column = reach(job.right.index + job.right.ptr[middle], stop, static_cast<int32_t>(row));
            for (const float *value = job.right.value + (column - job.right.index); column < stop; ++column, ++value)
                out[*column] += weight * *value;
        }
    }
}

// What top_of_spread ranks by, at given columns only.
void sums_of_spread(const PartsJob &job, int64_t begin, int64_t end) {
    Buffer<float> acc(job.width);
    for (int64_t query = begin; query < end; ++query) {
        for (int64_t at = job.query.ptr[query]; at < job.query.ptr[query + 1]; ++at) {
            const int32_t row = job.query.index[at];
            if (row >= 0 && row < job.height) spread_row(job.matrix, row, job.query.value[at], acc);
        }
        for (int64_t at = job.wanted.ptr[query]; at < job.wanted.ptr[query + 1]; ++at) {
            const int32_t column = job.wanted.item[at];
            const float sum = column >= 0 && column < job.width ? acc[column] : 0;
            job.sum[at] = sum > 0 ? sum : NAN;
        }
        std::memset(acc, 0, static_cast<size_t>(job.width) * sizeof(float));
    }
}

void strongest_of_spread(const PartsJob &job, int64_t begin, int64_t end) {
    const Buffer<int32_t> places(job.width);
    int32_t *const place = places;  // 1 + where a column stands among those wanted, 0 = nowhere
    const int32_t *const index = job.matrix.index;
    std::vector<Local> most;  // of each wanted column: the largest part, and 1 + its entry of the query
    for (int64_t query = begin; query < end; ++query) {
        const int64_t first = job.wanted.ptr[query], stop = job.wanted.ptr[query + 1];
        const int64_t start = job.query.ptr[query];
        most.assign(static_cast<size_t>(stop - first), Local{});
        for (int64_t at = first; at < stop; ++at)
            if (job.wanted.item[at] >= 0 && job.wanted.item[at] < job.width) place[job.wanted.item[at]] = static_cast<int32_t>(at - first) + 1;
        for (int64_t from = start; from < job.query.ptr[query + 1]; ++from) {
            const int32_t row = job.query.index[from];
            if (row < 0 || row >= job.height) continue;
            const int64_t after = job.matrix.ptr[row + 1];
            for (int64_t at = job.matrix.ptr[row]; at < after; ++at) {
                const int32_t to = place[index[at]];
                if (!to) continue;
                const float part = job.query.value[from] * job.matrix.value[at];
                Local &best = most[static_cast<size_t>(to) - 1];
                if (part > 0 && part >= best.score) {
                    best.score = part;
                    best.item = static_cast<int32_t>(from - start) + 1;
                }
            }
        }
        for (int64_t at = first; at < stop; ++at) {
            const int32_t column = job.wanted.item[at];
            const int32_t to = column >= 0 && column < job.width ? place[column] : 0;
            const int32_t entry = to ? most[static_cast<size_t>(to) - 1].item : 0;
            job.strongest[at] = entry ? start + entry - 1 : -1;
        }
        for (int64_t at = first; at < stop; ++at)
            if (job.wanted.item[at] >= 0 && job.wanted.item[at] < job.width) place[job.wanted.item[at]] = 0;
    }
}

// The same of a dense matrix.
void strongest_of_rows(const RowsJob &job, int64_t begin, int64_t end) {
    for (int64_t query = begin; query < end; ++query)
        for (int64_t at = job.wanted.ptr[query]; at < job.wanted.ptr[query + 1]; ++at) {
            const int32_t column = job.wanted.item[at];
            float most = 0;
            int64_t entry = -1;
            if (column >= 0 && column < job.width)
                for (int64_t from = job.query.ptr[query]; from < job.query.ptr[query + 1]; ++from) {
                    const int32_t row = job.query.index[from];
                    if (row < 0 || row >= job.height) continue;
                    const float part = job.query.value[from] * job.matrix[row * job.width + column];
                    if (part > 0 && part >= most) {
                        most = part;
                        entry = from;
                    }
                }
            job.strongest[at] = entry;
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

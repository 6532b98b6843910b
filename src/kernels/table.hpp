// What the instruction-set variants offer to module.cpp: plain structs in, plain functions on a range of rows.
// A variant is compiled once per instruction set (isa.cpp); module.cpp owns threads, checks and Python.
#pragma once
#include <cfloat>
#include <cstdint>

struct Csr {  // row r holds index[ptr[r] .. ptr[r + 1]) and value[...]
    const int64_t *ptr;
    const int32_t *index;
    const float *value;
};

struct Lists {  // item rows per query
    const int64_t *ptr;
    const int32_t *item;
};

struct Slot {
    float score;
    int32_t item;
};

struct Top {  // query q writes at most k slots, best first, from out[q * k], and how many to count[q]
    int32_t k;
    Slot *out;
    int32_t *count;
};

struct MatrixJob {  // k best of each row of a dense matrix
    const float *score;  // (B, width)
    int64_t width;
    const bool *allowed;  // (allowed_size); columns beyond are allowed
    int64_t allowed_size;
    Lists exclude;
    Top top;
    float least = -FLT_MAX;  // scores below are never taken
};

struct RowsJob {  // sum over a query's rows r of weight * matrix[r], a dense matrix
    Csr query;
    const float *matrix;  // (height, width)
    int64_t height, width;
    float *out;  // (B, width), zeroed
    Lists wanted;
    int64_t *strongest;  // as in PartsJob
};

struct PackedItems {  // allowed items by falling norm, in panels of `lanes * 2` columns: [panel][dimension][column]
    const float *panel;
    const int32_t *item;  // (panels * columns) catalog row, -1 = padding
    const int32_t *place;  // (width) where in `item` a catalog row stands, -1 = nowhere
    const float *bound;  // (panels) norm of the longest item in the panel
    int64_t panels;
};

struct ProductJob {  // k best inner products of each query with the items
    const float *user;  // (B, dim)
    const float *item;  // (width, dim), used by the direct kernel
    int64_t dim, width;
    const bool *allowed;  // (allowed_size); rows beyond are allowed
    int64_t allowed_size;
    Lists exclude;
    PackedItems packed;
    Top top;
};

struct PairJob {  // the inner product of each query with its item; NaN for a query of zeros and an item that is not there
    const float *user;  // (B, dim)
    const float *item;  // (width, dim)
    int64_t dim, width;
    const int32_t *query, *wanted;  // (N)
    float *out;  // (N)
};

struct SpreadJob {  // k best of sum over a query's rows r of weight * matrix[r]
    Csr query;  // rows of `matrix` and their weights
    Csr matrix;
    int64_t height, width;
    const bool *allowed;
    int64_t allowed_size;
    Lists exclude;
    Top top;
};

struct SumsJob {  // sum over a query's rows r of weight * matrix[r]
    Csr query;
    Csr matrix;
    int64_t height, width;
    float *out;  // (B, width), zeroed
};

struct PartsJob {  // at the wanted columns of each query: of the parts weight * matrix[r] of its rows r
    Csr query;
    Csr matrix;
    int64_t height, width;
    Lists wanted;
    float *sum;  // NaN where it is not above 0
    int64_t *strongest;  // the entry of `query` with the largest part above 0, the last of equals; -1 = there is none
};

struct NeighbourJob {  // for each row i of `left`: the k largest of (left @ right)[i, j] / (norm_i * norm_j + shrink)
    Csr left;  // (items, users)
    Csr right;  // (users, items)
    int64_t width;
    const float *row_norm, *column_norm;
    float shrink;
    Top top;
};

struct SolveJob {  // per row: (gram + sum weight y y' + reg I) x = sum target y
    Csr rows;  // value = weight
    int64_t entries;
    const float *target;  // (nnz)
    const float *other;  // (others, stride): the factors y; `stride` is a multiple of 16
    const float *gram;  // (stride, stride), used by the exact solution
    const float *panel;  // the same packed, used by the descent
    const float *reg;  // (rows)
    float *x;  // (rows, stride): warm start in, solution out
    int64_t stride;
    int32_t steps;  // of conjugate gradients
};

struct CrossJob {  // left @ right, its columns from the diagonal on
    Csr left;
    Csr right;
    int64_t width;
    float *out;  // (rows, width), zeroed
};

struct CodesJob {  // of each question the `count` codes that differ in the fewest bits
    const uint64_t *code;   // (size, words)
    const uint64_t *asked;  // (B, words)
    int64_t size, words;
    const bool *open;  // (size) only these, null = all
    int64_t count;
    int64_t *out;  // (B, count) places in order, -1 after the last
};

struct SkipGramJob {
    const int64_t *ptr;  // of the lists
    const int32_t *item;
    float *input, *output;  // (width, dim), dim a multiple of 16
    int64_t dim, width;
    const float *share;  // (width) and
    const int32_t *other;  // (width): the alias table that noise is drawn from
    const float *keep;  // (width) the chance of an occurrence to count
    int32_t window, negatives;
};

struct PairwiseJob {  // people and items so that what a person likes scores above what is drawn from the pool
    Csr rows;  // likings of each person, value = how often one is drawn
    const int32_t *own;  // the items of `rows`, rising within each person
    const int32_t *owner;  // (entries) whose liking it is; for an epoch
    int64_t users;
    const int32_t *pool;  // (pool_size) item rows
    int64_t pool_size;
    float *user, *item;  // (users, stride), (items, stride)
    int64_t stride, bias;  // column `bias` of users is 1
    float heaviest;  // of the values of `rows`; for an epoch
    float rate, reg;  // length of a step, shrinkage
    int32_t trials;  // WARP: draws for a violation; 0 = BPR
    int64_t steps;  // for each person of a fold
    uint64_t seed;
};

struct DenseJob {  // out = plus + times * (start + x @ weight), or without plus and times; below 0 made 0 with `relu`
    const float *x;  // (N, width)
    int64_t width;
    const float *weight;  // (width, columns)
    int64_t columns;  // at least as many as a vector has lanes
    const float *start;  // (S, columns)
    const int32_t *owner;  // (N) the row of `start`; null = the first
    const float *times, *plus;  // (N, columns) or null
    bool relu;
    float *out;  // (N, columns)
};

struct Condition {  // of a node: a row with a larger value keeps of a tree's leaves those in `kept`
    float threshold;
    uint32_t kept;
    int32_t word;  // which 32 leaves
    int32_t column;  // twice the column, and 1 where a row without a value goes left
};

struct ForestJob {  // the sum of the leaves that rows end in
    const float *value;  // (N, width)
    int64_t width;
    const Condition *condition;  // (conditions), by column
    int64_t conditions;
    const int64_t *word;  // (trees) the first word of each tree; its first leaf is bit 0 of it
    int64_t trees, words;
    const double *leaf;  // (words * 32)
    double *out;  // (N)
};

struct Table {
    const char *name;
    int32_t lanes;
    int32_t block;  // users that top_of_product works on together
    void (*top_of_matrix)(const MatrixJob &, int64_t begin, int64_t end);
    void (*sum_of_rows)(const RowsJob &, int64_t begin, int64_t end);
    void (*strongest_of_rows)(const RowsJob &, int64_t begin, int64_t end);
    void (*pack)(const float *item, int64_t dim, const int32_t *row, int64_t columns, float *panel);
    void (*top_of_product)(const ProductJob &, int64_t begin, int64_t end);  // packed: for many queries
    void (*top_of_product_direct)(const ProductJob &, int64_t begin, int64_t end);  // for few
    void (*products)(const PairJob &, int64_t begin, int64_t end);
    void (*top_of_spread)(const SpreadJob &, int64_t begin, int64_t end);
    void (*sum_of_spread)(const SumsJob &, int64_t begin, int64_t end);
    void (*sums_of_spread)(const PartsJob &, int64_t begin, int64_t end);
    void (*strongest_of_spread)(const PartsJob &, int64_t begin, int64_t end);
    void (*upper_product)(const CrossJob &, int64_t begin, int64_t end);
    void (*neighbours)(const NeighbourJob &, const int32_t *row, int64_t count);
    void (*descend)(const SolveJob &, int64_t begin, int64_t end);  // conjugate gradients
    void (*solve)(const SolveJob &, int64_t begin, int64_t end);  // Cholesky
    void (*strongest_of_squares)(const SolveJob &, const Lists &wanted, int64_t others, int64_t *, int64_t begin, int64_t end);
    void (*gram)(const float *y, int64_t count, int64_t n, float *out, int64_t begin, int64_t end);  // rows of y' y
    void (*skip_gram)(const SkipGramJob &, int64_t begin, int64_t end, uint64_t seed, float rate);  // lists
    void (*pairwise_epoch)(const PairwiseJob &, int64_t begin, int64_t end);  // steps
    void (*pairwise_fold)(const PairwiseJob &, int64_t begin, int64_t end);  // people
    void (*nearest_codes)(const CodesJob &, int64_t begin, int64_t end);
    void (*dense)(const DenseJob &, int64_t begin, int64_t end);
    void (*forest)(const ForestJob &, int64_t begin, int64_t end);
};

extern const Table *active;  // of the instruction set in use

// The Python side: checks shapes, sorts what must be sorted, splits rows among threads, picks the instruction set.
#include "buffer.hpp"
#include "idmap.hpp"
#include "python.hpp"
#include "radix.hpp"
#include "table.hpp"

void bind_funnel(nb::module_ &m);  // funnel.cpp
void bind_walks(nb::module_ &m);  // walks.cpp
void bind_pairwise(nb::module_ &m);  // pairwise.cpp
void bind_ratings(nb::module_ &m);  // ratings.cpp
void bind_slim(nb::module_ &m);  // slim.cpp
void bind_codes(nb::module_ &m);  // codes.cpp
void bind_rankers(nb::module_ &m);  // rankers.cpp
void bind_trees(nb::module_ &m);  // trees.cpp

extern const Table kernels_baseline;
#if defined(SHORTLIST_X86_VARIANTS)
extern const Table kernels_avx2, kernels_avx512;
#endif

namespace {

std::vector<const Table *> offered() {
    std::vector<const Table *> tables{&kernels_baseline};
#if defined(SHORTLIST_X86_VARIANTS)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.push_back(&kernels_avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        tables.push_back(&kernels_avx512);
#endif
    return tables;
}

}  // namespace

const Table *active = offered().back();

namespace {

struct Found {  // room for k slots a row
    Found(int64_t rows, int64_t k, int64_t width) : k(std::max<int64_t>(0, std::min(k, width))), count(rows) {
        slot.reset(new Slot[static_cast<size_t>(rows * this->k)]);
    }
    Top top() { return {static_cast<int32_t>(k), slot.get(), count.data()}; }

    nb::tuple flat() const {  // (row, item, score), rows in order, best first
        const auto total = static_cast<size_t>(std::accumulate(count.begin(), count.end(), int64_t{0}));
        auto row = std::make_unique<std::vector<int32_t>>(total);
        auto item = std::make_unique<std::vector<int32_t>>(total);
        auto score = std::make_unique<std::vector<float>>(total);
        size_t to = 0;
        for (size_t r = 0; r < count.size(); ++r)
            for (int32_t i = 0; i < count[r]; ++i, ++to) {
                const Slot &from = slot[r * static_cast<size_t>(k) + static_cast<size_t>(i)];
                (*row)[to] = static_cast<int32_t>(r);
                (*item)[to] = from.item;
                (*score)[to] = from.score;
            }
        return nb::make_tuple(numpy(std::move(row), {total}), numpy(std::move(item), {total}), numpy(std::move(score), {total}));
    }

    int64_t k;
    std::vector<int32_t> count;
    std::unique_ptr<Slot[]> slot;
};

nb::tuple top_of_matrix(const Matrix<float> &scores, int64_t k, const Array<int64_t> &exclude_ptr,
                        const Array<int32_t> &exclude_item, const Array<bool> &allowed, float least, int threads) {
    const auto rows = static_cast<int64_t>(scores.shape(0)), width = static_cast<int64_t>(scores.shape(1));
    Found found(rows, k, width);
    if (found.k && rows) {
        const Lists exclude = listed(exclude_ptr, exclude_item, rows, "exclude");
        nb::gil_scoped_release release;
        const MatrixJob job{scores.data(), width, allowed.data(), static_cast<int64_t>(allowed.shape(0)), exclude, found.top(), least};
        in_parallel(rows, QUERY_GRAIN, threads, [&](int64_t begin, int64_t end) { active->top_of_matrix(job, begin, end); });
    }
    return found.flat();
}

Numpy<float> sum_of_rows(const Array<int64_t> &query_ptr, const Array<int32_t> &query_row, const Array<float> &query_weight,
                         const Matrix<float> &matrix, int threads) {
    const auto rows = static_cast<int64_t>(query_ptr.shape(0)) - 1;
    const auto height = static_cast<int64_t>(matrix.shape(0)), width = static_cast<int64_t>(matrix.shape(1));
    const Csr query = csr(query_ptr, query_row, query_weight, -1);
    auto out = std::make_unique<std::vector<float>>(static_cast<size_t>(rows * width));
    {
        nb::gil_scoped_release release;
        const RowsJob job{query, matrix.data(), height, width, out->data(), {}, nullptr};
        in_parallel(rows, QUERY_GRAIN, threads, [&](int64_t begin, int64_t end) { active->sum_of_rows(job, begin, end); });
    }
    return numpy(std::move(out), {static_cast<size_t>(rows), static_cast<size_t>(width)});
}

Numpy<int64_t> strongest_of_rows(const Array<int64_t> &query_ptr, const Array<int32_t> &query_row, const Array<float> &query_weight,
                                 const Matrix<float> &matrix, const Array<int64_t> &wanted_ptr, const Array<int32_t> &wanted, int threads) {
    const auto rows = static_cast<int64_t>(query_ptr.shape(0)) - 1;
    const auto height = static_cast<int64_t>(matrix.shape(0)), width = static_cast<int64_t>(matrix.shape(1));
    const Csr query = csr(query_ptr, query_row, query_weight, -1);
    auto out = std::make_unique<std::vector<int64_t>>(wanted.shape(0));
    const RowsJob job{query, matrix.data(), height, width, nullptr, listed(wanted_ptr, wanted, rows, "wanted"), out->data()};
    {
        nb::gil_scoped_release release;
        in_parallel(rows, QUERY_GRAIN, threads, [&](int64_t begin, int64_t end) { active->strongest_of_rows(job, begin, end); });
    }
    return numpy(std::move(out), {wanted.shape(0)});
}

constexpr int64_t DIRECT = 16;  // fewer queries than this do not pay for packing the items

struct Packing {  // the allowed items by falling norm, see PackedItems
    Packing(const Matrix<float> &items, const Array<bool> &allowed, int threads) {
        const auto width = static_cast<int64_t>(items.shape(0)), dim = static_cast<int64_t>(items.shape(1));
        const auto masked = static_cast<int64_t>(allowed.shape(0));
        const float *data = items.data();
        std::vector<float> norm(static_cast<size_t>(width));
        for (int64_t i = 0; i < width; ++i) {
            if (i < masked && !allowed.data()[i]) continue;
            double square = 0;
            for (int64_t d = 0; d < dim; ++d) square += static_cast<double>(data[i * dim + d]) * data[i * dim + d];
            norm[static_cast<size_t>(i)] = static_cast<float>(std::sqrt(square));
            row.push_back(static_cast<int32_t>(i));
        }
        std::sort(row.begin(), row.end(), [&](int32_t a, int32_t b) {
            const float x = norm[static_cast<size_t>(a)], y = norm[static_cast<size_t>(b)];
            return x > y || (x == y && a < b);
        });
        place.assign(static_cast<size_t>(width), -1);
        for (size_t at = 0; at < row.size(); ++at) place[static_cast<size_t>(row[at])] = static_cast<int32_t>(at);
        const int64_t columns = 2 * active->lanes;
        const int64_t panels = (static_cast<int64_t>(row.size()) + columns - 1) / columns;
        row.resize(static_cast<size_t>(panels * columns), -1);
        panel = std::make_unique<Buffer<float>>(panels * columns * dim);
        for (int64_t p = 0; p < panels; ++p) bound.push_back(norm[static_cast<size_t>(row[static_cast<size_t>(p * columns)])]);
        float *to = *panel;
        in_parallel(panels, 64, threads, [&](int64_t begin, int64_t end) {
            for (int64_t p = begin; p < end; ++p)
                active->pack(data, dim, row.data() + p * columns, columns, to + p * columns * dim);
        });
    }
    PackedItems packed() const { return {*panel, row.data(), place.data(), bound.data(), static_cast<int64_t>(bound.size())}; }

    std::vector<int32_t> row, place;
    std::vector<float> bound;
    std::unique_ptr<Buffer<float>> panel;
};

nb::tuple top_of_product(const Matrix<float> &users, const Matrix<float> &items, int64_t k, const Array<int64_t> &exclude_ptr,
                         const Array<int32_t> &exclude_item, const Array<bool> &allowed, int threads) {
    const auto rows = static_cast<int64_t>(users.shape(0)), width = static_cast<int64_t>(items.shape(0));
    const auto dim = static_cast<int64_t>(items.shape(1));
    check(static_cast<int64_t>(users.shape(1)) == dim, "users have " + std::to_string(users.shape(1)) +
                                                           " dimensions and items " + std::to_string(dim) + ": they must be equal");
    Found found(rows, k, width);
    if (found.k && rows) {
        const Lists exclude = listed(exclude_ptr, exclude_item, rows, "exclude");
        nb::gil_scoped_release release;
        ProductJob job{users.data(), items.data(), dim, width, allowed.data(), static_cast<int64_t>(allowed.shape(0)), exclude, {}, found.top()};
        if (rows < DIRECT) {
            active->top_of_product_direct(job, 0, rows);
        } else {
            const int workers = rows < QUERY_GRAIN ? 1 : threads;
            const Packing packing(items, allowed, workers);
            job.packed = packing.packed();
            in_parallel(rows, active->block, workers,
                        [&](int64_t begin, int64_t end) { active->top_of_product(job, begin, end); });
        }
    }
    return found.flat();
}

Numpy<float> products(const Matrix<float> &users, const Matrix<float> &items, const Array<int32_t> &query, const Array<int32_t> &item) {
    const auto rows = static_cast<int64_t>(users.shape(0)), dim = static_cast<int64_t>(users.shape(1));
    check(static_cast<int64_t>(items.shape(1)) == dim, "users and items must have equally many dimensions");
    check(query.shape(0) == item.shape(0), "query and item must be equally long");
    const auto count = static_cast<int64_t>(query.shape(0));
    for (int64_t at = 0; at < count; ++at) check(query.data()[at] >= 0 && query.data()[at] < rows, "a query has no user");
    auto out = std::make_unique<std::vector<float>>(static_cast<size_t>(count));
    {
        nb::gil_scoped_release release;
        const PairJob job{users.data(), items.data(), dim, static_cast<int64_t>(items.shape(0)), query.data(), item.data(), out->data()};
        in_parallel(count, 64 * 1024, 0, [&](int64_t begin, int64_t end) { active->products(job, begin, end); });
    }
    return numpy(std::move(out), {static_cast<size_t>(count)});
}

// matrix[row, column]; NaN where the matrix has no such column, or holds less than `least` there.
Numpy<float> entries(const Matrix<float> &matrix, const Array<int32_t> &row, const Array<int32_t> &column, float least) {
    const auto height = static_cast<int64_t>(matrix.shape(0)), width = static_cast<int64_t>(matrix.shape(1));
    check(row.shape(0) == column.shape(0), "row and column must be equally long");
    const size_t count = row.shape(0);
    const int32_t *const rows = row.data(), *const columns = column.data();
    auto out = std::make_unique<std::vector<float>>(count, NAN);
    for (size_t at = 0; at < count; ++at) {
        check(rows[at] >= 0 && rows[at] < height, "a row is not in the matrix");
        if (columns[at] < 0 || columns[at] >= width) continue;
        const float entry = matrix.data()[rows[at] * width + columns[at]];
        if (entry >= least) (*out)[at] = entry;
    }
    return numpy(std::move(out), {count});
}

nb::tuple top_of_spread(const Array<int64_t> &query_ptr, const Array<int32_t> &query_row, const Array<float> &query_weight,
                        const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &value, int64_t width,
                        int64_t k, const Array<int64_t> &exclude_ptr, const Array<int32_t> &exclude_item,
                        const Array<bool> &allowed, int threads) {
    const auto rows = static_cast<int64_t>(query_ptr.shape(0)) - 1;
    const auto height = static_cast<int64_t>(ptr.shape(0)) - 1;
    check(rows >= 0 && height >= 0, "ptr must not be empty");
    Found found(rows, k, width);
    if (found.k && rows) {
        // the matrix belongs to a model and was checked when it was made: reading it all would cost more than the request
        check(ptr(height) == static_cast<int64_t>(index.shape(0)) && index.shape(0) == value.shape(0),
              "ptr must end with the number of entries, and index and value must have one entry each");
        const SpreadJob job{csr(query_ptr, query_row, query_weight, -1),
                            {ptr.data(), index.data(), value.data()},
                            height,
                            width,
                            allowed.data(),
                            static_cast<int64_t>(allowed.shape(0)),
                            listed(exclude_ptr, exclude_item, rows, "exclude"),
                            found.top()};
        nb::gil_scoped_release release;
        in_parallel(rows, QUERY_GRAIN, threads, [&](int64_t begin, int64_t end) { active->top_of_spread(job, begin, end); });
    }
    return found.flat();
}

Numpy<float> sum_of_spread(const Array<int64_t> &query_ptr, const Array<int32_t> &query_row, const Array<float> &query_weight,
                           const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &value, int64_t width, int threads) {
    const auto rows = static_cast<int64_t>(query_ptr.shape(0)) - 1;
    const auto height = static_cast<int64_t>(ptr.shape(0)) - 1;
    check(rows >= 0 && height >= 0, "ptr must not be empty");
    check(ptr(height) == static_cast<int64_t>(index.shape(0)) && index.shape(0) == value.shape(0),
          "ptr must end with the number of entries, and index and value must have one entry each");
    const Csr query = csr(query_ptr, query_row, query_weight, -1);
    auto out = std::make_unique<std::vector<float>>(static_cast<size_t>(rows * width));
    {
        nb::gil_scoped_release release;
        const SumsJob job{query, {ptr.data(), index.data(), value.data()}, height, width, out->data()};
        in_parallel(rows, QUERY_GRAIN, threads, [&](int64_t begin, int64_t end) { active->sum_of_spread(job, begin, end); });
    }
    return numpy(std::move(out), {static_cast<size_t>(rows), static_cast<size_t>(width)});
}

// One number for each wanted column of each query, by `kernel` into `slot` of the job.
template <typename T, typename Kernel>
Numpy<T> parts_of_spread(const Array<int64_t> &query_ptr, const Array<int32_t> &query_row, const Array<float> &query_weight,
                         const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &value, int64_t width,
                         const Array<int64_t> &wanted_ptr, const Array<int32_t> &wanted, int threads, T *PartsJob::*slot,
                         Kernel kernel) {
    const auto rows = static_cast<int64_t>(query_ptr.shape(0)) - 1;
    const auto height = static_cast<int64_t>(ptr.shape(0)) - 1;
    check(rows >= 0 && height >= 0, "ptr must not be empty");
    check(ptr(height) == static_cast<int64_t>(index.shape(0)) && index.shape(0) == value.shape(0),
          "ptr must end with the number of entries, and index and value must have one entry each");
    auto out = std::make_unique<std::vector<T>>(wanted.shape(0));
    PartsJob job{csr(query_ptr, query_row, query_weight, -1),
                 {ptr.data(), index.data(), value.data()},
                 height,
                 width,
                 listed(wanted_ptr, wanted, rows, "wanted"),
                 nullptr,
                 nullptr};
    job.*slot = out->data();
    {
        nb::gil_scoped_release release;
        in_parallel(rows, QUERY_GRAIN, threads, [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
    }
    return numpy(std::move(out), {wanted.shape(0)});
}

Numpy<float> sums_of_spread(const Array<int64_t> &query_ptr, const Array<int32_t> &query_row, const Array<float> &query_weight,
                            const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &value, int64_t width,
                            const Array<int64_t> &wanted_ptr, const Array<int32_t> &wanted, int threads) {
    return parts_of_spread(query_ptr, query_row, query_weight, ptr, index, value, width, wanted_ptr, wanted, threads,
                           &PartsJob::sum, active->sums_of_spread);
}

Numpy<int64_t> strongest_of_spread(const Array<int64_t> &query_ptr, const Array<int32_t> &query_row, const Array<float> &query_weight,
                                   const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &value, int64_t width,
                                   const Array<int64_t> &wanted_ptr, const Array<int32_t> &wanted, int threads) {
    return parts_of_spread(query_ptr, query_row, query_weight, ptr, index, value, width, wanted_ptr, wanted, threads,
                           &PartsJob::strongest, active->strongest_of_spread);
}

Numpy<float> upper_product(const Array<int64_t> &left_ptr, const Array<int32_t> &left_index, const Array<float> &left_value,
                           const Array<int64_t> &right_ptr, const Array<int32_t> &right_index, const Array<float> &right_value,
                           int64_t width, int threads) {
    const auto rows = static_cast<int64_t>(left_ptr.shape(0)) - 1;
    const Csr left = csr(left_ptr, left_index, left_value, static_cast<int64_t>(right_ptr.shape(0)) - 1);
    const Csr right = csr(right_ptr, right_index, right_value, width);
    const auto middle = static_cast<int64_t>(right_ptr.shape(0)) - 1;
    for (int64_t r = 0; r < middle; ++r)
        check(std::is_sorted(right.index + right.ptr[r], right.index + right.ptr[r + 1]), "the columns of right must rise in each row");
    auto out = std::make_unique<std::vector<float>>(static_cast<size_t>(rows * width));
    {
        nb::gil_scoped_release release;
        const CrossJob job{left, right, width, out->data()};
        in_parallel(rows, 16, threads, [&](int64_t begin, int64_t end) { active->upper_product(job, begin, end); });
    }
    return numpy(std::move(out), {static_cast<size_t>(rows), static_cast<size_t>(width)});
}

nb::tuple neighbours(const Array<int64_t> &left_ptr, const Array<int32_t> &left_index, const Array<float> &left_value,
                     const Array<int64_t> &right_ptr, const Array<int32_t> &right_index, const Array<float> &right_value,
                     const Array<float> &row_norm, const Array<float> &column_norm, float shrink, int64_t k, int threads) {
    const auto rows = static_cast<int64_t>(left_ptr.shape(0)) - 1, width = static_cast<int64_t>(column_norm.shape(0));
    check(static_cast<int64_t>(row_norm.shape(0)) == rows, "row_norm must have one entry a row of left");
    const Csr left = csr(left_ptr, left_index, left_value, static_cast<int64_t>(right_ptr.shape(0)) - 1);
    const Csr right = csr(right_ptr, right_index, right_value, width);
    Found found(rows, k, width);
    if (found.k && rows) {
        nb::gil_scoped_release release;
        const NeighbourJob job{left, right, width, row_norm.data(), column_norm.data(), shrink, found.top()};
        std::vector<int32_t> order(static_cast<size_t>(rows));
        std::iota(order.begin(), order.end(), 0);
        in_parallel(rows, 32, threads, [&](int64_t begin, int64_t end) { active->neighbours(job, order.data() + begin, end - begin); });
    }
    return found.flat();
}

// steps 0 = exact (Cholesky), otherwise so many steps of conjugate gradients from the present x
void least_squares(const MutableMatrix &x, const Matrix<float> &other, const Array<int64_t> &ptr, const Array<int32_t> &index,
                   const Array<float> &weight, const Array<float> &target, const Matrix<float> &gram, const Array<float> &reg,
                   int steps, int threads) {
    const auto rows = static_cast<int64_t>(x.shape(0)), dim = static_cast<int64_t>(x.shape(1));
    const auto others = static_cast<int64_t>(other.shape(0));
    check(static_cast<int64_t>(other.shape(1)) == dim && static_cast<int64_t>(gram.shape(0)) == dim && static_cast<int64_t>(gram.shape(1)) == dim,
          "x, other and gram must have equally many dimensions");
    check(dim % 16 == 0, std::to_string(dim) + " dimensions: pad with zeros to a multiple of 16");
    check(static_cast<int64_t>(ptr.shape(0)) == rows + 1 && static_cast<int64_t>(reg.shape(0)) == rows && target.shape(0) == index.shape(0),
          "ptr, reg and target must fit the rows of x and the entries of index");
    const Csr entries = csr(ptr, index, weight, others);
    nb::gil_scoped_release release;
    // a vector that straddles two cache lines is loaded at half the speed; a sweep pays for a copy, a request would not
    Buffer<float> copy(steps ? others * dim : 0);
    if (steps) std::copy(other.data(), other.data() + others * dim, static_cast<float *>(copy));
    const float *y = steps ? copy : other.data();
    const int64_t columns = 2 * active->lanes, panels = steps ? (dim + columns - 1) / columns : 0;
    Buffer<float> panel(panels * columns * dim);
    std::vector<int32_t> row(static_cast<size_t>(panels * columns), -1);
    if (steps) std::iota(row.begin(), row.begin() + dim, 0);
    for (int64_t p = 0; p < panels; ++p) active->pack(gram.data(), dim, row.data() + p * columns, columns, panel + p * columns * dim);
    const SolveJob job{entries, static_cast<int64_t>(index.shape(0)), target.data(), y, gram.data(), panel, reg.data(), x.data(), dim, steps};
    const auto kernel = steps ? active->descend : active->solve;
    in_parallel(rows, SWEEP_GRAIN, threads, [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
}

// Of the system that least_squares solves for each row: which entry speaks most for each wanted vector.
Numpy<int64_t> strongest_of_squares(const Matrix<float> &other, const Array<int64_t> &ptr, const Array<int32_t> &index,
                                    const Array<float> &weight, const Matrix<float> &gram, const Array<float> &reg,
                                    const Array<int64_t> &wanted_ptr, const Array<int32_t> &wanted, int threads) {
    const auto rows = static_cast<int64_t>(ptr.shape(0)) - 1, dim = static_cast<int64_t>(other.shape(1));
    const auto others = static_cast<int64_t>(other.shape(0));
    check(static_cast<int64_t>(gram.shape(0)) == dim && static_cast<int64_t>(gram.shape(1)) == dim, "other and gram must have equally many dimensions");
    check(dim % 16 == 0, std::to_string(dim) + " dimensions: pad with zeros to a multiple of 16");
    check(static_cast<int64_t>(reg.shape(0)) == rows, "reg must fit the rows");
    const Csr entries = csr(ptr, index, weight, others);
    const Lists lists = listed(wanted_ptr, wanted, rows, "wanted");
    auto out = std::make_unique<std::vector<int64_t>>(wanted.shape(0));
    {
        nb::gil_scoped_release release;
        const SolveJob job{entries, static_cast<int64_t>(index.shape(0)), weight.data(), other.data(), gram.data(), nullptr, reg.data(), nullptr, dim, 0};
        in_parallel(rows, SWEEP_GRAIN, threads, [&](int64_t begin, int64_t end) {
            active->strongest_of_squares(job, lists, others, out->data(), begin, end);
        });
    }
    return numpy(std::move(out), {wanted.shape(0)});
}

Numpy<float> gram(const Matrix<float> &vectors, int threads) {
    const auto count = static_cast<int64_t>(vectors.shape(0)), dim = static_cast<int64_t>(vectors.shape(1));
    check(dim % 16 == 0, std::to_string(dim) + " dimensions: pad with zeros to a multiple of 16");
    auto out = std::make_unique<std::vector<float>>(static_cast<size_t>(dim * dim));
    {
        nb::gil_scoped_release release;
        in_parallel(dim, 16, threads, [&](int64_t begin, int64_t end) { active->gram(vectors.data(), count, dim, out->data(), begin, end); });
    }
    return numpy(std::move(out), {static_cast<size_t>(dim), static_cast<size_t>(dim)});
}

Numpy<int64_t> order(const Array<int64_t> &key) {
    const auto count = static_cast<size_t>(key.shape(0));
    auto out = std::make_unique<std::vector<int64_t>>(count);
    {
        nb::gil_scoped_release release;
        if (count) stable_order(key.data(), static_cast<int64_t>(count), out->data());
    }
    return numpy(std::move(out), {count});
}

const Id *ids_of(const Matrix<uint64_t> &id) {
    check(id.shape(1) == 2, "an id has two words");
    return reinterpret_cast<const Id *>(id.data());
}

Numpy<bool> flags(std::unique_ptr<bool[]> data, size_t count) {
    bool *raw = data.release();
    return Numpy<bool>(raw, {count}, nb::capsule(raw, [](void *p) noexcept { delete[] static_cast<bool *>(p); }));
}

struct IdSet {  // one thread at a time
    IdMap<false> map;

    Numpy<bool> fresh(const Matrix<uint64_t> &id) const {
        const auto count = static_cast<int64_t>(id.shape(0));
        const Id *ids = ids_of(id);
        auto out = std::make_unique<bool[]>(static_cast<size_t>(count));
        {
            nb::gil_scoped_release release;
            std::vector<int32_t> known(static_cast<size_t>(count));
            map.find(ids, count, known.data());
            IdMap<false> batch;
            batch.add(ids, count, nullptr, out.get());
            for (int64_t i = 0; i < count; ++i) out[static_cast<size_t>(i)] &= known[static_cast<size_t>(i)] < 0;
        }
        return flags(std::move(out), static_cast<size_t>(count));
    }

    void add(const Matrix<uint64_t> &id) {
        const Id *ids = ids_of(id);
        nb::gil_scoped_release release;
        map.add(ids, static_cast<int64_t>(id.shape(0)), nullptr, nullptr);
    }

    void discard(const Matrix<uint64_t> &id) {
        const Id *ids = ids_of(id);
        nb::gil_scoped_release release;
        map.remove(ids, static_cast<int64_t>(id.shape(0)));
    }
};

struct IdRows {  // one thread at a time
    IdMap<true> map;

    Numpy<int32_t> find(const Matrix<uint64_t> &id) const {
        const auto count = static_cast<size_t>(id.shape(0));
        const Id *ids = ids_of(id);
        auto out = std::make_unique<std::vector<int32_t>>(count);
        {
            nb::gil_scoped_release release;
            map.find(ids, static_cast<int64_t>(count), out->data());
        }
        return numpy(std::move(out), {count});
    }

    void add(const Matrix<uint64_t> &id, const Array<int32_t> &row) {
        check(id.shape(0) == row.shape(0), "every id needs a row");
        map.add(ids_of(id), static_cast<int64_t>(id.shape(0)), row.data(), nullptr);
    }
};

std::vector<std::string> variants() {
    std::vector<std::string> names;
    for (const Table *table : offered()) names.emplace_back(table->name);
    return names;
}

std::string use(const std::string &name) {
    for (const Table *table : offered())
        if (name == table->name) {
            const std::string before = active->name;
            active = table;
            return before;
        }
    throw nb::value_error(("no variant " + name + " on this machine").c_str());
}

}  // namespace

NB_MODULE(_kernels, m) {
    using namespace nb::literals;
    nb::set_leak_warnings(false);  // a log that is open when the interpreter ends keeps its set of ids
    m.def("top_of_matrix", &top_of_matrix, "scores"_a, "k"_a, "exclude_ptr"_a, "exclude_item"_a, "allowed"_a, "least"_a = -FLT_MAX, "threads"_a = 0);
    m.def("sum_of_rows", &sum_of_rows, "query_ptr"_a, "query_row"_a, "query_weight"_a, "matrix"_a, "threads"_a = 0);
    m.def("strongest_of_rows", &strongest_of_rows, "query_ptr"_a, "query_row"_a, "query_weight"_a, "matrix"_a, "wanted_ptr"_a,
          "wanted"_a, "threads"_a = 0);
    m.def("top_of_product", &top_of_product, "users"_a, "items"_a, "k"_a, "exclude_ptr"_a, "exclude_item"_a, "allowed"_a,
          "threads"_a = 0);
    m.def("products", &products, "users"_a, "items"_a, "query"_a, "item"_a);
    m.def("entries", &entries, "matrix"_a, "row"_a, "column"_a, "least"_a = -FLT_MAX);
    m.def("top_of_spread", &top_of_spread, "query_ptr"_a, "query_row"_a, "query_weight"_a, "ptr"_a, "index"_a, "value"_a,
          "width"_a, "k"_a, "exclude_ptr"_a, "exclude_item"_a, "allowed"_a, "threads"_a = 0);
    m.def("sum_of_spread", &sum_of_spread, "query_ptr"_a, "query_row"_a, "query_weight"_a, "ptr"_a, "index"_a, "value"_a,
          "width"_a, "threads"_a = 0);
    m.def("sums_of_spread", &sums_of_spread, "query_ptr"_a, "query_row"_a, "query_weight"_a, "ptr"_a, "index"_a, "value"_a,
          "width"_a, "wanted_ptr"_a, "wanted"_a, "threads"_a = 0);
    m.def("strongest_of_spread", &strongest_of_spread, "query_ptr"_a, "query_row"_a, "query_weight"_a, "ptr"_a, "index"_a,
          "value"_a, "width"_a, "wanted_ptr"_a, "wanted"_a, "threads"_a = 0);
    m.def("upper_product", &upper_product, "left_ptr"_a, "left_index"_a, "left_value"_a, "right_ptr"_a, "right_index"_a,
          "right_value"_a, "width"_a, "threads"_a = 0);
    m.def("neighbours", &neighbours, "left_ptr"_a, "left_index"_a, "left_value"_a, "right_ptr"_a, "right_index"_a,
          "right_value"_a, "row_norm"_a, "column_norm"_a, "shrink"_a, "k"_a, "threads"_a = 0);
    m.def("least_squares", &least_squares, "x"_a.noconvert(), "other"_a, "ptr"_a, "index"_a, "weight"_a, "target"_a, "gram"_a,
          "reg"_a, "steps"_a, "threads"_a = 0);
    m.def("strongest_of_squares", &strongest_of_squares, "other"_a, "ptr"_a, "index"_a, "weight"_a, "gram"_a, "reg"_a,
          "wanted_ptr"_a, "wanted"_a, "threads"_a = 0);
    m.def("gram", &gram, "vectors"_a, "threads"_a = 0);
    m.def("order", &order, "key"_a);
    nb::class_<IdSet>(m, "IdSet")
        .def(nb::init<>())
        .def("__len__", [](const IdSet &set) { return set.map.size(); })
        .def("fresh", &IdSet::fresh, "id"_a)
        .def("add", &IdSet::add, "id"_a)
        .def("discard", &IdSet::discard, "id"_a);
    nb::class_<IdRows>(m, "IdRows")
        .def(nb::init<>())
        .def("__len__", [](const IdRows &rows) { return rows.map.size(); })
        .def("find", &IdRows::find, "id"_a)
        .def("add", &IdRows::add, "id"_a, "row"_a);
    bind_funnel(m);
    bind_walks(m);
    bind_pairwise(m);
    bind_ratings(m);
    bind_slim(m);
    bind_codes(m);
    bind_rankers(m);
    bind_trees(m);
    m.def("variants", &variants);
    m.def("use", &use, "name"_a);
}

// The Python side of pairwise.hpp: checks shapes, notes who likes what, splits steps or people among threads.
#include "python.hpp"

namespace {

PairwiseJob pairwise(const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &weight, const Array<int32_t> &pool,
                     float *user, const float *item, int64_t items, int64_t dim, int64_t bias, int trials, float rate, float reg, uint64_t seed) {
    const auto users = static_cast<int64_t>(ptr.shape(0)) - 1, size = static_cast<int64_t>(pool.shape(0));
    check(dim % 16 == 0 && 0 <= bias && bias < dim, std::to_string(dim) + " dimensions: must be a multiple of 16, of which bias is one");
    check(std::all_of(weight.data(), weight.data() + weight.shape(0), [](float each) { return each > 0; }), "a liking must have a weight above 0");
    check(size > 0 && std::all_of(pool.data(), pool.data() + size, [&](int32_t each) { return each >= 0 && each < items; }),
          "pool must hold items, at least one");
    return {csr(ptr, index, weight, items), nullptr, nullptr, users, pool.data(), size, user, const_cast<float *>(item),  // a fold leaves them
            dim, bias, 0, rate, reg, trials, 0, seed};
}

void pairwise_epoch(const MutableMatrix &user, const MutableMatrix &item, const Array<int64_t> &ptr, const Array<int32_t> &index,
                    const Array<float> &weight, const Array<int32_t> &pool, int64_t bias, int trials, float rate, float reg,
                    uint64_t seed, int threads) {
    check(user.shape(0) + 1 == ptr.shape(0) && user.shape(1) == item.shape(1), "user must have a row for each list and as many dimensions as item");
    const auto items = static_cast<int64_t>(item.shape(0)), dim = static_cast<int64_t>(item.shape(1));
    PairwiseJob job = pairwise(ptr, index, weight, pool, user.data(), item.data(), items, dim, bias, trials, rate, reg, seed);
    const int64_t entries = job.rows.ptr[job.users];
    if (!entries) return;
    job.heaviest = *std::max_element(weight.data(), weight.data() + entries);
    nb::gil_scoped_release release;
    const std::vector<int32_t> own = sorted({job.rows.ptr, job.rows.index}, job.users);
    std::vector<int32_t> owner(static_cast<size_t>(entries));
    for (int64_t row = 0; row < job.users; ++row) std::fill(owner.begin() + job.rows.ptr[row], owner.begin() + job.rows.ptr[row + 1], static_cast<int32_t>(row));
    job.own = own.data();
    job.owner = owner.data();
    in_parallel(entries, 16 * 1024, threads, [&](int64_t begin, int64_t end) { active->pairwise_epoch(job, begin, end); });
}

Numpy<float> pairwise_fold(const Matrix<float> &item, const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &weight,
                           const Array<int32_t> &pool, int64_t bias, int trials, float rate, float reg, int64_t steps, uint64_t seed) {
    const auto items = static_cast<int64_t>(item.shape(0)), dim = static_cast<int64_t>(item.shape(1));
    const size_t users = ptr.shape(0) - 1, width = item.shape(1);
    auto out = std::make_unique<std::vector<float>>(users * width);
    PairwiseJob job = pairwise(ptr, index, weight, pool, out->data(), item.data(), items, dim, bias, trials, rate, reg, seed);
    job.steps = steps;
    {
        nb::gil_scoped_release release;
        const std::vector<int32_t> own = sorted({job.rows.ptr, job.rows.index}, job.users);
        job.own = own.data();
        in_parallel(job.users, QUERY_GRAIN, 0, [&](int64_t begin, int64_t end) { active->pairwise_fold(job, begin, end); });
    }
    return numpy(std::move(out), {users, width});
}

}  // namespace

void bind_pairwise(nb::module_ &m) {
    using namespace nb::literals;
    m.def("pairwise_epoch", &pairwise_epoch, "user"_a.noconvert(), "item"_a.noconvert(), "ptr"_a, "index"_a, "weight"_a, "pool"_a,
          "bias"_a, "trials"_a, "rate"_a, "reg"_a, "seed"_a, "threads"_a = 0);
    m.def("pairwise_fold", &pairwise_fold, "item"_a, "ptr"_a, "index"_a, "weight"_a, "pool"_a, "bias"_a, "trials"_a, "rate"_a,
          "reg"_a, "steps"_a, "seed"_a);
}

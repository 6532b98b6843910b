// Coordinate descent for sparse linear models (Ning, Karypis 2011) on the gram matrix (Friedman, Hastie, Tibshirani 2010).
// One plain build for every machine: long vectors added to one another wait for memory.
#include "python.hpp"

namespace {

struct Sparse {
    std::vector<int32_t> index;
    std::vector<float> value;
};

// Item j from all others: the weights w >= 0, w_j = 0, that make 1/2 w'Gw - g_j'w + l2/2 |w|^2 + l1 sum w least.
class Column {
public:
    Column(const float *gram, int64_t size) : gram_(gram), size_(size), weight_(static_cast<size_t>(size)), rest_(static_cast<size_t>(size)) {}

    void fit(int64_t j, float l1, float l2, int sweeps, float tolerance) {
        std::fill(weight_.begin(), weight_.end(), 0.0f);
        std::copy(gram_ + j * size_, gram_ + (j + 1) * size_, rest_.begin());  // g_j - G w
        const float small = tolerance * gram_[j * size_ + j];
        for (int sweep = 0; sweep < sweeps; ++sweep) {
            bool moved = false;
            for (int64_t i = 0; i < size_; ++i)
                if (i != j && step(i, l1, l2, small)) moved = true;
            if (!moved) break;
        }
    }

    Sparse kept() const {
        Sparse out;
        for (int64_t i = 0; i < size_; ++i)
            if (weight_[static_cast<size_t>(i)] > 0) {
                out.index.push_back(static_cast<int32_t>(i));
                out.value.push_back(weight_[static_cast<size_t>(i)]);
            }
        return out;
    }

private:
    // Give item i the best weight while the others stay; not when its effect moves by no more than `small`.
    bool step(int64_t i, float l1, float l2, float small) {
        const auto at = static_cast<size_t>(i);
        const float *row = gram_ + i * size_, own = row[i];
        if (!(own > 0)) return false;
        const float next = std::max(0.0f, rest_[at] + own * weight_[at] - l1) / (own + l2);
        const float moved = next - weight_[at];
        if (std::fabs(moved) * own <= small) return false;
        weight_[at] = next;
        float *rest = rest_.data();
        for (int64_t n = 0; n < size_; ++n) rest[n] -= moved * row[n];
        return true;
    }

    const float *gram_;
    int64_t size_;
    std::vector<float> weight_, rest_;
};

nb::tuple elastic_net(const Matrix<float> &gram, float l1, float l2, int sweeps, float tolerance, int threads) {
    const auto size = static_cast<int64_t>(gram.shape(0));
    check(static_cast<int64_t>(gram.shape(1)) == size, "gram must be square");
    std::vector<Sparse> columns(static_cast<size_t>(size));
    {
        nb::gil_scoped_release release;
        in_parallel(size, 16, threads, [&](int64_t begin, int64_t end) {
            Column column(gram.data(), size);
            for (int64_t j = begin; j < end; ++j) {
                column.fit(j, l1, l2, sweeps, tolerance);
                columns[static_cast<size_t>(j)] = column.kept();
            }
        });
    }
    auto row = std::make_unique<std::vector<int32_t>>(), index = std::make_unique<std::vector<int32_t>>();
    auto value = std::make_unique<std::vector<float>>();
    for (int64_t j = 0; j < size; ++j) {
        const Sparse &column = columns[static_cast<size_t>(j)];
        row->insert(row->end(), column.index.size(), static_cast<int32_t>(j));
        index->insert(index->end(), column.index.begin(), column.index.end());
        value->insert(value->end(), column.value.begin(), column.value.end());
    }
    const size_t count = value->size();
    return nb::make_tuple(numpy(std::move(row), {count}), numpy(std::move(index), {count}), numpy(std::move(value), {count}));
}

}  // namespace

void bind_slim(nb::module_ &m) {
    using namespace nb::literals;
    m.def("elastic_net", &elastic_net, "gram"_a, "l1"_a, "l2"_a, "sweeps"_a, "tolerance"_a, "threads"_a = 0);
}

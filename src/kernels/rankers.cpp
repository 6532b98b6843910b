// The Python side of dense layers (dense.hpp).
#include "buffer.hpp"
#include "python.hpp"

namespace {

constexpr int64_t DENSE_GRAIN = 4096;  // rows below which a layer is not worth a thread

// A layer of few columns with zeros after them, as wide as a vector.
class Widened {
public:
    Widened(const DenseJob &job, int64_t rows, int64_t starts) : narrow_(job), wide_(job), rows_(rows) {
        wide_.weight = add(job.weight, job.width);
        wide_.start = add(job.start, starts);
        if (job.times) wide_.times = add(job.times, rows), wide_.plus = add(job.plus, rows);
        wide_.columns = active->lanes;
        held_.push_back(std::make_unique<Buffer<float>>(rows * wide_.columns));
        wide_.out = *held_.back();
    }
    const DenseJob &job() const { return wide_; }
    void narrow() const {
        for (int64_t row = 0; row < rows_; ++row)
            std::copy_n(wide_.out + row * wide_.columns, narrow_.columns, narrow_.out + row * narrow_.columns);
    }

private:
    const float *add(const float *from, int64_t rows) {
        held_.push_back(std::make_unique<Buffer<float>>(rows * active->lanes));
        float *to = *held_.back();
        for (int64_t row = 0; row < rows; ++row) std::copy_n(from + row * narrow_.columns, narrow_.columns, to + row * active->lanes);
        return to;
    }

    DenseJob narrow_, wide_;
    int64_t rows_;
    std::vector<std::unique_ptr<Buffer<float>>> held_;
};

Numpy<float> layer(const Matrix<float> &x, const Matrix<float> &weight, const Matrix<float> &start, const Array<int32_t> &owner,
                   const Matrix<float> *times, const Matrix<float> *plus, bool relu, int threads) {
    const auto rows = static_cast<int64_t>(x.shape(0)), width = static_cast<int64_t>(x.shape(1));
    const auto columns = static_cast<int64_t>(weight.shape(1)), starts = static_cast<int64_t>(start.shape(0));
    const auto owned = static_cast<int64_t>(owner.shape(0));
    check(static_cast<int64_t>(weight.shape(0)) == width && static_cast<int64_t>(start.shape(1)) == columns,
          "x has " + std::to_string(width) + " columns, the layer takes " + std::to_string(weight.shape(0)) + " and gives " +
              std::to_string(columns) + ", and start has " + std::to_string(start.shape(1)));
    check(owned == rows || (owned == 0 && starts == 1), "owner must be empty, with one start for all, or have one entry a row");
    if (owned) {
        const auto [least, most] = std::minmax_element(owner.data(), owner.data() + owned);
        check(*least >= 0 && *most < starts, "owner must stay inside the rows of start");
    }
    for (const Matrix<float> *each : {times, plus})
        check(!each || (static_cast<int64_t>(each->shape(0)) == rows && static_cast<int64_t>(each->shape(1)) == columns),
              "times and plus must have the shape of the result");
    auto out = std::make_unique<std::vector<float>>(static_cast<size_t>(rows * columns));
    {
        nb::gil_scoped_release release;
        const DenseJob job{x.data(), width, weight.data(), columns, start.data(), owned ? owner.data() : nullptr,
                           times ? times->data() : nullptr, plus ? plus->data() : nullptr, relu, out->data()};
        const auto run = [&](const DenseJob &each) {
            in_parallel(rows, DENSE_GRAIN, threads, [&](int64_t begin, int64_t end) { active->dense(each, begin, end); });
        };
        if (columns >= active->lanes) {
            run(job);
        } else if (columns) {
            const Widened widened(job, rows, starts);
            run(widened.job());
            widened.narrow();
        }
    }
    return numpy(std::move(out), {static_cast<size_t>(rows), static_cast<size_t>(columns)});
}

Numpy<float> dense(const Matrix<float> &x, const Matrix<float> &weight, const Matrix<float> &start, const Array<int32_t> &owner,
                   bool relu, int threads) {
    return layer(x, weight, start, owner, nullptr, nullptr, relu, threads);
}

Numpy<float> cross(const Matrix<float> &x, const Matrix<float> &weight, const Matrix<float> &start, const Array<int32_t> &owner,
                   const Matrix<float> &times, const Matrix<float> &plus, int threads) {
    return layer(x, weight, start, owner, &times, &plus, false, threads);
}

}  // namespace

void bind_rankers(nb::module_ &m) {
    using namespace nb::literals;
    m.def("dense", &dense, "x"_a, "weight"_a, "start"_a, "owner"_a, "relu"_a = false, "threads"_a = 0);
    m.def("cross", &cross, "x"_a, "weight"_a, "start"_a, "owner"_a, "times"_a, "plus"_a, "threads"_a = 0);
}

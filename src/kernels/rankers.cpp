// The Python side of dense layers (dense.hpp).
#include "buffer.hpp"
#include "python.hpp"

namespace {

constexpr int64_t DENSE_GRAIN = 4096;  // rows below which a layer is not worth a thread

// Rows of `weight` as far apart as whole vectors want them.
struct Padded {
    explicit Padded(const Matrix<float> &weight)
        : height(static_cast<int64_t>(weight.shape(0))), width(static_cast<int64_t>(weight.shape(1))), stride((width + 63) / 64 * 64) {
        if (stride == width) {
            data = weight.data();
            return;
        }
        copy = std::make_unique<Buffer<float>>(height * stride);
        for (int64_t row = 0; row < height; ++row)
            std::copy_n(weight.data() + row * width, width, static_cast<float *>(*copy) + row * stride);
        data = *copy;
    }
    int64_t height, width, stride;
    const float *data;
    std::unique_ptr<Buffer<float>> copy;
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
        const Padded padded(weight);
        const DenseJob job{x.data(), width, padded.data, columns, padded.stride, start.data(), owned ? owner.data() : nullptr,
                           times ? times->data() : nullptr, plus ? plus->data() : nullptr, relu, out->data()};
        in_parallel(rows, DENSE_GRAIN, threads, [&](int64_t begin, int64_t end) { active->dense(job, begin, end); });
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

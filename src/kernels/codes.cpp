// The Python side of codes.hpp.
#include "python.hpp"

namespace {

Numpy<int64_t> nearest_codes(const Matrix<uint64_t> &code, const Matrix<uint64_t> &asked, int64_t count, const Array<bool> &open) {
    const auto size = static_cast<int64_t>(code.shape(0)), words = static_cast<int64_t>(code.shape(1));
    const auto queries = static_cast<int64_t>(asked.shape(0)), known = static_cast<int64_t>(open.shape(0));
    check(static_cast<int64_t>(asked.shape(1)) == words && words < 1024, "codes and questions must have equally many words, below 1024");
    check(known == 0 || known == size, "open must be empty or have one entry for each code");
    check(0 <= count && count <= size, "count must be between 0 and the number of codes");
    auto out = std::make_unique<std::vector<int64_t>>(static_cast<size_t>(queries * count));
    if (count) {
        nb::gil_scoped_release release;
        const CodesJob job{code.data(), asked.data(), size, words, known ? open.data() : nullptr, count, out->data()};
        in_parallel(queries, QUERY_GRAIN, 0, [&](int64_t begin, int64_t end) { active->nearest_codes(job, begin, end); });
    }
    return numpy(std::move(out), {static_cast<size_t>(queries), static_cast<size_t>(count)});
}

}  // namespace

void bind_codes(nb::module_ &m) {
    using namespace nb::literals;
    m.def("nearest_codes", &nearest_codes, "code"_a, "asked"_a, "count"_a, "open"_a);
}

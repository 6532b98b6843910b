// The Python side of searches in two steps: places found by codes (codes.hpp), places weighed by true vectors.
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

nb::tuple top_of_places(const Matrix<float> &asked, const Matrix<float> &held, const Matrix<int64_t> &place, int64_t k) {
    const auto queries = static_cast<int64_t>(asked.shape(0)), size = static_cast<int64_t>(held.shape(0));
    const auto dim = static_cast<int64_t>(held.shape(1)), width = static_cast<int64_t>(place.shape(1));
    check(static_cast<int64_t>(asked.shape(1)) == dim, "questions and vectors must have equally many dimensions");
    check(static_cast<int64_t>(place.shape(0)) == queries && size < (int64_t{1} << 31), "place must have a row for each question");
    check(k >= 0, "k must not be negative");
    auto found = std::make_unique<std::vector<int64_t>>(static_cast<size_t>(queries * k), -1);
    auto scores = std::make_unique<std::vector<float>>(static_cast<size_t>(queries * k), std::numeric_limits<float>::quiet_NaN());
    const int64_t most = std::min(k, width);
    if (most) {
        nb::gil_scoped_release release;
        std::vector<int32_t> query(static_cast<size_t>(queries * width)), wanted(query.size());
        for (size_t at = 0; at < query.size(); ++at) {
            query[at] = static_cast<int32_t>(static_cast<int64_t>(at) / width);
            wanted[at] = static_cast<int32_t>(place.data()[at] < size ? place.data()[at] : -1);
        }
        std::vector<float> score(query.size());
        std::vector<Slot> slot(static_cast<size_t>(queries * most));
        std::vector<int32_t> count(static_cast<size_t>(queries));
        const PairJob weigh{asked.data(), held.data(), dim, size, query.data(), wanted.data(), score.data()};
        const std::vector<int64_t> none(static_cast<size_t>(queries) + 1);
        const MatrixJob best{score.data(), width, nullptr, 0, {none.data(), nullptr}, {static_cast<int32_t>(most), slot.data(), count.data()}};
        in_parallel(queries, QUERY_GRAIN, 0, [&](int64_t begin, int64_t end) {
            PairJob mine = weigh;
            mine.query += begin * width, mine.wanted += begin * width, mine.out += begin * width;
            active->products(mine, 0, (end - begin) * width);
            active->top_of_matrix(best, begin, end);
        });
        for (int64_t b = 0; b < queries; ++b) {
            for (int32_t at = 0; at < count[static_cast<size_t>(b)]; ++at) {
                const Slot &each = slot[static_cast<size_t>(b * most + at)];
                (*found)[static_cast<size_t>(b * k + at)] = place(b, each.item);
                (*scores)[static_cast<size_t>(b * k + at)] = each.score;
            }
        }
    }
    const std::initializer_list<size_t> shape{static_cast<size_t>(queries), static_cast<size_t>(k)};
    return nb::make_tuple(numpy(std::move(found), shape), numpy(std::move(scores), shape));
}

}  // namespace

void bind_codes(nb::module_ &m) {
    using namespace nb::literals;
    m.def("nearest_codes", &nearest_codes, "code"_a, "asked"_a, "count"_a, "open"_a);
    m.def("top_of_places", &top_of_places, "asked"_a, "held"_a, "place"_a, "k"_a);
}

// Boosted trees: what each row scores, and which column said how much of it. One plain build for every machine; each has
// a naive twin in the tests.
#include "python.hpp"

namespace {

// What the path from the root has split on so far, with the shares of all subsets (Lundberg et al., Nature Machine
// Intelligence 2020, algorithm 2): `off` is the share of training rows that went this way, `on` whether this row does.
struct Step {
    int32_t column;
    double off, on, weight;
};

void extend(std::vector<Step> &path, double off, double on, int32_t column) {
    const auto depth = static_cast<int64_t>(path.size());
    path.push_back({column, off, on, depth == 0 ? 1.0 : 0.0});
    for (int64_t i = depth - 1; i >= 0; --i) {
        path[i + 1].weight += on * path[i].weight * static_cast<double>(i + 1) / static_cast<double>(depth + 1);
        path[i].weight = off * path[i].weight * static_cast<double>(depth - i) / static_cast<double>(depth + 1);
    }
}

void unwind(std::vector<Step> &path, int64_t place) {
    const auto depth = static_cast<int64_t>(path.size()) - 1;
    const double on = path[place].on, off = path[place].off;
    double next = path[depth].weight;
    for (int64_t i = depth - 1; i >= 0; --i) {
        if (on != 0) {
            const double kept = path[i].weight;
            path[i].weight = next * static_cast<double>(depth + 1) / (static_cast<double>(i + 1) * on);
            next = kept - path[i].weight * off * static_cast<double>(depth - i) / static_cast<double>(depth + 1);
        } else {
            path[i].weight = path[i].weight * static_cast<double>(depth + 1) / (off * static_cast<double>(depth - i));
        }
    }
    for (int64_t i = place; i < depth; ++i) path[i].column = path[i + 1].column, path[i].off = path[i + 1].off, path[i].on = path[i + 1].on;
    path.pop_back();
}

double unwound(const std::vector<Step> &path, int64_t place) {
    const auto depth = static_cast<int64_t>(path.size()) - 1;
    const double on = path[place].on, off = path[place].off;
    double next = path[depth].weight, total = 0;
    for (int64_t i = depth - 1; i >= 0; --i) {
        if (on != 0) {
            const double part = next * static_cast<double>(depth + 1) / (static_cast<double>(i + 1) * on);
            total += part;
            next = path[i].weight - part * off * static_cast<double>(depth - i) / static_cast<double>(depth + 1);
        } else {
            total += path[i].weight * static_cast<double>(depth + 1) / (off * static_cast<double>(depth - i));
        }
    }
    return total;
}

// Node n sends a row to `below[2 n]` when its column holds at most the threshold (or nothing, and nothing goes there),
// else to `below[2 n + 1]`; a number below 0 is the leaf ~number. Children come after their parents.
class Forest {
public:
    Forest(const Array<int32_t> &root, const Array<int32_t> &column, const Array<float> &threshold, const Matrix<int32_t> &below,
           const Array<bool> &nothing_left, const Array<double> &leaf, const Array<double> &cover, const Array<double> &leaf_cover)
        : root_(root.data(), root.data() + root.size()), column_(column.data(), column.data() + column.size()),
          below_(below.data(), below.data() + below.size()), threshold_(threshold.data(), threshold.data() + threshold.size()),
          nothing_left_(nothing_left.data(), nothing_left.data() + nothing_left.size()), leaf_(leaf.data(), leaf.data() + leaf.size()),
          cover_(cover.data(), cover.data() + cover.size()), leaf_cover_(leaf_cover.data(), leaf_cover.data() + leaf_cover.size()) {
        const auto nodes = static_cast<int64_t>(column_.size()), leaves = static_cast<int64_t>(leaf_.size());
        check(threshold_.size() == column_.size() && below.shape(0) == column.shape(0) && below.shape(1) == 2 &&
                  nothing_left_.size() == column_.size() && cover_.size() == column_.size() && leaf_cover_.size() == leaf_.size(),
              "column, threshold, below, nothing_left and cover must have one entry for each node, leaf_cover one for each leaf");
        std::vector<int> reached(static_cast<size_t>(nodes + leaves));
        const auto reach = [&](int32_t to, int64_t from) {
            check(to < 0 ? ~to < leaves : to > from && to < nodes, "a tree or a node leads to a node or leaf that there is not");
            check(!reached[static_cast<size_t>(to < 0 ? nodes + ~to : to)]++, "two nodes lead to the same place");
        };
        for (const int32_t each : root_) reach(each, -1);
        for (int64_t node = 0; node < nodes; ++node) {
            check(column_[node] >= 0, "a node reads a column that there is not");
            width_ = std::max<int64_t>(width_, column_[node] + 1);
            for (int side = 0; side < 2; ++side) reach(below_[2 * node + side], node);
        }
        check(std::all_of(cover_.begin(), cover_.end(), [](double each) { return each > 0; }) &&
                  std::all_of(leaf_cover_.begin(), leaf_cover_.end(), [](double each) { return each > 0; }),
              "a node or a leaf covers nothing");
        for (const int32_t each : root_) {
            word_.push_back(static_cast<int64_t>(ordered_.size()) / 32);
            lay_out(each, static_cast<int64_t>(ordered_.size()));
            ordered_.resize((ordered_.size() + 31) / 32 * 32);
        }
        std::stable_sort(condition_.begin(), condition_.end(), [](const Condition &a, const Condition &b) { return a.column < b.column; });
    }

    // (N,) the sum of the leaves that each row of `value` (N, F) ends in, tree by tree.
    Numpy<double> sums(const Matrix<float> &value, int threads) const {
        const auto rows = static_cast<int64_t>(value.shape(0)), width = static_cast<int64_t>(value.shape(1));
        check(width >= width_, "the rows have too few columns");
        auto sum = std::make_unique<std::vector<double>>(static_cast<size_t>(rows));
        {
            nb::gil_scoped_release release;
            const ForestJob job{value.data(), width, condition_.data(), static_cast<int64_t>(condition_.size()), word_.data(),
                                static_cast<int64_t>(word_.size()), static_cast<int64_t>(ordered_.size()) / 32, ordered_.data(), sum->data()};
            in_parallel(rows, ROW_GRAIN, threads, [&](int64_t begin, int64_t end) { active->forest(job, begin, end); });
        }
        return numpy(std::move(sum), {static_cast<size_t>(rows)});
    }

    // (N, F + 1) how much each column adds to the sum of a row (TreeSHAP), and last what is expected of any row.
    Numpy<double> parts(const Matrix<float> &value) const {
        const auto rows = static_cast<int64_t>(value.shape(0)), width = static_cast<int64_t>(value.shape(1));
        check(width >= width_, "the rows have too few columns");
        auto parts = std::make_unique<std::vector<double>>(static_cast<size_t>(rows * (width + 1)));
        {
            nb::gil_scoped_release release;
            double base = 0;
            for (const int32_t each : root_) base += expected(each);
            for (int64_t at = 0; at < rows; ++at) {
                double *out = parts->data() + at * (width + 1);
                out[width] = base;
                for (const int32_t each : root_) explain(value.data() + at * width, each, {}, 1, 1, -1, out);
            }
        }
        return numpy(std::move(parts), {static_cast<size_t>(rows), static_cast<size_t>(width + 1)});
    }

private:
    static constexpr int64_t ROW_GRAIN = 4096;

    // The leaves below `at`, left to right, and the conditions of its nodes.
    void lay_out(int32_t at, int64_t tree) {
        if (at < 0) return ordered_.push_back(leaf_[~at]);
        const auto begin = static_cast<int64_t>(ordered_.size());
        lay_out(below_[2 * static_cast<int64_t>(at)], tree);
        const auto end = static_cast<int64_t>(ordered_.size());
        lay_out(below_[2 * static_cast<int64_t>(at) + 1], tree);
        for (int64_t word = begin / 32; word <= (end - 1) / 32; ++word) {
            uint32_t kept = ~0u;
            for (int64_t leaf = std::max(begin, word * 32); leaf < std::min(end, word * 32 + 32); ++leaf) kept &= ~(1u << (leaf % 32));
            condition_.push_back({threshold_[at], kept, static_cast<int32_t>(word), 2 * column_[at] + nothing_left_[at]});
        }
    }

    int32_t next(int32_t node, const float *row) const {
        const float value = row[column_[node]];
        const bool left = value <= threshold_[node] || (std::isnan(value) && nothing_left_[node]);
        return below_[2 * static_cast<size_t>(node) + !left];
    }

    double covered(int32_t at) const { return at < 0 ? leaf_cover_[~at] : cover_[at]; }

    double expected(int32_t at) const {
        if (at < 0) return leaf_[~at];
        const int32_t left = below_[2 * static_cast<size_t>(at)], right = below_[2 * static_cast<size_t>(at) + 1];
        return (expected(left) * covered(left) + expected(right) * covered(right)) / cover_[at];
    }

    void explain(const float *row, int32_t at, std::vector<Step> path, double off, double on, int32_t column, double *out) const {
        extend(path, off, on, column);
        const auto steps = static_cast<int64_t>(path.size());
        if (at < 0) {
            for (int64_t i = 1; i < steps; ++i) out[path[i].column] += unwound(path, i) * (path[i].on - path[i].off) * leaf_[~at];
            return;
        }
        double before_off = 1, before_on = 1;
        for (int64_t i = 1; i < steps; ++i)
            if (path[i].column == column_[at]) {
                before_off = path[i].off, before_on = path[i].on;
                unwind(path, i);
                break;
            }
        const int32_t taken = next(at, row);
        for (int side = 0; side < 2; ++side) {
            const int32_t to = below_[2 * static_cast<size_t>(at) + side];
            explain(row, to, path, before_off * covered(to) / cover_[at], to == taken ? before_on : 0, column_[at], out);
        }
    }

    std::vector<int32_t> root_, column_, below_;
    std::vector<float> threshold_;
    std::vector<bool> nothing_left_;
    std::vector<double> leaf_, cover_, leaf_cover_;
    int64_t width_ = 0;
    std::vector<Condition> condition_;
    std::vector<int64_t> word_;
    std::vector<double> ordered_;  // leaves as the words count them
};

}  // namespace

void bind_trees(nb::module_ &m) {
    using namespace nb::literals;
    nb::class_<Forest>(m, "Forest")
        .def(nb::init<const Array<int32_t> &, const Array<int32_t> &, const Array<float> &, const Matrix<int32_t> &, const Array<bool> &,
                      const Array<double> &, const Array<double> &, const Array<double> &>(),
             "root"_a, "column"_a, "threshold"_a, "below"_a, "nothing_left"_a, "leaf"_a, "cover"_a, "leaf_cover"_a)
        .def("sums", &Forest::sums, "value"_a, "threads"_a = 1)
        .def("parts", &Forest::parts, "value"_a);
}

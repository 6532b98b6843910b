// Boosted trees: what each row scores, and which column said how much of it. One plain build for every machine; each has
// a naive twin in the tests.
#include "python.hpp"

namespace {

// Node n sends a row to `below[2 n]` when its column holds at most the threshold (or nothing, and nothing goes there),
// else to `below[2 n + 1]`; a number below 0 is the leaf ~number. Children come after their parents.
struct Trees {
    const int32_t *root;  // (T) first node of each tree, or its only leaf as ~leaf
    int64_t trees;
    const int32_t *column;  // (M)
    const float *threshold;  // (M)
    const int32_t *below;  // (M, 2)
    const bool *nothing_left;  // (M) where a row without a value goes
    const double *leaf;  // (L)

    int32_t next(int32_t node, const float *row) const {
        const float value = row[column[node]];
        const bool left = value <= threshold[node] || (std::isnan(value) && nothing_left[node]);
        return below[2 * static_cast<int64_t>(node) + !left];
    }
};

Trees trees_of(const Array<int32_t> &root, const Array<int32_t> &column, const Array<float> &threshold, const Matrix<int32_t> &below,
               const Array<bool> &nothing_left, const Array<double> &leaf, int64_t width) {
    const auto nodes = static_cast<int64_t>(column.shape(0)), leaves = static_cast<int64_t>(leaf.shape(0));
    check(threshold.shape(0) == column.shape(0) && below.shape(0) == column.shape(0) && below.shape(1) == 2 &&
              nothing_left.shape(0) == column.shape(0),
          "column, threshold, below and nothing_left must have one entry for each node");
    const auto inside = [&](int32_t to, int64_t from) { return to < 0 ? ~to < leaves : to > from && to < nodes; };
    for (int64_t node = 0; node < nodes; ++node)
        check(column(node) >= 0 && column(node) < width && inside(below(node, 0), node) && inside(below(node, 1), node),
              "a node reads a column, or leads to a node or leaf, that there is not");
    for (size_t tree = 0; tree < root.shape(0); ++tree) check(inside(root(tree), -1), "a tree begins at a node that there is not");
    return {root.data(), static_cast<int64_t>(root.shape(0)), column.data(), threshold.data(), below.data(), nothing_left.data(), leaf.data()};
}

constexpr int64_t TOGETHER = 16;  // rows that go down a tree side by side, so that their waits for memory overlap

// (N,) the sum of the leaves that each row of `value` (N, F) ends in, tree by tree.
Numpy<double> sum_of_trees(const Matrix<float> &value, const Array<int32_t> &root, const Array<int32_t> &column,
                           const Array<float> &threshold, const Matrix<int32_t> &below, const Array<bool> &nothing_left,
                           const Array<double> &leaf) {
    const auto rows = static_cast<int64_t>(value.shape(0)), width = static_cast<int64_t>(value.shape(1));
    const Trees trees = trees_of(root, column, threshold, below, nothing_left, leaf, width);
    auto sum = std::make_unique<std::vector<double>>(static_cast<size_t>(rows));
    {
        nb::gil_scoped_release release;
        for (int64_t begin = 0; begin < rows; begin += TOGETHER) {
            const int64_t count = std::min(TOGETHER, rows - begin);
            const float *row = value.data() + begin * width;
            double *out = sum->data() + begin;
            for (int64_t tree = 0; tree < trees.trees; ++tree) {
                int32_t at[TOGETHER];
                for (int64_t lane = 0; lane < TOGETHER; ++lane) at[lane] = lane < count ? trees.root[tree] : -1;
                for (bool going = true; going;) {
                    going = false;
                    for (int64_t lane = 0; lane < count; ++lane) {
                        if (at[lane] < 0) continue;
                        at[lane] = trees.next(at[lane], row + lane * width);
                        going |= at[lane] >= 0;
                    }
                }
                for (int64_t lane = 0; lane < count; ++lane) out[lane] += trees.leaf[~at[lane]];
            }
        }
    }
    return numpy(std::move(sum), {static_cast<size_t>(rows)});
}

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

void explain(const Trees &trees, const double *cover, const double *leaf_cover, const float *row, int32_t at, std::vector<Step> path,
             double off, double on, int32_t column, double *out) {
    extend(path, off, on, column);
    if (at < 0) {
        for (int64_t i = 1; i < static_cast<int64_t>(path.size()); ++i)
            out[path[i].column] += unwound(path, i) * (path[i].on - path[i].off) * trees.leaf[~at];
        return;
    }
    const int32_t hot = trees.next(at, row);
    const int32_t left = trees.below[2 * static_cast<int64_t>(at)], right = trees.below[2 * static_cast<int64_t>(at) + 1];
    const int32_t cold = hot == left ? right : left;
    const auto covered = [&](int32_t node) { return node < 0 ? leaf_cover[~node] : cover[node]; };
    double before_off = 1, before_on = 1;
    for (int64_t i = 1; i < static_cast<int64_t>(path.size()); ++i)
        if (path[i].column == trees.column[at]) {
            before_off = path[i].off, before_on = path[i].on;
            unwind(path, i);
            break;
        }
    explain(trees, cover, leaf_cover, row, hot, path, before_off * covered(hot) / cover[at], before_on, trees.column[at], out);
    explain(trees, cover, leaf_cover, row, cold, path, before_off * covered(cold) / cover[at], 0, trees.column[at], out);
}

double expected(const Trees &trees, const double *cover, const double *leaf_cover, int32_t at) {
    if (at < 0) return trees.leaf[~at];
    const int32_t left = trees.below[2 * static_cast<int64_t>(at)], right = trees.below[2 * static_cast<int64_t>(at) + 1];
    const auto covered = [&](int32_t node) { return node < 0 ? leaf_cover[~node] : cover[node]; };
    return (expected(trees, cover, leaf_cover, left) * covered(left) + expected(trees, cover, leaf_cover, right) * covered(right)) / cover[at];
}

// (N, F + 1) how much each column adds to the sum of a row (TreeSHAP), and last what is expected of any row.
Numpy<double> parts_of_trees(const Matrix<float> &value, const Array<int32_t> &root, const Array<int32_t> &column,
                             const Array<float> &threshold, const Matrix<int32_t> &below, const Array<bool> &nothing_left,
                             const Array<double> &leaf, const Array<double> &cover, const Array<double> &leaf_cover) {
    const auto rows = static_cast<int64_t>(value.shape(0)), width = static_cast<int64_t>(value.shape(1));
    const Trees trees = trees_of(root, column, threshold, below, nothing_left, leaf, width);
    check(cover.shape(0) == column.shape(0) && leaf_cover.shape(0) == leaf.shape(0), "cover must have one entry for each node and leaf");
    for (size_t i = 0; i < cover.shape(0); ++i) check(cover(i) > 0, "a node covers nothing");
    for (size_t i = 0; i < leaf_cover.shape(0); ++i) check(leaf_cover(i) > 0, "a leaf covers nothing");
    auto parts = std::make_unique<std::vector<double>>(static_cast<size_t>(rows * (width + 1)));
    {
        nb::gil_scoped_release release;
        double base = 0;
        for (int64_t tree = 0; tree < trees.trees; ++tree) base += expected(trees, cover.data(), leaf_cover.data(), trees.root[tree]);
        for (int64_t at = 0; at < rows; ++at) {
            double *out = parts->data() + at * (width + 1);
            out[width] = base;
            for (int64_t tree = 0; tree < trees.trees; ++tree)
                if (trees.root[tree] >= 0)
                    explain(trees, cover.data(), leaf_cover.data(), value.data() + at * width, trees.root[tree], {}, 1, 1, -1, out);
        }
    }
    return numpy(std::move(parts), {static_cast<size_t>(rows), static_cast<size_t>(width + 1)});
}

}  // namespace

void bind_trees(nb::module_ &m) {
    using namespace nb::literals;
    m.def("sum_of_trees", &sum_of_trees, "value"_a, "root"_a, "column"_a, "threshold"_a, "below"_a, "nothing_left"_a, "leaf"_a);
    m.def("parts_of_trees", &parts_of_trees, "value"_a, "root"_a, "column"_a, "threshold"_a, "below"_a, "nothing_left"_a, "leaf"_a,
          "cover"_a, "leaf_cover"_a);
}

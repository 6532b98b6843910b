// From lists of items to walks: a weighted graph of what stands together, and random walks on it.
#include <limits>
#include <optional>

#include "python.hpp"
#include "random.hpp"
#include "watch.hpp"

namespace {

// Walker's table (ACM TOMS 1977, after Vose 1991): one draw from a row of weights in constant time.
void alias_table(const float *weight, int64_t size, float *share, int32_t *other) {
    double total = 0;
    for (int64_t i = 0; i < size; ++i) total += weight[i];
    std::vector<int32_t> small, large;
    std::vector<double> scaled(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
        scaled[static_cast<size_t>(i)] = total > 0 ? weight[i] * static_cast<double>(size) / total : 1;
        (scaled[static_cast<size_t>(i)] < 1 ? small : large).push_back(static_cast<int32_t>(i));
        share[i] = 1;
        other[i] = static_cast<int32_t>(i);
    }
    while (!small.empty() && !large.empty()) {
        const int32_t less = small.back(), more = large.back();
        small.pop_back();
        share[less] = static_cast<float>(scaled[static_cast<size_t>(less)]);
        other[less] = more;
        double &left = scaled[static_cast<size_t>(more)];
        left -= 1 - scaled[static_cast<size_t>(less)];
        if (left < 1) {
            large.pop_back();
            small.push_back(more);
        }
    }
}

// A list as pairs are taken from it: all others are partners of a place, or `reach` on either side of it.
struct Partners {
    int64_t reach;
    bool sampled;  // of a shuffled list, around its ends; each pair then stands for all that were not drawn

    bool whole(int64_t length) const { return length - 1 <= 2 * reach; }

    template <typename Pair> void of(int64_t place, int64_t length, Pair pair) const {
        if (!sampled) {
            const int64_t stop = std::min(length, place + reach + 1);
            for (int64_t at = std::max<int64_t>(0, place - reach); at < stop; ++at) pair(at, 1.0);
        } else if (whole(length)) {
            for (int64_t at = 0; at < length; ++at) pair(at, 1.0);
        } else {
            const double stands_for = static_cast<double>(length - 1) / static_cast<double>(2 * reach);
            for (int64_t step = 1; step <= reach; ++step) {
                pair((place + step) % length, stands_for);
                pair((place - step + length) % length, stands_for);
            }
        }
    }
};

struct Edges {
    std::vector<int32_t> item;
    std::vector<float> weight;
};

// (ptr, item, weight) of the symmetric graph of what stands together in a list; a row's items rise.
nb::tuple item_graph(const Array<int64_t> &ptr, const Array<int32_t> &item, int64_t width, int64_t reach, bool sampled, uint64_t seed,
                     int threads, const nb::object &progress) {
    const auto lists = static_cast<int64_t>(ptr.shape(0)) - 1, size = static_cast<int64_t>(item.shape(0));
    check(lists >= 0 && reach >= 1 && width >= 0, "ptr must not be empty, reach must be at least 1 and width not below 0");
    listed(ptr, item, lists, "list");
    for (int64_t at = 0; at < size; ++at) check(item(at) >= 0 && item(at) < width, "an item is out of range");
    const Partners partners{reach, sampled};
    std::vector<Edges> rows(static_cast<size_t>(width));
    Watch watch(progress, width);
    {
        nb::gil_scoped_release release;
        std::vector<int32_t> order(item.data(), item.data() + size), owner(static_cast<size_t>(size));
        for (int64_t list = 0; list < lists; ++list) {
            const int64_t begin = ptr(list), length = ptr(list + 1) - begin;
            std::fill_n(owner.begin() + begin, length, static_cast<int32_t>(list));
            if (!sampled || partners.whole(length)) continue;
            Random chance(seed, static_cast<uint64_t>(list));
            for (int64_t at = length - 1; at > 0; --at) std::swap(order[static_cast<size_t>(begin + at)], order[static_cast<size_t>(begin + chance.below(at + 1))]);
        }
        std::vector<int64_t> first(static_cast<size_t>(width) + 1), place(static_cast<size_t>(size));  // where each item stands
        for (const int32_t each : order) ++first[static_cast<size_t>(each) + 1];
        std::partial_sum(first.begin(), first.end(), first.begin());
        std::vector<int64_t> next(first.begin(), first.end() - 1);
        for (int64_t at = 0; at < size; ++at) place[static_cast<size_t>(next[static_cast<size_t>(order[static_cast<size_t>(at)])]++)] = at;
        in_parallel(width, 16, threads, [&](int64_t begin, int64_t end) {
            std::vector<double> sum(static_cast<size_t>(width));
            std::vector<int32_t> touched;
            for (int64_t row = begin; row < end && !watch.stopped(); ++row, watch.add(1)) {
                touched.clear();
                for (int64_t at = first[static_cast<size_t>(row)]; at < first[static_cast<size_t>(row) + 1]; ++at) {
                    const int64_t here = place[static_cast<size_t>(at)], list = owner[static_cast<size_t>(here)];
                    partners.of(here - ptr(list), ptr(list + 1) - ptr(list), [&](int64_t there, double weight) {
                        const int32_t other = order[static_cast<size_t>(ptr(list) + there)];
                        if (other == row) return;
                        if (sum[static_cast<size_t>(other)] == 0) touched.push_back(other);
                        sum[static_cast<size_t>(other)] += weight;
                    });
                }
                std::sort(touched.begin(), touched.end());
                Edges &edges = rows[static_cast<size_t>(row)];
                edges.item = touched;
                for (const int32_t other : touched) {
                    edges.weight.push_back(static_cast<float>(sum[static_cast<size_t>(other)]));
                    sum[static_cast<size_t>(other)] = 0;
                }
            }
        });
    }
    auto border = std::make_unique<std::vector<int64_t>>(1, 0);
    for (const Edges &edges : rows) border->push_back(border->back() + static_cast<int64_t>(edges.item.size()));
    const auto total = static_cast<size_t>(border->back());
    auto other = std::make_unique<std::vector<int32_t>>();
    auto weight = std::make_unique<std::vector<float>>();
    other->reserve(total);
    weight->reserve(total);
    for (Edges &edges : rows) {
        other->insert(other->end(), edges.item.begin(), edges.item.end());
        weight->insert(weight->end(), edges.weight.begin(), edges.weight.end());
        edges = Edges{};
    }
    return nb::make_tuple(numpy(std::move(border), {static_cast<size_t>(width) + 1}), numpy(std::move(other), {total}),
                          numpy(std::move(weight), {total}));
}

// One step of a walk on a weighted graph, drawn by alias tables; from the second step on with the bias of node2vec.
class Graph {
public:
    Graph(const Csr &rows, int64_t nodes, double p, double q, int threads)
        : rows_(rows), share_(static_cast<size_t>(rows.ptr[nodes])), other_(share_.size()), strength_(static_cast<size_t>(nodes)),
          start_share_(strength_.size()), start_other_(strength_.size()), back_(1 / p), away_(1 / q), bound_(std::max(1.0, 1 / q)) {
        in_parallel(nodes, 64, threads, [&](int64_t begin, int64_t end) {
            for (int64_t node = begin; node < end; ++node) {
                const int64_t from = rows_.ptr[node], size = rows_.ptr[node + 1] - from;
                double total = 0;
                for (int64_t at = 0; at < size; ++at) total += rows_.value[from + at];
                strength_[static_cast<size_t>(node)] = static_cast<float>(total);
                alias_table(rows_.value + from, size, share_.data() + from, other_.data() + from);
            }
        });
        alias_table(strength_.data(), nodes, start_share_.data(), start_other_.data());
    }

    int32_t start(Random &chance) const {
        const int64_t at = chance.below(static_cast<int64_t>(strength_.size()));
        return chance.uniform() < start_share_[static_cast<size_t>(at)] ? static_cast<int32_t>(at) : start_other_[static_cast<size_t>(at)];
    }

    int32_t step(int32_t node, Random &chance) const {
        const int64_t from = rows_.ptr[node], at = chance.below(rows_.ptr[node + 1] - from);
        return rows_.index[from + (chance.uniform() < share_[static_cast<size_t>(from + at)] ? at : other_[static_cast<size_t>(from + at)])];
    }

    // node2vec: weights times 1/p for the node before, 1 for its neighbours, 1/q for others. By rejection under the bound
    // of the latter two (Yang et al., KnightKing, SOSP 2019); what 1/p has above the bound is drawn apart.
    int32_t step(int32_t node, int32_t before, Random &chance) const {
        const double extra = std::max(0.0, back_ - bound_) * edge(node, before);
        const double total = bound_ * strength_[static_cast<size_t>(node)] + extra;
        for (;;) {
            if (chance.uniform() * total < extra) return before;
            const int32_t next = step(node, chance);
            const double share = next == before ? std::min(back_, bound_) : edge(before, next) > 0 ? 1 : away_;
            if (chance.uniform() * bound_ < share) return next;
        }
    }

    bool biased() const { return back_ != 1 || away_ != 1; }

private:
    float edge(int32_t from, int32_t to) const {
        const int32_t *begin = rows_.index + rows_.ptr[from], *end = rows_.index + rows_.ptr[from + 1];
        const int32_t *found = std::lower_bound(begin, end, to);
        return found < end && *found == to ? rows_.value[found - rows_.index] : 0;
    }

    Csr rows_;
    std::vector<float> share_;
    std::vector<int32_t> other_;
    std::vector<float> strength_, start_share_;
    std::vector<int32_t> start_other_;
    double back_, away_, bound_;
};

// (walks, length) nodes; every walk has its own chance, so that the number of threads changes nothing.
Numpy<int32_t> random_walks(const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &weight, int64_t walks, int64_t length,
                            double p, double q, uint64_t seed, int threads, const nb::object &progress) {
    const auto nodes = static_cast<int64_t>(ptr.shape(0)) - 1;
    check(walks >= 0 && length >= 1 && p > 0 && q > 0, "walks must not be below 0, length at least 1, p and q above 0");
    const Csr rows = csr(ptr, index, weight, nodes);
    for (int64_t node = 0; node < nodes; ++node) {
        check(std::adjacent_find(index.data() + ptr(node), index.data() + ptr(node + 1), std::greater_equal<>()) == index.data() + ptr(node + 1),
              "the neighbours of a node must rise");
        for (int64_t at = ptr(node); at < ptr(node + 1); ++at)
            check(weight(at) > 0 && std::isfinite(weight(at)) && ptr(index(at)) < ptr(index(at) + 1),
                  "a weight must be above 0, and no neighbour may be without neighbours");
    }
    if (!index.shape(0)) walks = 0;
    auto out = std::make_unique<std::vector<int32_t>>(static_cast<size_t>(walks * length));
    Watch watch(progress, walks);
    if (walks) {
        nb::gil_scoped_release release;
        const Graph graph(rows, nodes, p, q, threads);
        in_parallel(walks, 256, threads, [&](int64_t begin, int64_t end) {
            for (int64_t walk = begin; walk < end && !watch.stopped(); ++walk, watch.add(1)) {
                Random chance(seed, static_cast<uint64_t>(walk));
                int32_t *to = out->data() + walk * length;
                to[0] = graph.start(chance);
                for (int64_t at = 1; at < length; ++at)
                    to[at] = at > 1 && graph.biased() ? graph.step(to[at - 1], to[at - 2], chance) : graph.step(to[at - 1], chance);
            }
        });
    }
    return numpy(std::move(out), {static_cast<size_t>(walks), static_cast<size_t>(length)});
}

// Vectors in place, `epochs` times over the lists; the rate falls from `rate` to almost nothing.
void skip_gram(const MutableMatrix &input, const MutableMatrix &output, const Array<int64_t> &ptr, const Array<int32_t> &item,
               const Array<float> &noise, const Array<float> &keep, int window, int negatives, int epochs, float rate, uint64_t seed,
               int threads, const nb::object &progress) {
    const auto lists = static_cast<int64_t>(ptr.shape(0)) - 1, width = static_cast<int64_t>(input.shape(0)), dim = static_cast<int64_t>(input.shape(1));
    check(output.shape(0) == input.shape(0) && output.shape(1) == input.shape(1), "input and output must have the same shape");
    check(dim % 16 == 0, std::to_string(dim) + " dimensions: pad with zeros to a multiple of 16");
    check(static_cast<int64_t>(noise.shape(0)) == width && static_cast<int64_t>(keep.shape(0)) == width, "noise and keep must have one entry an item");
    check(window >= 1 && negatives >= 1 && negatives < 64 && epochs >= 0, "window must be at least 1, negatives 1 to 63, epochs not below 0");
    listed(ptr, item, lists, "list");
    const auto tokens = static_cast<int64_t>(item.shape(0));
    for (int64_t at = 0; at < tokens; ++at) check(item(at) >= 0 && item(at) < width && noise(item(at)) > 0, "an item is out of range, or has no noise");
    if (!tokens) return;
    constexpr int64_t CHUNK = 4096;  // items between two changes of the rate
    const int64_t grain = std::max<int64_t>(1, CHUNK * lists / tokens);
    Watch watch(progress, lists * epochs);
    nb::gil_scoped_release release;
    std::vector<float> share(static_cast<size_t>(width));
    std::vector<int32_t> other(static_cast<size_t>(width));
    alias_table(noise.data(), width, share.data(), other.data());
    const SkipGramJob job{ptr.data(), item.data(), input.data(), output.data(), dim, width, share.data(), other.data(), keep.data(), window, negatives};
    for (int epoch = 0; epoch < epochs; ++epoch)
        in_parallel(lists, grain, threads, [&](int64_t begin, int64_t end) {
            for (int64_t first = begin; first < end && !watch.stopped(); first += grain) {
                const int64_t last = std::min(first + grain, end);
                const double done = (epoch + static_cast<double>(first) / static_cast<double>(lists)) / epochs;
                active->skip_gram(job, first, last, seed + static_cast<uint64_t>(epoch), rate * static_cast<float>(std::max(1 - done, 1e-4)));
                watch.add(last - first);
            }
        });
}

}  // namespace

void bind_walks(nb::module_ &m) {
    using namespace nb::literals;
    m.def("item_graph", &item_graph, "ptr"_a, "item"_a, "width"_a, "reach"_a, "sampled"_a, "seed"_a, "threads"_a = 0, "progress"_a = nb::none());
    m.def("random_walks", &random_walks, "ptr"_a, "index"_a, "weight"_a, "walks"_a, "length"_a, "p"_a, "q"_a, "seed"_a, "threads"_a = 0,
          "progress"_a = nb::none());
    m.def("skip_gram", &skip_gram, "input"_a.noconvert(), "output"_a.noconvert(), "ptr"_a, "item"_a, "noise"_a, "keep"_a, "window"_a,
          "negatives"_a, "epochs"_a, "rate"_a, "seed"_a, "threads"_a = 0, "progress"_a = nb::none());
}

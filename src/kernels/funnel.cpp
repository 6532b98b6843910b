// What the stages of a request do between the models: weigh a history, merge lists, compare sources, pick unlike items.
// Small work on few rows, so one plain build for every machine; each has a naive twin in the tests.
#include <cfloat>
#include <limits>

#include "python.hpp"
#include "radix.hpp"

namespace {

constexpr float NOTHING = std::numeric_limits<float>::quiet_NaN();

template <typename T> Numpy<T> moved(std::vector<T> &&data) {
    const size_t size = data.size();
    return numpy(std::make_unique<std::vector<T>>(std::move(data)), {size});
}

// The rows that speak for an item below `width`: (ptr, item, weight), the weight halved every `half_life` liked rows from
// the newest; of each list the last 20 half-lives.
nb::tuple liked(const Array<int64_t> &ptr, const Array<int32_t> &item, const Array<float> &weight, double half_life, int64_t width) {
    const auto lists = static_cast<int64_t>(ptr.shape(0)) - 1;
    check(lists >= 0, "ptr must not be empty");
    const Csr rows = csr(ptr, item, weight, -1);
    const bool fades = half_life > 0 && std::isfinite(half_life);
    const int64_t most = fades ? static_cast<int64_t>(std::ceil(20 * half_life)) : std::numeric_limits<int64_t>::max();
    std::vector<int64_t> border{0};
    std::vector<int32_t> kept;
    std::vector<float> said;
    for (int64_t list = 0; list < lists; ++list) {
        const auto first = static_cast<int64_t>(kept.size());
        int64_t newer = 0, count = 0;
        for (int64_t at = rows.ptr[list + 1]; at-- > rows.ptr[list] && count < most;) {
            if (!(rows.value[at] > 0)) continue;
            const float share = fades ? static_cast<float>(std::exp2(-static_cast<double>(newer) / half_life)) : 1.0f;
            ++newer;
            const float left = rows.value[at] * share;
            if (!(left > 0) || rows.index[at] < 0 || rows.index[at] >= width) continue;
            kept.push_back(rows.index[at]);
            said.push_back(left);
            ++count;
        }
        std::reverse(kept.begin() + first, kept.end());
        std::reverse(said.begin() + first, said.end());
        border.push_back(static_cast<int64_t>(kept.size()));
    }
    return nb::make_tuple(moved(std::move(border)), moved(std::move(kept)), moved(std::move(said)));
}

// Sort positions by a key, equal ones as they are.
template <typename Key> void in_order(std::vector<int64_t> &position, Key key) {
    std::vector<int64_t> keys(position.size()), order(position.size()), sorted(position.size());
    std::transform(position.begin(), position.end(), keys.begin(), key);
    stable_order(keys.data(), static_cast<int64_t>(keys.size()), order.data());
    std::transform(order.begin(), order.end(), sorted.begin(), [&](int64_t at) { return position[static_cast<size_t>(at)]; });
    position.swap(sorted);
}

// What each event says of its item (dataset.Kinds.weigh); weight, least and cap are by kind (256).
Numpy<float> weigh(const Array<int32_t> &owner, const Array<int32_t> &item, const Array<uint8_t> &kind, const Array<float> &value,
                   const Array<float> &weight, const Array<float> &least, const Array<int64_t> &cap) {
    const auto rows = static_cast<int64_t>(owner.shape(0));
    check(item.shape(0) == owner.shape(0) && kind.shape(0) == owner.shape(0) && value.shape(0) == owner.shape(0),
          "owner, item, kind and value must be equally long");
    check(weight.shape(0) == 256 && least.shape(0) == 256 && cap.shape(0) == 256, "weight, least and cap must have 256 entries");
    auto said = std::make_unique<std::vector<float>>(static_cast<size_t>(rows));
    {
        nb::gil_scoped_release release;
        const auto pair = [&](int64_t at) {
            return static_cast<uint64_t>(static_cast<uint32_t>(owner(at))) << 32 | static_cast<uint32_t>(item(at));
        };
        std::vector<int64_t> capped;
        std::vector<uint64_t> disliked;
        for (int64_t at = 0; at < rows; ++at) {
            const float says = value(at) >= least(kind(at)) ? weight(kind(at)) : 0;
            (*said)[static_cast<size_t>(at)] = says;
            if (says < 0) disliked.push_back(pair(at));
            if (says != 0 && cap(kind(at)) > 0) capped.push_back(at);
        }
        in_order(capped, [&](int64_t at) { return static_cast<int64_t>(kind(at)); });
        in_order(capped, [&](int64_t at) { return static_cast<int64_t>(pair(at)); });
        int64_t nth = 0;
        for (size_t i = 0; i < capped.size(); ++i) {
            const int64_t at = capped[i], last = i ? capped[i - 1] : at;
            nth = i && pair(at) == pair(last) && kind(at) == kind(last) ? nth + 1 : 0;
            if (nth >= cap(kind(at))) (*said)[static_cast<size_t>(at)] = 0;
        }
        if (!disliked.empty()) {
            std::sort(disliked.begin(), disliked.end());
            for (int64_t at = 0; at < rows; ++at)
                if ((*said)[static_cast<size_t>(at)] > 0 && std::binary_search(disliked.begin(), disliked.end(), pair(at))) (*said)[static_cast<size_t>(at)] = 0;
        }
    }
    return numpy(std::move(said), {static_cast<size_t>(rows)});
}

// One row per (query, item), by query and item: (query, item, score), score[p] = what part p gave it, NaN = nothing.
// Part p is the rows from start[p] on, sorted by query.
nb::tuple merge(const Array<int32_t> &query, const Array<int32_t> &item, const Array<float> &score, const Array<int64_t> &start,
                int64_t queries) {
    const auto rows = static_cast<int64_t>(query.shape(0)), parts = static_cast<int64_t>(start.shape(0)) - 1;
    check(item.shape(0) == query.shape(0) && score.shape(0) == query.shape(0), "query, item and score must be equally long");
    check(parts >= 0 && start(0) == 0 && start(parts) == rows && std::is_sorted(start.data(), start.data() + parts + 1),
          "start must rise from 0 to the number of rows");
    int32_t most = 0;
    for (int64_t at = 0; at < rows; ++at) {
        check(query(at) >= 0 && query(at) < queries && item(at) >= 0, "a query or an item is out of range");
        most = std::max(most, item(at));
    }
    // a bit for each item of a query: read in order they are the sorted items, and counted they are places
    const int64_t words = most / 64 + 1;
    std::vector<uint64_t> bits(static_cast<size_t>(words));
    std::vector<int32_t> before(static_cast<size_t>(words));
    std::vector<int64_t> next(start.data(), start.data() + parts);
    std::vector<int32_t> owner, kept;
    std::vector<int64_t> to(static_cast<size_t>(rows));
    owner.reserve(static_cast<size_t>(rows));
    kept.reserve(static_cast<size_t>(rows));
    for (int64_t q = 0; q < queries; ++q) {
        const auto mine = [&](auto work) {
            for (int64_t part = 0; part < parts; ++part)
                for (int64_t at = next[static_cast<size_t>(part)]; at < start(part + 1) && query(at) == q; ++at) work(part, at);
        };
        mine([&](int64_t, int64_t at) { bits[static_cast<size_t>(item(at) >> 6)] |= uint64_t{1} << (item(at) & 63); });
        for (int64_t word = 0; word < words; ++word) {
            before[static_cast<size_t>(word)] = static_cast<int32_t>(kept.size());
            for (uint64_t left = bits[static_cast<size_t>(word)]; left; left &= left - 1) {
                owner.push_back(static_cast<int32_t>(q));
                kept.push_back(static_cast<int32_t>(word << 6) + __builtin_ctzll(left));
            }
        }
        mine([&](int64_t part, int64_t at) {
            const auto word = static_cast<size_t>(item(at) >> 6);
            const uint64_t below = bits[word] & ((uint64_t{1} << (item(at) & 63)) - 1);
            to[static_cast<size_t>(at)] = before[word] + __builtin_popcountll(below);
            next[static_cast<size_t>(part)] = at + 1;
        });
        std::fill(bits.begin(), bits.end(), 0);
    }
    check(std::equal(next.begin(), next.end(), start.data() + 1), "the queries of a part must not fall");
    const auto width = static_cast<int64_t>(kept.size());
    auto given = std::make_unique<std::vector<float>>(static_cast<size_t>(parts * width), NOTHING);
    for (int64_t part = 0; part < parts; ++part)
        for (int64_t at = start(part); at < start(part + 1); ++at)
            (*given)[static_cast<size_t>(part * width + to[static_cast<size_t>(at)])] = score(at);
    return nb::make_tuple(moved(std::move(owner)), moved(std::move(kept)),
                          numpy(std::move(given), {static_cast<size_t>(parts), static_cast<size_t>(width)}));
}

// (N,) 1 where list `query` holds `item`: a bit for each item of one list at a time.
Numpy<uint8_t> contains(const Array<int64_t> &ptr, const Array<int32_t> &listed_item, const Array<int32_t> &query, const Array<int32_t> &item) {
    const auto lists = static_cast<int64_t>(ptr.shape(0)) - 1, rows = static_cast<int64_t>(query.shape(0));
    check(item.shape(0) == query.shape(0), "query and item must be equally long");
    const Lists list = listed(ptr, listed_item, lists, "list");
    const int32_t *const owner = query.data(), *const wanted = item.data();
    auto held = std::make_unique<std::vector<uint8_t>>(static_cast<size_t>(rows));
    const int32_t most = list.ptr[lists] ? *std::max_element(list.item, list.item + list.ptr[lists]) : -1;
    std::vector<uint64_t> bits(static_cast<size_t>(most / 64 + 1));
    for (int64_t first = 0, stop; first < rows; first = stop) {
        const int64_t own = owner[first];
        check(own >= 0 && own < lists, "a query has no list");
        const auto each = [&](auto work) {
            for (int64_t at = list.ptr[own]; at < list.ptr[own + 1]; ++at)
                if (list.item[at] >= 0) work(bits[static_cast<size_t>(list.item[at] >> 6)], uint64_t{1} << (list.item[at] & 63));
        };
        each([](uint64_t &word, uint64_t bit) { word |= bit; });
        for (stop = first; stop < rows && owner[stop] == own; ++stop) {
            const int32_t row = wanted[stop];
            (*held)[static_cast<size_t>(stop)] = row >= 0 && row <= most && (bits[static_cast<size_t>(row >> 6)] >> (row & 63) & 1);
        }
        each([](uint64_t &word, uint64_t) { word = 0; });
    }
    return numpy(std::move(held), {static_cast<size_t>(rows)});
}

// Positions of the k best of each run of equal queries, best first; NaN and -inf last, ties by position.
Numpy<int64_t> topk(const Array<int32_t> &query, const Array<float> &score, int64_t k, int64_t queries) {
    const auto rows = static_cast<int64_t>(query.shape(0));
    check(score.shape(0) == query.shape(0), "query and score must be equally long");
    const int32_t *const owner = query.data();
    check(std::is_sorted(owner, owner + rows) && (!rows || (owner[0] >= 0 && owner[rows - 1] < queries)),
          "query must not fall, and stay inside the number of queries");
    std::vector<int64_t> best;
    std::vector<uint64_t> key;  // the better the smaller: bits of floats, their sign turned, compare as integers do
    for (int64_t first = 0, stop; first < rows; first = stop) {
        key.clear();
        for (stop = first; stop < rows && owner[stop] == owner[first]; ++stop) {
            const float said = std::isnan(score(stop)) ? -std::numeric_limits<float>::infinity() : score(stop) + 0.0f;  // -0 is 0
            uint32_t bits;
            std::memcpy(&bits, &said, sizeof bits);
            key.push_back(static_cast<uint64_t>(bits ^ (bits >> 31 ? 0 : 0x7fffffff)) << 32 | static_cast<uint32_t>(stop - first));
        }
        const auto taken = key.begin() + std::min(k, stop - first);
        if (taken != key.end()) std::nth_element(key.begin(), taken, key.end());
        std::sort(key.begin(), taken);
        for (auto each = key.begin(); each != taken; ++each) best.push_back(first + static_cast<int64_t>(static_cast<uint32_t>(*each)));
    }
    return moved(std::move(best));
}

// (C, N): each row's values less the mean of their segment, in its standard deviations; NaN = the least of the segment,
// 0 where a segment holds no number.
Numpy<float> standardize(const Array<int32_t> &query, const Matrix<float> &value) {
    const auto columns = static_cast<int64_t>(value.shape(0)), rows = static_cast<int64_t>(value.shape(1));
    check(static_cast<int64_t>(query.shape(0)) == rows, "query must have one entry a column of value");
    auto out = std::make_unique<std::vector<float>>(static_cast<size_t>(columns * rows));
    const int32_t *owner = query.data();
    for (int64_t c = 0; c < columns; ++c) {
        const float *from = value.data() + c * rows;
        float *to = out->data() + c * rows;
        for (int64_t first = 0, stop; first < rows; first = stop) {
            double sum = 0, square = 0;
            int64_t count = 0;
            for (stop = first; stop < rows && owner[stop] == owner[first]; ++stop)
                if (!std::isnan(from[stop])) {
                    sum += from[stop];
                    ++count;
                }
            const double mean = count ? sum / static_cast<double>(count) : 0;
            for (int64_t at = first; at < stop; ++at)
                if (!std::isnan(from[at])) square += (from[at] - mean) * (from[at] - mean);
            const double spread = count ? std::sqrt(square / static_cast<double>(count)) : 0, unit = spread > 1e-12 ? spread : 1;
            float least = count ? std::numeric_limits<float>::infinity() : 0;
            for (int64_t at = first; at < stop; ++at) {
                to[at] = static_cast<float>((from[at] - mean) / unit);
                if (to[at] < least) least = to[at];
            }
            for (int64_t at = first; at < stop; ++at)
                if (std::isnan(to[at])) to[at] = least;
        }
    }
    return numpy(std::move(out), {static_cast<size_t>(columns), static_cast<size_t>(rows)});
}

// From place start[b] of `item` on, the first k that query b may be shown: (query, place).
nb::tuple first_permitted(const Array<int32_t> &item, const Array<int64_t> &start, int64_t k, const Array<int64_t> &exclude_ptr,
                          const Array<int32_t> &exclude_item, const Array<bool> &allowed) {
    const auto queries = static_cast<int64_t>(start.shape(0)), size = static_cast<int64_t>(item.shape(0));
    const auto masked = static_cast<int64_t>(allowed.shape(0));
    const std::vector<int32_t> excluded = sorted(listed(exclude_ptr, exclude_item, queries, "exclude"), queries);
    std::vector<int32_t> query;
    std::vector<int64_t> place;
    for (int64_t b = 0; b < queries; ++b) {
        const auto first = excluded.begin() + exclude_ptr(b), stop = excluded.begin() + exclude_ptr(b + 1);
        int64_t taken = 0;
        for (int64_t at = std::max<int64_t>(0, start(b)); at < size && taken < k; ++at) {
            const int32_t row = item(at);
            if ((row >= 0 && row < masked && !allowed(row)) || std::binary_search(first, stop, row)) continue;
            query.push_back(static_cast<int32_t>(b));
            place.push_back(at);
            ++taken;
        }
    }
    return nb::make_tuple(moved(std::move(query)), moved(std::move(place)));
}

constexpr float UNSCORED = -1e9f;  // so low that no likeness reorders rows without a score

// Maximal marginal relevance: for each list of rows (ptr) at most `places` of its positions, in the order they are
// chosen. Scores are scaled to 0 .. 1 within the list; `vector` (I, D) are of length 1, items beyond them like no other.
nb::tuple diversify(const Matrix<float> &vector, const Array<int64_t> &ptr, const Array<int32_t> &item, const Array<float> &score,
                    const Array<float> &trades, int64_t places) {
    const auto lists = static_cast<int64_t>(ptr.shape(0)) - 1;
    check(lists >= 0, "ptr must not be empty");
    check(static_cast<int64_t>(trades.shape(0)) == lists, "trade must have one entry a list");
    const Csr rows = csr(ptr, item, score, -1);
    const auto known = static_cast<int64_t>(vector.shape(0)), dim = static_cast<int64_t>(vector.shape(1));
    std::vector<int64_t> border{0}, picked;
    std::vector<float> turned, gain, likest, alike;
    for (int64_t list = 0; list < lists; ++list) {
        const int64_t first = rows.ptr[list], size = rows.ptr[list + 1] - first;
        const float trade = trades(list);
        float high = -std::numeric_limits<float>::infinity(), low = std::numeric_limits<float>::infinity();
        for (int64_t j = 0; j < size; ++j) {
            if (!std::isfinite(rows.value[first + j])) continue;
            high = std::max(high, rows.value[first + j]);
            low = std::min(low, rows.value[first + j]);
        }
        const float spread = high > low ? high - low : 1;
        gain.assign(static_cast<size_t>(size), UNSCORED);
        likest.assign(static_cast<size_t>(size), 0);
        alike.resize(static_cast<size_t>(size));
        turned.assign(static_cast<size_t>(dim * size), 0);  // (D, size): one pass over the list for each dimension
        for (int64_t j = 0; j < size; ++j) {
            const float value = rows.value[first + j];
            if (std::isfinite(value)) gain[static_cast<size_t>(j)] = (1 - trade) * ((value - low) / spread);
            const int64_t row = rows.index[first + j];
            if (row < 0 || row >= known) continue;
            for (int64_t d = 0; d < dim; ++d) turned[static_cast<size_t>(d * size + j)] = vector.data()[row * dim + d];
        }
        for (int64_t place = 0; place < std::min(places, size); ++place) {
            int64_t best = 0;
            float most = -std::numeric_limits<float>::infinity();
            for (int64_t j = 0; j < size; ++j) {
                const float value = gain[static_cast<size_t>(j)] - likest[static_cast<size_t>(j)];
                if (value > most) {
                    most = value;
                    best = j;
                }
            }
            picked.push_back(first + best);
            gain[static_cast<size_t>(best)] = -std::numeric_limits<float>::infinity();
            std::fill(alike.begin(), alike.end(), 0.0f);
            for (int64_t d = 0; d < dim; ++d) {
                const float *across = turned.data() + d * size;
                const float own = trade * across[best];
                if (own == 0) continue;
                for (int64_t j = 0; j < size; ++j) alike[static_cast<size_t>(j)] += own * across[j];
            }
            for (int64_t j = 0; j < size; ++j) likest[static_cast<size_t>(j)] = std::max(likest[static_cast<size_t>(j)], alike[static_cast<size_t>(j)]);
        }
        border.push_back(static_cast<int64_t>(picked.size()));
    }
    return nb::make_tuple(moved(std::move(border)), moved(std::move(picked)));
}

}  // namespace

void bind_funnel(nb::module_ &m) {
    using namespace nb::literals;
    m.def("liked", &liked, "ptr"_a, "item"_a, "weight"_a, "half_life"_a, "width"_a);
    m.def("weigh", &weigh, "owner"_a, "item"_a, "kind"_a, "value"_a, "weight"_a, "least"_a, "cap"_a);
    m.def("merge", &merge, "query"_a, "item"_a, "score"_a, "start"_a, "queries"_a);
    m.def("contains", &contains, "ptr"_a, "listed"_a, "query"_a, "item"_a);
    m.def("topk", &topk, "query"_a, "score"_a, "k"_a, "queries"_a);
    m.def("standardize", &standardize, "query"_a, "value"_a);
    m.def("first_permitted", &first_permitted, "item"_a, "start"_a, "k"_a, "exclude_ptr"_a, "exclude_item"_a, "allowed"_a);
    m.def("diversify", &diversify, "vector"_a, "ptr"_a, "item"_a, "score"_a, "trade"_a, "places"_a);
}

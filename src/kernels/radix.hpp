// A stable order of whole numbers: least significant digit first, over the digits in which the keys differ at all.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "buffer.hpp"

namespace {

constexpr int DIGIT = 11;        // bits: the heads of so many piles stay in the first cache
constexpr int64_t FEW = 1 << 9;  // keys that a comparison sort orders sooner

template <typename Index> void radix_order(const int64_t *key, int64_t count, int64_t *order) {
    struct Entry {
        uint64_t key;
        Index position;
    };
    const auto [least, most] = std::minmax_element(key, key + count);
    const uint64_t low = static_cast<uint64_t>(*least), span = static_cast<uint64_t>(*most) - low;
    const int bits = span ? 64 - __builtin_clzll(span) : 0, passes = (bits + DIGIT - 1) / DIGIT;
    const int width = passes ? (bits + passes - 1) / passes : 0;
    Buffer<Entry> first(passes ? count : 0), second(passes > 1 ? count : 0);
    Entry *from = first, *to = second;
    std::vector<int64_t> head(size_t{1} << width);
    for (int pass = 0; pass < passes; ++pass) {
        const int shift = pass * width;
        const uint64_t mask = (uint64_t{1} << width) - 1;
        const bool opening = pass == 0, closing = pass == passes - 1;
        std::fill(head.begin(), head.end(), 0);
        for (int64_t i = 0; i < count; ++i) ++head[((opening ? static_cast<uint64_t>(key[i]) - low : from[i].key) >> shift) & mask];
        std::exclusive_scan(head.begin(), head.end(), head.begin(), int64_t{0});
        for (int64_t i = 0; i < count; ++i) {
            const Entry entry = opening ? Entry{static_cast<uint64_t>(key[i]) - low, static_cast<Index>(i)} : from[i];
            const int64_t place = head[(entry.key >> shift) & mask]++;
            if (closing) order[place] = static_cast<int64_t>(entry.position);
            else (opening ? from : to)[place] = entry;
        }
        if (!opening) std::swap(from, to);
    }
    if (!passes) std::iota(order, order + count, int64_t{0});
}

inline void stable_order(const int64_t *key, int64_t count, int64_t *order) {
    if (std::is_sorted(key, key + count) || count < FEW) {
        std::iota(order, order + count, int64_t{0});
        std::stable_sort(order, order + count, [key](int64_t a, int64_t b) { return key[a] < key[b]; });
    } else if (count <= INT32_MAX) {
        radix_order<uint32_t>(key, count, order);
    } else {
        radix_order<int64_t>(key, count, order);
    }
}

}  // namespace

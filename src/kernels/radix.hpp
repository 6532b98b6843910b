// A stable order of whole numbers: least significant digit first, over the digits in which the keys differ at all.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "buffer.hpp"

namespace {

constexpr int DIGIT = 11;        // bits: the heads of so many piles stay in the first cache
constexpr int64_t FEW = 1 << 9;  // keys that a comparison sort orders sooner
constexpr int64_t MANY = 1 << 20;  // keys that are worth several threads

// work(part) for each part of [0, parts), one thread a part
inline void by_parts(int parts, const std::function<void(int)> &work) {
    std::vector<std::thread> others;
    for (int part = 1; part < parts; ++part) others.emplace_back(work, part);
    work(0);
    for (auto &other : others) other.join();
}

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
    const int parts = count < MANY ? 1 : static_cast<int>(std::min(8u, std::max(1u, std::thread::hardware_concurrency())));
    const size_t piles = size_t{1} << width;
    std::vector<int64_t> head(piles * static_cast<size_t>(parts));  // where each part puts its next entry of each pile
    for (int pass = 0; pass < passes; ++pass) {
        const int shift = pass * width;
        const uint64_t mask = (uint64_t{1} << width) - 1;
        const bool opening = pass == 0, closing = pass == passes - 1;
        const auto entry = [&](int64_t i) {
            return opening ? Entry{static_cast<uint64_t>(key[i]) - low, static_cast<Index>(i)} : from[i];
        };
        std::fill(head.begin(), head.end(), 0);
        by_parts(parts, [&](int part) {
            int64_t *own = head.data() + piles * static_cast<size_t>(part);
            for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) ++own[(entry(i).key >> shift) & mask];
        });
        int64_t place = 0;
        for (size_t pile = 0; pile < piles; ++pile)
            for (size_t at = pile; at < head.size(); at += piles) place += std::exchange(head[at], place);
        by_parts(parts, [&](int part) {
            int64_t *own = head.data() + piles * static_cast<size_t>(part);
            for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) {
                const Entry each = entry(i);
                const int64_t next = own[(each.key >> shift) & mask]++;
                if (closing) order[next] = static_cast<int64_t>(each.position);
                else (opening ? from : to)[next] = each;
            }
        });
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

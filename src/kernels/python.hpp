// What every binding needs: arrays in and out, checks in words, rows split among threads.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "table.hpp"

namespace nb = nanobind;

namespace {

template <typename T> using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T> using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MutableMatrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T> using Numpy = nb::ndarray<nb::numpy, T, nb::c_contig>;

inline void check(bool holds, const char *message) {
    if (!holds) throw nb::value_error(message);
}

inline void check(bool holds, const std::string &message) { check(holds, message.c_str()); }

// work(begin, end) over [0, count) in chunks of `grain`; `threads` 0 = every core. Fewer rows than a grain: this thread.
template <typename Work> void in_parallel(int64_t count, int64_t grain, int threads, Work work) {
    if (threads <= 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    threads = static_cast<int>(std::min<int64_t>(threads, (count + grain - 1) / grain));
    if (threads <= 1) {
        if (count) work(int64_t{0}, count);
        return;
    }
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex lock;
    const auto run = [&] {
        try {
            for (int64_t begin = next.fetch_add(grain); begin < count; begin = next.fetch_add(grain))
                work(begin, std::min(begin + grain, count));
        } catch (...) {
            const std::lock_guard<std::mutex> guard(lock);
            failure = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(run);
    run();
    for (auto &other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

constexpr int64_t QUERY_GRAIN = 64;  // fewer queries than this are answered by the calling thread
constexpr int64_t SWEEP_GRAIN = 48;  // a multiple of every tile

template <typename T> Numpy<T> numpy(std::unique_ptr<std::vector<T>> data, std::initializer_list<size_t> shape) {
    std::vector<T> *raw = data.release();
    nb::capsule owner(raw, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    return Numpy<T>(raw->data(), shape, owner);
}

inline Csr csr(const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &value, int64_t width) {
    const int64_t count = static_cast<int64_t>(index.shape(0));
    check(ptr.shape(0) >= 1 && ptr(0) == 0 && ptr(ptr.shape(0) - 1) == count && value.shape(0) == index.shape(0),
          "ptr must run from 0 to the number of entries, and index and value must have one entry each");
    check(std::is_sorted(ptr.data(), ptr.data() + ptr.shape(0)), "ptr must not fall");
    if (width >= 0 && count) {
        const auto [least, most] = std::minmax_element(index.data(), index.data() + count);
        check(*least >= 0 && *most < width, "index runs from " + std::to_string(*least) + " to " + std::to_string(*most) +
                                                ", but must stay inside 0.." + std::to_string(width - 1));
    }
    return {ptr.data(), index.data(), value.data()};
}

inline Lists listed(const Array<int64_t> &ptr, const Array<int32_t> &item, int64_t queries, const std::string &name) {
    check(static_cast<int64_t>(ptr.shape(0)) == queries + 1 && ptr(0) == 0 && ptr(queries) == static_cast<int64_t>(item.shape(0)) &&
              std::is_sorted(ptr.data(), ptr.data() + queries + 1),
          name + "_ptr must have one entry more than there are queries and rise from 0 to the number of items");
    return {ptr.data(), item.data()};
}

// The lists with each in rising order.
inline std::vector<int32_t> sorted(const Lists &lists, int64_t queries) {
    std::vector<int32_t> item(lists.item, lists.item + lists.ptr[queries]);
    for (int64_t q = 0; q < queries; ++q) std::sort(item.begin() + lists.ptr[q], item.begin() + lists.ptr[q + 1]);
    return item;
}

}  // namespace

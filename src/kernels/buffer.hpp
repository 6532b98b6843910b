// Memory for vectors. In an unnamed namespace for the reason given in simd.hpp.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename T> class Buffer {  // zeroed, aligned to a cache line
public:
    explicit Buffer(int64_t count) {
        const size_t bytes = (static_cast<size_t>(count) * sizeof(T) / 64 + 1) * 64;
        data_ = static_cast<T *>(std::aligned_alloc(64, bytes));
        if (!data_) throw std::bad_alloc();
        std::memset(static_cast<void *>(data_), 0, bytes);
    }
    ~Buffer() { std::free(data_); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    operator T *() { return data_; }

private:
    T *data_;
};

}  // namespace

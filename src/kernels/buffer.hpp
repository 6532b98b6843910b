// Memory for vectors. In an unnamed namespace for the reason given in simd.hpp.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr size_t HUGE_PAGE = 2 << 20;

template <typename T> class Buffer {  // zeroed, aligned to a cache line
public:
    explicit Buffer(int64_t count) {
        const size_t wanted = static_cast<size_t>(count) * sizeof(T), align = wanted < HUGE_PAGE ? 64 : HUGE_PAGE;
        const size_t bytes = (wanted / align + 1) * align;
        data_ = static_cast<T *>(std::aligned_alloc(align, bytes));
        if (!data_) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (align == HUGE_PAGE) madvise(data_, bytes, MADV_HUGEPAGE);  // vectors read at random would miss the TLB
#endif
        std::memset(static_cast<void *>(data_), 0, bytes);
    }
    ~Buffer() { std::free(data_); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    operator T *() const { return data_; }

private:
    T *data_;
};

}  // namespace

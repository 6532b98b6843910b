// Vectors of floats as wide as the instruction set being compiled, and the buffer they work on.
//
// Everything is in an unnamed namespace, and nothing but these types goes into standard templates: the linker merges
// equal weak symbols, and must never hand code compiled for AVX-512 to a machine without it.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_USERS = 12;
#elif defined(__AVX2__)
constexpr int LANES = 8, TILE_USERS = 6;
#elif defined(__aarch64__)
constexpr int LANES = 4, TILE_USERS = 12;
#else
constexpr int LANES = 4, TILE_USERS = 6;
#endif

typedef float Vec __attribute__((vector_size(LANES * sizeof(float))));

inline Vec load(const float *from) {
    Vec v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

inline void store(float *to, Vec v) { std::memcpy(to, &v, sizeof v); }

inline Vec splat(float x) { return Vec{} + x; }

inline float sum(Vec v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps(v);
#elif defined(__AVX2__)
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
#else
    return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

// Bit i is set where v[i] >= least[i]; NaN never is.
inline uint32_t at_least(Vec v, Vec least) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask(v, least, _CMP_GE_OQ);
#elif defined(__AVX2__)
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(v, least, _CMP_GE_OQ)));
#elif defined(__x86_64__)
    return static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpge_ps(v, least)));
#else
    uint32_t mask = 0;
    for (int i = 0; i < LANES; ++i) mask |= static_cast<uint32_t>(v[i] >= least[i]) << i;
    return mask;
#endif
}

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

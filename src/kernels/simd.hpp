// Vectors of floats as wide as the instruction set being compiled.
//
// Everything is in an unnamed namespace, and only types from here go into standard templates: the linker merges equal
// weak symbols, and must never hand code compiled for AVX-512 to a machine without it.
#pragma once
#include <cstdint>
#include <cstring>

#include "buffer.hpp"

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

inline Vec splat(float x) { return x - Vec{}; }  // x + 0 would be an addition: it changes -0

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

// total[i] = sum(v[i]) of four vectors: shuffled together, cheaper than four sums.
inline void sum4(const Vec *v, float *total) {
#if defined(__x86_64__)
#if defined(__AVX512F__)
    const __m512 ab = _mm512_unpacklo_ps(v[0], v[1]) + _mm512_unpackhi_ps(v[0], v[1]);
    const __m512 cd = _mm512_unpacklo_ps(v[2], v[3]) + _mm512_unpackhi_ps(v[2], v[3]);
    const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512 quarter = _mm512_castpd_ps(low) + _mm512_castpd_ps(high);
    const __m256 half = _mm512_castps512_ps256(quarter) + _mm512_extractf32x8_ps(quarter, 1);
    const __m128 all = _mm256_castps256_ps128(half) + _mm256_extractf128_ps(half, 1);
#elif defined(__AVX2__)
    const __m256 half = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    const __m128 all = _mm256_castps256_ps128(half) + _mm256_extractf128_ps(half, 1);
#else
    __m128 a = v[0], b = v[1], c = v[2], d = v[3];
    _MM_TRANSPOSE4_PS(a, b, c, d);
    const __m128 all = (a + b) + (c + d);
#endif
    _mm_storeu_ps(total, all);
#else
    for (int i = 0; i < 4; ++i) total[i] = sum(v[i]);
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

}  // namespace

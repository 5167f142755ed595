// SPDX-License-Identifier: Apache-2.0
// The few vector operations that the letterbox needs, 128 or 256 bits wide by the compiler's target. "In lanes": each
// 128 bits by themselves. Everything is static: code for one instruction set must not leak into another object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <immintrin.h>

namespace yq {
namespace {

inline __m128i load128(const void *p) {
    return _mm_loadu_si128(static_cast<const __m128i *>(p));
}
inline void store128(void *p, __m128i v) {
    _mm_storeu_si128(static_cast<__m128i *>(p), v);
}
inline __m128i shuffle128(__m128i v, __m128i order) {
    return _mm_shuffle_epi8(v, order);
}

#if defined(__AVX2__)

using Vector = __m256i;
inline Vector load(const void *p) {
    return _mm256_loadu_si256(static_cast<const __m256i *>(p));
}
inline void store(void *p, Vector v) {
    _mm256_storeu_si256(static_cast<__m256i *>(p), v);
}
inline Vector load_u16_as_32(const void *p) {
    return _mm256_cvtepu16_epi32(load128(p));
}
inline Vector fill16(int16_t v) {
    return _mm256_set1_epi16(v);
}
inline Vector fill32(int32_t v) {
    return _mm256_set1_epi32(v);
}
inline Vector fill128(__m128i v) {
    return _mm256_broadcastsi128_si256(v);
}
inline Vector and_(Vector a, Vector b) {
    return _mm256_and_si256(a, b);
}
inline Vector add16(Vector a, Vector b) {
    return _mm256_add_epi16(a, b);
}
inline Vector sub16(Vector a, Vector b) {
    return _mm256_sub_epi16(a, b);
}
inline Vector scale16(Vector a, Vector weight) {
    return _mm256_mulhrs_epi16(a, weight);
}
template <int n> inline Vector left16(Vector v) {
    return _mm256_slli_epi16(v, n);
}
template <int n> inline Vector right16(Vector v) {
    return _mm256_srli_epi16(v, n);
}
inline Vector add32(Vector a, Vector b) {
    return _mm256_add_epi32(a, b);
}
inline Vector sub32(Vector a, Vector b) {
    return _mm256_sub_epi32(a, b);
}
inline Vector mul32(Vector a, Vector b) {
    return _mm256_mullo_epi32(a, b);
}
inline Vector max32(Vector a, Vector b) {
    return _mm256_max_epi32(a, b);
}
template <int n> inline Vector left32(Vector v) {
    return _mm256_slli_epi32(v, n);
}
template <int n> inline Vector right32(Vector v) {
    return _mm256_srli_epi32(v, n);
}
template <int n> inline Vector sign32(Vector v) {
    return _mm256_srai_epi32(v, n);
}
inline Vector odd16(Vector even, Vector odd) {
    return _mm256_blend_epi16(even, odd, 0xAA);
}
inline Vector shuffle_in_lanes(Vector v, Vector order) {
    return _mm256_shuffle_epi8(v, order);
}
inline Vector pack_in_lanes(Vector a, Vector b) {
    return _mm256_packus_epi16(a, b);
}
inline Vector pack(Vector a, Vector b) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xD8);
}
inline void store_interleaved32(void *p, Vector a, Vector b) {
    const Vector low = _mm256_unpacklo_epi32(a, b), high = _mm256_unpackhi_epi32(a, b);
    store(p, _mm256_permute2x128_si256(low, high, 0x20));
    store(static_cast<uint8_t *>(p) + 32, _mm256_permute2x128_si256(low, high, 0x31));
}
template <class Use> inline void each128(Vector v, Use use) {
    use(0, _mm256_castsi256_si128(v));
    use(1, _mm256_extracti128_si256(v, 1));
}

#else

using Vector = __m128i;
inline Vector load(const void *p) {
    return load128(p);
}
inline void store(void *p, Vector v) {
    store128(p, v);
}
inline Vector load_u16_as_32(const void *p) {
    return _mm_cvtepu16_epi32(_mm_loadl_epi64(static_cast<const Vector *>(p)));
}
inline Vector fill16(int16_t v) {
    return _mm_set1_epi16(v);
}
inline Vector fill32(int32_t v) {
    return _mm_set1_epi32(v);
}
inline Vector fill128(__m128i v) {
    return v;
}
inline Vector and_(Vector a, Vector b) {
    return _mm_and_si128(a, b);
}
inline Vector add16(Vector a, Vector b) {
    return _mm_add_epi16(a, b);
}
inline Vector sub16(Vector a, Vector b) {
    return _mm_sub_epi16(a, b);
}
inline Vector scale16(Vector a, Vector weight) {
    return _mm_mulhrs_epi16(a, weight);
}
template <int n> inline Vector left16(Vector v) {
    return _mm_slli_epi16(v, n);
}
template <int n> inline Vector right16(Vector v) {
    return _mm_srli_epi16(v, n);
}
inline Vector add32(Vector a, Vector b) {
    return _mm_add_epi32(a, b);
}
inline Vector sub32(Vector a, Vector b) {
    return _mm_sub_epi32(a, b);
}
inline Vector mul32(Vector a, Vector b) {
    return _mm_mullo_epi32(a, b);
}
inline Vector max32(Vector a, Vector b) {
    return _mm_max_epi32(a, b);
}
template <int n> inline Vector left32(Vector v) {
    return _mm_slli_epi32(v, n);
}
template <int n> inline Vector right32(Vector v) {
    return _mm_srli_epi32(v, n);
}
template <int n> inline Vector sign32(Vector v) {
    return _mm_srai_epi32(v, n);
}
inline Vector odd16(Vector even, Vector odd) {
    return _mm_blend_epi16(even, odd, 0xAA);
}
inline Vector shuffle_in_lanes(Vector v, Vector order) {
    return shuffle128(v, order);
}
inline Vector pack_in_lanes(Vector a, Vector b) {
    return _mm_packus_epi16(a, b);
}
inline Vector pack(Vector a, Vector b) {
    return _mm_packus_epi16(a, b);
}
inline void store_interleaved32(void *p, Vector a, Vector b) {
    store(p, _mm_unpacklo_epi32(a, b));
    store(static_cast<uint8_t *>(p) + 16, _mm_unpackhi_epi32(a, b));
}
template <class Use> inline void each128(Vector v, Use use) {
    use(0, v);
}

#endif

constexpr size_t lanes16 = sizeof(Vector) / 2;
constexpr size_t lanes32 = sizeof(Vector) / 4;

} // namespace
} // namespace yq

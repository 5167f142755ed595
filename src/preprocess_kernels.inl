// SPDX-License-Identifier: Apache-2.0
// The letterbox's inner loops on vectors. Included by one .cpp per instruction set, which defines YOLOQ_KERNELS (the
// table's name) and YOLOQ_KERNELS_NAME, and is compiled with that set's flags. No standard C++ header in here: an
// inline function of one, compiled for AVX, could be the copy that the linker keeps for everyone.
#include "preprocess_kernels.h"
#include "preprocess_simd.h"

namespace yq {
namespace {

inline Vector between(Vector first, Vector second, Vector weight) {
    return add16(first, scale16(sub16(second, first), weight));
}

inline Vector to_bytes(Vector q7) {
    return right16<7>(add16(q7, fill16(64)));
}

// BGR_ pixels, 4 in 128 bits, become 12 bytes in the order wanted; the last 4 bytes are junk.
inline __m128i color_order(bool swap) {
    return swap ? _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1)
                : _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
}

// 16 grey pixels become 48 bytes.
inline void store_gray(uint8_t *out, __m128i gray) {
    store128(out, shuffle128(gray, _mm_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5)));
    store128(out + 16, shuffle128(gray, _mm_setr_epi8(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10)));
    store128(out + 32, shuffle128(gray, _mm_setr_epi8(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15)));
}

// What the chroma of lanes32 pixels adds to each channel, in 32-bit lanes.
struct Chroma {
    Vector red, green, blue;
};

inline Chroma chroma_of(Vector uv, const YuvMatrix &m) { // U in bits 0-7, V in bits 8-15
    const Vector u = sub32(and_(uv, fill32(0xFF)), fill32(128)), v = sub32(right32<8>(uv), fill32(128));
    return {mul32(v, fill32(m.v_red)), add32(mul32(u, fill32(m.u_green)), mul32(v, fill32(m.v_green))),
            mul32(u, fill32(m.u_blue))};
}

// B G R 0 of lanes32 pixels.
inline Vector add_luma(Vector y, const Chroma &chroma, const YuvMatrix &m) {
    Vector luma = mul32(max32(sub32(y, fill32(m.luma_offset)), fill32(0)), fill32(m.luma));
    luma = add32(luma, fill32(1 << 19)); // rounds
    const Vector red = sign32<20>(add32(luma, chroma.red)), green = sign32<20>(add32(luma, chroma.green));
    const Vector blue = sign32<20>(add32(luma, chroma.blue));
    // The packing clamps; a negative red's upper half, -1, becomes 0 as it should.
    const Vector planes = pack_in_lanes(odd16(blue, left32<16>(green)), red); // B G B G B G B G R 0 R 0 R 0 R 0
    const Vector order = fill128(_mm_setr_epi8(0, 1, 8, -1, 2, 3, 10, -1, 4, 5, 12, -1, 6, 7, 14, -1));
    return shuffle_in_lanes(planes, order);
}

void convert_nv12(const uint8_t *luma, const uint8_t *chroma, const YuvMatrix &matrix, size_t pixels, uint8_t *bgr0) {
    size_t x = 0;
    for (; x + 2 * lanes32 <= pixels; x += 2 * lanes32) {
        const Vector y = load_u16_as_32(luma + x); // even column in bits 0-7, odd in 8-15
        const Chroma shared = chroma_of(load_u16_as_32(chroma + x), matrix);
        store_interleaved32(bgr0 + 4 * x, add_luma(and_(y, fill32(0xFF)), shared, matrix),
                            add_luma(right32<8>(y), shared, matrix));
    }
    kernels_generic.convert_nv12(luma + x, chroma + x, matrix, pixels - x, bgr0 + 4 * x);
}

void blend_x_color(const uint8_t *taps, const int16_t *weights, int pixel_bytes, size_t pixels, int16_t *row) {
    // Bytes go to the upper halves of 16-bit lanes: Q8, which one shift makes Q7.
    const Vector first = fill128(_mm_setr_epi8(-1, 0, -1, 1, -1, 2, -1, -1, -1, 8, -1, 9, -1, 10, -1, -1));
    const Vector second =
        fill128(pixel_bytes == 3 ? _mm_setr_epi8(-1, 3, -1, 4, -1, 5, -1, -1, -1, 11, -1, 12, -1, 13, -1, -1)
                                 : _mm_setr_epi8(-1, 4, -1, 5, -1, 6, -1, -1, -1, 12, -1, 13, -1, 14, -1, -1));
    for (size_t i = 0; i < 4 * pixels; i += lanes16) {
        const Vector tap = load(taps + 2 * i);
        const Vector a = right16<1>(shuffle_in_lanes(tap, first)), b = right16<1>(shuffle_in_lanes(tap, second));
        store(row + i, between(a, b, load(weights + i)));
    }
}

void blend_x_gray(const uint8_t *taps, const int16_t *weights, size_t pixels, int16_t *row) {
    for (size_t x = 0; x < pixels; x += lanes16) {
        const Vector tap = load(taps + 2 * x);
        const Vector a = right16<1>(left16<8>(tap)), b = left16<7>(right16<8>(tap));
        store(row + x, between(a, b, load(weights + x)));
    }
}

void blend_y_color(const int16_t *upper, const int16_t *lower, int16_t weight, bool swap, size_t pixels, uint8_t *out) {
    const Vector order = fill128(color_order(swap)), w = fill16(weight);
    const auto row = [&](size_t i) { return to_bytes(between(load(upper + i), load(lower + i), w)); };
    size_t x = 0;
    for (; x + lanes32 + 2 <= pixels; x += lanes32) { // each store writes 4 bytes too many
        const Vector bytes = shuffle_in_lanes(pack(row(4 * x), row(4 * x + lanes16)), order);
        each128(bytes, [&](size_t lane, __m128i v) { store128(out + 3 * x + 12 * lane, v); });
    }
    kernels_generic.blend_y_color(upper + 4 * x, lower + 4 * x, weight, swap, pixels - x, out + 3 * x);
}

void blend_y_gray(const int16_t *upper, const int16_t *lower, int16_t weight, size_t pixels, uint8_t *out) {
    const Vector w = fill16(weight);
    const auto row = [&](size_t x) { return to_bytes(between(load(upper + x), load(lower + x), w)); };
    size_t x = 0;
    for (; x + 2 * lanes16 <= pixels; x += 2 * lanes16)
        each128(pack(row(x), row(x + lanes16)),
                [&](size_t lane, __m128i v) { store_gray(out + 3 * x + 48 * lane, v); });
    kernels_generic.blend_y_gray(upper + x, lower + x, weight, pixels - x, out + 3 * x);
}

void copy_color(const uint8_t *source, int pixel_bytes, bool swap, size_t pixels, uint8_t *out) {
    size_t x = 0;
    if (pixel_bytes == 4 || swap) {
        const __m128i packed =
            swap ? _mm_setr_epi8(2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9, -1, -1, -1, -1) : _mm_setzero_si128();
        const __m128i order = pixel_bytes == 4 ? color_order(swap) : packed;
        for (; x + 6 <= pixels; x += 4) // each load and store may take 4 bytes too many
            store128(out + 3 * x, shuffle128(load128(source + x * static_cast<size_t>(pixel_bytes)), order));
    }
    kernels_generic.copy_color(source + x * static_cast<size_t>(pixel_bytes), pixel_bytes, swap, pixels - x,
                               out + 3 * x);
}

void copy_gray(const uint8_t *source, size_t pixels, uint8_t *out) {
    size_t x = 0;
    for (; x + 16 <= pixels; x += 16) store_gray(out + 3 * x, load128(source + x));
    kernels_generic.copy_gray(source + x, pixels - x, out + 3 * x);
}

} // namespace

const Kernels YOLOQ_KERNELS = {YOLOQ_KERNELS_NAME, convert_nv12, blend_x_color, blend_x_gray,
                               blend_y_color,      blend_y_gray, copy_color,    copy_gray};

} // namespace yq

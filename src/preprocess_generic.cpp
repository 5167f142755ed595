// SPDX-License-Identifier: Apache-2.0
// The letterbox's inner loops in plain C++, for any processor.
#include "preprocess_kernels.h"

#include <cstring>

namespace yq {
namespace {

inline int32_t scale(int32_t value, int32_t weight) {
    return (value * weight + (1 << 14)) >> 15;
}

inline int16_t between(int32_t first, int32_t second, int32_t weight) {
    return static_cast<int16_t>(first + scale(second - first, weight));
}

inline uint8_t to_byte(int16_t q7) {
    return static_cast<uint8_t>((q7 + 64) >> 7);
}

inline uint8_t clamp_q20(int32_t value) {
    value = (value + (1 << 19)) >> 20;
    return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

inline void convert_pixel(int32_t y, const uint8_t *uv, const YuvMatrix &matrix, uint8_t *bgr) {
    const int32_t luma = (y > matrix.luma_offset ? y - matrix.luma_offset : 0) * matrix.luma;
    const int32_t u = uv[0] - 128, v = uv[1] - 128;
    bgr[0] = clamp_q20(luma + matrix.u_blue * u);
    bgr[1] = clamp_q20(luma + matrix.u_green * u + matrix.v_green * v);
    bgr[2] = clamp_q20(luma + matrix.v_red * v);
    bgr[3] = 0;
}

void convert_nv12(const uint8_t *luma, const uint8_t *chroma, const YuvMatrix &matrix, size_t pixels, uint8_t *bgr0) {
    for (size_t x = 0; x < pixels; ++x) convert_pixel(luma[x], chroma + (x & ~size_t{1}), matrix, bgr0 + 4 * x);
}

void blend_x_color(const uint8_t *taps, const int16_t *weights, int pixel_bytes, size_t pixels, int16_t *row) {
    for (size_t x = 0; x < pixels; ++x)
        for (size_t c = 0; c < 3; ++c)
            row[4 * x + c] = between(taps[8 * x + c] << 7, taps[8 * x + pixel_bytes + c] << 7, weights[4 * x]);
}

void blend_x_gray(const uint8_t *taps, const int16_t *weights, size_t pixels, int16_t *row) {
    for (size_t x = 0; x < pixels; ++x) row[x] = between(taps[2 * x] << 7, taps[2 * x + 1] << 7, weights[x]);
}

void blend_y_color(const int16_t *upper, const int16_t *lower, int16_t weight, bool swap, size_t pixels, uint8_t *out) {
    const size_t first = swap ? 2 : 0, last = 2 - first;
    for (size_t x = 0; x < pixels; ++x, upper += 4, lower += 4, out += 3) {
        out[0] = to_byte(between(upper[first], lower[first], weight));
        out[1] = to_byte(between(upper[1], lower[1], weight));
        out[2] = to_byte(between(upper[last], lower[last], weight));
    }
}

void blend_y_gray(const int16_t *upper, const int16_t *lower, int16_t weight, size_t pixels, uint8_t *out) {
    for (size_t x = 0; x < pixels; ++x, out += 3)
        out[0] = out[1] = out[2] = to_byte(between(upper[x], lower[x], weight));
}

void copy_color(const uint8_t *source, int pixel_bytes, bool swap, size_t pixels, uint8_t *out) {
    if (pixel_bytes == 3 && !swap) {
        std::memcpy(out, source, 3 * pixels);
        return;
    }
    const size_t first = swap ? 2 : 0, last = 2 - first;
    for (size_t x = 0; x < pixels; ++x, source += pixel_bytes, out += 3) {
        out[0] = source[first];
        out[1] = source[1];
        out[2] = source[last];
    }
}

void copy_gray(const uint8_t *source, size_t pixels, uint8_t *out) {
    for (size_t x = 0; x < pixels; ++x, out += 3) out[0] = out[1] = out[2] = source[x];
}

} // namespace

const Kernels kernels_generic = {"generic",     convert_nv12, blend_x_color, blend_x_gray,
                                 blend_y_color, blend_y_gray, copy_color,    copy_gray};

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
// The inner loops of the letterbox, once per instruction set. All sets give the same bytes.
//
// Fixed point: a weight is Q15 (0 to 32767), a pixel between two columns is Q7 in int16_t (0 to 255 * 128), and
// a * weight is rounded as (a * weight + 2^14) >> 15, which x86 and ARM have as one instruction.
// A colour row holds 4 values per pixel (the source's first three channels and an unused one), a grey row 1.
#pragma once

#include <cstddef>
#include <cstdint>

namespace yq {

// Kernels read and write whole vectors: every buffer but a picture has room for this many pixels more.
constexpr size_t kernel_padding = 64;

// YUV to RGB: channel = (max(0, Y - luma_offset) * luma + u * (U - 128) + v * (V - 128)) / 2^20, rounded and clamped.
struct YuvMatrix {
    int32_t luma_offset, luma, v_red, u_green, v_green, u_blue;
};

struct Kernels {
    const char *name;

    // A row of NV12, an even number of pixels from an even column on, to B G R 0. Reads no byte more.
    void (*convert_nv12)(const uint8_t *luma, const uint8_t *chroma, const YuvMatrix &matrix, size_t pixels,
                         uint8_t *bgr0);

    // Between the two pixels that each pixel's 8 tap bytes begin with; weights 4 per pixel.
    void (*blend_x_color)(const uint8_t *taps, const int16_t *weights, int pixel_bytes, size_t pixels, int16_t *row);
    // Between a pixel's 2 tap bytes; weights 1 per pixel.
    void (*blend_x_gray)(const uint8_t *taps, const int16_t *weights, size_t pixels, int16_t *row);

    // Between two rows; writes 3 * pixels bytes at `out`, no more. swap: third channel first.
    void (*blend_y_color)(const int16_t *upper, const int16_t *lower, int16_t weight, bool swap, size_t pixels,
                          uint8_t *out);
    void (*blend_y_gray)(const int16_t *upper, const int16_t *lower, int16_t weight, size_t pixels, uint8_t *out);

    // Picture to picture, without resampling. Reads and writes no byte more.
    void (*copy_color)(const uint8_t *source, int pixel_bytes, bool swap, size_t pixels, uint8_t *out);
    void (*copy_gray)(const uint8_t *source, size_t pixels, uint8_t *out);
};

extern const Kernels kernels_generic; // any processor; the definition of the others
extern const Kernels kernels_sse41;
extern const Kernels kernels_avx2;

// The kernels of a name, or nullptr if this build or this processor does not have them. nullptr: the fastest.
const Kernels *find_kernels(const char *name);

} // namespace yq

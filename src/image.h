// SPDX-License-Identifier: Apache-2.0
// The caller's picture, checked: whatever passes check_image is safe to read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "yoloq.h"

namespace yq {

// A checked picture. Strides are resolved (never 0), the ROI is always set and lies inside.
struct ImageView {
    yq_format format;
    int32_t width, height;
    const uint8_t *data;  // top row
    ptrdiff_t stride;     // bytes to the row below; negative: bottom-up
    const uint8_t *data2; // NV12: top row of the UV plane, else nullptr
    ptrdiff_t stride2;
    int32_t roi_x, roi_y, roi_width, roi_height;
    yq_color_space color_space;
};

// Bytes per pixel of the first plane: 1, 3 or 4; 0 for a number that is no format.
int bytes_per_pixel(int32_t format);

// Checks every field. YQ_OK fills *out; else YQ_EINVAL with the reason. Reads at most image->size bytes.
int32_t check_image(const yq_image *image, ImageView *out);

} // namespace yq

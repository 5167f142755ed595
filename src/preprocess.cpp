// SPDX-License-Identifier: Apache-2.0
// Each row of the result lies between two source rows. Of a source row only the pixels beside the result's columns
// (taps) are gathered into a dense buffer, where vectors blend them in x; two such rows are then blended in y. The two
// latest rows are kept, so that enlarging reads no row twice.
#include "preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "preprocess_kernels.h"

namespace yq {
namespace {

// A place between source pixels `index` and `index + 1`; weight 0: exactly on `index`, the next is not looked at.
struct Sample {
    int32_t index;
    int16_t weight; // Q15
};

Sample sample(int32_t position, double scale, int32_t source_size) {
    const double at = (position + 0.5) * scale - 0.5;
    if (at <= 0) return {0, 0};
    const int32_t index = static_cast<int32_t>(at);
    if (index >= source_size - 1) return {source_size - 1, 0};
    return {index, static_cast<int16_t>(std::min(32767L, std::lround((at - index) * 32768)))};
}

// The matrix of a standard's red and blue luma weights.
YuvMatrix yuv_matrix(double red, double blue, bool full) {
    const double one = 1 << 20, green = 1 - red - blue;
    const double luma = full ? one : one * 255 / 219, chroma = full ? one : one * 255 / 224;
    const auto q20 = [](double value) { return static_cast<int32_t>(std::lround(value)); };
    return {full ? 0 : 16,
            q20(luma),
            q20(chroma * 2 * (1 - red)),
            q20(chroma * -2 * blue * (1 - blue) / green),
            q20(chroma * -2 * red * (1 - red) / green),
            q20(chroma * 2 * (1 - blue))};
}

YuvMatrix yuv_matrix(yq_color_space color_space) {
    switch (color_space) {
    case YQ_COLOR_BT601_FULL: return yuv_matrix(0.299, 0.114, true);
    case YQ_COLOR_BT709_LIMITED: return yuv_matrix(0.2126, 0.0722, false);
    case YQ_COLOR_BT709_FULL: return yuv_matrix(0.2126, 0.0722, true);
    // The coefficients as the standard prints them, rounded to three decimals: what OpenCV and decoders use.
    default: return {16, 1220542, 1673527, -409993, -852492, 2116026};
    }
}

// Copies `bytes` bytes at each column. The pixels from `whole` on are so near to the row's end that fewer are left.
template <size_t bytes, int32_t mask = -1>
void gather(const uint8_t *row, int32_t row_bytes, const std::vector<int32_t> &columns, size_t whole, size_t pixels,
            uint8_t *taps) {
    for (size_t x = 0; x < whole; ++x) std::memcpy(taps + bytes * x, row + (columns[x] & mask), bytes);
    for (size_t x = whole; x < pixels; ++x) {
        const int32_t column = columns[x] & mask;
        std::memcpy(taps + bytes * x, row + column, std::min(bytes, static_cast<size_t>(row_bytes - column)));
    }
}

} // namespace

LetterboxBox letterbox_box(int32_t source_width, int32_t source_height, const LetterboxRule &rule) {
    double ratio = std::min(static_cast<double>(rule.width) / source_width,
                            static_cast<double>(rule.height) / source_height);
    if (!rule.upscale) ratio = std::min(ratio, 1.0);
    LetterboxBox box{};
    // nearbyint: ties to even, in the default rounding mode.
    box.width = std::max(1, static_cast<int32_t>(std::nearbyint(source_width * ratio)));
    box.height = std::max(1, static_cast<int32_t>(std::nearbyint(source_height * ratio)));
    box.left = rule.center ? (rule.width - box.width) / 2 : 0;
    box.top = rule.center ? (rule.height - box.height) / 2 : 0;
    box.scale_x = static_cast<float>(static_cast<double>(source_width) / box.width);
    box.scale_y = static_cast<float>(static_cast<double>(source_height) / box.height);
    return box;
}

struct Letterboxer::Rows {
    Rows(const LetterboxRule &rule, const Kernels *chosen)
        : kernels(chosen ? chosen : find_kernels(nullptr)), capacity(static_cast<size_t>(rule.width) + kernel_padding),
          columns(capacity), weights(4 * capacity), luma(2 * capacity), chroma(4 * capacity), taps(8 * capacity) {
        for (auto &slot : slots) slot.values.resize(4 * capacity);
    }

    // What the tables depend on.
    struct Geometry {
        yq_format format;
        int32_t width, roi_x, roi_width, pixels;
        bool operator==(const Geometry &o) const {
            return format == o.format && width == o.width && roi_x == o.roi_x && roi_width == o.roi_width &&
                   pixels == o.pixels;
        }
    };

    struct Slot {
        int32_t y = -1; // in the ROI; -1: empty
        std::vector<int16_t> values;
    };

    void start(const ImageView &image, const LetterboxBox &box);
    const int16_t *fetch(const ImageView &image, int32_t y);
    void blend_x(const ImageView &image, int32_t y, int16_t *values);

    const Kernels *kernels;
    size_t capacity;
    Geometry geometry{};
    size_t pixels = 0, whole = 0;
    YuvMatrix matrix{};
    std::vector<int32_t> columns; // where the left tap begins, in bytes from the picture's left edge
    std::vector<int16_t> weights; // of the right tap: one per value of a row
    std::vector<uint8_t> luma, chroma, taps;
    Slot slots[2];
};

void Letterboxer::Rows::start(const ImageView &image, const LetterboxBox &box) {
    for (Slot &slot : slots) slot.y = -1;
    matrix = yuv_matrix(image.color_space);
    const Geometry wanted = {image.format, image.width, image.roi_x, image.roi_width, box.width};
    if (wanted == geometry) return;
    geometry = wanted;
    pixels = static_cast<size_t>(box.width);
    const double scale = static_cast<double>(image.roi_width) / box.width;
    const int32_t pixel_bytes = bytes_per_pixel(image.format);
    const size_t values = image.format == YQ_FORMAT_GRAY8 ? 1 : 4;
    const bool nv12 = image.format == YQ_FORMAT_NV12;
    const int32_t needed = nv12 ? 4 : pixel_bytes == 1 ? 2 : 8;
    whole = 0;
    for (size_t x = 0; x < pixels; ++x) {
        const Sample at = sample(static_cast<int32_t>(x), scale, image.roi_width);
        columns[x] = (image.roi_x + at.index) * pixel_bytes;
        std::fill_n(&weights[values * x], values, at.weight);
        if ((nv12 ? columns[x] & ~1 : columns[x]) + needed <= image.width * pixel_bytes) whole = x + 1;
    }
}

void Letterboxer::Rows::blend_x(const ImageView &image, int32_t y, int16_t *values) {
    const int32_t source_y = image.roi_y + y, pixel_bytes = bytes_per_pixel(image.format);
    const int32_t row_bytes = image.width * pixel_bytes;
    const uint8_t *row = image.data + source_y * image.stride;
    if (image.format == YQ_FORMAT_GRAY8) {
        gather<2>(row, row_bytes, columns, whole, pixels, taps.data());
        kernels->blend_x_gray(taps.data(), weights.data(), pixels, values);
        return;
    }
    int tap_bytes = pixel_bytes;
    if (image.format == YQ_FORMAT_NV12) {
        const uint8_t *chroma_row = image.data2 + source_y / 2 * image.stride2;
        gather<2>(row, row_bytes, columns, whole, pixels, luma.data());
        gather<4, ~1>(chroma_row, row_bytes, columns, whole, pixels, chroma.data());
        kernels->convert_nv12(luma.data(), chroma.data(), columns.data(), matrix, pixels, taps.data());
        tap_bytes = 4;
    } else {
        gather<8>(row, row_bytes, columns, whole, pixels, taps.data());
    }
    kernels->blend_x_color(taps.data(), weights.data(), tap_bytes, pixels, values);
}

const int16_t *Letterboxer::Rows::fetch(const ImageView &image, int32_t y) {
    for (const Slot &slot : slots)
        if (slot.y == y) return slot.values.data();
    Slot &oldest = slots[0].y < slots[1].y ? slots[0] : slots[1]; // rows are asked for from top to bottom
    oldest.y = y;
    blend_x(image, y, oldest.values.data());
    return oldest.values.data();
}

Letterboxer::Letterboxer(const LetterboxRule &rule, const Kernels *kernels)
    : rule_(rule), rows_(std::make_unique<Rows>(rule, kernels)) {}

Letterboxer::~Letterboxer() = default;

LetterboxBox Letterboxer::run(const ImageView &image, uint8_t *output) {
    const LetterboxBox box = letterbox_box(image.roi_width, image.roi_height, rule_);
    const Kernels &kernels = *rows_->kernels;
    const bool gray = image.format == YQ_FORMAT_GRAY8;
    const bool source_bgr = image.format == YQ_FORMAT_BGR24 || image.format == YQ_FORMAT_BGRA32 ||
                            image.format == YQ_FORMAT_NV12; // whose taps are converted to BGR
    const bool swap = source_bgr != rule_.bgr;
    const bool copy = box.width == image.roi_width && box.height == image.roi_height && image.format != YQ_FORMAT_NV12;
    if (!copy) rows_->start(image, box);

    const size_t pitch = 3 * static_cast<size_t>(rule_.width), pixels = static_cast<size_t>(box.width);
    const size_t left = 3 * static_cast<size_t>(box.left), right = left + 3 * pixels;
    const size_t top = static_cast<size_t>(box.top), bottom = top + static_cast<size_t>(box.height);
    const double scale_y = static_cast<double>(image.roi_height) / box.height;
    std::memset(output, rule_.pad, top * pitch);
    for (int32_t y = 0; y < box.height; ++y) {
        uint8_t *row = output + (top + static_cast<size_t>(y)) * pitch;
        std::memset(row, rule_.pad, left);
        std::memset(row + right, rule_.pad, pitch - right);
        if (copy) {
            const int pixel_bytes = bytes_per_pixel(image.format);
            const uint8_t *source = image.data + (image.roi_y + y) * image.stride + image.roi_x * pixel_bytes;
            if (gray)
                kernels.copy_gray(source, pixels, row + left);
            else
                kernels.copy_color(source, pixel_bytes, swap, pixels, row + left);
            continue;
        }
        const Sample at = sample(y, scale_y, image.roi_height);
        const int16_t *upper = rows_->fetch(image, at.index);
        const int16_t *lower = at.weight ? rows_->fetch(image, at.index + 1) : upper;
        if (gray)
            kernels.blend_y_gray(upper, lower, at.weight, pixels, row + left);
        else
            kernels.blend_y_color(upper, lower, at.weight, swap, pixels, row + left);
    }
    std::memset(output + bottom * pitch, rule_.pad, (static_cast<size_t>(rule_.height) - bottom) * pitch);
    return box;
}

#if defined(YOLOQ_X86_KERNELS)
namespace {
bool runs(const Kernels &kernels) {
    if (&kernels == &kernels_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (&kernels == &kernels_avx2) return __builtin_cpu_supports("avx2");
    return &kernels != &kernels_sse41 || __builtin_cpu_supports("sse4.1");
}
} // namespace
#endif

const Kernels *find_kernels(const char *name) {
#if defined(YOLOQ_X86_KERNELS)
    for (const Kernels *kernels : {&kernels_avx512, &kernels_avx2, &kernels_sse41})
        if ((!name || std::strcmp(name, kernels->name) == 0) && runs(*kernels)) return kernels;
#endif
    return !name || std::strcmp(name, kernels_generic.name) == 0 ? &kernels_generic : nullptr;
}

const char *preprocess_isa() { return find_kernels(nullptr)->name; }

} // namespace yq

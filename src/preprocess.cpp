// SPDX-License-Identifier: Apache-2.0
// Each row of the result lies between two source rows. Of a source row only the pixels beside the result's columns
// (taps) are gathered into a dense buffer, where vectors blend them in x; two such rows are then blended in y. The two
// latest rows are kept, so that enlarging reads no row twice. A row of NV12 becomes BGR first: colours are clamped, so
// blending before would give other results.
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

bool is_gray(const ImageView &image) {
    return image.format == YQ_FORMAT_GRAY8;
}
bool is_nv12(const ImageView &image) {
    return image.format == YQ_FORMAT_NV12;
}

} // namespace

LetterboxBox letterbox_box(int32_t source_width, int32_t source_height, const LetterboxRule &rule) {
    double ratio =
        std::min(static_cast<double>(rule.width) / source_width, static_cast<double>(rule.height) / source_height);
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
        : kernels(chosen ? chosen : find_kernels(nullptr)), converted(4 * (YQ_MAX_IMAGE_SIDE + kernel_padding)) {
        const size_t capacity = static_cast<size_t>(rule.width) + kernel_padding;
        columns.resize(capacity);
        weights.resize(4 * capacity);
        taps.resize(8 * capacity);
        for (Slot &slot : slots) slot.values.resize(4 * capacity);
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
    void make_tables(const ImageView &image);
    const uint8_t *source_row(const ImageView &image, int32_t y);
    const int16_t *fetch(const ImageView &image, int32_t y);
    void pick(const ImageView &image, int32_t y, bool swap, uint8_t *out);
    template <size_t bytes> void gather(const uint8_t *row);

    const Kernels *kernels;
    Geometry geometry{};
    YuvMatrix matrix{};
    int32_t pixel_bytes = 0, row_bytes = 0; // of a source_row
    int32_t first = 0;                      // where the ROI begins in a source_row, in bytes
    size_t pixels = 0;                      // of a row of the result
    size_t whole = 0;                       // pixels whose taps may be copied whole; the others are at the row's end
    bool dense = false;                     // taps lie side by side in the source already
    bool exact = false;                     // every column lies exactly on a source pixel (1, 3, 5 ... times smaller)
    std::vector<uint8_t> converted;         // NV12: the row as B G R 0
    std::vector<int32_t> columns;           // where the left tap begins in a source_row, in bytes
    std::vector<int16_t> weights;           // of the right tap, one per value of a row
    std::vector<uint8_t> taps;
    Slot slots[2];
};

void Letterboxer::Rows::start(const ImageView &image, const LetterboxBox &box) {
    for (Slot &slot : slots) slot.y = -1;
    matrix = yuv_matrix(image.color_space);
    const Geometry wanted = {image.format, image.width, image.roi_x, image.roi_width, box.width};
    if (wanted == geometry) return;
    geometry = wanted;
    pixels = static_cast<size_t>(box.width);
    pixel_bytes = is_nv12(image) ? 4 : bytes_per_pixel(image.format);
    // Chroma is shared by two columns: conversion begins and ends at even ones.
    const int32_t left = is_nv12(image) ? image.roi_x & ~1 : 0;
    const int32_t right = is_nv12(image) ? (image.roi_x + image.roi_width + 1) & ~1 : image.width;
    first = (image.roi_x - left) * pixel_bytes;
    row_bytes = (right - left) * pixel_bytes;
    make_tables(image);
}

void Letterboxer::Rows::make_tables(const ImageView &image) {
    const double scale = static_cast<double>(image.roi_width) / static_cast<double>(pixels);
    const size_t values = is_gray(image) ? 1 : 4;
    const int32_t needed = is_gray(image) ? 2 : 8;
    whole = 0;
    dense = exact = true;
    for (size_t x = 0; x < pixels; ++x) {
        const Sample at = sample(static_cast<int32_t>(x), scale, image.roi_width);
        columns[x] = first + at.index * pixel_bytes;
        std::fill_n(&weights[values * x], values, at.weight);
        exact = exact && at.weight == 0;
        if (columns[x] + needed <= row_bytes) whole = x + 1;
        if (x > 0 && columns[x] - columns[x - 1] != needed) dense = false;
    }
    dense = dense && whole == pixels;
}

// The row of the picture, or of the ROI for NV12.
const uint8_t *Letterboxer::Rows::source_row(const ImageView &image, int32_t y) {
    const uint8_t *row = image.data + (image.roi_y + y) * image.stride;
    if (!is_nv12(image)) return row;
    const int32_t left = image.roi_x & ~1;
    const uint8_t *chroma = image.data2 + (image.roi_y + y) / 2 * image.stride2;
    kernels->convert_nv12(row + left, chroma + left, matrix, static_cast<size_t>(row_bytes / 4), converted.data());
    return converted.data();
}

// Copies `bytes` bytes of a source row at each column to `taps`.
template <size_t bytes> void Letterboxer::Rows::gather(const uint8_t *row) {
    if (dense) {
        std::memcpy(taps.data(), row + columns[0], bytes * pixels);
        return;
    }
    const int32_t *column = columns.data();
    uint8_t *tap = taps.data();
    for (size_t x = 0; x < whole; ++x) std::memcpy(tap + bytes * x, row + column[x], bytes);
    for (size_t x = whole; x < pixels; ++x) // never beyond the row: the right tap's weight is 0 where it is not there
        std::memcpy(tap + bytes * x, row + column[x], std::min(bytes, static_cast<size_t>(row_bytes - column[x])));
}

// The ROI's row y, blended in x.
const int16_t *Letterboxer::Rows::fetch(const ImageView &image, int32_t y) {
    for (const Slot &slot : slots)
        if (slot.y == y) return slot.values.data();
    Slot &oldest = slots[0].y < slots[1].y ? slots[0] : slots[1]; // rows are asked for from top to bottom
    oldest.y = y;
    int16_t *values = oldest.values.data();
    const uint8_t *row = source_row(image, y);
    if (is_gray(image)) {
        gather<2>(row);
        kernels->blend_x_gray(taps.data(), weights.data(), pixels, values);
    } else {
        gather<8>(row);
        kernels->blend_x_color(taps.data(), weights.data(), pixel_bytes, pixels, values);
    }
    return values;
}

// The ROI's row y without blending.
void Letterboxer::Rows::pick(const ImageView &image, int32_t y, bool swap, uint8_t *out) {
    const uint8_t *row = source_row(image, y);
    if (is_gray(image)) {
        gather<1>(row);
        kernels->copy_gray(taps.data(), pixels, out);
    } else {
        gather<4>(row);
        kernels->copy_color(taps.data(), 4, swap, pixels, out);
    }
}

Letterboxer::Letterboxer(const LetterboxRule &rule, const Kernels *kernels)
    : rule_(rule), rows_(std::make_unique<Rows>(rule, kernels)) {}

Letterboxer::~Letterboxer() = default;

void Letterboxer::write_row(const ImageView &image, const LetterboxBox &box, int32_t y, uint8_t *out) {
    Rows &rows = *rows_;
    const bool bgr = image.format == YQ_FORMAT_BGR24 || image.format == YQ_FORMAT_BGRA32 || is_nv12(image);
    const bool swap = bgr != rule_.bgr;
    if (box.width == image.roi_width && box.height == image.roi_height) {
        const uint8_t *source = rows.source_row(image, y) + rows.first;
        if (is_gray(image))
            rows.kernels->copy_gray(source, rows.pixels, out);
        else
            rows.kernels->copy_color(source, rows.pixel_bytes, swap, rows.pixels, out);
        return;
    }
    const Sample at = sample(y, static_cast<double>(image.roi_height) / box.height, image.roi_height);
    if (rows.exact && at.weight == 0) { // nothing to blend
        rows.pick(image, at.index, swap, out);
        return;
    }
    const int16_t *upper = rows.fetch(image, at.index);
    const int16_t *lower = at.weight ? rows.fetch(image, at.index + 1) : upper;
    if (is_gray(image))
        rows.kernels->blend_y_gray(upper, lower, at.weight, rows.pixels, out);
    else
        rows.kernels->blend_y_color(upper, lower, at.weight, swap, rows.pixels, out);
}

LetterboxBox Letterboxer::run(const ImageView &image, uint8_t *output) {
    const LetterboxBox box = letterbox_box(image.roi_width, image.roi_height, rule_);
    rows_->start(image, box);
    const size_t pitch = 3 * static_cast<size_t>(rule_.width);
    const size_t left = 3 * static_cast<size_t>(box.left), right = left + 3 * static_cast<size_t>(box.width);
    std::memset(output, rule_.pad, static_cast<size_t>(box.top) * pitch);
    uint8_t *row = output + static_cast<size_t>(box.top) * pitch;
    for (int32_t y = 0; y < box.height; ++y, row += pitch) {
        std::memset(row, rule_.pad, left);
        write_row(image, box, y, row + left);
        std::memset(row + right, rule_.pad, pitch - right);
    }
    std::memset(row, rule_.pad, static_cast<size_t>(rule_.height - box.top - box.height) * pitch);
    return box;
}

#if defined(YOLOQ_X86_KERNELS)
namespace {
bool runs(const Kernels &kernels) {
    return &kernels == &kernels_avx2 ? __builtin_cpu_supports("avx2") : __builtin_cpu_supports("sse4.1");
}
} // namespace
#endif

const Kernels *find_kernels(const char *name) {
#if defined(YOLOQ_X86_KERNELS)
    for (const Kernels *kernels : {&kernels_avx2, &kernels_sse41})
        if ((!name || std::strcmp(name, kernels->name) == 0) && runs(*kernels)) return kernels;
#endif
    return !name || std::strcmp(name, kernels_generic.name) == 0 ? &kernels_generic : nullptr;
}

const char *preprocess_isa() {
    return find_kernels(nullptr)->name;
}

} // namespace yq

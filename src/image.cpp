// SPDX-License-Identifier: Apache-2.0
#include "image.h"

#include "status.h"

namespace yq {
namespace {

// What a program built with the first header sets in `size`, and the largest size that is believed: a larger one is
// an uninitialised field rather than a newer header.
constexpr uint32_t first_size = offsetof(yq_image, reserved) + sizeof(int32_t);
constexpr uint32_t largest_size = 4096;

bool is_nv12(const yq_image &image) {
    return image.format == YQ_FORMAT_NV12;
}

// Checks a plane's address and stride, and resolves stride 0. `field` names the address in messages.
int32_t check_plane(const char *field, const char *stride_field, const void *data, int64_t stride, int64_t row_bytes,
                    int64_t rows, ptrdiff_t *resolved) {
    if (!data) return fail(YQ_EINVAL, "image.%s is NULL: point it at the first byte of the plane's top row", field);
    if (stride == 0) stride = row_bytes;
    // Not abs(): the smallest int64_t has none.
    const uint64_t step = stride < 0 ? 0 - static_cast<uint64_t>(stride) : static_cast<uint64_t>(stride);
    if (step < static_cast<uint64_t>(row_bytes))
        return fail(YQ_EINVAL,
                    "image.%s is %lld, but a row has %lld bytes: give the bytes from a row to the row below, or 0 if "
                    "the rows are packed",
                    stride_field, static_cast<long long>(stride), static_cast<long long>(row_bytes));
    const uintptr_t address = reinterpret_cast<uintptr_t>(data);
    const uint64_t room = stride < 0 ? address : UINTPTR_MAX - address - static_cast<uint64_t>(row_bytes - 1);
    const uint64_t reach = PTRDIFF_MAX < room ? PTRDIFF_MAX : room;
    const bool row_fits = UINTPTR_MAX - address >= static_cast<uint64_t>(row_bytes - 1);
    if (!row_fits || step > PTRDIFF_MAX || (rows > 1 && step > reach / static_cast<uint64_t>(rows - 1)))
        return fail(YQ_EINVAL,
                    "image.%s is %lld: %lld such rows at image.%s leave the address space; give the bytes from a row "
                    "to the row below",
                    stride_field, static_cast<long long>(stride), static_cast<long long>(rows), field);
    *resolved = static_cast<ptrdiff_t>(stride);
    return YQ_OK;
}

int32_t check_size(const yq_image &image) {
    if (image.width < 1 || image.width > YQ_MAX_IMAGE_SIDE || image.height < 1 || image.height > YQ_MAX_IMAGE_SIDE)
        return fail(YQ_EINVAL, "image is %d x %d pixels: each side must be 1 to %d", image.width, image.height,
                    static_cast<int>(YQ_MAX_IMAGE_SIDE));
    if (is_nv12(image) && (image.width % 2 != 0 || image.height % 2 != 0))
        return fail(YQ_EINVAL,
                    "image is NV12 of %d x %d pixels: NV12 needs even sides; leave the odd column or row out",
                    image.width, image.height);
    return YQ_OK;
}

int32_t check_planes(const yq_image &image, ImageView *view) {
    const int64_t row_bytes = static_cast<int64_t>(image.width) * bytes_per_pixel(image.format);
    YQ_TRY(check_plane("data", "stride", image.data, image.stride, row_bytes, image.height, &view->stride));
    view->data = static_cast<const uint8_t *>(image.data);
    if (is_nv12(image)) {
        YQ_TRY(
            check_plane("data2", "stride2", image.data2, image.stride2, image.width, image.height / 2, &view->stride2));
        view->data2 = static_cast<const uint8_t *>(image.data2);
        return YQ_OK;
    }
    if (image.data2 || image.stride2 != 0)
        return fail(YQ_EINVAL, "image.data2 or image.stride2 is set, but only NV12 has a second plane: set both to 0, "
                               "or image.format to YQ_FORMAT_NV12");
    view->data2 = nullptr;
    view->stride2 = 0;
    return YQ_OK;
}

int32_t check_roi(const yq_image &image, ImageView *view) {
    const int64_t x = image.roi_x, y = image.roi_y, width = image.roi_width, height = image.roi_height;
    const bool whole = x == 0 && y == 0 && width == 0 && height == 0;
    if (!whole && (width < 1 || height < 1))
        return fail(YQ_EINVAL,
                    "image ROI is %lld x %lld pixels at (%lld, %lld): set roi_width and roi_height to 1 or more, or "
                    "all four roi fields to 0 for the whole picture",
                    static_cast<long long>(width), static_cast<long long>(height), static_cast<long long>(x),
                    static_cast<long long>(y));
    if (x < 0 || y < 0 || x + width > image.width || y + height > image.height)
        return fail(YQ_EINVAL,
                    "image ROI is %lld x %lld pixels at (%lld, %lld), outside the picture of %d x %d: clip it to the "
                    "picture",
                    static_cast<long long>(width), static_cast<long long>(height), static_cast<long long>(x),
                    static_cast<long long>(y), image.width, image.height);
    view->roi_x = image.roi_x;
    view->roi_y = image.roi_y;
    view->roi_width = whole ? image.width : image.roi_width;
    view->roi_height = whole ? image.height : image.roi_height;
    return YQ_OK;
}

int32_t check_color_space(const yq_image &image) {
    if (image.color_space < YQ_COLOR_DEFAULT || image.color_space > YQ_COLOR_BT709_FULL)
        return fail(YQ_EINVAL, "image.color_space is %d: use a yq_color_space, 0 to %d", image.color_space,
                    static_cast<int>(YQ_COLOR_BT709_FULL));
    if (!is_nv12(image) && image.color_space != YQ_COLOR_DEFAULT)
        return fail(YQ_EINVAL, "image.color_space is %d, but only NV12 has one: set it to YQ_COLOR_DEFAULT",
                    image.color_space);
    return YQ_OK;
}

} // namespace

int bytes_per_pixel(int32_t format) {
    switch (format) {
    case YQ_FORMAT_GRAY8:
    case YQ_FORMAT_NV12: return 1;
    case YQ_FORMAT_BGR24:
    case YQ_FORMAT_RGB24: return 3;
    case YQ_FORMAT_BGRA32:
    case YQ_FORMAT_RGBA32: return 4;
    default: return 0;
    }
}

int32_t check_image(const yq_image *image, ImageView *out) {
    if (!image) return fail(YQ_EINVAL, "image is NULL: pass a yq_image");
    if (image->size < first_size || image->size > largest_size)
        return fail(YQ_EINVAL, "image.size is %u: fill the yq_image by yq_image_init(&image, sizeof image) first",
                    image->size);
    if (bytes_per_pixel(image->format) == 0)
        return fail(YQ_EINVAL, "image.format is %d: use a yq_format, %d (GRAY8) to %d (NV12)", image->format,
                    static_cast<int>(YQ_FORMAT_GRAY8), static_cast<int>(YQ_FORMAT_NV12));
    ImageView view{};
    YQ_TRY(check_size(*image));
    YQ_TRY(check_planes(*image, &view));
    YQ_TRY(check_roi(*image, &view));
    YQ_TRY(check_color_space(*image));
    if (image->reserved != 0)
        return fail(YQ_EINVAL, "image.reserved is %d: it must be 0; fill the yq_image by yq_image_init first",
                    image->reserved);
    view.format = static_cast<yq_format>(image->format);
    view.width = image->width;
    view.height = image->height;
    view.color_space = static_cast<yq_color_space>(image->color_space);
    *out = view;
    return YQ_OK;
}

} // namespace yq

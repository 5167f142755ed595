// SPDX-License-Identifier: Apache-2.0
// Image check and letterbox for tests and benchmarks; the pictures go through the real check.
#include <memory>
#include <new>

#include "image.h"
#include "preprocess.h"
#include "preprocess_kernels.h"
#include "status.h"

#if defined(_WIN32)
#define YQT_API extern "C" __declspec(dllexport)
#else
#define YQT_API extern "C" __attribute__((visibility("default")))
#endif

// A letterbox of one rule. isa: "generic", "sse41", "avx2", NULL for the fastest. NULL if it cannot run here.
YQT_API yq::Letterboxer *yqt_letterbox_create(int32_t width, int32_t height, int32_t bgr, int32_t center,
                                              int32_t upscale, int32_t pad, const char *isa) {
    const yq::Kernels *kernels = yq::find_kernels(isa);
    if (!kernels) return nullptr;
    yq::LetterboxRule rule;
    rule.width = width;
    rule.height = height;
    rule.bgr = bgr != 0;
    rule.center = center != 0;
    rule.upscale = upscale != 0;
    rule.pad = static_cast<uint8_t>(pad);
    return new (std::nothrow) yq::Letterboxer(rule, kernels);
}

// Runs once; `output` has height * width * 3 bytes. box may be NULL.
YQT_API int32_t yqt_letterbox(yq::Letterboxer *letterboxer, const yq_image *image, uint8_t *output,
                              yq::LetterboxBox *box) {
    yq::ImageView view;
    YQ_TRY(yq::check_image(image, &view));
    const yq::LetterboxBox result = letterboxer->run(view, output);
    if (box) *box = result;
    return YQ_OK;
}

YQT_API void yqt_letterbox_destroy(yq::Letterboxer *letterboxer) {
    delete letterboxer;
}

YQT_API const char *yqt_letterbox_isa() {
    return yq::preprocess_isa();
}

// roi: receives x, y, width, height; strides: the resolved strides of both planes. Both untouched on failure.
YQT_API int32_t yqt_check_image(const yq_image *image, int32_t *roi, int64_t *strides) {
    yq::ImageView view;
    YQ_TRY(yq::check_image(image, &view));
    roi[0] = view.roi_x;
    roi[1] = view.roi_y;
    roi[2] = view.roi_width;
    roi[3] = view.roi_height;
    strides[0] = view.stride;
    strides[1] = view.stride2;
    return YQ_OK;
}

YQT_API const char *yqt_image_error() {
    return yq::last_error();
}

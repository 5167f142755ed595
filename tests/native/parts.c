/* SPDX-License-Identifier: Apache-2.0 */
/* Letterbox and decoder under noise: whatever the bits are, nothing outside their memory is read or written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* libyoloq_testing.so */
void *yqt_letterbox_create(int32_t width, int32_t height, int32_t bgr, int32_t center, int32_t upscale, int32_t pad,
                           const char *isa);
int32_t yqt_letterbox(void *letterboxer, const yq_image *image, uint8_t *output, void *box);
void yqt_letterbox_destroy(void *letterboxer);
int32_t yqt_check_image(const yq_image *image, int32_t *roi, int64_t *strides);
const char *yqt_image_error(void);
void *yqt_decoder_create(const char *text, uint64_t limit, char *error, uint64_t error_capacity);
void yqt_decoder_destroy(void *decoder);
uint64_t yqt_decoder_tensor_bytes(const void *decoder, uint64_t tensor);
int64_t yqt_decode(void *decoder, const void *const *tensors, uint32_t picture, float threshold, void *out,
                   uint64_t capacity);

static uint64_t state = 88172645463325252u; /* xorshift64 */

static uint32_t noise(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static int32_t up_to(int32_t most) {
    return 1 + (int32_t)(noise() % (uint32_t)most);
}

static void choose_roi(yq_image *image) {
    image->roi_width = up_to(image->width);
    image->roi_height = up_to(image->height);
    image->roi_x = (int32_t)(noise() % (uint32_t)(image->width - image->roi_width + 1));
    image->roi_y = (int32_t)(noise() % (uint32_t)(image->height - image->roi_height + 1));
}

/* Pictures of any size into inputs of any size, by every instruction set, both in guarded memory. */
static void run_letterbox(const char *unused) {
    (void)unused;
    const char *names[] = {"generic", "sse41", "avx2", "avx512"};
    int ran = 0;
    for (int i = 0; i < 1200; ++i) {
        const int32_t width = up_to(i % 10 ? 200 : 700), height = up_to(i % 10 ? 200 : 700);
        void *letterboxer = yqt_letterbox_create(width, height, i & 1, i >> 1 & 1, i >> 2 & 1, 114, names[i % 4]);
        if (!letterboxer) continue; /* not on this processor */
        const int32_t format = 1 + (int32_t)(noise() % 6), even = format == YQ_FORMAT_NV12 ? 2 : 1;
        const int32_t most = i % 50 ? 400 / even : 5000 / even;
        const picture_side side = noise() % 2 ? LEANS_ON_END : LEANS_ON_BEGIN;
        picture image = picture_make(format, up_to(most) * even, up_to(i % 50 ? most : 40) * even,
                                     (int32_t)(noise() % 9), (int)(noise() % 2), side, noise());
        guarded output = guarded_make((size_t)width * (size_t)height * 3, noise() % 2 ? LEANS_ON_END : LEANS_ON_BEGIN);
        CHECK(yqt_letterbox(letterboxer, &image.image, output.data, NULL) == YQ_OK);
        choose_roi(&image.image);
        CHECK(yqt_letterbox(letterboxer, &image.image, output.data, NULL) == YQ_OK);
        guarded_free(&output);
        picture_free(&image);
        yqt_letterbox_destroy(letterboxer);
        ++ran;
    }
    CHECK(ran >= 300);
}

/* Fields of noise, in part plausible: what the check lets through lies in the address space. */
static void run_images(const char *unused) {
    (void)unused;
    int32_t roi[4];
    int64_t strides[2];
    int passed = 0;
    for (int i = 0; i < 2000000; ++i) {
        yq_image image;
        unsigned char *bytes = (unsigned char *)&image;
        for (size_t k = 0; k < sizeof image; k += 4) {
            const uint32_t value = noise();
            memcpy(bytes + k, &value, 4);
        }
        const uint32_t sane = noise();
        if (sane & 0xF) image.size = sizeof image;
        if (sane & 0xF0) image.format = 1 + (int32_t)(noise() % 6);
        if (sane & 0xF00) image.width = up_to(20000), image.height = up_to(20000);
        if (sane & 0xF000) image.roi_x = image.roi_y = image.roi_width = image.roi_height = 0;
        if (sane & 0xF0000) image.color_space = image.reserved = 0;
        if (sane & 0xF00000 && image.format != YQ_FORMAT_NV12) image.data2 = NULL, image.stride2 = 0;
        if (sane & 0xF000000) image.stride = 0;
        if (yqt_check_image(&image, roi, strides) != YQ_OK) {
            CHECK(strlen(yqt_image_error()) > 10);
            continue;
        }
        const uint64_t last = (uint64_t)(uintptr_t)image.data + (uint64_t)strides[0] * (uint64_t)(image.height - 1);
        CHECK(image.data != NULL && image.width <= 16384 && image.height <= 16384);
        CHECK(strides[0] < 0 ? last <= (uint64_t)(uintptr_t)image.data : last >= (uint64_t)(uintptr_t)image.data);
        CHECK(roi[0] >= 0 && roi[1] >= 0 && roi[2] >= 1 && roi[3] >= 1);
        CHECK(roi[0] + roi[2] <= image.width && roi[1] + roi[3] <= image.height);
        ++passed;
    }
    CHECK(passed > 1000);
}

/* Tensors of noise: NaN, infinities, huge numbers, in every element type. */
static void decode_noise(const char *head) {
    enum { limit = 500 };
    char error[512] = "";
    void *decoder = yqt_decoder_create(head, limit, error, sizeof error);
    if (!decoder) fprintf(stderr, "%s\n", error);
    CHECK(decoder != NULL);
    guarded tensors[2];
    guarded out = guarded_make(limit * 28, LEANS_ON_END); /* sizeof(Candidate) */
    const int count = strstr(head, "\"role\":\"score\"") ? 2 : 1;
    const void *addresses[2];
    for (int i = 0; i < count; ++i) {
        tensors[i] = guarded_make(yqt_decoder_tensor_bytes(decoder, (uint64_t)i), LEANS_ON_END);
        addresses[i] = tensors[i].data;
    }
    for (int round = 0; round < 60; ++round) {
        for (int i = 0; i < count; ++i)
            for (size_t k = 0; k < tensors[i].bytes; ++k)
                tensors[i].data[k] = (unsigned char)(round % 3 == 0 ? noise() : round % 3 == 1 ? 0xFF : noise() & 0x7F);
        const float threshold = round % 2 ? 1e-30f : 0.25f;
        const int64_t found = yqt_decode(decoder, addresses, (uint32_t)round % 2, threshold, out.data, limit);
        CHECK(found >= 0 && found <= limit);
        for (int64_t i = 0; i < found; ++i) {
            float score;
            memcpy(&score, out.data + i * 28 + 16, 4);
            CHECK(score >= threshold && score <= 1.0f);
        }
    }
    for (int i = 0; i < count; ++i) guarded_free(&tensors[i]);
    guarded_free(&out);
    yqt_decoder_destroy(decoder);
}

static void run_decode(const char *unused) {
    (void)unused;
    const char *types[] = {"float32", "float16", "int8", "uint8"};
    const char *real = "0,\"zero_point\":0", *quantized = "0.05,\"zero_point\":3";
    const char *scales[] = {real, real, quantized, quantized};
    const char *ltrb =
        "{\"width\":64,\"height\":64,\"classes\":5,\"head\":{\"box\":\"ltrb\",\"score\":\"logit\",\"reg_max\":%d,"
        "\"objectness\":false,\"nms\":true,\"strides\":[8],\"anchors\":[],\"outputs\":[{\"tensor\":0,\"role\":\"box\","
        "\"level\":0},{\"tensor\":1,\"role\":\"score\",\"level\":0}]},\"tensors\":[{\"name\":\"a\",\"dtype\":\"%s\","
        "\"shape\":[2,%d,8,8],\"channel_axis\":1,\"scale\":%s},{\"name\":\"b\",\"dtype\":\"%s\","
        "\"shape\":[2,8,8,5],\"channel_axis\":-1,\"scale\":%s}]}";
    const char *single =
        "{\"width\":64,\"height\":64,\"classes\":5,\"head\":{\"box\":\"%s\",\"score\":\"probability\",\"reg_max\":1,"
        "\"objectness\":false,\"nms\":%s,\"strides\":[],\"anchors\":[],\"outputs\":[{\"tensor\":0,\"role\":\"%s\","
        "\"level\":0}]},\"tensors\":[{\"name\":\"a\",\"dtype\":\"float32\",\"shape\":%s,\"channel_axis\":%d,"
        "\"scale\":0,\"zero_point\":0}]}";
    char head[2048];
    for (int i = 0; i < 4; ++i)
        for (int reg_max = 1; reg_max <= 16; reg_max += 15) {
            snprintf(head, sizeof head, ltrb, reg_max, types[i], 4 * reg_max, scales[i], types[3 - i], scales[3 - i]);
            decode_noise(head);
        }
    snprintf(head, sizeof head, single, "xyxy", "false", "end2end", "[2,300,6]", -1);
    decode_noise(head);
    snprintf(head, sizeof head, single, "cxcywh", "true", "combined", "[2,9,84]", 1);
    decode_noise(head);
}

static const scenario part_scenarios[] = {{"letterbox-noise", "", run_letterbox},
                                          {"image-noise", "", run_images},
                                          {"decode-noise", "", run_decode},
                                          {NULL, NULL, NULL}};
const scenario *const scenario_lists[] = {part_scenarios, NULL};

/* SPDX-License-Identifier: Apache-2.0 */
/* Wrong arguments, wrong pictures, wrong options, wrong handles. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const uint32_t wrong_sizes[] = {0, 1, 3, 4, 16, 1u << 20, UINT32_MAX};

static void run_null(const char *package) {
    yq_detector *detector = open_detector(package, 1);
    picture image = picture_simple(64, 48, 1);
    yq_detection found[4];
    uint32_t count = 99;
    int32_t status = 99;
    EXPECT(YQ_EINVAL, yq_create(NULL, package, NULL));
    EXPECT(YQ_EINVAL, yq_create(NULL, NULL, NULL));
    yq_detector *none = (yq_detector *)1;
    EXPECT(YQ_EINVAL, yq_create(&none, NULL, NULL));
    CHECK(none == NULL);
    EXPECT(YQ_EINVAL, yq_create(&none, "", NULL));
    EXPECT(YQ_EINVAL, yq_infer(NULL, &image.image, NULL, found, 4, &count));
    CHECK(count == 0);
    EXPECT(YQ_EINVAL, yq_infer(NULL, NULL, NULL, NULL, 0, NULL));
    EXPECT(YQ_EINVAL, yq_infer(detector, NULL, NULL, found, 4, &count));
    EXPECT(YQ_EINVAL, yq_infer(detector, &image.image, NULL, NULL, 4, &count));
    EXPECT(YQ_EINVAL, yq_infer(detector, &image.image, NULL, found, 4, NULL));
    EXPECT(YQ_OK, yq_infer(detector, &image.image, NULL, NULL, 0, &count));
    EXPECT(YQ_EINVAL, yq_infer_batch(detector, &image.image, 0, NULL, found, 4, &count, &status));
    EXPECT(YQ_EINVAL, yq_infer_batch(detector, NULL, 1, NULL, found, 4, &count, &status));
    CHECK(count == 0 && status == YQ_EINVAL);
    EXPECT(YQ_EINVAL, yq_infer_batch(detector, &image.image, 1, NULL, NULL, 4, &count, NULL));
    EXPECT(YQ_EINVAL, yq_infer_batch(detector, &image.image, 1, NULL, found, 4, NULL, NULL));
    EXPECT(YQ_EINVAL, yq_infer_batch(NULL, NULL, 1, NULL, NULL, 0, NULL, NULL));
    EXPECT(YQ_OK, yq_infer_batch(detector, &image.image, 1, NULL, found, 4, &count, NULL));
    EXPECT(YQ_EINVAL, yq_get_info(detector, NULL));
    EXPECT(YQ_EINVAL, yq_get_info(NULL, NULL));
    EXPECT(YQ_EINVAL, yq_get_stats(detector, NULL));
    EXPECT(YQ_EINVAL, yq_get_stats(NULL, NULL));
    EXPECT(YQ_EINVAL, yq_backend_info(0, NULL));
    CHECK(yq_class_name(NULL, 0) == NULL);
    CHECK_REASON("NULL");
    CHECK(yq_class_name(detector, -1) == NULL && yq_class_name(detector, INT32_MAX) == NULL);
    CHECK_REASON("class");
    CHECK(strcmp(yq_class_name(detector, 0), "bolt") == 0);
    yq_options_init(NULL, 16);
    yq_call_init(NULL, 0);
    yq_image_init(NULL, UINT32_MAX);
    yq_set_log_callback(NULL, NULL);
    yq_destroy(NULL);
    const int32_t numbers[] = {-1, 9, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT(numbers); ++i) CHECK(strcmp(yq_status_name(numbers[i]), "YQ_UNKNOWN") == 0);
    CHECK(yq_abi_version() == YQ_ABI_VERSION && strlen(yq_version()) >= 5);
    picture_free(&image);
    yq_destroy(detector);
}

/* Structs whose size is wrong, and init functions that must stay inside the size they are told. */
static void run_sizes(const char *package) {
    yq_detector *detector = open_detector(package, 1), *other = NULL;
    picture image = picture_simple(64, 48, 1);
    uint32_t count = 0;
    for (size_t i = 0; i < COUNT(wrong_sizes); ++i) {
        const uint32_t size = wrong_sizes[i];
        yq_options options = {size, "dummy", NULL, NULL, 0, 0, 0, 0, 0, 0};
        EXPECT(YQ_EINVAL, yq_create(&other, package, &options));
        yq_call call;
        yq_call_init(&call, sizeof call);
        call.size = size;
        EXPECT(YQ_EINVAL, yq_infer(detector, &image.image, &call, NULL, 0, &count));
        yq_image wrong = image.image;
        wrong.size = size;
        EXPECT(YQ_EINVAL, yq_infer(detector, &wrong, NULL, NULL, 0, &count));
        EXPECT(YQ_EINVAL, yq_infer_batch(detector, &wrong, 1, NULL, NULL, 0, &count, NULL));
        yq_info info;
        yq_stats stats;
        yq_backend_desc backend;
        info.size = stats.size = backend.size = size;
        EXPECT(YQ_EINVAL, yq_get_info(detector, &info));
        EXPECT(YQ_EINVAL, yq_get_stats(detector, &stats));
        EXPECT(YQ_EINVAL, yq_backend_info(0, &backend));
    }
    for (uint32_t size = 0; size <= sizeof(yq_options) + 64; ++size) {
        guarded room = guarded_make(size, LEANS_ON_BEGIN);
        memset(room.data, 0xEE, size);
        yq_options_init((yq_options *)room.data, size);
        for (uint32_t i = 0; i < size; ++i) CHECK(size < 4 ? room.data[i] == 0xEE : i < 4 || room.data[i] == 0);
        if (size >= 4) CHECK(memcmp(room.data, &size, 4) == 0);
        guarded_free(&room);
    }
    picture_free(&image);
    yq_destroy(detector);
}

static int32_t infer_image(yq_detector *detector, const yq_image *image) {
    yq_detection found[8];
    uint32_t count = 99;
    const int32_t status = yq_infer(detector, image, NULL, found, 8, &count);
    CHECK(status == YQ_OK || count == 0);
    return status;
}

static void check_bad_pictures(yq_detector *detector) {
    picture image = picture_simple(64, 48, 1);
    const yq_image good = image.image;
    const int32_t sides[] = {0, -1, 16385, INT32_MAX, INT32_MIN}, formats[] = {0, -1, 7, INT32_MAX, INT32_MIN};
    const int64_t strides[] = {1, 191, -191, -1, INT64_MAX, INT64_MIN, INT64_MIN / 47};
    const int32_t rois[][4] = {
        {0, 0, 0, 1},        {0, 0, 65, 48}, {1, 0, 64, 48}, {-1, 0, 10, 10},
        {63, 47, 2, 1},      {0, 0, -5, 5},  {5, 5, 0, 0},   {INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX},
        {0, INT32_MIN, 1, 1}};
#define BAD(field, value)                                                                                              \
    do {                                                                                                               \
        yq_image bad = good;                                                                                           \
        bad.field = (value);                                                                                           \
        EXPECT(YQ_EINVAL, infer_image(detector, &bad));                                                                \
    } while (0)
    for (size_t i = 0; i < COUNT(sides); ++i) BAD(width, sides[i]);
    for (size_t i = 0; i < COUNT(sides); ++i) BAD(height, sides[i]);
    for (size_t i = 0; i < COUNT(formats); ++i) BAD(format, formats[i]);
    for (size_t i = 0; i < COUNT(strides); ++i) BAD(stride, strides[i]);
    BAD(data, NULL);
    BAD(data, (const void *)(UINTPTR_MAX - 100)); /* runs out of the address space */
    BAD(data2, good.data);
    BAD(stride2, 64);
    BAD(color_space, YQ_COLOR_BT709_FULL);
    BAD(color_space, -1);
    BAD(reserved, 1);
    BAD(format, YQ_FORMAT_NV12); /* no second plane */
    for (size_t i = 0; i < COUNT(rois); ++i) {
        yq_image bad = good;
        memcpy(&bad.roi_x, rois[i], sizeof rois[i]);
        EXPECT(YQ_EINVAL, infer_image(detector, &bad));
    }
    EXPECT(YQ_OK, infer_image(detector, &good));
    picture nv12 = picture_make(YQ_FORMAT_NV12, 64, 48, 0, 0, LEANS_ON_END, 2);
    yq_image odd = nv12.image;
    odd.width = 63;
    EXPECT(YQ_EINVAL, infer_image(detector, &odd));
    odd = nv12.image;
    odd.stride2 = 63;
    EXPECT(YQ_EINVAL, infer_image(detector, &odd));
    odd = nv12.image;
    odd.color_space = 4;
    EXPECT(YQ_EINVAL, infer_image(detector, &odd));
    picture_free(&nv12);
    picture_free(&image);
}

/* Every format, padded and bottom-up, in memory of exactly its size, with ROIs at the edges. */
static void check_good_pictures(yq_detector *detector) {
    const int32_t sizes[][2] = {{2, 2},    {64, 48},   {320, 320}, {322, 318}, {1000, 4},
                                {6, 1000}, {642, 480}, {16384, 2}, {2, 16384}, {1026, 770}};
    for (int32_t format = YQ_FORMAT_GRAY8; format <= YQ_FORMAT_NV12; ++format)
        for (size_t i = 0; i < COUNT(sizes); ++i)
            for (int variant = 0; variant < 4; ++variant) {
                const int32_t odd = format != YQ_FORMAT_NV12 && variant % 2;
                const int32_t width = sizes[i][0] - odd, height = sizes[i][1] - odd;
                picture image = picture_make(format, width, height, variant / 2 * 7, variant % 2,
                                             variant < 2 ? LEANS_ON_END : LEANS_ON_BEGIN, (uint32_t)variant);
                EXPECT(YQ_OK, infer_image(detector, &image.image));
                yq_image part = image.image;
                part.roi_x = width - (width + 1) / 2;
                part.roi_y = height - (height + 1) / 2;
                part.roi_width = (width + 1) / 2;
                part.roi_height = (height + 1) / 2;
                EXPECT(YQ_OK, infer_image(detector, &part));
                part.roi_x = part.roi_y = 0;
                EXPECT(YQ_OK, infer_image(detector, &part));
                if (variant / 2 == 0 && !image.planes[1].data && image.image.stride > 0) {
                    image.image.stride = 0; /* packed */
                    EXPECT(YQ_OK, infer_image(detector, &image.image));
                }
                picture_free(&image);
            }
}

static void run_pictures(const char *package) {
    yq_detector *detector = open_detector(package, 1);
    check_bad_pictures(detector);
    check_good_pictures(detector);
    yq_destroy(detector);
}

static void refuse(const char *package, const yq_options *options, int32_t status, const char *text) {
    yq_detector *detector = (yq_detector *)1;
    EXPECT(status, yq_create(&detector, package, options));
    CHECK(detector == NULL);
    CHECK_REASON(text);
}

static void run_options(const char *package) {
    const float shares[] = {-0.5f, 1.5f, NAN, INFINITY, -INFINITY};
    const char *devices[] = {"", "x", "-1", "0x0", "1e3", " 0", "99999999999999999999"};
    const char *names[] = {"", "../dummy", "DUMMY", "dummy.so", "a/b", "dum my", "\xff\xfe"};
    char longest[5000];
    yq_options good, bad;
    yq_options_init(&good, sizeof good);
    good.backend = "dummy";
#define REFUSE(field, value, status, text) (bad = good, bad.field = (value), refuse(package, &bad, status, text))
    for (size_t i = 0; i < COUNT(shares); ++i) REFUSE(score_threshold, shares[i], YQ_EINVAL, "score_threshold");
    for (size_t i = 0; i < COUNT(shares); ++i) REFUSE(iou_threshold, shares[i], YQ_EINVAL, "iou_threshold");
    REFUSE(max_detections, YQ_MAX_DETECTIONS + 1, YQ_EINVAL, "max_detections");
    REFUSE(max_detections, UINT32_MAX, YQ_EINVAL, "max_detections");
    REFUSE(streams, YQ_MAX_STREAMS + 1, YQ_EINVAL, "streams");
    REFUSE(streams, UINT32_MAX, YQ_EINVAL, "streams");
    REFUSE(hint, 3, YQ_EINVAL, "hint");
    REFUSE(hint, INT32_MIN, YQ_EINVAL, "hint");
    for (size_t i = 0; i < COUNT(devices); ++i) REFUSE(device, devices[i], YQ_EINVAL, "device");
    REFUSE(device, "7", YQ_EINVAL, "device");
    for (size_t i = 0; i < COUNT(names); ++i) REFUSE(backend, names[i], YQ_EINVAL, "backend");
    REFUSE(backend, "no_such_chip", YQ_ENOTFOUND, "no_such_chip");
    REFUSE(cache_dir, "/no/such/folder", YQ_EINVAL, "cache_dir");
    REFUSE(cache_dir, "", YQ_EINVAL, "cache_dir");
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    REFUSE(backend, longest, YQ_EINVAL, "backend");
    REFUSE(device, longest, YQ_EINVAL, "device");
    refuse("/no/such/package.yoloq", &good, YQ_ENOTFOUND, "/no/such/package.yoloq");
    refuse("/dev/null", &good, YQ_ENOTFOUND, "/dev/null");
    refuse("line\nbreak\ttab", &good, YQ_ENOTFOUND, "line break tab");
    refuse("\xff\xfe not UTF-8 \xc3", &good, YQ_ENOTFOUND, "not UTF-8");
    refuse(longest, &good, YQ_ENOTFOUND, NULL);
    memset(longest, 0xE4, sizeof longest - 1); /* the first byte of three, again and again */
    refuse(longest, &good, YQ_ENOTFOUND, NULL);
    for (size_t i = 0; i + 3 < sizeof longest; i += 3) memcpy(longest + i, "\xE4\xB8\xAD", 3); /* a cut character */
    refuse(longest, &good, YQ_ENOTFOUND, "\xE4\xB8\xAD");
    yq_backend_desc backend;
    backend.size = sizeof backend;
    EXPECT(YQ_EINVAL, yq_backend_info(yq_backend_count(), &backend));
    EXPECT(YQ_EINVAL, yq_backend_info(UINT32_MAX, &backend));
}

/* Every function refuses a handle that is none. */
static void check_dead(yq_detector *handle) {
    picture image = picture_simple(16, 16, 1);
    uint32_t count = 0;
    yq_info info;
    yq_stats stats;
    info.size = sizeof info;
    stats.size = sizeof stats;
    EXPECT(YQ_EINVAL, infer_one(handle, &image, 0));
    EXPECT(YQ_EINVAL, yq_infer_batch(handle, &image.image, 1, NULL, NULL, 0, &count, NULL));
    EXPECT(YQ_EINVAL, yq_get_info(handle, &info));
    EXPECT(YQ_EINVAL, yq_get_stats(handle, &stats));
    CHECK(yq_class_name(handle, 0) == NULL);
    CHECK_REASON("handle");
    yq_destroy(handle);
    picture_free(&image);
}

static void run_handles(const char *package) {
    yq_detector *alive = open_detector(package, 1);
    picture image = picture_simple(64, 48, 1);
    const uint64_t bits = (uint64_t)(uintptr_t)alive;
    for (int i = 0; i < 64; ++i) check_dead((yq_detector *)(uintptr_t)(bits ^ (uint64_t)1 << i));
    const uint64_t garbage[] = {1, 0x1000, UINT64_MAX, 0x7951, bits + 1, bits - 1, (uint64_t)(uintptr_t)&image};
    for (size_t i = 0; i < COUNT(garbage); ++i) check_dead((yq_detector *)(uintptr_t)garbage[i]);
    EXPECT(YQ_OK, infer_one(alive, &image, 0)); /* none of it hurt */
    yq_destroy(alive);
    check_dead(alive);
    for (int i = 0; i < 5; ++i) { /* a new detector in the same place does not answer to the old handle */
        yq_detector *next = open_detector(package, 1);
        check_dead(alive);
        EXPECT(YQ_OK, infer_one(next, &image, 0));
        yq_destroy(next);
        yq_destroy(next);
        check_dead(next);
    }
    picture_free(&image);
}

static void run_calls(const char *package) {
    yq_detector *detector = open_detector(package, 1);
    picture image = picture_simple(64, 48, 1);
    const float wrong[] = {-1e-9f, 1.0001f, NAN, INFINITY, -INFINITY};
    yq_detection found[2];
    uint32_t count = 0;
    yq_call call;
    for (size_t i = 0; i < COUNT(wrong); ++i) {
        yq_call_init(&call, sizeof call);
        call.score_threshold = wrong[i];
        EXPECT(YQ_EINVAL, yq_infer(detector, &image.image, &call, found, 2, &count));
        CHECK_REASON("score_threshold");
        yq_call_init(&call, sizeof call);
        call.iou_threshold = wrong[i];
        EXPECT(YQ_EINVAL, yq_infer(detector, &image.image, &call, found, 2, &count));
        CHECK_REASON("iou_threshold");
    }
    yq_call_init(&call, sizeof call);
    EXPECT(YQ_OK, yq_infer(detector, &image.image, &call, found, 2, &count));
    CHECK(count == 2 && call.found > 2);
    CHECK_REASON("iou_threshold"); /* success leaves the text alone */
    picture_free(&image);
    yq_destroy(detector);
}

/* More detectors than there are handles: refused, and nothing is left behind. */
static void run_exhaust(const char *package) {
    enum { most = 1024 };
    static yq_detector *detectors[most];
    yq_detector *extra = NULL;
    yq_options options;
    yq_options_init(&options, sizeof options);
    options.backend = "dummy";
    options.max_detections = 10;
    for (int i = 0; i < most; ++i) EXPECT(YQ_OK, yq_create(&detectors[i], package, &options));
    EXPECT(YQ_ENOMEM, yq_create(&extra, package, &options));
    CHECK(extra == NULL);
    yq_destroy(detectors[500]);
    EXPECT(YQ_OK, yq_create(&detectors[500], package, &options));
    for (int i = 0; i < most; ++i) yq_destroy(detectors[i]);
}

extern const scenario argument_scenarios[];
const scenario argument_scenarios[] = {{"null", "", run_null},
                                       {"sizes", "", run_sizes},
                                       {"pictures", "", run_pictures},
                                       {"options", "", run_options},
                                       {"handles", "", run_handles},
                                       {"calls", "", run_calls},
                                       {"exhaust", "size=32 nms=false", run_exhaust},
                                       {NULL, NULL, NULL}};

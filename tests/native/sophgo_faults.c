/* SPDX-License-Identifier: Apache-2.0 */
/* Every call of Sophgo's fails once in turn, in every phase of a detector's life and in every way. */
#include <string.h>

#include "sophgo.h"

enum { bm_failure = 2, bm_no_memory = 5, slack_ms = 1500 };

typedef struct way {
    double_fault how;
    int value;
} way;

static const way ways[] = {{DOUBLE_CODE, bm_failure}, {DOUBLE_CODE, bm_no_memory}, {DOUBLE_THROW, 0}};

/* The status that fits the failing call, and a line that names it. */
static void check_failure(int32_t status, way how) {
    const char *call = sophgo.failed();
    CHECK_REASON(call);
    CHECK(status == YQ_EBACKEND || status == YQ_EDEVICE || status == YQ_ENOMEM || status == YQ_EPACKAGE);
    if (how.how == DOUBLE_THROW) {
        CHECK(status == YQ_EDEVICE);
        CHECK_REASON("threw: BMRuntime internal error.");
    }
    if (how.how == DOUBLE_CODE && how.value == bm_no_memory && strcmp(call, "bmrt_load_bmodel") == 0)
        CHECK(status == YQ_ENOMEM);
    const int has_code = strncmp(call, "bm_", 3) == 0 && strcmp(call, "bm_dev_getcount") != 0;
    if (how.how == DOUBLE_CODE && has_code) {
        CHECK_REASON(how.value == bm_no_memory ? "failed with 5 (BM_ERR_NOMEM)" : "failed with 2 (BM_ERR_FAILURE)");
        CHECK_REASON("was told to fail"); /* bmlib's own log, in one line */
        if (strcmp(call, "bm_malloc_device_byte") == 0 && how.value == bm_no_memory) {
            CHECK(status == YQ_ENOMEM);
            CHECK_REASON("fewer streams");
        }
    }
}

static void run_create(const char *package) {
    yq_detector *detector;
    int calls = 0;
    open_doors();
    for (size_t w = 0; w < sizeof ways / sizeof *ways; ++w)
        for (int at = 1;; ++at) {
            sophgo.fail(at, ways[w].how, ways[w].value);
            const int32_t status = create_on(&detector, package, "0", 2);
            if (!sophgo.failed()[0]) { /* all of them did */
                CHECK(status == YQ_OK && at > 15);
                yq_destroy(detector);
                calls += at - 1;
                break;
            }
            check_failure(status, ways[w]);
            sophgo.fail(0, DOUBLE_CODE, 0);
            CHECK(sophgo.live() == 0);
            EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
            yq_destroy(detector);
        }
    CHECK(calls % 3 == 0); /* the same calls each time */
    CHECK(sophgo.live() == 0);
}

static void run_infer(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
    const int live = sophgo.live();
    for (size_t w = 0; w < sizeof ways / sizeof *ways; ++w)
        for (int at = 1;; ++at) {
            sophgo.fail(at, ways[w].how, ways[w].value);
            const int32_t status = infer_one(detector, &image, 0);
            if (!sophgo.failed()[0]) {
                CHECK(status == YQ_OK && at == 10); /* a copy in, a launch, a sync, six copies out */
                break;
            }
            check_failure(status, ways[w]);
            sophgo.fail(0, DOUBLE_CODE, 0);
            EXPECT(YQ_OK, infer_one(detector, &image, 0)); /* on a new session if the device was lost */
            CHECK(sophgo.live() == live);
        }
    sophgo.fail(0, DOUBLE_CODE, 0);
    const yq_stats stats = read_stats(detector);
    CHECK(stats.errors == 27 && stats.device_lost == stats.device_recovered && stats.device_lost >= 15);
    yq_destroy(detector);
    CHECK(sophgo.live() == 0);
    picture_free(&image);
}

static void run_failing_batch(const char *package) {
    enum { n = 10 };
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    yq_image images[n];
    yq_detection found[n];
    uint32_t counts[n];
    int32_t statuses[n];
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    for (int i = 0; i < n; ++i) images[i] = image.image;
    for (int at = 1; at <= 27; ++at) { /* three requests: 4, 4 and 2 pictures */
        sophgo.fail(at, DOUBLE_CODE, bm_failure);
        CHECK(yq_infer_batch(detector, images, n, NULL, found, 1, counts, statuses) != YQ_OK);
        check_failure(statuses[at <= 9 ? 0 : at <= 18 ? 4 : 8], ways[0]);
        for (int i = 0; i < n; ++i) CHECK((statuses[i] == YQ_OK) == (counts[i] == 1));
        sophgo.fail(0, DOUBLE_CODE, 0);
        EXPECT(YQ_OK, yq_infer_batch(detector, images, n, NULL, found, 1, counts, statuses));
    }
    yq_destroy(detector);
    CHECK(sophgo.live() == 0);
    picture_free(&image);
}

/* Calls that give nothing back can only throw; they must not end the process, and the rest must be freed. */
static void run_destroy(const char *package) {
    yq_detector *detector;
    open_doors();
    for (int at = 1;; ++at) {
        EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
        sophgo.fail(at, DOUBLE_THROW, 0);
        yq_destroy(detector);
        CHECK(sophgo.live() == 0);
        if (!sophgo.failed()[0]) {
            CHECK(at == 17); /* two streams of seven pieces of memory, the runtime, the device */
            break;
        }
    }
}

static void check_hang(const char *package, int at, const char *call) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    sophgo.fail(at, DOUBLE_HANG, 700);
    const double began = now_ms();
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 150));
    const double took = now_ms() - began;
    CHECK(took >= 149 && took < 600);
    CHECK(strcmp(sophgo.failed(), call) == 0);
    CHECK(read_stats(detector).streams_quarantined == 1);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 50));
    CHECK_REASON("still holds 1 request");
    EXPECT(YQ_OK, infer_one(detector, &image, 700 + slack_ms)); /* the device gives it back */
    const yq_stats stats = read_stats(detector);
    CHECK(stats.timeouts == 2 && stats.pictures == 1 && stats.streams_quarantined == 0 && stats.device_lost == 0);
    yq_destroy(detector);
    CHECK(sophgo.live() == 0);
    picture_free(&image);
}

static void run_hang(const char *package) {
    open_doors();
    check_hang(package, 1, "bm_memcpy_s2d_partial");
    check_hang(package, 2, "bmrt_launch_tensor_ex");
    check_hang(package, 3, "bm_thread_sync");
    check_hang(package, 4, "bm_memcpy_d2s_partial");
}

/* A request hangs, then yq_destroy: what the device holds is freed after it came back, not before. */
static void run_hang_destroy(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
    sophgo.fail(3, DOUBLE_HANG, 700);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    yq_destroy(detector);
    CHECK(sophgo.live() == 0);
    picture_free(&image);
}

extern const scenario sophgo_fault_scenarios[];
const scenario sophgo_fault_scenarios[] = {{"sophgo-create", "sophgo=float32", run_create},
                                           {"sophgo-infer", "sophgo=float32", run_infer},
                                           {"sophgo-failing-batch", "sophgo=float32 batch=4", run_failing_batch},
                                           {"sophgo-destroy", "sophgo=float32", run_destroy},
                                           {"sophgo-hang", "sophgo=float32", run_hang},
                                           {"sophgo-hang-destroy", "sophgo=float32", run_hang_destroy},
                                           {NULL, NULL, NULL}};

/* SPDX-License-Identifier: Apache-2.0 */
/* Every call of Rockchip's fails once in turn, in every phase of a detector's life. */
#include <string.h>

#include "rockchip.h"

enum { slack_ms = 1500 };

/* RKNN_ERR_FAIL, _TIMEOUT, _DEVICE_UNAVAILABLE, _MALLOC_FAIL, _PARAM_INVALID */
static const int codes[] = {-1, -2, -3, -4, -5};
static const char *const names[] = {"-1 (RKNN_ERR_FAIL)", "-2 (RKNN_ERR_TIMEOUT)", "-3 (RKNN_ERR_DEVICE_UNAVAILABLE)",
                                    "-4 (RKNN_ERR_MALLOC_FAIL)", "-5 (RKNN_ERR_PARAM_INVALID)"};
enum { kinds = sizeof codes / sizeof *codes };

/* The status that fits the failing call, and a line that names it. */
static void check_failure(int32_t status, int kind) {
    CHECK_REASON(rockchip.failed());
    if (strcmp(rockchip.failed(), "rknn_create_mem") == 0) {
        CHECK(status == YQ_ENOMEM);
        CHECK_REASON("fewer streams");
        return;
    }
    CHECK_REASON(names[kind]);
    if (codes[kind] == -4)
        CHECK(status == YQ_ENOMEM);
    else if (codes[kind] == -5 || strcmp(rockchip.failed(), "rknn_init") == 0)
        CHECK(status == YQ_EBACKEND);
    else
        CHECK(status == YQ_EDEVICE);
}

static void run_create(const char *package) {
    yq_detector *detector;
    open_doors();
    for (int kind = 0; kind < kinds; ++kind)
        for (int at = 1;; ++at) {
            rockchip.fail(at, DOUBLE_CODE, codes[kind]);
            const int32_t status = create_on(&detector, package, 2, YQ_HINT_LATENCY);
            if (status == YQ_OK) { /* the versions may fail: they are only told */
                const int all = !rockchip.failed()[0];
                yq_destroy(detector);
                CHECK(rockchip.live() == 0);
                if (!all) continue;
                CHECK(at ==
                      50); /* of each context: itself, 8 questions, 7 pieces of memory twice, its cores; versions */
                break;
            }
            check_failure(status, kind);
            CHECK(rockchip.live() == 0);
        }
    rockchip.fail(0, DOUBLE_CODE, 0);
    EXPECT(YQ_OK, create_on(&detector, package, 2, YQ_HINT_LATENCY));
    yq_destroy(detector);
}

static void run_infer(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, 2, 0));
    const int live = rockchip.live();
    for (int kind = 0; kind < kinds; ++kind) {
        rockchip.fail(1, DOUBLE_CODE, codes[kind]);
        check_failure(infer_one(detector, &image, 0), kind);
        EXPECT(YQ_OK, infer_one(detector, &image, 0)); /* on a new session if the device was lost */
        CHECK(rockchip.live() == live);
    }
    const yq_stats stats = read_stats(detector);
    CHECK(stats.errors == kinds && stats.device_lost == 3 && stats.device_recovered == 3);
    yq_destroy(detector);
    CHECK(rockchip.live() == 0);
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
    EXPECT(YQ_OK, create_on(&detector, package, 1, 0));
    for (int i = 0; i < n; ++i) images[i] = image.image;
    for (int at = 1; at <= 3; ++at) { /* three requests: 4, 4 and 2 pictures */
        rockchip.fail(at, DOUBLE_CODE, codes[0]);
        CHECK(yq_infer_batch(detector, images, n, NULL, found, 1, counts, statuses) != YQ_OK);
        CHECK(statuses[4 * (at - 1)] == YQ_EDEVICE);
        for (int i = 0; i < n; ++i) CHECK((statuses[i] == YQ_OK) == (counts[i] == 1));
        EXPECT(YQ_OK, yq_infer_batch(detector, images, n, NULL, found, 1, counts, statuses));
    }
    yq_destroy(detector);
    CHECK(rockchip.live() == 0);
    picture_free(&image);
}

/* What cannot be given back is no reason to keep the rest. */
static void run_destroy(const char *package) {
    yq_detector *detector;
    open_doors();
    for (int at = 1;; ++at) {
        EXPECT(YQ_OK, create_on(&detector, package, 2, 0));
        rockchip.fail(at, DOUBLE_CODE, codes[0]);
        yq_destroy(detector);
        CHECK(rockchip.live() == 0);
        if (!rockchip.failed()[0]) {
            CHECK(at == 17); /* two contexts of seven pieces of memory */
            break;
        }
    }
}

static void run_hang(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, 1, 0));
    rockchip.fail(1, DOUBLE_HANG, 700);
    const double began = now_ms();
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 150));
    const double took = now_ms() - began;
    CHECK(took >= 149 && took < 600);
    CHECK(strcmp(rockchip.failed(), "rknn_run") == 0);
    CHECK(read_stats(detector).streams_quarantined == 1);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 50));
    CHECK_REASON("still holds 1 request");
    EXPECT(YQ_OK, infer_one(detector, &image, 700 + slack_ms)); /* the device gives it back */
    const yq_stats stats = read_stats(detector);
    CHECK(stats.timeouts == 2 && stats.pictures == 1 && stats.streams_quarantined == 0 && stats.device_lost == 0);
    yq_destroy(detector);
    CHECK(rockchip.live() == 0);
    picture_free(&image);
}

/* A request hangs, then yq_destroy: what the device holds is freed after it came back, not before. */
static void run_hang_destroy(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, 2, 0));
    rockchip.fail(1, DOUBLE_HANG, 700);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    yq_destroy(detector);
    CHECK(rockchip.live() == 0);
    picture_free(&image);
}

extern const scenario rockchip_fault_scenarios[];
const scenario rockchip_fault_scenarios[] = {{"rockchip-create", "rockchip=float32", run_create},
                                             {"rockchip-infer", "rockchip=float32", run_infer},
                                             {"rockchip-failing-batch", "rockchip=float32 batch=4", run_failing_batch},
                                             {"rockchip-destroy", "rockchip=float32", run_destroy},
                                             {"rockchip-hang", "rockchip=float32", run_hang},
                                             {"rockchip-hang-destroy", "rockchip=float32", run_hang_destroy},
                                             {NULL, NULL, NULL}};

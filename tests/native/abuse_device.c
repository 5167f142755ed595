/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that hang, fail, or get lost, and batches with something wrong in them. */
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { slack_ms = 1500 }; /* what a busy machine and a sanitizer may add */

/* The first request is fine, the second hangs for 600 ms. */
static void run_deadline(const char *package) {
    yq_detector *detector = open_detector(package, 1);
    picture image = picture_simple(100, 80, 1);
    EXPECT(YQ_OK, infer_one(detector, &image, 0));
    const double began = now_ms();
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 150));
    const double took = now_ms() - began;
    CHECK_REASON("150 ms");
    picture_free(&image); /* it must not be read any more; the device still works on the request */
    CHECK(took >= 149 && took < 550);
    yq_stats stats = read_stats(detector);
    CHECK(stats.timeouts == 1 && stats.errors == 1 && stats.pictures == 1);
    CHECK(stats.streams == 1 && stats.streams_quarantined == 1 && stats.streams_busy == 0);
    image = picture_simple(100, 80, 1);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 50)); /* the only stream is away */
    CHECK_REASON("still holds 1 request");
    EXPECT(YQ_OK, infer_one(detector, &image, 600 + slack_ms)); /* it comes back */
    stats = read_stats(detector);
    CHECK(stats.timeouts == 2 && stats.errors == 2 && stats.pictures == 2 && stats.streams_quarantined == 0);
    picture_free(&image);
    yq_destroy(detector);
}

/* Two of two streams hang; then the detector ends while the device holds both. */
static void run_quarantine(const char *package) {
    yq_detector *detector = open_detector(package, 2);
    picture image = picture_simple(100, 80, 1);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    CHECK(read_stats(detector).streams_quarantined == 2);
    const double began = now_ms();
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    CHECK_REASON("still holds 2 request");
    const double ended = now_ms();
    CHECK(ended - began >= 59);
    yq_destroy(detector); /* 1200 ms after they began they come back */
    CHECK(now_ms() - ended < 1200 + slack_ms);
    picture_free(&image);
}

static void on_log(void *user, int32_t level, const char *message) {
    if (level == YQ_LOG_ERROR && strstr(message, "never came back")) *(int *)user = 1;
}

/* A request that does not come back at all does not hold yq_destroy for ever. */
static void run_stuck(const char *package) {
    yq_detector *detector = open_detector(package, 1);
    picture image = picture_simple(100, 80, 1);
    int told = 0;
    yq_set_log_callback(on_log, &told);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    const double began = now_ms();
    yq_destroy(detector);
    const double took = now_ms() - began;
    yq_set_log_callback(NULL, NULL);
    CHECK(told && took < 2000 + slack_ms);
    picture_free(&image);
    sleep_ms(300); /* for the session's end in the background */
}

/* One of two streams hangs once: it must serve again though the other alone would do. */
static void run_return(const char *package) {
    yq_detector *detector = open_detector(package, 2);
    picture image = picture_simple(100, 80, 1);
    for (int i = 0; i < 3; ++i) EXPECT(YQ_OK, infer_one(detector, &image, 0));
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    EXPECT(YQ_OK, infer_one(detector, &image, 0)); /* on the other stream */
    CHECK(read_stats(detector).streams_quarantined == 1);
    sleep_ms(400);
    EXPECT(YQ_OK, infer_one(detector, &image, 0));
    CHECK(read_stats(detector).streams_quarantined == 0);
    picture_free(&image);
    yq_destroy(detector);
}

/* Every fifth request loses the device; the call after it brings it back. */
static void run_lost(const char *package) {
    yq_detector *detector = open_detector(package, 2);
    picture image = picture_simple(100, 80, 1);
    for (int i = 1; i <= 50; ++i) EXPECT(i % 5 == 0 ? YQ_EDEVICE : YQ_OK, infer_one(detector, &image, 0));
    yq_stats stats = read_stats(detector);
    CHECK(stats.device_lost == 10 && stats.device_recovered == 9 && stats.pictures == 40 && stats.errors == 10);
    EXPECT(YQ_OK, infer_one(detector, &image, 0));
    CHECK(read_stats(detector).device_recovered == 10);
    for (int i = 2; i <= 5; ++i) EXPECT(i == 5 ? YQ_EDEVICE : YQ_OK, infer_one(detector, &image, 0));
    picture_free(&image);
    yq_destroy(detector); /* lost as it is */
}

/* After the loss four attempts fail, the fifth succeeds. */
static void run_unrecovered(const char *package) {
    yq_detector *detector = open_detector(package, 1);
    picture image = picture_simple(100, 80, 1);
    EXPECT(YQ_OK, infer_one(detector, &image, 0));
    EXPECT(YQ_OK, infer_one(detector, &image, 0));
    EXPECT(YQ_EDEVICE, infer_one(detector, &image, 0));
    for (int i = 0; i < 4; ++i) {
        EXPECT(YQ_EDEVICE, infer_one(detector, &image, 0));
        CHECK_REASON("could not be brought back");
    }
    EXPECT(YQ_OK, infer_one(detector, &image, 0));
    const yq_stats stats = read_stats(detector);
    CHECK(stats.device_lost == 1 && stats.device_recovered == 1 && stats.pictures == 3 && stats.errors == 5);
    picture_free(&image);
    yq_destroy(detector);
}

/* A request hangs in quarantine while another loses the device: the recovery takes both. */
static void run_lost_quarantine(const char *package) {
    yq_detector *detector = open_detector(package, 2);
    picture image = picture_simple(100, 80, 1);
    EXPECT(YQ_OK, infer_one(detector, &image, 0));
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60)); /* the second request hangs, on one stream */
    EXPECT(YQ_EDEVICE, infer_one(detector, &image, 0));   /* the second that ends loses the device */
    EXPECT(YQ_OK, infer_one(detector, &image, 0));
    const yq_stats stats = read_stats(detector);
    CHECK(stats.streams_quarantined == 0 && stats.device_lost == 1 && stats.device_recovered == 1);
    picture_free(&image);
    yq_destroy(detector);
}

static void run_failing_create(const char *package) {
    yq_detector *detector = NULL;
    yq_options options;
    yq_options_init(&options, sizeof options);
    options.backend = "dummy";
    for (int i = 0; i < 3; ++i) {
        EXPECT(YQ_EDEVICE, yq_create(&detector, package, &options));
        CHECK(detector == NULL);
    }
    EXPECT(YQ_OK, yq_create(&detector, package, &options));
    yq_destroy(detector);
}

static void run_failing(const char *package) {
    yq_detector *detector = open_detector(package, 1);
    picture image = picture_simple(100, 80, 1);
    for (int i = 1; i <= 9; ++i) EXPECT(i % 3 == 0 ? YQ_EBACKEND : YQ_OK, infer_one(detector, &image, 0));
    picture_free(&image);
    yq_destroy(detector);
}

enum { batch_most = 2000, each_most = 4 };

typedef struct batch {
    yq_image images[batch_most];
    yq_detection found[batch_most * each_most];
    uint32_t counts[batch_most];
    int32_t statuses[batch_most];
    picture source;
} batch;

static batch *batch_make(int32_t width, int32_t height) {
    batch *made = calloc(1, sizeof *made);
    CHECK(made != NULL);
    made->source = picture_simple(width, height, 3);
    for (int i = 0; i < batch_most; ++i) made->images[i] = made->source.image;
    return made;
}

static void batch_free(batch *made) {
    picture_free(&made->source);
    free(made);
}

static int32_t batch_run(yq_detector *detector, batch *all, uint32_t n, uint32_t timeout_ms) {
    yq_call call;
    yq_call_init(&call, sizeof call);
    call.timeout_ms = timeout_ms;
    memset(all->counts, 0x55, sizeof all->counts);
    memset(all->statuses, 0x55, sizeof all->statuses);
    const int32_t status =
        yq_infer_batch(detector, all->images, n, &call, all->found, each_most, all->counts, all->statuses);
    int32_t first = YQ_OK;
    for (uint32_t i = 0; i < n; ++i) {
        CHECK(all->statuses[i] >= YQ_OK && all->statuses[i] <= YQ_EINTERNAL);
        CHECK(all->statuses[i] == YQ_OK ? all->counts[i] == each_most : all->counts[i] == 0);
        if (first == YQ_OK) first = all->statuses[i];
    }
    CHECK(status == first);
    return status;
}

/* Pictures that cannot be read do not spoil the others. */
static void run_batch(const char *package) {
    yq_detector *detector = open_detector(package, 3);
    batch *all = batch_make(100, 80);
    EXPECT(YQ_OK, batch_run(detector, all, 10, 0));
    all->images[2].width = 0;
    all->images[3].data = NULL;
    all->images[9].format = 77;
    EXPECT(YQ_EINVAL, batch_run(detector, all, 10, 0));
    CHECK_REASON("picture 2");
    for (int i = 0; i < 10; ++i) CHECK(all->statuses[i] == (i == 2 || i == 3 || i == 9 ? YQ_EINVAL : YQ_OK));
    all->images[0].height = -1;
    EXPECT(YQ_EINVAL, batch_run(detector, all, 1, 0));
    all->images[0] = all->images[1];
    all->images[5].size = sizeof(yq_image) + 8; /* the steps no longer fit */
    EXPECT(YQ_EINVAL, batch_run(detector, all, 10, 0));
    CHECK_REASON("images[5].size");
    for (int i = 0; i < 10; ++i) CHECK(all->statuses[i] == YQ_EINVAL);
    all->images[0].size = sizeof(yq_image) + 1; /* structs that lie askew */
    EXPECT(YQ_EINVAL, batch_run(detector, all, 10, 0));
    CHECK_REASON("images[0].size");
    batch_free(all);
    yq_destroy(detector);
}

/* A newer header's longer structs: they step by their own size. */
static void run_longer_structs(const char *package) {
    struct {
        yq_image image;
        uint64_t more[3];
    } images[4];
    yq_detector *detector = open_detector(package, 2);
    picture source = picture_simple(100, 80, 3);
    uint32_t counts[4] = {0};
    yq_detection found[4];
    memset(images, 0xAB, sizeof images);
    for (int i = 0; i < 4; ++i) {
        images[i].image = source.image;
        images[i].image.size = sizeof images[i];
    }
    EXPECT(YQ_OK, yq_infer_batch(detector, &images[0].image, 4, NULL, found, 1, counts, NULL));
    for (int i = 0; i < 4; ++i) CHECK(counts[i] == 1);
    picture_free(&source);
    yq_destroy(detector);
}

/* 20 ms a picture: the deadline of 150 ms is everyone's, and nobody's letterbox starts after it. */
static void run_batch_deadline(const char *package) {
    yq_detector *detector = open_detector(package, 2);
    batch *all = batch_make(4000, 3000); /* takes its time in the letterbox */
    const double began = now_ms();
    EXPECT(YQ_ETIMEOUT, batch_run(detector, all, batch_most, 150));
    CHECK(now_ms() - began < 150 + slack_ms / 3);
    CHECK(all->statuses[0] == YQ_OK || all->statuses[0] == YQ_ETIMEOUT);
    CHECK(all->statuses[batch_most - 1] == YQ_ETIMEOUT);
    const yq_stats stats = read_stats(detector);
    CHECK(stats.pictures + stats.errors == batch_most && stats.timeouts == stats.errors);
    EXPECT(YQ_OK, batch_run(detector, all, 5, YQ_TIMEOUT_NONE));
    batch_free(all);
    yq_destroy(detector);
}

/* Losses and failures in the middle of a batch: the rest goes on after the recovery. */
static void run_batch_lost(const char *package) {
    yq_detector *detector = open_detector(package, 3);
    batch *all = batch_make(100, 80);
    int32_t seen = 0;
    for (int i = 0; i < 5; ++i) {
        batch_run(detector, all, 40, 0);
        for (int k = 0; k < 40; ++k) {
            CHECK(all->statuses[k] == YQ_OK || all->statuses[k] == YQ_EDEVICE || all->statuses[k] == YQ_EBACKEND);
            seen |= 1 << all->statuses[k];
        }
    }
    CHECK(seen == (1 << YQ_OK | 1 << YQ_EDEVICE | 1 << YQ_EBACKEND));
    const yq_stats stats = read_stats(detector);
    CHECK(stats.pictures + stats.errors == 5 * 40 && stats.device_lost >= 5);
    batch_free(all);
    yq_destroy(detector);
}

extern const scenario device_scenarios[];
const scenario device_scenarios[] = {
    {"deadline", "size=64 dummy.hang_every=2 dummy.hang_ms=600", run_deadline},
    {"quarantine", "size=64 dummy.hang_every=1 dummy.hang_ms=1200", run_quarantine},
    {"stuck", "size=64 dummy.hang_every=1 dummy.hang_ms=60000", run_stuck},
    {"return", "size=64 dummy.hang_every=4 dummy.hang_ms=300", run_return},
    {"lost", "size=64 dummy.lose_every=5", run_lost},
    {"unrecovered", "size=64 dummy.lose_every=3 dummy.fail_recreate=4", run_unrecovered},
    {"lost-quarantine", "size=64 dummy.lose_every=2 dummy.hang_every=2 dummy.hang_ms=60000", run_lost_quarantine},
    {"failing-create", "size=64 dummy.fail_create=3", run_failing_create},
    {"failing", "size=64 dummy.fail_every=3", run_failing},
    {"batch", "size=64", run_batch},
    {"longer-structs", "size=64", run_longer_structs},
    {"batch-deadline", "size=640 dummy.delay_ms=20", run_batch_deadline},
    {"batch-lost", "size=64 dummy.lose_every=17 dummy.fail_every=7", run_batch_lost},
    {NULL, NULL, NULL}};

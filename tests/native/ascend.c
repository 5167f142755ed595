/* SPDX-License-Identifier: Apache-2.0 */
/* The ascend backend over its double, through the public header: what works. */
#define _POSIX_C_SOURCE 200809L
#include "ascend.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double_doors ascend;

static void *open_library(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("YOLOQ_ASCEND_RUNTIME"), name);
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library != NULL);
    return library;
}

static void *find(void *library, const char *name) {
    void *found = dlsym(library, name);
    CHECK(found != NULL);
    return found;
}

void open_doors(void) {
    void *acl = open_library("libascendcl.so"), *dcmi = open_library("libdcmi.so");
    *(void **)&ascend.fail = find(acl, "double_fail");
    *(void **)&ascend.failed = find(acl, "double_failed");
    *(void **)&ascend.set_devices = find(acl, "double_set_devices");
    *(void **)&ascend.set_on_board = find(acl, "double_set_on_board");
    *(void **)&ascend.live = find(acl, "double_live");
    *(void **)&ascend.pictures = find(acl, "double_pictures");
    *(void **)&ascend.pageable = find(acl, "double_pageable");
    *(void **)&ascend.set_sensors = find(dcmi, "double_set_sensors");
    *(void **)&ascend.init = find(acl, "aclInit");
    *(void **)&ascend.finalize = find(acl, "aclFinalize");
    *(void **)&ascend.set_device = find(acl, "aclrtSetDevice");
    *(void **)&ascend.get_context = find(acl, "aclrtGetCurrentContext");
    CHECK(ascend.live() == 0);
}

int32_t create_on(yq_detector **out, const char *package, const char *device, uint32_t streams) {
    yq_options options;
    yq_options_init(&options, sizeof options);
    options.device = device;
    options.streams = streams;
    *out = NULL;
    const int32_t status = yq_create(out, package, &options);
    CHECK((status == YQ_OK) == (*out != NULL));
    return status;
}

void infer_into(yq_detector *detector, uint32_t seed, result *out) {
    picture image = picture_simple(100, 80, seed);
    memset(out, 0, sizeof *out);
    EXPECT(YQ_OK, yq_infer(detector, &image.image, NULL, out->found, room, &out->count));
    CHECK(out->count > 0);
    picture_free(&image);
}

/* One picture takes the model of one, more take the model of four; what they find is the same. */
static void run_batch(const char *package) {
    enum { n = 7 };
    static result alone[n], together[n];
    yq_detector *detector;
    picture pictures[n];
    yq_image images[n];
    uint32_t counts[n];
    int32_t statuses[n];
    static yq_detection found[n * room];
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    for (int i = 0; i < n; ++i) infer_into(detector, (uint32_t)i, &alone[i]);
    CHECK(ascend.pictures() == n);
    CHECK(memcmp(&alone[0], &alone[1], sizeof alone[0]) != 0);
    for (int i = 0; i < n; ++i) images[i] = (pictures[i] = picture_simple(100, 80, (uint32_t)i)).image;
    EXPECT(YQ_OK, yq_infer_batch(detector, images, n, NULL, found, room, counts, statuses));
    CHECK(ascend.pictures() == n + 8);
    memset(together, 0, sizeof together);
    for (int i = 0; i < n; ++i) {
        CHECK(statuses[i] == YQ_OK);
        memcpy(together[i].found, found + i * room, counts[i] * sizeof *found);
        together[i].count = counts[i];
        CHECK(memcmp(&alone[i], &together[i], sizeof alone[i]) == 0);
        picture_free(&pictures[i]);
    }
    yq_info info;
    memset(&info, 0, sizeof info);
    info.size = sizeof info;
    EXPECT(YQ_OK, yq_get_info(detector, &info));
    CHECK(info.batch == 4);
    yq_destroy(detector);
    CHECK(ascend.live() == 0);
    CHECK(ascend.pageable() == 0); /* every copy was asynchronous */
}

/* float16 and int8 heads, and a board without copies: the same detections as on a card. */
static void run_on_board(const char *package) {
    static result card, board;
    yq_detector *detector;
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    const int on_card = ascend.live();
    infer_into(detector, 1, &card);
    yq_destroy(detector);
    ascend.set_on_board(1);
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    CHECK(ascend.live() == on_card - 7); /* one piece of memory for a tensor, not two */
    infer_into(detector, 1, &board);
    CHECK(memcmp(&card, &board, sizeof card) == 0);
    ascend.fail("aclrtMemcpyAsync", 1, DOUBLE_CODE, 507013);
    infer_into(detector, 1, &board);
    CHECK(ascend.failed()[0] == '\0'); /* nothing is copied */
    yq_destroy(detector);
    CHECK(ascend.live() == 0);
}

static void run_devices(const char *package) {
    yq_detector *detector;
    open_doors();
    ascend.set_devices(2, "Ascend310P3");
    EXPECT(YQ_OK, create_on(&detector, package, "1", 1));
    yq_destroy(detector);
    EXPECT(YQ_EINVAL, create_on(&detector, package, "2", 1));
    CHECK_REASON("this machine's are 0 to 1");
    ascend.set_devices(1, "Ascend310B4");
    EXPECT(YQ_EPACKAGE, create_on(&detector, package, "0", 1));
    CHECK_REASON("compiled for Ascend310P3, this device is Ascend310B4: build the package for this chip");
    ascend.set_devices(0, "");
    EXPECT(YQ_EBACKEND, create_on(&detector, package, "0", 1));
    CHECK_REASON("there is no Ascend device");
    CHECK(ascend.live() == 0);
}

static void run_health(const char *package) {
    yq_detector *detector;
    open_doors();
    ascend.set_devices(2, "Ascend310P3");
    EXPECT(YQ_OK, create_on(&detector, package, "1", 1));
    yq_stats stats = read_stats(detector);
    CHECK(isnan(stats.device_temperature_c) && isnan(stats.device_power_w) && isnan(stats.device_utilization_percent));
    CHECK(stats.device_memory_used == UINT64_MAX && stats.device_memory_total == UINT64_MAX);
    ascend.set_sensors(1, 3);
    stats = read_stats(detector);
    CHECK(stats.device_temperature_c == 51 && stats.device_power_w == 12.6F && stats.device_utilization_percent == 80);
    CHECK(stats.device_memory_total == 21534ULL << 20 && stats.device_memory_used == 1534ULL << 20);
    picture image = picture_simple(100, 80, 1);
    ascend.fail("aclmdlExecuteAsync", 1, DOUBLE_CODE, 507015);
    EXPECT(YQ_EDEVICE, infer_one(detector, &image, 0));
    CHECK_REASON("the driver reports a critical alarm");
    picture_free(&image);
    yq_destroy(detector);
}

/* The host has its own context before and after, and calls aclInit and aclFinalize as it likes. */
static void run_host(const char *package) {
    yq_detector *detector;
    static result first, last;
    void *before = NULL, *after = NULL;
    open_doors();
    CHECK(ascend.init(NULL) == 0);
    CHECK(ascend.set_device(0) == 0);
    CHECK(ascend.get_context(&before) == 0 && before != NULL);
    EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
    infer_into(detector, 1, &first);
    read_stats(detector);
    CHECK(ascend.get_context(&after) == 0 && after == before);
    yq_destroy(detector);
    CHECK(ascend.get_context(&after) == 0 && after == before);
    CHECK(ascend.live() == 1);
    CHECK(ascend.init(NULL) == 100002); /* nobody but the host ends it */
    CHECK(ascend.finalize() == 0);
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1)); /* begins again */
    infer_into(detector, 1, &last);
    CHECK(memcmp(&first, &last, sizeof first) == 0);
    yq_destroy(detector);
}

typedef struct team {
    yq_detector *detectors[2];
    result expected[3];
    double until;
} team;

static void *infer_many(void *argument) {
    team *shared = argument;
    static _Thread_local result now;
    for (uint32_t i = 0; i < 30 || now_ms() < shared->until; ++i) {
        infer_into(shared->detectors[i % 2], i % 3, &now);
        CHECK(memcmp(&now, &shared->expected[i % 3], sizeof now) == 0);
        if (i % 10 == 0) read_stats(shared->detectors[i % 2]);
    }
    return NULL;
}

/* Eight threads on two detectors of three streams; YOLOQ_TEAM_SECONDS makes it last. */
static void run_team(const char *package) {
    enum { threads = 8 };
    static team shared;
    pthread_t ids[threads];
    const char *seconds = getenv("YOLOQ_TEAM_SECONDS");
    open_doors();
    for (int i = 0; i < 2; ++i) EXPECT(YQ_OK, create_on(&shared.detectors[i], package, "0", 3));
    for (uint32_t i = 0; i < 3; ++i) infer_into(shared.detectors[0], i, &shared.expected[i]);
    shared.until = now_ms() + (seconds ? 1000 * atof(seconds) : 0);
    for (int i = 0; i < threads; ++i) CHECK(pthread_create(&ids[i], NULL, infer_many, &shared) == 0);
    for (int i = 0; i < threads; ++i) CHECK(pthread_join(ids[i], NULL) == 0);
    for (int i = 0; i < 2; ++i) yq_destroy(shared.detectors[i]);
    CHECK(ascend.live() == 0 && ascend.pageable() == 0);
}

static const scenario use_scenarios[] = {
    {"ascend-batch", "ascend=float32 batch=1,4", run_batch}, {"ascend-board", "ascend=float16", run_on_board},
    {"ascend-board-int8", "ascend=int8", run_on_board},      {"ascend-devices", "ascend=float32", run_devices},
    {"ascend-health", "ascend=float32", run_health},         {"ascend-host", "ascend=float32", run_host},
    {"ascend-team", "ascend=float32 batch=1,2", run_team},   {NULL, NULL, NULL}};

extern const scenario ascend_fault_scenarios[];
const scenario *const scenario_lists[] = {use_scenarios, ascend_fault_scenarios, NULL};

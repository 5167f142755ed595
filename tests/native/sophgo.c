/* SPDX-License-Identifier: Apache-2.0 */
/* The sophgo backend over its double, through the public header: what works, and what is refused. */
#define _POSIX_C_SOURCE 200809L
#include "sophgo.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double_doors sophgo;

static void *find(void *library, const char *name) {
    void *found = library ? dlsym(library, name) : NULL;
    CHECK(found != NULL);
    return found;
}

/* The module loads the double first: of a library that the host has loaded, it leaves the log alone. */
void open_doors(void) {
    yq_backend_desc desc;
    int usable = 0;
    for (uint32_t i = 0; i < yq_backend_count(); ++i) {
        memset(&desc, 0, sizeof desc);
        desc.size = sizeof desc;
        EXPECT(YQ_OK, yq_backend_info(i, &desc));
        usable |= desc.usable && strcmp(desc.name, "sophgo") == 0 && strstr(desc.version, "double");
    }
    CHECK(usable);
    char path[4096];
    snprintf(path, sizeof path, "%s/libbmlib.so", getenv("YOLOQ_SOPHGO_RUNTIME"));
    void *bmlib = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    snprintf(path, sizeof path, "%s/libbmrt.so", getenv("YOLOQ_SOPHGO_RUNTIME"));
    void *bmrt = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    *(void **)&sophgo.fail = find(bmlib, "double_fail");
    *(void **)&sophgo.failed = find(bmlib, "double_failed");
    *(void **)&sophgo.set_devices = find(bmlib, "double_set_devices");
    *(void **)&sophgo.live = find(bmlib, "double_live");
    *(void **)&sophgo.set_model = find(bmrt, "double_set_model");
    *(void **)&sophgo.pictures = find(bmrt, "double_pictures");
    CHECK(sophgo.live() == 0);
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

enum { room = 300 };

typedef struct result {
    yq_detection found[room];
    uint32_t count;
} result;

static void infer_into(yq_detector *detector, uint32_t seed, result *out) {
    picture image = picture_simple(100, 80, seed);
    memset(out, 0, sizeof *out);
    EXPECT(YQ_OK, yq_infer(detector, &image.image, NULL, out->found, room, &out->count));
    CHECK(out->count > 0);
    picture_free(&image);
}

/* NCHW, and integer outputs: the same detections as from NHWC and floats. */
static void same_as_plain(const char *package, double_model other) {
    static result plain, same;
    yq_detector *detector;
    open_doors();
    if (other == DOUBLE_INT8) sophgo.set_model(DOUBLE_INT8); /* its package says so; one run is enough to be read */
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    infer_into(detector, 1, &plain);
    infer_into(detector, 2, &same);
    CHECK(memcmp(&plain, &same, sizeof plain) != 0);
    yq_destroy(detector);
    sophgo.set_model(other);
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    infer_into(detector, 1, &same);
    CHECK(memcmp(&plain, &same, sizeof plain) == 0);
    yq_destroy(detector);
    CHECK(sophgo.live() == 0);
}

static void run_planar(const char *package) {
    same_as_plain(package, DOUBLE_PLANAR);
}

static void run_int8(const char *package) {
    same_as_plain(package, DOUBLE_INT8);
    yq_detector *detector;
    sophgo.set_model(DOUBLE_PLAIN);
    EXPECT(YQ_EPACKAGE, create_on(&detector, package, "0", 1));
    CHECK_REASON("is float32, the package says int8");
}

/* Scaled by 0.5 in the model, by 0.25 in the package. */
static void run_scale(const char *package) {
    yq_detector *detector;
    open_doors();
    sophgo.set_model(DOUBLE_INT8);
    EXPECT(YQ_EPACKAGE, create_on(&detector, package, "0", 1));
    CHECK_REASON("is scaled by 0.5");
    CHECK(sophgo.live() == 0);
}

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
    CHECK(sophgo.pictures() == n); /* one picture takes the model's batch of 1, not of 4 */
    for (int i = 0; i < n; ++i) images[i] = (pictures[i] = picture_simple(100, 80, (uint32_t)i)).image;
    EXPECT(YQ_OK, yq_infer_batch(detector, images, n, NULL, found, room, counts, statuses));
    CHECK(sophgo.pictures() == n + 8);
    memset(together, 0, sizeof together);
    for (int i = 0; i < n; ++i) {
        CHECK(statuses[i] == YQ_OK);
        memcpy(together[i].found, found + i * room, counts[i] * sizeof *found);
        together[i].count = counts[i];
        CHECK(memcmp(&alone[i], &together[i], sizeof alone[i]) == 0);
        picture_free(&pictures[i]);
    }
    yq_destroy(detector);
    sophgo.set_model(DOUBLE_BATCHLESS); /* four only: a picture alone still works */
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    infer_into(detector, 0, &together[0]);
    CHECK(memcmp(&alone[0], &together[0], sizeof alone[0]) == 0);
    CHECK(sophgo.pictures() == n + 8 + 4);
    yq_destroy(detector);
    CHECK(sophgo.live() == 0);
}

static void run_refused(const char *package) {
    static const struct {
        double_model model;
        const char *reason;
    } cases[] = {{DOUBLE_DYNAMIC, "dynamic shapes"},
                 {DOUBLE_TWO, "bmrt_get_network_number gave 2"},
                 {DOUBLE_FLOAT, "tensor 'images_u8' of the model is float32, the package says uint8"},
                 {DOUBLE_INT8, "is int8, the package says float32"},
                 {DOUBLE_RENAMED, "has no output 'score_0_Conv_f32'; it has box_0_Conv_f32, another"},
                 {DOUBLE_SMALLER, "is [1,4,3,4], the package says [1,4,4,4]"},
                 {DOUBLE_MORE, "has 7 outputs, the package names 6"},
                 {DOUBLE_BATCHLESS, "is [4,64,64,3], the package says [1,64,64,3]"}};
    yq_detector *detector;
    open_doors();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        sophgo.set_model(cases[i].model);
        EXPECT(YQ_EPACKAGE, create_on(&detector, package, "0", 1));
        CHECK_REASON(cases[i].reason);
        CHECK(sophgo.live() == 0);
    }
    sophgo.set_model(DOUBLE_PLAIN);
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    yq_destroy(detector);
}

/* The artefact is for another chip than the device; the double refuses as libbmrt does, without a reason. */
static void run_wrong_chip(const char *package) {
    yq_detector *detector;
    open_doors();
    sophgo.set_devices(1, 0x1686, 0);
    EXPECT(YQ_EPACKAGE, create_on(&detector, package, "0", 1));
    CHECK_REASON("compiled for CV186X, this device is a BM1684X: build the package for this chip");
    sophgo.set_devices(1, 0x1234, 0);
    EXPECT(YQ_EPACKAGE, create_on(&detector, package, "0", 1));
    CHECK_REASON("a chip 0x1234");
    CHECK(sophgo.live() == 0);
}

static void run_devices(const char *package) {
    static const char *const unknown[] = {"2", "9999"};
    yq_detector *detector;
    open_doors();
    sophgo.set_devices(2, 0x1686A200, 0);
    EXPECT(YQ_OK, create_on(&detector, package, "1", 1));
    yq_destroy(detector);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; ++i) {
        EXPECT(YQ_EINVAL, create_on(&detector, package, unknown[i], 1));
        CHECK_REASON("this machine's are 0 to 1");
    }
    sophgo.set_devices(0, 0, 0);
    EXPECT(YQ_EBACKEND, create_on(&detector, package, "0", 1));
    CHECK_REASON("there is no Sophgo device");
    CHECK(sophgo.live() == 0);
}

static void run_health(const char *package) {
    yq_detector *detector;
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    yq_stats stats = read_stats(detector);
    CHECK(isnan(stats.device_temperature_c) && isnan(stats.device_power_w) && isnan(stats.device_utilization_percent));
    CHECK(stats.device_memory_used == UINT64_MAX && stats.device_memory_total == UINT64_MAX);
    sophgo.set_devices(1, 0x1686A200, 1);
    stats = read_stats(detector);
    CHECK(stats.device_temperature_c == 55 && stats.device_power_w == 12.5F && stats.device_utilization_percent == 80);
    CHECK(stats.device_memory_used == 1024ULL << 20 && stats.device_memory_total == 4096ULL << 20);
    yq_destroy(detector);
}

typedef struct team {
    yq_detector *detector;
    result expected[3];
} team;

static void *infer_many(void *argument) {
    team *shared = argument;
    result now;
    for (uint32_t i = 0; i < 60; ++i) {
        infer_into(shared->detector, i % 3, &now);
        CHECK(memcmp(&now, &shared->expected[i % 3], sizeof now) == 0);
        if (i % 10 == 0) read_stats(shared->detector);
    }
    return NULL;
}

/* Four threads on three streams. */
static void run_team(const char *package) {
    static team shared;
    pthread_t ids[4];
    open_doors();
    EXPECT(YQ_OK, create_on(&shared.detector, package, "0", 3));
    for (uint32_t i = 0; i < 3; ++i) infer_into(shared.detector, i, &shared.expected[i]);
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&ids[i], NULL, infer_many, &shared) == 0);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(ids[i], NULL) == 0);
    yq_destroy(shared.detector);
    CHECK(sophgo.live() == 0);
}

static const scenario use_scenarios[] = {{"sophgo-planar", "sophgo=float32", run_planar},
                                         {"sophgo-int8", "sophgo=int8 scale=0.5", run_int8},
                                         {"sophgo-scale", "sophgo=int8 scale=0.25", run_scale},
                                         {"sophgo-batch", "sophgo=float32 batch=4", run_batch},
                                         {"sophgo-refused", "sophgo=float32", run_refused},
                                         {"sophgo-wrong-chip", "sophgo=float32 chip=CV186X", run_wrong_chip},
                                         {"sophgo-devices", "sophgo=float32", run_devices},
                                         {"sophgo-health", "sophgo=float32", run_health},
                                         {"sophgo-team", "sophgo=float32", run_team},
                                         {NULL, NULL, NULL}};

extern const scenario sophgo_fault_scenarios[];
const scenario *const scenario_lists[] = {use_scenarios, sophgo_fault_scenarios, NULL};

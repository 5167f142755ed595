/* SPDX-License-Identifier: Apache-2.0 */
/* The rockchip backend over its double, through the public header: what works, and what is refused. */
#define _POSIX_C_SOURCE 200809L
#include "rockchip.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double_doors rockchip;

static void *find(void *library, const char *name) {
    void *found = library ? dlsym(library, name) : NULL;
    CHECK(found != NULL);
    return found;
}

void open_doors(void) {
    yq_backend_desc desc;
    int usable = 0;
    for (uint32_t i = 0; i < yq_backend_count(); ++i) {
        memset(&desc, 0, sizeof desc);
        desc.size = sizeof desc;
        EXPECT(YQ_OK, yq_backend_info(i, &desc));
        usable |= desc.usable && strcmp(desc.name, "rockchip") == 0;
    }
    CHECK(usable);
    char path[4096];
    snprintf(path, sizeof path, "%s/librknnrt.so", getenv("YOLOQ_ROCKCHIP_RUNTIME"));
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    *(void **)&rockchip.fail = find(library, "double_fail");
    *(void **)&rockchip.failed = find(library, "double_failed");
    *(void **)&rockchip.set_model = find(library, "double_set_model");
    *(void **)&rockchip.set_chip = find(library, "double_set_chip");
    *(void **)&rockchip.live = find(library, "double_live");
    *(void **)&rockchip.runs = find(library, "double_runs");
    *(void **)&rockchip.cores = find(library, "double_cores");
    *(void **)&rockchip.loads = find(library, "double_loads");
    CHECK(rockchip.live() == 0);
}

int32_t create_on(yq_detector **out, const char *package, uint32_t streams, int32_t hint) {
    yq_options options;
    yq_options_init(&options, sizeof options);
    options.streams = streams;
    options.hint = hint;
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

/* Another form of the model, the same detections as of the plain one. */
static void same_as(const char *package, double_model first, double_model other) {
    static result plain, same;
    yq_detector *detector;
    open_doors();
    rockchip.set_model(first);
    EXPECT(YQ_OK, create_on(&detector, package, 1, 0));
    infer_into(detector, 1, &plain);
    infer_into(detector, 2, &same);
    CHECK(memcmp(&plain, &same, sizeof plain) != 0);
    yq_destroy(detector);
    rockchip.set_model(other);
    EXPECT(YQ_OK, create_on(&detector, package, 1, 0));
    infer_into(detector, 2, &same);
    infer_into(detector, 1, &same);
    CHECK(memcmp(&plain, &same, sizeof plain) == 0);
    yq_destroy(detector);
    CHECK(rockchip.live() == 0);
}

static void run_planar(const char *package) {
    same_as(package, DOUBLE_PLAIN, DOUBLE_PLANAR);
}

static void run_strided(const char *package) {
    same_as(package, DOUBLE_PLAIN, DOUBLE_STRIDED);
}

static void run_int8(const char *package) {
    yq_detector *detector;
    same_as(package, DOUBLE_INT8, DOUBLE_INT8);
    rockchip.set_model(DOUBLE_PLAIN);
    EXPECT(YQ_EPACKAGE, create_on(&detector, package, 1, 0));
    CHECK_REASON("is float16, the package says int8");
}

/* What the runtime makes float32 of int8 outputs is what int8 outputs are. */
static void run_dequantised(const char *package) {
    same_as(package, DOUBLE_PLAIN, DOUBLE_INT8);
}

/* Scaled by 0.5 in the model, by 0.25 in the package. */
static void run_scale(const char *package) {
    yq_detector *detector;
    open_doors();
    rockchip.set_model(DOUBLE_INT8);
    EXPECT(YQ_EPACKAGE, create_on(&detector, package, 1, 0));
    CHECK_REASON("is scaled by 0.5");
    CHECK(rockchip.live() == 0);
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
    rockchip.set_model(DOUBLE_STRIDED);
    EXPECT(YQ_OK, create_on(&detector, package, 1, 0));
    for (int i = 0; i < n; ++i) infer_into(detector, (uint32_t)i, &alone[i]);
    for (int i = 0; i < n; ++i) images[i] = (pictures[i] = picture_simple(100, 80, (uint32_t)i)).image;
    EXPECT(YQ_OK, yq_infer_batch(detector, images, n, NULL, found, room, counts, statuses));
    CHECK(rockchip.runs() == n + 2); /* four and three pictures */
    for (int i = 0; i < n; ++i) {
        CHECK(statuses[i] == YQ_OK);
        memset(&together[i], 0, sizeof together[i]);
        memcpy(together[i].found, found + i * room, counts[i] * sizeof *found);
        together[i].count = counts[i];
        CHECK(memcmp(&alone[i], &together[i], sizeof alone[i]) == 0);
        CHECK(i == 0 || memcmp(&alone[i], &alone[0], sizeof alone[0]) != 0);
        picture_free(&pictures[i]);
    }
    yq_destroy(detector);
    CHECK(rockchip.live() == 0);
}

static void run_refused(const char *package) {
    static const struct {
        double_model model;
        const char *reason;
    } cases[] = {{DOUBLE_TWO, "must have one input; it has 2"},
                 {DOUBLE_RENAMED, "has no output 'score_0'; it has box_0, another"},
                 {DOUBLE_SMALLER, "is [1,4,3,4], the package says [1,4,4,4]"},
                 {DOUBLE_NARROW, "is [1,64,32,3], the package says [1,64,64,3]"},
                 {DOUBLE_MORE, "has 7 outputs, the package names 6"}};
    yq_detector *detector;
    open_doors();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        rockchip.set_model(cases[i].model);
        EXPECT(YQ_EPACKAGE, create_on(&detector, package, 1, 0));
        CHECK_REASON(cases[i].reason);
        CHECK(rockchip.live() == 0);
    }
    rockchip.set_model(DOUBLE_PLAIN);
    EXPECT(YQ_OK, create_on(&detector, package, 1, 0));
    yq_destroy(detector);
}

static void run_wrong_chip(const char *package) {
    yq_detector *detector;
    open_doors();
    rockchip.set_chip("rk3576");
    EXPECT(YQ_EPACKAGE, create_on(&detector, package, 1, 0));
    CHECK_REASON("compiled for rk3588, this board has another chip: build the package for it");
    CHECK_REASON("-13 (RKNN_ERR_TARGET_PLATFORM_UNMATCH)");
    CHECK(rockchip.live() == 0);
}

static int cores_of(const char *package, int32_t hint) {
    yq_detector *detector;
    static result found;
    EXPECT(YQ_OK, create_on(&detector, package, 2, hint));
    infer_into(detector, 1, &found);
    yq_destroy(detector);
    CHECK(rockchip.live() == 0);
    return rockchip.cores();
}

static void run_cores(const char *package) {
    open_doors();
    CHECK(cores_of(package, YQ_HINT_DEFAULT) == 0);
    CHECK(cores_of(package, YQ_HINT_LATENCY) == 7);
    CHECK(cores_of(package, YQ_HINT_THROUGHPUT) == 0);
}

static void run_two_cores(const char *package) {
    open_doors();
    rockchip.set_chip("rk3576");
    CHECK(cores_of(package, YQ_HINT_LATENCY) == 3);
}

static void run_one_core(const char *package) {
    open_doors();
    rockchip.set_chip("rk3568");
    CHECK(cores_of(package, YQ_HINT_LATENCY) == 0);
}

static void run_chosen_cores(const char *package) {
    open_doors();
    CHECK(cores_of(package, YQ_HINT_DEFAULT) == 3);
    CHECK(cores_of(package, YQ_HINT_LATENCY) == 3); /* the package's word */
}

static void run_no_such_core(const char *package) {
    yq_detector *detector;
    open_doors();
    rockchip.set_chip("rk3576");
    EXPECT(YQ_EINVAL, create_on(&detector, package, 1, 0));
    CHECK_REASON("'0_1_2', which a rk3576 does not have");
    CHECK(rockchip.live() == 0);
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
        if (i % 10 == 0) CHECK(isnan(read_stats(shared->detector).device_temperature_c)); /* nobody tells it */
    }
    return NULL;
}

/* Four threads on three streams, whose contexts share the weights. */
static void run_team(const char *package) {
    static team shared;
    pthread_t ids[4];
    open_doors();
    EXPECT(YQ_OK, create_on(&shared.detector, package, 3, 0));
    CHECK(rockchip.loads() == 1 && rockchip.live() == 3 * (1 + 7));
    for (uint32_t i = 0; i < 3; ++i) infer_into(shared.detector, i, &shared.expected[i]);
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&ids[i], NULL, infer_many, &shared) == 0);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(ids[i], NULL) == 0);
    yq_destroy(shared.detector);
    CHECK(rockchip.live() == 0);
}

static const scenario use_scenarios[] = {
    {"rockchip-planar", "rockchip=float32", run_planar},
    {"rockchip-strided", "rockchip=float32", run_strided},
    {"rockchip-int8", "rockchip=int8 scale=0.5", run_int8},
    {"rockchip-dequantised", "rockchip=float32", run_dequantised},
    {"rockchip-scale", "rockchip=int8 scale=0.25", run_scale},
    {"rockchip-batch", "rockchip=float32 batch=4", run_batch},
    {"rockchip-refused", "rockchip=float32", run_refused},
    {"rockchip-wrong-chip", "rockchip=float32", run_wrong_chip},
    {"rockchip-cores", "rockchip=float32", run_cores},
    {"rockchip-two-cores", "rockchip=float32 chip=rk3576", run_two_cores},
    {"rockchip-one-core", "rockchip=float32 chip=rk3568", run_one_core},
    {"rockchip-chosen-cores", "rockchip=float32 cores=0_1", run_chosen_cores},
    {"rockchip-no-such-core", "rockchip=float32 chip=rk3576 cores=0_1_2", run_no_such_core},
    {"rockchip-team", "rockchip=float32", run_team},
    {NULL, NULL, NULL}};

extern const scenario rockchip_fault_scenarios[];
const scenario *const scenario_lists[] = {use_scenarios, rockchip_fault_scenarios, NULL};

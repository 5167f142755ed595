/* SPDX-License-Identifier: Apache-2.0 */
/* Every call of AscendCL's fails once in turn, in every phase of a detector's life and in every way. */
#include <stdio.h>
#include <string.h>

#include "ascend.h"

enum { out_of_memory = 207018, core_exception = 507015, internal = 500000, slack_ms = 1500 };

typedef struct way {
    double_fault how;
    int value;
    const char *words; /* in the reason of a call that has a code */
} way;

static const way ways[] = {{DOUBLE_CODE, core_exception, "507015 (ACL_ERROR_RT_AICORE_EXCEPTION)"},
                           {DOUBLE_CODE, out_of_memory, "207018 (ACL_ERROR_RT_DEVICE_OOM)"},
                           {DOUBLE_CODE, internal, "500000 (ACL_ERROR_INTERNAL_ERROR)"},
                           {DOUBLE_LOSE, 0, "507010 (ACL_ERROR_RT_LOST_HEARTBEAT)"}};
enum { way_count = sizeof ways / sizeof *ways, name_room = 64, name_count = 64 };

static int is_one_of(const char *call, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; ++i)
        if (strstr(call, words[i])) return 1;
    return 0;
}

/* Calls that a detector can do without: to give back, and names that it asks for more than once. */
static int is_dispensable(const char *call) {
    static const char *const words[] = {"Destroy", "Free", "Unload", "Reset", "GetSocName", "GetOutputName"};
    return is_one_of(call, words, sizeof words / sizeof *words);
}

/* Calls that answer with something else than a code. */
static int has_code(const char *call) {
    static const char *const words[] = {"aclmdlGetNum",       "aclmdlGetInputSize",      "aclmdlGetOutputSize",
                                        "aclmdlGetInputName", "aclmdlGetOutputName",     "aclmdlGetInputFormat",
                                        "aclmdlGetInputData", "aclmdlGetOutputDataType", "aclmdlCreate",
                                        "aclCreate"};
    return !is_one_of(call, words, sizeof words / sizeof *words);
}

/* The status that fits the failing call, and a line that says so. A lost device is seen by the next call to it. */
static void check_failure(int32_t status, way how) {
    const char *call = ascend.failed();
    CHECK(status == YQ_EBACKEND || status == YQ_EDEVICE || status == YQ_ENOMEM || status == YQ_EPACKAGE);
    if (how.how == DOUBLE_LOSE) {
        CHECK(status == YQ_EDEVICE);
        CHECK_REASON(how.words);
        return;
    }
    if (!has_code(call)) return;
    CHECK_REASON(call);
    CHECK_REASON(how.words);
    CHECK_REASON("was told to fail"); /* aclGetRecentErrMsg, in one line */
    if (how.value == out_of_memory && strcmp(call, "aclInit") != 0 && strcmp(call, "aclrtGetDeviceCount") != 0) {
        CHECK(status == YQ_ENOMEM);
        CHECK_REASON("fewer streams");
    }
    if (how.value == internal && strcmp(call, "aclmdlLoadFromFile") == 0) CHECK(status == YQ_EPACKAGE);
}

/* A detector is made and ended while the at-th call of `name` (NULL: of all) fails: the right status, and nothing is
 * left. Writes which call it was; "" if there were fewer. */
static void create_failing(const char *package, const char *name, int at, way how, char failed[name_room]) {
    yq_detector *detector;
    ascend.fail(name, at, how.how, how.value);
    const int32_t status = create_on(&detector, package, "0", 2);
    yq_destroy(detector);
    snprintf(failed, name_room, "%s", ascend.failed());
    if (status != YQ_OK)
        check_failure(status, how);
    else
        CHECK(!failed[0] || how.how == DOUBLE_LOSE || is_dispensable(failed));
    CHECK(ascend.live() == 0);
    ascend.fail(NULL, 0, DOUBLE_CODE, 0);
}

/* Every call that a detector's making and end take fails once in turn, and the next detector works; the device is lost
 * at each of them; and the first call of each function fails in the other ways. */
static void run_create(const char *package) {
    static char names[name_count][name_room];
    char failed[name_room];
    int known = 0, calls = 0;
    open_doors();
    create_failing(package, NULL, 0, ways[0], failed); /* aclInit is once only, and has its own scenario */
    for (int at = 1;; ++at, ++calls) {
        create_failing(package, NULL, at, ways[0], failed);
        if (!failed[0]) break;
        int seen = 0;
        for (int i = 0; i < known; ++i) seen |= strcmp(names[i], failed) == 0;
        if (!seen) memcpy(names[known++], failed, name_room);
        CHECK(known < name_count);
        create_failing(package, NULL, 0, ways[0], failed);
        CHECK(!failed[0]);
    }
    CHECK(calls > 200 && known > 30);
    for (int at = 1; at <= calls; ++at) {
        create_failing(package, NULL, at, ways[way_count - 1], failed);
        CHECK(failed[0]);
    }
    for (int i = 0; i < known; ++i)
        for (size_t w = 1; w + 1 < way_count; ++w) {
            create_failing(package, names[i], 1, ways[w], failed);
            CHECK(strcmp(failed, names[i]) == 0);
        }
}

/* The first call of all; in a process of its own. */
static void run_init(const char *package) {
    yq_detector *detector;
    open_doors();
    ascend.fail("aclInit", 1, DOUBLE_CODE, internal);
    yq_backend_desc desc;
    int seen = 0;
    for (uint32_t i = 0; i < yq_backend_count(); ++i) {
        memset(&desc, 0, sizeof desc);
        desc.size = sizeof desc;
        EXPECT(YQ_OK, yq_backend_info(i, &desc));
        if (strcmp(desc.name, "ascend") != 0) continue;
        seen = 1;
        CHECK(!desc.usable && strstr(desc.reason, "aclInit failed with 500000 (ACL_ERROR_INTERNAL_ERROR)"));
        CHECK(strstr(desc.version, "AscendCL 1.99.0"));
    }
    CHECK(seen);
    EXPECT(YQ_EBACKEND, create_on(&detector, package, "0", 1));
    CHECK_REASON("cannot be used: aclInit failed");
    CHECK(ascend.live() == 0);
}

static void run_infer(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
    const int live = ascend.live();
    for (size_t w = 0; w < way_count; ++w)
        for (int at = 1;; ++at) {
            ascend.fail(NULL, at, ways[w].how, ways[w].value);
            const int32_t status = infer_one(detector, &image, 0);
            if (!ascend.failed()[0]) {
                CHECK(status == YQ_OK && at == 10); /* a copy in, a run, six copies out, a sync */
                break;
            }
            check_failure(status, ways[w]);
            ascend.fail(NULL, 0, DOUBLE_CODE, 0);
            EXPECT(YQ_OK, infer_one(detector, &image, 0)); /* on a new session if the device was lost */
            CHECK(ascend.live() == live);
        }
    ascend.fail(NULL, 0, DOUBLE_CODE, 0);
    const yq_stats stats = read_stats(detector);
    CHECK(stats.errors == 9 * way_count && stats.device_lost == stats.device_recovered && stats.device_lost == 18);
    yq_destroy(detector);
    CHECK(ascend.live() == 0);
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
        ascend.fail(NULL, at, DOUBLE_CODE, core_exception);
        CHECK(yq_infer_batch(detector, images, n, NULL, found, 1, counts, statuses) != YQ_OK);
        check_failure(statuses[at <= 9 ? 0 : at <= 18 ? 4 : 8], ways[0]);
        for (int i = 0; i < n; ++i) CHECK((statuses[i] == YQ_OK) == (counts[i] == 1));
        ascend.fail(NULL, 0, DOUBLE_CODE, 0);
        EXPECT(YQ_OK, yq_infer_batch(detector, images, n, NULL, found, 1, counts, statuses));
    }
    yq_destroy(detector);
    CHECK(ascend.live() == 0);
    picture_free(&image);
}

/* What cannot be given back is nobody's business any more; the rest is. */
static void run_destroy(const char *package) {
    yq_detector *detector;
    open_doors();
    for (size_t w = 0; w < way_count; ++w)
        for (int at = 1;; ++at) {
            EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
            ascend.fail(NULL, at, ways[w].how, ways[w].value);
            yq_destroy(detector);
            CHECK(ascend.live() == 0);
            const int done = !ascend.failed()[0];
            ascend.fail(NULL, 0, DOUBLE_CODE, 0);
            if (done) {
                /* two streams of 14 pieces of memory, 7 data buffers, 2 datasets, a model, its description, a stream, a
                   context, a hold on the device */
                CHECK(at == 2 * (14 + 7 + 2 + 5) + 1);
                break;
            }
        }
}

/* The device goes while one stream runs and another waits: both calls say so, the next one works. */
static void run_lost(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
    for (int i = 0; i < 3; ++i) {
        ascend.fail("aclmdlExecuteAsync", 1, DOUBLE_LOSE, 0);
        EXPECT(YQ_EDEVICE, infer_one(detector, &image, 0));
        CHECK_REASON("the device is lost: ");
        CHECK_REASON("does not answer");
        EXPECT(YQ_OK, infer_one(detector, &image, 0));
    }
    CHECK(read_stats(detector).device_recovered == 3);
    yq_destroy(detector);
    CHECK(ascend.live() == 0);
    picture_free(&image);
}

static void check_hang(const char *package, const char *call) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    EXPECT(YQ_OK, create_on(&detector, package, "0", 1));
    ascend.fail(call, 1, DOUBLE_HANG, 700);
    const double began = now_ms();
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 150));
    const double took = now_ms() - began;
    CHECK(took >= 149 && took < 600);
    CHECK(strcmp(ascend.failed(), call) == 0);
    CHECK(read_stats(detector).streams_quarantined == 1);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 50));
    CHECK_REASON("still holds 1 request");
    EXPECT(YQ_OK, infer_one(detector, &image, 700 + slack_ms)); /* the device gives it back */
    const yq_stats stats = read_stats(detector);
    CHECK(stats.timeouts == 2 && stats.pictures == 1 && stats.streams_quarantined == 0 && stats.device_lost == 0);
    yq_destroy(detector);
    CHECK(ascend.live() == 0);
    picture_free(&image);
}

static void run_hang(const char *package) {
    open_doors();
    check_hang(package, "aclrtMemcpyAsync");
    check_hang(package, "aclmdlExecuteAsync"); /* at once; the stream takes long */
    check_hang(package, "aclrtSynchronizeStreamWithTimeout");
}

/* A request hangs, then yq_destroy: what the device holds is freed after it came back, not before. */
static void run_hang_destroy(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
    ascend.fail("aclmdlExecuteAsync", 1, DOUBLE_HANG, 700);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    yq_destroy(detector);
    CHECK(ascend.live() == 0);
    picture_free(&image);
}

/* A 910B can be told to give up what hangs: the session, which ends in the background, need not wait for it. */
static void run_abort(const char *package) {
    yq_detector *detector;
    picture image = picture_simple(100, 80, 1);
    open_doors();
    EXPECT(YQ_OK, create_on(&detector, package, "0", 2));
    ascend.set_devices(1, "Ascend910B4");
    ascend.fail("aclmdlExecuteAsync", 1, DOUBLE_HANG, 60000);
    EXPECT(YQ_ETIMEOUT, infer_one(detector, &image, 60));
    const double began = now_ms();
    yq_destroy(detector);
    while (ascend.live() > 0 && now_ms() - began < 20000) sleep_ms(10);
    CHECK(ascend.live() == 0);
    picture_free(&image);
}

extern const scenario ascend_fault_scenarios[];
const scenario ascend_fault_scenarios[] = {{"ascend-create", "ascend=float32 batch=1,2", run_create},
                                           {"ascend-init", "ascend=float32", run_init},
                                           {"ascend-infer", "ascend=float32", run_infer},
                                           {"ascend-failing-batch", "ascend=float32 batch=1,4", run_failing_batch},
                                           {"ascend-destroy", "ascend=float32", run_destroy},
                                           {"ascend-lost", "ascend=float32", run_lost},
                                           {"ascend-hang", "ascend=float32", run_hang},
                                           {"ascend-hang-destroy", "ascend=float32", run_hang_destroy},
                                           {"ascend-abort", "ascend=float32", run_abort},
                                           {NULL, NULL, NULL}};

/* SPDX-License-Identifier: Apache-2.0 */
/* The cpu backend and its real engine: threads, deadlines, ends in the middle of the work. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"

enum { threads = 4, room = 300 };

typedef struct team {
    const char *package;
    yq_detector *detector;
    atomic_int seen, next;
} team;

static void gather(void *(*work)(void *), team *shared, pthread_t *ids) {
    for (int i = 0; i < threads; ++i) CHECK(pthread_create(&ids[i], NULL, work, shared) == 0);
}

static void join(const pthread_t *ids) {
    for (int i = 0; i < threads; ++i) CHECK(pthread_join(ids[i], NULL) == 0);
}

static void *infer_same(void *argument) {
    team *shared = argument;
    yq_detection first[room], again[room];
    uint32_t count = 0, now = 0;
    picture image = picture_simple(300, 200, 1 + (uint32_t)shared->next++);
    EXPECT(YQ_OK, yq_infer(shared->detector, &image.image, NULL, first, room, &count));
    CHECK(count > 0);
    for (int i = 0; i < 30; ++i) {
        EXPECT(YQ_OK, yq_infer(shared->detector, &image.image, NULL, again, room, &now));
        CHECK(now == count && memcmp(first, again, count * sizeof *first) == 0);
    }
    picture_free(&image);
    return NULL;
}

/* Four threads on two streams: every picture always gives the same. */
static void run_same(const char *package) {
    team shared = {.detector = open_detector_on("cpu", package, 2)};
    pthread_t ids[threads];
    gather(infer_same, &shared, ids);
    join(ids);
    yq_destroy(shared.detector);
}

static void *infer_until_gone(void *argument) {
    team *shared = argument;
    picture image = picture_simple(300, 200, 1 + (uint32_t)shared->next++);
    int32_t status = YQ_OK;
    while (status != YQ_EINVAL) {
        status = infer_one(shared->detector, &image, 1); /* 1 ms: many calls leave their request behind */
        shared->seen |= 1 << status;
    }
    picture_free(&image);
    return NULL;
}

/* Deadlines that hardly any request keeps, and an end while they run. */
static void run_impatient(const char *package) {
    for (int round = 0; round < 5; ++round) {
        team shared = {.detector = open_detector_on("cpu", package, 2)};
        picture image = picture_simple(300, 200, 1);
        pthread_t ids[threads];
        gather(infer_until_gone, &shared, ids);
        sleep_ms(100);
        EXPECT(YQ_OK, infer_one(shared.detector, &image, YQ_TIMEOUT_NONE)); /* its turn comes */
        yq_destroy(shared.detector);
        join(ids);
        CHECK((shared.seen & ~(1 << YQ_OK | 1 << YQ_ETIMEOUT | 1 << YQ_EINVAL)) == 0);
        CHECK(shared.seen >> YQ_ETIMEOUT & 1);
        picture_free(&image);
    }
}

static void run_ends(const char *package) {
    picture image = picture_simple(300, 200, 1);
    for (int i = 0; i < 10; ++i) {
        yq_detector *detector = open_detector_on("cpu", package, 1 + (uint32_t)i % 3);
        EXPECT(YQ_OK, infer_one(detector, &image, 0));
        yq_destroy(detector);
    }
    picture_free(&image);
}

extern const scenario engine_scenarios[];
const scenario engine_scenarios[] = {{"engine-same", "model=real", run_same},
                                     {"engine-impatient", "model=real", run_impatient},
                                     {"engine-ends", "model=real", run_ends},
                                     {NULL, NULL, NULL}};

/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads at once: inference, ends, inspection, log callbacks, losses. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { threads = 8 };

/* What the threads of a scenario share. */
typedef struct team {
    const char *package;
    yq_detector *detector;
    atomic_int stop;
    atomic_int seen; /* a bit for every status */
    atomic_int next; /* numbers the members */
} team;

static void gather(void *(*work)(void *), team *shared, int members, pthread_t *ids) {
    for (int i = 0; i < members; ++i) CHECK(pthread_create(&ids[i], NULL, work, shared) == 0);
}

static void join(int members, const pthread_t *ids) {
    for (int i = 0; i < members; ++i) CHECK(pthread_join(ids[i], NULL) == 0);
}

static int has_seen(team *shared, int32_t status) {
    return shared->seen >> status & 1;
}

/* Infers until the detector is gone. */
static void *infer_until_gone(void *argument) {
    team *shared = argument;
    picture image = picture_simple(100, 80, (uint32_t)shared->next++);
    for (;;) {
        const int32_t status = infer_one(shared->detector, &image, 0);
        shared->seen |= 1 << status;
        if (status == YQ_EINVAL) break;
    }
    picture_free(&image);
    return NULL;
}

static void *destroy_now(void *argument) {
    yq_destroy(((team *)argument)->detector);
    return NULL;
}

static void run_destroy_running(const char *package) {
    for (int round = 0; round < 10; ++round) {
        team shared = {.package = package, .detector = open_detector(package, 2)};
        pthread_t ids[threads], enders[2];
        gather(infer_until_gone, &shared, threads, ids);
        sleep_ms(30);
        gather(destroy_now, &shared, 2, enders); /* twice at once */
        join(2, enders);
        join(threads, ids);
        CHECK(shared.seen == (1 << YQ_OK | 1 << YQ_EINVAL));
    }
}

/* Eight threads on four streams, each with its own picture, get what one alone gets. */
static void *infer_same(void *argument) {
    enum { room = 64, calls = 60 };
    team *shared = argument;
    yq_detection first[room], again[room];
    uint32_t count = 0, now = 0;
    picture image = picture_simple(100 + shared->next, 80, 1 + (uint32_t)shared->next++);
    yq_detector *alone = open_detector(shared->package, 1);
    EXPECT(YQ_OK, yq_infer(alone, &image.image, NULL, first, room, &count));
    CHECK(count > 5);
    yq_destroy(alone);
    for (int i = 0; i < calls; ++i) {
        EXPECT(YQ_OK, yq_infer(shared->detector, &image.image, NULL, again, room, &now));
        CHECK(now == count && memcmp(first, again, count * sizeof *first) == 0);
    }
    picture_free(&image);
    return NULL;
}

static void run_streams(const char *package) {
    team shared = {.package = package, .detector = open_detector(package, 4)};
    pthread_t ids[threads];
    gather(infer_same, &shared, threads, ids);
    join(threads, ids);
    const yq_stats stats = read_stats(shared.detector);
    CHECK(stats.pictures == threads * 60 && stats.errors == 0 && stats.streams_busy == 0);
    yq_destroy(shared.detector);
}

/* One stream, 40 ms a picture, eight in line, a deadline of 150 ms: some are served, the others time out. */
static void *infer_in_line(void *argument) {
    team *shared = argument;
    picture image = picture_simple(100, 80, 1);
    const double began = now_ms();
    shared->seen |= 1 << infer_one(shared->detector, &image, 150);
    CHECK(now_ms() - began < 1000);
    picture_free(&image);
    return NULL;
}

static void run_line(const char *package) {
    team shared = {.package = package, .detector = open_detector(package, 1)};
    pthread_t ids[threads];
    gather(infer_in_line, &shared, threads, ids);
    join(threads, ids);
    CHECK(shared.seen == (1 << YQ_OK | 1 << YQ_ETIMEOUT));
    const yq_stats stats = read_stats(shared.detector);
    CHECK(stats.pictures + stats.errors == threads && stats.errors == stats.timeouts && stats.pictures <= 4);
    yq_destroy(shared.detector);
}

static void *infer_until_stopped(void *argument) {
    team *shared = argument;
    picture image = picture_simple(100, 80, 1);
    while (!shared->stop) shared->seen |= 1 << infer_one(shared->detector, &image, 0);
    picture_free(&image);
    return NULL;
}

/* Losses under full load. */
static void run_lost_threads(const char *package) {
    team shared = {.package = package, .detector = open_detector(package, 4)};
    picture image = picture_simple(100, 80, 1);
    pthread_t ids[threads];
    gather(infer_until_stopped, &shared, threads, ids);
    for (int i = 0; i < 600 && read_stats(shared.detector).device_recovered < 20; ++i) sleep_ms(50);
    shared.stop = 1;
    join(threads, ids);
    CHECK(shared.seen == (1 << YQ_OK | 1 << YQ_EDEVICE));
    const yq_stats stats = read_stats(shared.detector);
    CHECK(stats.device_recovered >= 20 && stats.device_lost - stats.device_recovered <= 1 && stats.streams_busy == 0);
    yq_destroy(shared.detector);
    picture_free(&image);
}

/* Hangs under full load: calls time out, streams come back, nothing is lost on the way. */
static void *infer_with_hangs(void *argument) {
    team *shared = argument;
    picture image = picture_simple(100, 80, 1);
    for (int i = 0; i < 40; ++i) shared->seen |= 1 << infer_one(shared->detector, &image, 100);
    picture_free(&image);
    return NULL;
}

static void run_hang_threads(const char *package) {
    team shared = {.package = package, .detector = open_detector(package, 4)};
    picture image = picture_simple(100, 80, 1);
    pthread_t ids[threads];
    gather(infer_with_hangs, &shared, threads, ids);
    join(threads, ids);
    CHECK(shared.seen == (1 << YQ_OK | 1 << YQ_ETIMEOUT));
    sleep_ms(400);
    int32_t status = infer_one(shared.detector, &image, 0);
    CHECK(status == YQ_OK);
    const yq_stats stats = read_stats(shared.detector);
    CHECK(stats.streams_quarantined == 0 && stats.pictures + stats.errors == threads * 40 + 1);
    picture_free(&image);
    yq_destroy(shared.detector);
}

/* The log callback's user memory is freed as soon as the callback is unset; the callback asks the library things. */
typedef struct listener {
    team *shared;
    int lines;
    pthread_mutex_t mutex;
} listener;

static void on_log(void *user, int32_t level, const char *message) {
    listener *self = user;
    yq_stats stats;
    pthread_mutex_lock(&self->mutex);
    ++self->lines;
    pthread_mutex_unlock(&self->mutex);
    CHECK(level >= YQ_LOG_DEBUG && level <= YQ_LOG_ERROR && strlen(message) > 5 && !strchr(message, '\n'));
    stats.size = sizeof stats;
    yq_get_stats(self->shared->detector, &stats);
    yq_set_log_callback(NULL, NULL); /* refused: nothing changes */
    CHECK_REASON("inside the callback");
}

static void run_log(const char *package) {
    team shared = {.package = package, .detector = open_detector(package, 2)};
    pthread_t ids[threads];
    int lines = 0;
    gather(infer_until_stopped, &shared, threads, ids);
    for (int i = 0; i < 300 || (lines < 5 && i < 20000); ++i) {
        listener *user = calloc(1, sizeof *user);
        CHECK(user != NULL && pthread_mutex_init(&user->mutex, NULL) == 0);
        user->shared = &shared;
        yq_set_log_callback(on_log, user);
        if (i % 4 == 0) sleep_ms(2);
        yq_set_log_callback(NULL, NULL);
        lines += user->lines;
        pthread_mutex_destroy(&user->mutex);
        free(user);
    }
    shared.stop = 1;
    join(threads, ids);
    CHECK(lines >= 5);
    yq_destroy(shared.detector);
}

static void *churn(void *argument) {
    team *shared = argument;
    picture image = picture_simple(100, 80, 1);
    for (int i = 0; i < 15; ++i) {
        yq_detector *mine = open_detector(shared->package, 1 + (uint32_t)i % 3);
        EXPECT(YQ_OK, infer_one(mine, &image, 0));
        yq_destroy(mine);
        EXPECT(YQ_EINVAL, infer_one(mine, &image, 0));
    }
    picture_free(&image);
    return NULL;
}

static void run_churn(const char *package) {
    team shared = {.package = package};
    pthread_t ids[threads];
    gather(churn, &shared, threads, ids);
    join(threads, ids);
}

/* Asks a detector everything until it is gone. */
static void *inspect(void *argument) {
    team *shared = argument;
    for (;;) {
        yq_info info;
        yq_stats stats;
        yq_backend_desc backend;
        info.size = sizeof info;
        stats.size = sizeof stats;
        backend.size = sizeof backend;
        for (uint32_t i = 0; i < yq_backend_count(); ++i) EXPECT(YQ_OK, yq_backend_info(i, &backend));
        if (yq_get_stats(shared->detector, &stats) != YQ_OK) break;
        CHECK(stats.streams_busy + stats.streams_quarantined <= stats.streams);
        if (yq_get_info(shared->detector, &info) != YQ_OK) break;
        CHECK(strcmp(info.backend, "dummy") == 0);
        yq_class_name(shared->detector, 1);
    }
    CHECK_REASON("handle");
    return NULL;
}

static void *batch_until_gone(void *argument) {
    enum { n = 6 };
    team *shared = argument;
    picture image = picture_simple(100, 80, 1);
    yq_image images[n];
    yq_detection found[n];
    uint32_t counts[n];
    for (int i = 0; i < n; ++i) images[i] = image.image;
    int32_t status = YQ_OK;
    while (status != YQ_EINVAL) {
        status = yq_infer_batch(shared->detector, images, n, NULL, found, 1, counts, NULL);
        shared->seen |= 1 << status;
    }
    picture_free(&image);
    return NULL;
}

/* All of it at once, with losses, ended in the middle. */
static void run_everything(const char *package) {
    for (int round = 0; round < 5; ++round) {
        team shared = {.package = package, .detector = open_detector(package, 3)};
        pthread_t infers[threads], inspects[2], batches[2], churns[1];
        gather(infer_until_gone, &shared, threads, infers);
        gather(batch_until_gone, &shared, 2, batches);
        gather(inspect, &shared, 2, inspects);
        gather(churn, &shared, 1, churns);
        sleep_ms(200);
        yq_destroy(shared.detector);
        join(threads, infers);
        join(2, batches);
        join(2, inspects);
        join(1, churns);
        CHECK(has_seen(&shared, YQ_OK) && has_seen(&shared, YQ_EINVAL));
    }
}

extern const scenario thread_scenarios[];
const scenario thread_scenarios[] = {{"destroy-running", "size=64 dummy.delay_ms=5", run_destroy_running},
                                     {"streams", "size=64 dummy.delay_ms=1", run_streams},
                                     {"line", "size=64 dummy.delay_ms=40", run_line},
                                     {"lost-threads", "size=64 dummy.lose_every=23", run_lost_threads},
                                     {"hang-threads", "size=64 dummy.hang_every=9 dummy.hang_ms=250", run_hang_threads},
                                     {"log", "size=64 dummy.lose_every=11", run_log},
                                     {"churn", "size=64", run_churn},
                                     {"everything", "size=64 dummy.hang_every=5 dummy.hang_ms=20", run_everything},
                                     {NULL, NULL, NULL}};

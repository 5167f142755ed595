/* SPDX-License-Identifier: Apache-2.0 */
/* Counts the allocations of a warm detector.
 *
 *     yoloq_count FOLDER BACKEND PACKAGE   FOLDER: of the counted libraries
 *
 * Prints a line for each kind of call: name, calls, allocations by our libraries, allocations of the whole process,
 * tabs between them. The process's are seen by standing in for the C library's allocators in the executable. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pictures.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_int armed;
static atomic_ullong all;

#pragma GCC visibility push(default)

void *malloc(size_t size) {
    all += armed != 0;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    all += armed != 0;
    return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size) {
    all += armed != 0;
    return __libc_realloc(memory, size);
}
void *memalign(size_t alignment, size_t size) {
    all += armed != 0;
    return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}
int posix_memalign(void **out, size_t alignment, size_t size) {
    *out = memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}

#pragma GCC visibility pop

enum { most_libraries = 2, streams = 2, room = 300, pictures = 6, calls = 50 };

typedef struct counter {
    void (*arm)(int on);
    uint64_t (*allocations)(void);
} counter;

static counter counters[most_libraries];

static void find_counter(int index, const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/lib%s.so", folder, name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *arm = library ? dlsym(library, "yqt_arm") : NULL;
    void *allocations = library ? dlsym(library, "yqt_allocations") : NULL;
    if (!arm || !allocations) {
        fprintf(stderr, "%s is no counted library: %s\n", path, dlerror());
        exit(1);
    }
    memcpy(&counters[index].arm, &arm, sizeof arm);
    memcpy(&counters[index].allocations, &allocations, sizeof allocations);
}

static uint64_t ours(void) {
    uint64_t sum = 0;
    for (int i = 0; i < most_libraries; ++i) sum += counters[i].allocations();
    return sum;
}

static void arm(int on) {
    for (int i = 0; i < most_libraries; ++i) counters[i].arm(on);
    armed = on;
}

static void must(int32_t wanted, int32_t status) {
    if (status == wanted) return;
    fprintf(stderr, "%s instead of %s: %s\n", yq_status_name(status), yq_status_name(wanted), yq_last_error());
    exit(1);
}

static yq_detector *detector;
static yq_detection found[pictures * room];
static yq_image images[pictures];
static const char *package;
static yq_options options;

static void do_create(void) {
    must(YQ_OK, yq_create(&detector, package, &options));
}

static void do_infer(void) {
    uint32_t count = 0;
    must(YQ_OK, yq_infer(detector, &images[0], NULL, found, room, &count));
}

static void do_batch(void) {
    uint32_t counts[pictures];
    int32_t statuses[pictures];
    must(YQ_OK, yq_infer_batch(detector, images, pictures, NULL, found, room, counts, statuses));
}

static void do_refuse(void) {
    uint32_t count = 0;
    yq_image bad = images[0];
    bad.width = 0;
    must(YQ_EINVAL, yq_infer(detector, &bad, NULL, found, room, &count));
}

static void do_stats(void) {
    yq_stats stats;
    stats.size = sizeof stats;
    must(YQ_OK, yq_get_stats(detector, &stats));
}

static void measure(const char *name, void (*work)(void), int warm_up, int times) {
    for (int i = 0; i < warm_up; ++i) work();
    const uint64_t ours_before = ours(), all_before = all;
    arm(1);
    for (int i = 0; i < times; ++i) work();
    arm(0);
    printf("%s\t%d\t%llu\t%llu\n", name, times, (unsigned long long)(ours() - ours_before),
           (unsigned long long)(all - all_before));
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s FOLDER BACKEND PACKAGE\n", argv[0]);
        return 2;
    }
    char module[64];
    snprintf(module, sizeof module, "yoloq_%s", argv[2]);
    find_counter(0, argv[1], "yoloq");
    find_counter(1, argv[1], module);
    package = argv[3];
    yq_options_init(&options, sizeof options);
    options.backend = argv[2];
    options.streams = streams;
    measure("create", do_create, 0, 1);
    const char *formats[] = {"gray8", "bgr24", "rgb24", "bgra32", "rgba32", "nv12"};
    picture made[pictures];
    for (int i = 0; i < pictures; ++i) {
        made[i] = picture_make(YQ_FORMAT_GRAY8 + i, 640 + 2 * i, 480, i * 3, i % 2, LEANS_ON_END, (uint32_t)i);
        images[i] = made[i].image;
    }
    for (int i = 0; i < pictures; ++i) {
        images[0] = made[i].image;
        measure(formats[i], do_infer, 5, calls);
    }
    measure("batch", do_batch, 5, calls);
    measure("refused", do_refuse, 5, calls);
    measure("stats", do_stats, 5, calls);
    yq_destroy(detector);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The main function of an executable with scenarios, and what they share. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

void check(int condition, const char *file, int line, const char *text) {
    if (condition) return;
    fprintf(stderr, "FAILED %s:%d: %s (last error: \"%s\")\n", file, line, text, yq_last_error());
    fflush(stderr);
    _Exit(1); /* other threads may be at work */
}

/* Whether the bytes at *text begin with a whole, shortest-form UTF-8 character; moves *text behind it. */
static int next_character(const unsigned char **text) {
    const unsigned char lead = **text;
    const int follow = lead < 0x80 ? 0 : lead >= 0xC2 && lead < 0xE0 ? 1 : (lead & 0xF0) == 0xE0 ? 2 : 3;
    uint32_t code = follow == 0 ? lead : lead & (0x3Fu >> follow);
    if (lead >= 0x80 && (lead < 0xC2 || lead > 0xF4)) return 0;
    for (int i = 1; i <= follow; ++i) {
        if (((*text)[i] & 0xC0) != 0x80) return 0;
        code = code << 6 | ((*text)[i] & 0x3F);
    }
    if ((follow == 2 && code < 0x800) || (follow == 3 && (code < 0x10000 || code > 0x10FFFF))) return 0;
    *text += follow + 1;
    return code >= 0x20 && code != 0x7F && (code < 0xD800 || code > 0xDFFF);
}

void check_reason(const char *file, int line, const char *text) {
    const char *reason = yq_last_error();
    check(strlen(reason) >= 10, file, line, "the reason says something");
    for (const unsigned char *next = (const unsigned char *)reason; *next;)
        if (!next_character(&next)) check(0, file, line, "the reason is one line of printable UTF-8");
    if (text) check(strstr(reason, text) != NULL, file, line, text);
}

int32_t expect(int32_t wanted, int32_t got, const char *file, int line, const char *text) {
    if (got != wanted) {
        fprintf(stderr, "%s instead of %s; ", yq_status_name(got), yq_status_name(wanted));
        check(0, file, line, text);
    }
    if (got != YQ_OK) check_reason(file, line, NULL);
    return got;
}

yq_detector *open_detector_on(const char *backend, const char *package, uint32_t streams) {
    yq_detector *detector = NULL;
    yq_options options;
    yq_options_init(&options, sizeof options);
    options.backend = backend;
    options.streams = streams;
    EXPECT(YQ_OK, yq_create(&detector, package, &options));
    CHECK(detector != NULL);
    return detector;
}

yq_detector *open_detector(const char *package, uint32_t streams) {
    return open_detector_on("dummy", package, streams);
}

int32_t infer_one(yq_detector *detector, const picture *image, uint32_t timeout_ms) {
    yq_detection found[16];
    uint32_t count = 99;
    yq_call call;
    yq_call_init(&call, sizeof call);
    call.timeout_ms = timeout_ms;
    const int32_t status = yq_infer(detector, &image->image, &call, found, 16, &count);
    CHECK(status == YQ_OK ? count <= 16 && count <= call.found : count == 0);
    if (status != YQ_OK) CHECK_REASON(NULL);
    return status;
}

yq_stats read_stats(yq_detector *detector) {
    yq_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.size = sizeof stats;
    EXPECT(YQ_OK, yq_get_stats(detector, &stats));
    return stats;
}

double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

void sleep_ms(unsigned ms) {
    const struct timespec pause = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

int main(int argc, char **argv) {
    for (const scenario *const *list = scenario_lists; *list; ++list)
        for (const scenario *each = *list; each->name; ++each) {
            if (argc == 1) printf("%s\t%s\n", each->name, each->options);
            if (argc != 3 || strcmp(argv[1], each->name) != 0) continue;
            each->run(argv[2]);
            return 0;
        }
    if (argc == 1) return 0;
    fprintf(stderr, "usage: %s [SCENARIO PACKAGE]\n", argv[0]);
    return 2;
}

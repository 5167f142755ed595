/* SPDX-License-Identifier: Apache-2.0 */
/* What the abuse scenarios share: checks that end the process with one line, detectors, time. */
#ifndef YOLOQ_TESTS_CHECK_H
#define YOLOQ_TESTS_CHECK_H

#include <stdint.h>

#include "pictures.h"
#include "yoloq.h"

/* A scenario; it runs in a process of its own. options, "key=value key=value", describe the package it wants: those of
 * the dummy backend, size=N for the side of the model's input in pixels, nms=false for a head without NMS, model=real
 * for a model that the cpu backend runs, sophgo=DTYPE for one that the sophgo backend's double takes (with scale=,
 * batch=, chip=), rockchip=DTYPE the same for the rockchip backend's (and cores=), ascend=DTYPE likewise (with
 * batch=1,4 for two models). */
typedef struct scenario {
    const char *name, *options;
    void (*run)(const char *package);
} scenario;

/* An executable's scenarios by file; each list ends with a name that is NULL, the list of lists with NULL.
 *     EXECUTABLE                    prints them, a line each: name, tab, options
 *     EXECUTABLE SCENARIO PACKAGE   runs one; ends with 0, or with 1 and a line that says what failed */
extern const scenario *const scenario_lists[];

void check(int condition, const char *file, int line, const char *text);
/* The status is the one wanted, and a failure has left one readable line. Returns `got`. */
int32_t expect(int32_t wanted, int32_t got, const char *file, int line, const char *text);
/* yq_last_error() is one line of printable UTF-8 that says something. */
void check_reason(const char *file, int line, const char *text);

#define CHECK(condition) check(!!(condition), __FILE__, __LINE__, #condition)
#define EXPECT(status, call) expect(status, call, __FILE__, __LINE__, #call)
#define CHECK_REASON(text) check_reason(__FILE__, __LINE__, text)

/* A detector on the dummy backend. */
yq_detector *open_detector_on(const char *backend, const char *package, uint32_t streams);
yq_detector *open_detector(const char *package, uint32_t streams);
/* One picture, at most `timeout_ms` (0: the detector's). The detections are thrown away. */
int32_t infer_one(yq_detector *detector, const picture *image, uint32_t timeout_ms);
yq_stats read_stats(yq_detector *detector);
double now_ms(void);
void sleep_ms(unsigned ms);

#endif

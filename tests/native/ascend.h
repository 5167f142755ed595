/* SPDX-License-Identifier: Apache-2.0 */
/* The ascend backend over its double: what the scenarios share. */
#ifndef YOLOQ_TESTS_NATIVE_ASCEND_H
#define YOLOQ_TESTS_NATIVE_ASCEND_H

#include "../doubles/ascend/double.h"
#include "check.h"

/* The double's doors, and what a host of its own calls, found in the libraries that the module has loaded. */
typedef struct double_doors {
    void (*fail)(const char *name, int at, double_fault how, int value);
    const char *(*failed)(void);
    void (*set_devices)(int count, const char *soc);
    void (*set_on_board)(int on_board);
    int (*live)(void);
    int (*pictures)(void);
    int (*pageable)(void);
    void (*set_sensors)(int sensors, unsigned int health);
    int (*init)(const char *path);
    int (*finalize)(void);
    int (*set_device)(int device);
    int (*get_context)(void **context);
} double_doors;

extern double_doors ascend;

enum { room = 300 };

typedef struct result {
    yq_detection found[room];
    uint32_t count;
} result;

/* Fills `ascend`; the first line of every scenario. */
void open_doors(void);
/* yq_create on the ascend backend; *out is NULL on failure. */
int32_t create_on(yq_detector **out, const char *package, const char *device, uint32_t streams);
/* The detections in a picture made from `seed`; there are some. */
void infer_into(yq_detector *detector, uint32_t seed, result *out);

#endif

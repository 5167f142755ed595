/* SPDX-License-Identifier: Apache-2.0 */
/* The sophgo backend over its double: what the scenarios share. */
#ifndef YOLOQ_TESTS_NATIVE_SOPHGO_H
#define YOLOQ_TESTS_NATIVE_SOPHGO_H

#include "../doubles/sophgo/double.h"
#include "check.h"

/* The double's doors, found in the library that the module has loaded. */
typedef struct double_doors {
    void (*fail)(int at, double_fault how, int value);
    const char *(*failed)(void);
    void (*set_model)(double_model model);
    void (*set_devices)(int count, unsigned int chip, int sensors);
    int (*live)(void);
    int (*pictures)(void);
} double_doors;

extern double_doors sophgo;

/* Fills `sophgo`; the first line of every scenario. */
void open_doors(void);
/* yq_create on the sophgo backend; *out is NULL on failure. */
int32_t create_on(yq_detector **out, const char *package, const char *device, uint32_t streams);

#endif

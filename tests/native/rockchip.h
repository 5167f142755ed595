/* SPDX-License-Identifier: Apache-2.0 */
/* The rockchip backend over its double: what the scenarios share. */
#ifndef YOLOQ_TESTS_NATIVE_ROCKCHIP_H
#define YOLOQ_TESTS_NATIVE_ROCKCHIP_H

#include "../doubles/rockchip/double.h"
#include "check.h"

/* The double's doors, found in the library that the module has loaded. */
typedef struct double_doors {
    void (*fail)(int at, double_fault how, int value);
    const char *(*failed)(void);
    void (*set_model)(double_model model);
    void (*set_chip)(const char *chip);
    int (*live)(void);
    int (*runs)(void);
    int (*cores)(void);
    int (*loads)(void);
} double_doors;

extern double_doors rockchip;

/* Fills `rockchip`; the first line of every scenario. */
void open_doors(void);
/* yq_create on the rockchip backend; *out is NULL on failure. */
int32_t create_on(yq_detector **out, const char *package, uint32_t streams, int32_t hint);

#endif

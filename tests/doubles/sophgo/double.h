/* SPDX-License-Identifier: Apache-2.0 */
/* A double of Sophgo's libbmlib and libbmrt that enforces what their documents say, and fails where it is told to. It
 * is C++ inside, with the system's C++ runtime as the vendor's has, so that it can throw as libbmrt does.
 *
 * Breaches of the contract (memory freed twice or used past its end, an unknown handle, a launch that was not waited
 * for) end the process with a line. What a launch computes is written when its own thread syncs, not before. */
#ifndef YOLOQ_TESTS_SOPHGO_DOUBLE_H
#define YOLOQ_TESTS_SOPHGO_DOUBLE_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum double_fault {
    DOUBLE_CODE,  /* the call returns `value`, or NULL, 0 or false if it has no code */
    DOUBLE_THROW, /* the call throws; what it should release is released */
    DOUBLE_HANG   /* the call takes `value` ms longer */
} double_fault;

/* What bmrt_get_network_info tells. DOUBLE_PLAIN fits the tests' package. */
typedef enum double_model {
    DOUBLE_PLAIN,    /* NHWC, float32, batch 1 and 4 */
    DOUBLE_PLANAR,   /* NCHW */
    DOUBLE_INT8,     /* int8 outputs in steps of 0.5 */
    DOUBLE_DYNAMIC,  /* shapes that vary */
    DOUBLE_TWO,      /* two networks */
    DOUBLE_FLOAT,    /* a float32 input */
    DOUBLE_RENAMED,  /* another name of an output */
    DOUBLE_SMALLER,  /* another shape of an output */
    DOUBLE_MORE,     /* an output more */
    DOUBLE_BATCHLESS /* batch 4 only */
} double_model;

/* The at-th call from now (1: the next) fails, and no other; 0: none. */
void double_fail(int at, double_fault how, int value);
/* The call that failed since double_fail; "" if none did yet. */
const char *double_failed(void);
void double_set_model(double_model model);
/* Devices there are, their chip id, and whether they have sensors. */
void double_set_devices(int count, unsigned int chip, int sensors);
/* Handles, runtimes and pieces of device memory that were not given back. */
int double_live(void);
/* Pictures computed so far. */
int double_pictures(void);

#ifdef __cplusplus
}
#endif
#endif

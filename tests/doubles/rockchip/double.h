/* SPDX-License-Identifier: Apache-2.0 */
/* A double of Rockchip's librknnrt that enforces what its documents say, and fails where it is told to.
 *
 * Breaches of the contract (memory freed twice, of another context or left behind, two runs of a context at once, a run
 * without memory for every tensor, weights that go before who shares them) end the process with a line. */
#ifndef YOLOQ_TESTS_ROCKCHIP_DOUBLE_H
#define YOLOQ_TESTS_ROCKCHIP_DOUBLE_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum double_fault {
    DOUBLE_CODE, /* the call returns `value`, or NULL if it has no code */
    DOUBLE_HANG  /* the call takes `value` ms longer */
} double_fault;

/* What rknn_query tells of a model. DOUBLE_PLAIN fits the tests' package. */
typedef enum double_model {
    DOUBLE_PLAIN,   /* NHWC, outputs in float16 */
    DOUBLE_PLANAR,  /* the input's attribute in NCHW */
    DOUBLE_STRIDED, /* rows of the input 16 pixels longer than the picture */
    DOUBLE_INT8,    /* int8 outputs in steps of 0.5 */
    DOUBLE_TWO,     /* two inputs */
    DOUBLE_RENAMED, /* another name of an output */
    DOUBLE_SMALLER, /* another shape of an output */
    DOUBLE_NARROW,  /* another width of the picture */
    DOUBLE_MORE     /* an output more */
} double_model;

/* The at-th call from now (1: the next) fails, and no other; 0: none. */
void double_fail(int at, double_fault how, int value);
/* The call that failed since double_fail; "" if none did yet. */
const char *double_failed(void);
void double_set_model(double_model model);
/* The chip of the board; rk3588 at first. Models for another are refused. */
void double_set_chip(const char *chip);
/* Contexts and pieces of memory that were not given back. */
int double_live(void);
/* Runs so far. */
int double_runs(void);
/* The core mask of the last run. */
int double_cores(void);
/* How many times a model was loaded: contexts that share weights load none. */
int double_loads(void);

#ifdef __cplusplus
}
#endif
#endif

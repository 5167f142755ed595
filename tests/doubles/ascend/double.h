/* SPDX-License-Identifier: Apache-2.0 */
/* A double of Ascend's libascendcl and libdcmi that enforces what their documents say, and fails where it is told to.
 *
 * What the documents give a code for gets that code: calls before aclInit, without a context, with a stream or a model
 * of another context. What they leave undefined ends the process with a line: handles that are not there, memory used
 * past its end, freed twice or while a stream may still use it, two runs of one model at once, an end out of order.
 * What a stream is told to do happens when it is synchronised, not before; a copy from memory that is not pinned
 * happens at once. */
#ifndef YOLOQ_TESTS_ASCEND_DOUBLE_H
#define YOLOQ_TESTS_ASCEND_DOUBLE_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum double_fault {
    DOUBLE_CODE, /* the call returns `value`, or NULL or 0 if it has no code */
    DOUBLE_HANG, /* the call takes `value` ms longer; aclmdlExecuteAsync returns at once, and the stream takes longer */
    DOUBLE_LOSE  /* from this call on the device answers none, until nobody holds it any more */
} double_fault;

/* The at-th call from now (1: the next) of `name` (NULL: of all) fails; at 0: none. */
void double_fail(const char *name, int at, double_fault how, int value);
/* The call that failed since double_fail; "" if none did yet. */
const char *double_failed(void);
/* Devices there are and their chip. */
void double_set_devices(int count, const char *soc);
/* A board whose host is the device: aclrtGetRunMode gives ACL_DEVICE, memory of the host is memory of the device. */
void double_set_on_board(int on_board);
/* What was made and not given back: holds of devices, contexts, streams, memory, models, descriptions, datasets. */
int double_live(void);
/* Pictures computed so far; copies that were not asynchronous because their host memory is not pinned. */
int double_pictures(void);
int double_pageable(void);

/* Of libdcmi: whether there are sensors, and the device's health (0 to 3). */
void double_set_sensors(int sensors, unsigned int health);

#ifdef __cplusplus
}
#endif
#endif

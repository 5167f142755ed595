/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on purpose, so that tests/sanitize.py can show that its sanitizers see such faults: yoloq_planted FAULT */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int32_t shared;

static void *count_unlocked(void *unused) {
    for (int i = 0; i < 100000; ++i) ++shared;
    return unused;
}

static void race(void) {
    pthread_t threads[2];
    for (int i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, count_unlocked, NULL);
    for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
}

static void overflow(void) {
    volatile char *volatile memory = malloc(10);
    memory[10] = 1;
    free((void *)memory);
}

static void undefined(void) {
    shared = INT32_MAX;
    shared = shared + 1;
}

static void leak(void) {
    char *volatile memory = malloc(10);
    memory[0] = 1;
    memory = NULL;
}

int main(int argc, char **argv) {
    const char *fault = argc == 2 ? argv[1] : "";
    if (strcmp(fault, "race") == 0)
        race();
    else if (strcmp(fault, "overflow") == 0)
        overflow();
    else if (strcmp(fault, "undefined") == 0)
        undefined();
    else if (strcmp(fault, "leak") == 0)
        leak();
    else
        return fprintf(stderr, "usage: %s race|overflow|undefined|leak\n", argv[0]), 2;
    return 0;
}

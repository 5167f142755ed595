/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A sample backend, "bright": a complete module for yoloq in C99, built against yoloq_backend.h alone.
 *
 * Its "chip" finds one object per picture: the box around all pixels whose channels average at least a threshold. It
 * runs packages of chip "bright" whose head is end-to-end: one float32 output [batch, rows, 6]. Its artefact is a text
 * file: "threshold N", N from 1 to 255. A thread per slot plays the device, as an SDK's own threads would.
 *
 * To write your own: replace struct model, read_artifact and run_picture by your SDK; keep how slots are handed over.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "yoloq_backend.h"

enum { ALIGNMENT = 64, ROW = 6 };

typedef enum slot_state { IDLE, QUEUED, DONE } slot_state;

typedef struct slot {
    struct yqb_session *session;
    uint8_t *input;
    float *output;
    pthread_t device;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    slot_state state;
    int stop, finished;
    uint32_t count;
} slot;

struct yqb_session {
    int64_t height, width, channels, rows;
    uint64_t input_bytes, output_bytes;
    uint32_t batch, slots, started; /* started: slots whose thread runs */
    int threshold;
    slot *slot;
};

/* Writes the reason, one line of whole UTF-8 characters, and returns the status. */
static int32_t fail(yqb_error *error, int32_t status, const char *format, ...) {
    if (!error) return status;
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    for (char *c = error->text; *c; ++c)
        if ((unsigned char)*c < 0x20) *c = ' ';
    if (length >= (int)sizeof error->text) { /* cut: drop the last character, it may not be whole */
        char *end = error->text + sizeof error->text - 2;
        while (end > error->text && ((unsigned char)*end & 0xC0) == 0x80) --end;
        *end = '\0';
    }
    return status;
}

/* ------------------------------------------------------------------------------------------------------ the "chip" */

static int32_t read_artifact(const char *path, int *threshold, yqb_error *error) {
    FILE *file = fopen(path, "r");
    if (!file) return fail(error, YQB_ENOTFOUND, "cannot open %s: %s", path, strerror(errno));
    const int read = fscanf(file, "threshold %d", threshold);
    fclose(file);
    if (read != 1 || *threshold < 1 || *threshold > 255)
        return fail(error, YQB_EPACKAGE, "%s does not say 'threshold N' with N from 1 to 255", path);
    return YQB_OK;
}

/* Row 0 of `out` becomes x1 y1 x2 y2 score class, in input pixels; the other rows 0. */
static void run_picture(const struct yqb_session *session, const uint8_t *pixels, float *out) {
    int64_t x1 = session->width, y1 = session->height, x2 = -1, y2 = -1;
    const int64_t limit = session->threshold * session->channels;
    for (int64_t y = 0; y < session->height; ++y)
        for (int64_t x = 0; x < session->width; ++x) {
            int64_t sum = 0;
            for (int64_t c = 0; c < session->channels; ++c) sum += *pixels++;
            if (sum < limit) continue;
            if (x < x1) x1 = x;
            if (x > x2) x2 = x;
            if (y < y1) y1 = y;
            if (y > y2) y2 = y;
        }
    memset(out, 0, (size_t)(session->rows * ROW) * sizeof *out);
    if (x2 < 0) return;
    out[0] = (float)x1;
    out[1] = (float)y1;
    out[2] = (float)(x2 + 1); /* edges are continuous: the right edge of the last pixel */
    out[3] = (float)(y2 + 1);
    out[4] = 1.0f;
}

static void *device_loop(void *argument) {
    slot *s = argument;
    const struct yqb_session *session = s->session;
    pthread_mutex_lock(&s->mutex);
    for (;;) {
        while (!s->stop && s->state != QUEUED) pthread_cond_wait(&s->changed, &s->mutex);
        if (s->stop) break;
        const uint32_t count = s->count;
        pthread_mutex_unlock(&s->mutex); /* so that wait can time out meanwhile */
        for (uint32_t i = 0; i < count; ++i)
            run_picture(session, s->input + session->input_bytes / session->batch * i,
                        s->output + session->rows * ROW * i);
        pthread_mutex_lock(&s->mutex);
        s->state = DONE;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* -------------------------------------------------------------------------------------------------------- the table */

static const char *YQB_CALL sdk_version(void) {
    return "bright 1.0";
}

static int32_t YQB_CALL probe(yqb_error *error) {
    (void)error; /* an SDK would be opened here */
    return YQB_OK;
}

static void YQB_CALL session_destroy(yqb_session *session) {
    if (!session) return;
    for (uint32_t i = 0; i < session->started; ++i) {
        slot *s = &session->slot[i];
        pthread_mutex_lock(&s->mutex);
        s->stop = 1;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        pthread_join(s->device, NULL);
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->mutex);
    }
    for (uint32_t i = 0; session->slot && i < session->slots; ++i) {
        free(session->slot[i].input);
        free(session->slot[i].output);
    }
    free(session->slot);
    free(session);
}

/* What the package says must be what this module can run. */
static int32_t check_config(const yqb_config *config, yqb_error *error) {
    if (!config || config->size < sizeof *config)
        return fail(error, YQB_EINVAL, "the config is shorter than this module's: update the yoloq library");
    if (strcmp(config->device, "0") != 0)
        return fail(error, YQB_EINVAL, "there is no device '%s', only 0", config->device);
    for (uint32_t i = 0; i < config->option_count; ++i)
        if (!strchr(config->option_keys[i], '.') || strncmp(config->option_keys[i], "bright.", 7) == 0)
            return fail(error, YQB_EINVAL, "the bright backend has no option '%s'", config->option_keys[i]);
    const yqb_tensor *in = config->input, *out = config->outputs;
    if (in->dtype != YQB_UINT8 || in->rank != 4 || in->dims[0] != (int64_t)config->batch)
        return fail(error, YQB_EPACKAGE, "the input must be uint8 [batch, height, width, channels]");
    if (config->output_count != 1 || out->role != YQB_ROLE_END2END || out->dtype != YQB_FLOAT32 || out->rank != 3 ||
        out->dims[0] != (int64_t)config->batch || out->dims[1] < 1 || out->dims[2] != ROW)
        return fail(error, YQB_EPACKAGE, "the head must be one end-to-end float32 output [batch, rows, 6]");
    if (strcmp(out->name, "boxes") != 0)
        return fail(error, YQB_EPACKAGE, "there is no output '%s', only boxes", out->name);
    return YQB_OK;
}

static int start_slot(yqb_session *session, slot *s) {
    void *input = NULL, *output = NULL;
    s->session = session;
    if (posix_memalign(&input, ALIGNMENT, session->input_bytes) != 0) return 0;
    s->input = memset(input, 0, session->input_bytes);
    if (posix_memalign(&output, ALIGNMENT, session->output_bytes) != 0) return 0;
    s->output = memset(output, 0, session->output_bytes);
    pthread_condattr_t attributes; /* deadlines by the monotonic clock: nobody sets it */
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&s->mutex, NULL);
    if (pthread_create(&s->device, NULL, device_loop, s) == 0) return 1;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    return 0;
}

static int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    int threshold = 0;
    *out = NULL;
    int32_t status = check_config(config, error);
    if (status == YQB_OK) status = read_artifact(config->artifact, &threshold, error);
    if (status != YQB_OK) return status;

    yqb_session *session = calloc(1, sizeof *session);
    if (!session) return fail(error, YQB_ENOMEM, "out of memory");
    session->height = config->input->dims[1];
    session->width = config->input->dims[2];
    session->channels = config->input->dims[3];
    session->rows = config->outputs[0].dims[1];
    session->batch = config->batch;
    session->slots = config->slots;
    session->threshold = threshold;
    session->input_bytes = (uint64_t)(config->batch * session->height * session->width * session->channels);
    session->output_bytes = (uint64_t)(config->batch * session->rows * ROW) * sizeof(float);
    session->slot = calloc(config->slots, sizeof *session->slot);
    while (session->slot && session->started < session->slots && start_slot(session, &session->slot[session->started]))
        ++session->started;
    if (session->started < session->slots || session->slots == 0) {
        session_destroy(session);
        return fail(error, YQB_ENOMEM, "no memory or threads for %u slots", config->slots);
    }
    *out = session;
    return YQB_OK;
}

static slot *find_slot(yqb_session *session, uint32_t index, yqb_error *error) {
    if (session && index < session->slots) return &session->slot[index];
    fail(error, YQB_EINVAL, "there is no slot %u", index);
    return NULL;
}

static int32_t YQB_CALL session_input(yqb_session *session, uint32_t index, void **data, uint64_t *bytes,
                                      yqb_error *error) {
    slot *s = find_slot(session, index, error);
    if (!s) return YQB_EINVAL;
    *data = s->input;
    *bytes = session->input_bytes;
    return YQB_OK;
}

static int32_t YQB_CALL submit(yqb_session *session, uint32_t index, uint32_t count, yqb_error *error) {
    slot *s = find_slot(session, index, error);
    if (!s) return YQB_EINVAL;
    if (count < 1 || count > session->batch)
        return fail(error, YQB_EINVAL, "%u pictures do not fit a batch of %u", count, session->batch);
    pthread_mutex_lock(&s->mutex);
    const int idle = s->state == IDLE;
    if (idle) {
        s->state = QUEUED;
        s->finished = 0;
        s->count = count;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    return idle ? YQB_OK : fail(error, YQB_EINVAL, "slot %u still runs a request", index);
}

/* Now plus timeout_us, cut to a hundred years so that nothing overflows. */
static struct timespec deadline(int64_t timeout_us) {
    const int64_t century_us = (int64_t)100 * 365 * 24 * 3600 * 1000000;
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    if (timeout_us > century_us) timeout_us = century_us;
    const int64_t ns = at.tv_nsec + timeout_us % 1000000 * 1000;
    at.tv_sec += (time_t)(timeout_us / 1000000 + ns / 1000000000);
    at.tv_nsec = (long)(ns % 1000000000);
    return at;
}

static int32_t YQB_CALL wait_slot(yqb_session *session, uint32_t index, int64_t timeout_us, yqb_error *error) {
    slot *s = find_slot(session, index, error);
    if (!s) return YQB_EINVAL;
    const struct timespec until = deadline(timeout_us);
    int32_t status = YQB_OK;
    pthread_mutex_lock(&s->mutex);
    if (s->state == IDLE) status = fail(error, YQB_EINVAL, "slot %u runs no request", index);
    while (status == YQB_OK && s->state == QUEUED) {
        if (timeout_us < 0)
            pthread_cond_wait(&s->changed, &s->mutex);
        else if (pthread_cond_timedwait(&s->changed, &s->mutex, &until) == ETIMEDOUT && s->state == QUEUED)
            status = fail(error, YQB_ETIMEOUT, "the request is still running");
    }
    if (status == YQB_OK) {
        s->state = IDLE;
        s->finished = 1;
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

static int32_t YQB_CALL output(yqb_session *session, uint32_t index, uint32_t tensor, yqb_view *out, yqb_error *error) {
    slot *s = find_slot(session, index, error);
    if (!s) return YQB_EINVAL;
    if (tensor != 0) return fail(error, YQB_EINVAL, "there is no output %u", tensor);
    if (!s->finished) return fail(error, YQB_EINVAL, "slot %u has no finished request", index);
    out->data = s->output;
    out->bytes = session->output_bytes;
    return YQB_OK;
}

YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version);

YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    static const yqb_api api = {
        .size = sizeof(yqb_api),
        .version = YQ_BACKEND_VERSION,
        .name = "bright",
        .targets = "bright",
        .sdk_version = sdk_version,
        .probe = probe,
        .session_create = session_create,
        .session_destroy = session_destroy,
        .session_input = session_input,
        .submit = submit,
        .wait = wait_slot,
        .output = output,
        /* health, letterbox and profile stay NULL: they are optional */
    };
    return core_version == YQ_BACKEND_VERSION ? &api : NULL;
}

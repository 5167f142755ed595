/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file yoloq_backend.h
 * What a chip implements to run under yoloq. This header stands alone: a module needs nothing else of ours, and links
 * nothing of ours.
 *
 * A backend is a shared library `libyoloq_<name>.so` (`yoloq_<name>.dll`) in the folder of the yoloq library. It
 * exports one function, `yq_backend_entry`, that returns a table of functions. The core loads it once and never
 * unloads it.
 *
 * The life of a session, in the order of the calls:
 *
 *     probe                       can it run here? cheap, touches no device's memory
 *     session_create              compile or load the artefact; make every buffer; `slots` requests can be in flight
 *       session_input             once per slot: where the core shall write uint8 NHWC pixels
 *       submit -> wait -> output  per picture; a slot is used by one thread at a time, different slots by many
 *     session_destroy
 *
 * Rules:
 *  - Every function may be called from any thread; the core never calls two functions for the same slot at once, and
 *    never calls session_destroy while another call on that session runs. Threads, devices and contexts that the SDK
 *    needs are the module's own: the calling thread's are never changed.
 *  - submit returns without waiting for the device. It may read the slot's input until wait has returned other than
 *    YQB_ETIMEOUT.
 *  - wait returns YQB_ETIMEOUT and leaves the request on the device if it is not done in time. The core then keeps the
 *    slot in quarantine and asks again, with a timeout of 0, until the device gives it back. (Beware of SDKs whose
 *    timed wait returns success either way.)
 *  - Any other result of wait gives the slot back. Calls out of order are YQB_EINVAL: submit on a slot whose request
 * was not given back, wait on one without a request, output before wait returned YQB_OK.
 *  - YQB_EDEVICE means that the device is lost. The core destroys the session, creates a new one on the next call, and
 *    neither may block for longer than the SDK itself does.
 *  - No exception, signal, exit or print leaves a module. Allocate in session_create, not in submit or wait.
 *  - Optional entries may be NULL. Entries are only added at the end; `size` tells which a module has.
 */
#ifndef YOLOQ_BACKEND_H
#define YOLOQ_BACKEND_H

#include <stddef.h>
#include <stdint.h>

/** Version of this contract. A module and a core of different versions refuse each other. */
#define YQ_BACKEND_VERSION 1

#if defined(_WIN32)
#define YQB_CALL __cdecl
#define YQB_EXPORT __declspec(dllexport)
#else
#define YQB_CALL
#define YQB_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Results of the calls; the numbers equal those of yq_status. */
typedef enum yqb_status {
    YQB_OK = 0,
    YQB_EINVAL = 1,    /**< an option that this backend cannot serve, such as a device that does not exist */
    YQB_ENOTFOUND = 2, /**< a file of the package that is not there */
    YQB_EPACKAGE = 3,  /**< an artefact that the SDK refuses: damaged, another chip, another version */
    YQB_EBACKEND = 4,  /**< the SDK is absent or failed: put its code, name and text into the error */
    YQB_ETIMEOUT = 5,  /**< only from wait: still running */
    YQB_ENOMEM = 6,
    YQB_EDEVICE = 7 /**< the device is lost */
} yqb_status;

/** Where a failing call puts its reason: one line, UTF-8, NUL-terminated; what happened and what to do. */
typedef struct yqb_error {
    char text[512];
} yqb_error;

/** Element types. */
typedef enum yqb_dtype { YQB_UINT8 = 1, YQB_INT8 = 2, YQB_FLOAT16 = 3, YQB_FLOAT32 = 4 } yqb_dtype;

/** What an output tensor holds; a backend may ignore it. */
typedef enum yqb_role {
    YQB_ROLE_INPUT = 0,
    YQB_ROLE_BOX = 1,        /**< box regression */
    YQB_ROLE_SCORE = 2,      /**< one channel per class */
    YQB_ROLE_OBJECTNESS = 3, /**< one channel */
    YQB_ROLE_COMBINED = 4,   /**< box, then objectness if the head has it, then scores, in one channel axis */
    YQB_ROLE_END2END = 5     /**< rows of x1 y1 x2 y2 score class */
} yqb_role;

/** A tensor as the package describes it. real = (stored - zero_point) * scale; scale 0: stored values are real. */
typedef struct yqb_tensor {
    const char *name; /**< the artefact's own name for it, UTF-8 */
    int32_t dtype;    /**< a yqb_dtype */
    int32_t role;     /**< a yqb_role */
    int32_t rank;     /**< used entries of dims */
    int32_t zero_point;
    int64_t dims[6]; /**< outermost first, batch included */
    float scale;
    int32_t level; /**< 0-based index of the stride this belongs to; 0 for heads without levels */
} yqb_tensor;

/** Where an output lies after wait returned YQB_OK; valid until the slot's next submit. Dense, in the shape's order. */
typedef struct yqb_view {
    const void *data;
    uint64_t bytes;
} yqb_view;

/** Takes a log line; level as yq_log_level: 0 debug, 1 info, 2 warning, 3 error. Any thread. */
typedef void(YQB_CALL *yqb_log_fn)(void *user, int32_t level, const char *message);

/** A compiled model of the package, for a batch size. */
typedef struct yqb_artifact {
    const char *path; /**< absolute, UTF-8 */
    uint32_t batch;   /**< pictures per run */
} yqb_artifact;

/** What session_create is given. Everything is borrowed for the call, except log and log_user, which outlive the
 * session. */
typedef struct yqb_config {
    uint32_t size;
    const char *artifact;    /**< absolute path of the compiled model, UTF-8 */
    const char *package_dir; /**< absolute path of the package, UTF-8 */
    const char *device;      /**< decimal index, "0" first */
    const char *cache_dir;   /**< NULL: do not cache */
    uint32_t slots;          /**< requests in flight, 1 or more */
    uint32_t batch;          /**< pictures per request */
    int32_t hint;            /**< as yq_hint: 0 default, 1 latency, 2 throughput */
    uint32_t output_count;
    const yqb_tensor *input;
    const yqb_tensor *outputs;
    /** The package's backend_options, option_count strings each. A key with a dot belongs to the backend that is named
        before the dot, one without to the package's own. That backend refuses what it does not know with YQB_EINVAL,
        every other ignores it. */
    const char *const *option_keys;
    const char *const *option_values;
    uint32_t option_count;
    yqb_log_fn log;
    void *log_user;
    /** Every compiled model of the package, smallest batch first, for modules whose table says `all_batches`: the last
        is `artifact`. 0 of them: there is `artifact` alone. */
    const yqb_artifact *artifacts;
    uint32_t artifact_count;
} yqb_config;

/** Health of the device; what is not known: NaN for floats, UINT64_MAX for bytes. Never an estimate. */
typedef struct yqb_health {
    uint32_t size;
    float temperature_c, power_w, utilization_percent;
    uint64_t memory_used, memory_total; /**< bytes */
} yqb_health;

/** A picture for on-device preprocessing; the fields mean what those of yq_image mean. */
typedef struct yqb_image {
    int32_t format, width, height;
    const void *data;
    int64_t stride; /**< never 0 here */
    const void *data2;
    int64_t stride2;
    int32_t roi_x, roi_y, roi_width, roi_height; /**< always set here */
    int32_t color_space;
} yqb_image;

/** Where the resized ROI lies in the model's input; the rest is `pad`. */
typedef struct yqb_letterbox {
    int32_t left, top, width, height;
    int32_t pad;
} yqb_letterbox;

typedef struct yqb_session yqb_session;

/** The table. Entries up to and including `output` are required. */
typedef struct yqb_api {
    uint32_t size;       /**< sizeof(yqb_api) as the module was built */
    uint32_t version;    /**< YQ_BACKEND_VERSION as the module was built */
    const char *name;    /**< as in the file name */
    const char *targets; /**< chips whose packages it runs, separated by blanks; "*": any */

    /** SDK name and version, such as "OpenVINO 2026.4.1". Static text; "" if the SDK is absent. */
    const char *(YQB_CALL *sdk_version)(void);
    /** Can it run on this machine? YQB_OK, or the reason in `error`. */
    int32_t(YQB_CALL *probe)(yqb_error *error);
    /** Makes a session. On failure nothing stays behind and *out is NULL. */
    int32_t(YQB_CALL *session_create)(const yqb_config *config, yqb_session **out, yqb_error *error);
    /** Ends a session. Requests may still be on the device if it is lost or was given up; never called twice. */
    void(YQB_CALL *session_destroy)(yqb_session *session);
    /** Where the core writes slot's pixels: batch * height * width * channels bytes, the same address for ever. */
    int32_t(YQB_CALL *session_input)(yqb_session *session, uint32_t slot, void **data, uint64_t *bytes,
                                     yqb_error *error);
    /** Starts the slot's request with its first `count` pictures (1..batch); outputs of the others mean nothing. */
    int32_t(YQB_CALL *submit)(yqb_session *session, uint32_t slot, uint32_t count, yqb_error *error);
    /** Waits for the slot's request. timeout_us: 0 asks only, negative waits for ever. */
    int32_t(YQB_CALL *wait)(yqb_session *session, uint32_t slot, int64_t timeout_us, yqb_error *error);
    /** Output `index` (the order of config->outputs) of the slot's finished request. */
    int32_t(YQB_CALL *output)(yqb_session *session, uint32_t slot, uint32_t index, yqb_view *out, yqb_error *error);

    /** Optional: device health. */
    int32_t(YQB_CALL *health)(yqb_session *session, yqb_health *out, yqb_error *error);
    /** Optional: letterbox on the device into picture `index` of the slot; YQB_EINVAL: do it on the host. */
    int32_t(YQB_CALL *letterbox)(yqb_session *session, uint32_t slot, uint32_t index, const yqb_image *image,
                                 const yqb_letterbox *box, yqb_error *error);
    /** Optional: per-operator times of the slot's last request, as lines of "name<TAB>microseconds" into `text`. */
    int32_t(YQB_CALL *profile)(yqb_session *session, uint32_t slot, char *text, uint64_t capacity, yqb_error *error);

    /** 1: the module takes every compiled model of a package, and a request runs in the smallest that holds its
        pictures; config->batch is the largest. 0: it takes one, that of the smallest batch. */
    uint32_t all_batches;
} yqb_api;

/** The one exported function: `yq_backend_entry`. core_version: the core's YQ_BACKEND_VERSION. NULL: refuses it. */
typedef const yqb_api *(YQB_CALL *yqb_entry_fn)(uint32_t core_version);

#ifdef __cplusplus
}
#endif
#endif /* YOLOQ_BACKEND_H */

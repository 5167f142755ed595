/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file yoloq.h
 * yoloq - quantised YOLO detectors behind a small, stable C ABI. This header is the manual.
 *
 * The shortest program:
 *
 *     yq_detector *det = NULL;
 *     if (yq_create(&det, "fasteners.yoloq", NULL) != YQ_OK) { puts(yq_last_error()); return 1; }
 *     yq_image img; yq_image_init(&img, sizeof img);
 *     img.format = YQ_FORMAT_BGR24; img.width = 1920; img.height = 1080; img.data = pixels;
 *     yq_detection found[300]; uint32_t n = 0;
 *     if (yq_infer(det, &img, NULL, found, 300, &n) != YQ_OK) puts(yq_last_error());
 *     yq_destroy(det);
 *
 * Rules that hold everywhere:
 *  - Every function that can fail returns a yq_status; YQ_OK is 0. yq_last_error() has this thread's one-line reason.
 *  - Text is UTF-8, on every platform; paths too.
 *  - A struct that the caller fills begins with `size`. Set it with its yq_*_init function (or zero the struct and
 *    set `size = sizeof`). The library reads and writes at most `size` bytes, so a program built against an older
 *    header keeps working with a newer library. Fields of value 0 mean "the default".
 *  - A pointer that a function returns is borrowed: never free it. Nothing the caller passes is kept after the call,
 *    except the log callback and its user pointer.
 *  - Every function may be called from any thread at any time. No exception, signal, abort, exit or print leaves
 *    the library.
 *
 * ABI: functions are added, never changed or removed, within yq_abi_version() 1.
 */
#ifndef YOLOQ_H
#define YOLOQ_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define YQ_CALL __cdecl
#if defined(YQ_BUILD)
#define YQ_API __declspec(dllexport)
#else
#define YQ_API __declspec(dllimport)
#endif
#else
#define YQ_CALL
#if defined(YQ_BUILD)
#define YQ_API __attribute__((visibility("default")))
#else
#define YQ_API
#endif
#endif

#define YQ_VERSION_MAJOR 0
#define YQ_VERSION_MINOR 1
#define YQ_VERSION_PATCH 0
#define YQ_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------- status and text */

/** What a call returns. The numbers never change; new ones are only added at the end. */
typedef enum yq_status {
    YQ_OK = 0,
    YQ_EINVAL = 1,    /**< An argument is wrong: a NULL, a stale handle, an impossible size, an unknown format. */
    YQ_ENOTFOUND = 2, /**< The package, a file of it, or the backend library does not exist. */
    YQ_EPACKAGE = 3,  /**< The package is damaged, altered, for another chip, or of an unknown version. */
    YQ_EBACKEND = 4,  /**< The chip's SDK is absent or refused; its own code and text are in yq_last_error(). */
    YQ_ETIMEOUT = 5,  /**< The call's deadline passed, queueing included. The picture is not read any more. */
    YQ_ENOMEM = 6,    /**< Out of host or device memory. */
    YQ_EDEVICE = 7,   /**< The device was lost. The next call tries to bring it back. */
    YQ_EINTERNAL = 8  /**< A fault of the library's own. Please report it with the text. */
} yq_status;

/**
 * The reason for this thread's last failed call: one line, UTF-8, "" if no call of this thread has failed.
 * @return borrowed; valid until this thread's next failing call. Never NULL.
 * @threadsafety any thread; each has its own text. A call that succeeds leaves the text alone.
 * @since ABI 1
 */
YQ_API const char *YQ_CALL yq_last_error(void);

/**
 * A status's name, such as "YQ_ETIMEOUT"; "YQ_UNKNOWN" for a number that is none.
 * @return static text, never NULL.
 * @threadsafety any thread. @since ABI 1
 */
YQ_API const char *YQ_CALL yq_status_name(int32_t status);

/** The library's version, such as "0.1.0". Static text. @threadsafety any thread. @since ABI 1 */
YQ_API const char *YQ_CALL yq_version(void);

/** The ABI's version: compare with YQ_ABI_VERSION of the header you built with. @threadsafety any. @since ABI 1 */
YQ_API uint32_t YQ_CALL yq_abi_version(void);

/* --------------------------------------------------------------------------------------------------- detectors */

/**
 * A loaded model on a device. Opaque: the value is a checked handle, not an address. A stale, doubly destroyed or
 * invented handle gives YQ_EINVAL. Thread-safe: any number of threads may share one detector.
 */
typedef struct yq_detector yq_detector;

/** What the engine should be tuned for. */
typedef enum yq_hint {
    YQ_HINT_DEFAULT = 0,   /**< latency for one stream, throughput for more */
    YQ_HINT_LATENCY = 1,   /**< the shortest time for one picture */
    YQ_HINT_THROUGHPUT = 2 /**< the most pictures per second over all streams */
} yq_hint;

enum {
    YQ_MAX_IMAGE_SIDE = 16384, /**< the largest width and height of a picture, in pixels */
    YQ_MAX_STREAMS = 64,       /**< the largest yq_options.streams */
    YQ_MAX_DETECTIONS = 10000  /**< the largest yq_options.max_detections */
};

/** A timeout_ms that means: wait for ever. */
#define YQ_TIMEOUT_NONE UINT32_MAX

/** How to create a detector. 0 or NULL in a field means: what the package says. */
typedef struct yq_options {
    uint32_t size;           /**< sizeof(yq_options); set by yq_options_init */
    const char *backend;     /**< "cpu", "ascend", ... NULL: the package's. "dummy" only when named here. */
    const char *device;      /**< decimal index of the device, "0" first. NULL: "0" */
    const char *cache_dir;   /**< an existing, writable folder for compiled models. NULL: no cache */
    float score_threshold;   /**< detections below are dropped, in (0, 1] */
    float iou_threshold;     /**< NMS suppresses above, in (0, 1]; unused by NMS-free heads */
    uint32_t max_detections; /**< per picture, at most YQ_MAX_DETECTIONS */
    uint32_t
        streams; /**< calls that run at once, at most YQ_MAX_STREAMS; further calls queue, first come first served */
    uint32_t timeout_ms; /**< default deadline of a call, in ms; YQ_TIMEOUT_NONE: none */
    int32_t hint;        /**< a yq_hint */
} yq_options;

/** One call's wishes (in) and what it took (out). */
typedef struct yq_call {
    uint32_t size;         /**< sizeof(yq_call); set by yq_call_init */
    float score_threshold; /**< in: in (0, 1]; 0: the detector's */
    float iou_threshold;   /**< in: in (0, 1]; 0: the detector's */
    uint32_t
        timeout_ms; /**< in: this call's deadline in ms, queueing included; 0: the detector's; YQ_TIMEOUT_NONE: none */
    uint32_t found; /**< out: detections before `capacity` cut them (a batch: the sum) */
    float queue_ms; /**< out: waiting for a free stream (a batch: the sum over its pictures; likewise below) */
    float preprocess_ms; /**< out: letterbox */
    float engine_ms;     /**< out: from handing the input to the device until its output is there */
    float decode_ms;     /**< out: decode, NMS, and mapping back to the picture */
} yq_call;

/** Memory layout of pixels; the names give the order of the bytes in memory. Numbers never change. */
typedef enum yq_format {
    YQ_FORMAT_GRAY8 = 1,
    YQ_FORMAT_BGR24 = 2,
    YQ_FORMAT_RGB24 = 3,
    YQ_FORMAT_BGRA32 = 4, /**< alpha is ignored */
    YQ_FORMAT_RGBA32 = 5, /**< alpha is ignored */
    YQ_FORMAT_NV12 = 6    /**< a Y plane in `data`, an interleaved UV plane of half size in `data2`; even sizes only */
} yq_format;

/** How NV12 becomes RGB; other formats need YQ_COLOR_DEFAULT. */
typedef enum yq_color_space {
    YQ_COLOR_DEFAULT = 0,    /**< BT.601, limited range (16-235): most cameras and decoders */
    YQ_COLOR_BT601_FULL = 1, /**< BT.601, full range (JPEG) */
    YQ_COLOR_BT709_LIMITED = 2,
    YQ_COLOR_BT709_FULL = 3
} yq_color_space;

/**
 * A picture, borrowed for the call: it is read only while the call runs, and never after it returned, a timeout
 * included. `data` is the address of the first byte of the top row. Strides are in bytes from a row to the row below
 * it: 0 means packed, negative means bottom-up memory (a Windows bitmap: point `data` at the last row in memory).
 * data2 and stride2 belong to NV12 alone and are 0 otherwise.
 */
typedef struct yq_image {
    uint32_t size;                               /**< sizeof(yq_image); set by yq_image_init */
    int32_t format;                              /**< a yq_format */
    int32_t width, height;                       /**< in pixels, 1 to YQ_MAX_IMAGE_SIDE */
    const void *data;                            /**< top row */
    int64_t stride;                              /**< bytes per row; 0: packed; negative: bottom-up */
    const void *data2;                           /**< NV12: top row of the UV plane; else NULL */
    int64_t stride2;                             /**< NV12: bytes per row of the UV plane; 0: packed */
    int32_t roi_x, roi_y, roi_width, roi_height; /**< look only here, in pixels; all 0: the whole picture */
    int32_t color_space;                         /**< a yq_color_space */
    int32_t reserved;                            /**< 0 */
} yq_image;

/** One object found; 32 bytes, for ever. In pixels of the whole picture, clipped to it (or to the ROI). */
typedef struct yq_detection {
    float x1, y1, x2, y2; /**< left, top, right, bottom; continuous, 0 is the left/top edge of the first pixel */
    float score;          /**< 0 to 1 */
    int32_t class_id;     /**< 0-based; yq_class_name gives its name */
    float angle;          /**< radians, clockwise, about the box centre, x1..y2 before rotation; 0 for upright boxes */
    uint32_t reserved;    /**< 0 */
} yq_detection;

/**
 * Fills a struct with its defaults: all zero, and the size.
 * @param p     the struct to fill; NULL is ignored
 * @param size  sizeof the struct as the caller's header has it; at most this many bytes are written
 * @threadsafety any thread. @since ABI 1
 */
YQ_API void YQ_CALL yq_options_init(yq_options *p, uint32_t size);
/** As yq_options_init. @since ABI 1 */
YQ_API void YQ_CALL yq_call_init(yq_call *p, uint32_t size);
/** As yq_options_init. @since ABI 1 */
YQ_API void YQ_CALL yq_image_init(yq_image *p, uint32_t size);

/**
 * Loads a package, checks every byte of it, and puts its model on a device.
 * @param out           receives the detector; NULL on failure
 * @param package_path  the folder NAME.yoloq, UTF-8
 * @param options       NULL: the package's own choices
 * @return YQ_OK; YQ_EINVAL an option is impossible; YQ_ENOTFOUND no such package or backend; YQ_EPACKAGE; YQ_EBACKEND;
 *         YQ_EDEVICE; YQ_ENOMEM. Nothing is left behind on failure.
 * @threadsafety any thread. May take seconds: engines compile here. @since ABI 1
 */
YQ_API int32_t YQ_CALL yq_create(yq_detector **out, const char *package_path, const yq_options *options);

/**
 * Finds objects in one picture. Results are ordered by score (highest first), then class, then position in the head.
 * @param image     borrowed for the call
 * @param call      NULL: the detector's thresholds and deadline, no timings
 * @param out       room for `capacity` detections; may be NULL if capacity is 0
 * @param capacity  in detections
 * @param count     receives how many were written, at most capacity; call->found says how many there were
 * @return YQ_OK; YQ_EINVAL; YQ_ETIMEOUT; YQ_EBACKEND; YQ_EDEVICE. On failure *count is 0 and `out` is untouched.
 * @threadsafety any thread; `streams` calls run at once, the others wait in order. Allocates nothing. @since ABI 1
 */
YQ_API int32_t YQ_CALL yq_infer(yq_detector *detector, const yq_image *image, yq_call *call, yq_detection *out,
                                uint32_t capacity, uint32_t *count);

/**
 * Finds objects in several pictures of any sizes and formats, keeping all free streams busy. One deadline for all.
 * @param images         n pictures; they step by images[0].size bytes, and each must carry that size
 * @param n              1 or more
 * @param out            n * capacity_each detections; picture i's begin at out[i * capacity_each]
 * @param counts         n numbers: how many were written for each picture
 * @param statuses       n statuses, one per picture; may be NULL
 * @return YQ_OK if every picture succeeded, else the first failing picture's status (and yq_last_error() its reason);
 *         the others' results are valid all the same.
 * @threadsafety as yq_infer. @since ABI 1
 */
YQ_API int32_t YQ_CALL yq_infer_batch(yq_detector *detector, const yq_image *images, uint32_t n, yq_call *call,
                                      yq_detection *out, uint32_t capacity_each, uint32_t *counts, int32_t *statuses);

/**
 * Ends a detector. Calls that run finish first, up to their deadlines; later ones get YQ_EINVAL. NULL, a stale or an
 * invented handle is ignored.
 * @threadsafety any thread, also while others infer; do not call it from the log callback. @since ABI 1
 */
YQ_API void YQ_CALL yq_destroy(yq_detector *detector);

/* ------------------------------------------------------------------------------------------------ what is loaded */

/** What a detector is. Texts are NUL-terminated and cut to their field. */
typedef struct yq_info {
    uint32_t size;            /**< in: sizeof(yq_info) */
    uint32_t format;          /**< package format version */
    char name[64];            /**< model name */
    char task[16];            /**< "detect" */
    char precision[16];       /**< "int8", "float32", ... */
    char chip[32];            /**< the target the package was compiled for */
    char backend[32];         /**< the backend that runs it */
    char backend_version[64]; /**< the backend's SDK and its version */
    char device[32];
    int32_t input_width, input_height, input_channels;
    uint32_t class_count;
    uint32_t streams;
    uint32_t batch;    /**< pictures per run of the compiled model */
    int32_t needs_nms; /**< 1: the head needs NMS */
    float score_threshold, iou_threshold;
    uint32_t max_detections;
    uint32_t timeout_ms;
} yq_info;

/**
 * Tells what a detector is.
 * @param info  `size` set by the caller; at most that many bytes are written
 * @return YQ_OK, YQ_EINVAL. @threadsafety any thread. @since ABI 1
 */
YQ_API int32_t YQ_CALL yq_get_info(yq_detector *detector, yq_info *info);

/**
 * A class's name.
 * @return borrowed, valid until yq_destroy of this detector; NULL (and an error text) for a bad handle or id.
 * @threadsafety any thread. @since ABI 1
 */
YQ_API const char *YQ_CALL yq_class_name(yq_detector *detector, int32_t id);

/** One stage's times since yq_create, in ms; percentiles are within 4 %. All 0 before the first call. */
typedef struct yq_stage_stats {
    float mean_ms, p50_ms, p99_ms, max_ms;
} yq_stage_stats;

/** Counters since yq_create. A sensor that is not there reads NaN, memory that is not known UINT64_MAX. */
typedef struct yq_stats {
    uint32_t size;                /**< in: sizeof(yq_stats) */
    uint32_t streams;             /**< configured */
    uint32_t streams_busy;        /**< working now */
    uint32_t streams_quarantined; /**< held by a request that outlived its call's deadline */
    uint64_t pictures;            /**< that succeeded */
    uint64_t errors;              /**< pictures that failed, timeouts included */
    uint64_t timeouts;
    uint64_t device_lost;      /**< times the device was lost */
    uint64_t device_recovered; /**< times it came back */
    uint64_t detections;       /**< found in all */
    yq_stage_stats total, queue, preprocess, engine, decode;
    float device_temperature_c, device_power_w, device_utilization_percent;
    uint32_t reserved;
    uint64_t device_memory_used, device_memory_total; /**< bytes */
} yq_stats;

/**
 * Reads a detector's counters, times and device health.
 * @param stats  `size` set by the caller; at most that many bytes are written
 * @return YQ_OK, YQ_EINVAL. @threadsafety any thread; does not disturb running calls. @since ABI 1
 */
YQ_API int32_t YQ_CALL yq_get_stats(yq_detector *detector, yq_stats *stats);

/* ------------------------------------------------------------------------------------------------------ backends */

/** A backend module and whether it can run here. */
typedef struct yq_backend_desc {
    uint32_t size;    /**< in: sizeof(yq_backend_desc) */
    int32_t usable;   /**< 1: it can run here */
    char name[32];    /**< for yq_options.backend */
    char version[64]; /**< its SDK and version; "" if it could not be loaded */
    char reason[256]; /**< why it is not usable, and what to do; "" if it is */
} yq_backend_desc;

/** How many backend modules lie beside the library. @threadsafety any thread. @since ABI 1 */
YQ_API uint32_t YQ_CALL yq_backend_count(void);

/**
 * Describes a backend module; loads it the first time.
 * @param index  below yq_backend_count()
 * @param desc   `size` set by the caller; at most that many bytes are written
 * @return YQ_OK (also for one that is not usable), YQ_EINVAL. @threadsafety any thread. @since ABI 1
 */
YQ_API int32_t YQ_CALL yq_backend_info(uint32_t index, yq_backend_desc *desc);

/* ----------------------------------------------------------------------------------------------------------- log */

/** How much a log line matters. */
typedef enum yq_log_level { YQ_LOG_DEBUG = 0, YQ_LOG_INFO = 1, YQ_LOG_WARNING = 2, YQ_LOG_ERROR = 3 } yq_log_level;

/** Receives a log line (UTF-8, borrowed for the call). May be called from any thread, also from two at once. */
typedef void(YQ_CALL *yq_log_fn)(void *user, int32_t level, const char *message);

/**
 * Sets where log lines go; without a callback they go nowhere. When it returns, the old callback is not running and
 * will not be called again.
 * @param fn    NULL: none
 * @param user  handed to fn; must live until another callback is set
 * @threadsafety any thread, but not from inside the callback. @since ABI 1
 */
YQ_API void YQ_CALL yq_set_log_callback(yq_log_fn fn, void *user);

#ifdef __cplusplus
}
#endif
#endif /* YOLOQ_H */

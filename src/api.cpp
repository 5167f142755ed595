// SPDX-License-Identifier: Apache-2.0
// The public functions: arguments are checked and exceptions stop here.
#include "yoloq.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "handles.h"
#include "log.h"
#include "registry.h"
#include "status.h"

namespace {

using yq::fail;

#define YQ_TEXT(x) YQ_TEXT_OF(x)
#define YQ_TEXT_OF(x) #x
constexpr const char *version = YQ_TEXT(YQ_VERSION_MAJOR) "." YQ_TEXT(YQ_VERSION_MINOR) "." YQ_TEXT(YQ_VERSION_PATCH);

constexpr uint32_t largest_struct = 1 << 16; // a size above is garbage, not a newer header

// Structs begin with their size. All of ABI 1 must be there; what a newer header added is left alone.
template <typename T> int32_t check_size(const T *p, const char *name) {
    if (!p) return fail(YQ_EINVAL, "%s is NULL", name);
    if (p->size < sizeof(T) || p->size > largest_struct)
        return fail(YQ_EINVAL, "%s.size is %u, not sizeof = %zu: call its yq_*_init function or set it", name, p->size,
                    sizeof(T));
    return YQ_OK;
}

template <typename T> void init(T *p, uint32_t size) {
    if (!p || size < sizeof p->size) return;
    std::memset(p, 0, size);
    p->size = size;
}

// Writes a filled struct back, keeping the caller's size.
template <typename T> void give(T filled, T *out) {
    filled.size = out->size;
    *out = filled;
}

template <typename Body> int32_t guarded(Body body) {
    try {
        return body();
    } catch (const std::bad_alloc &) { return fail(YQ_ENOMEM, "out of memory"); } catch (const std::exception &error) {
        return fail(YQ_EINTERNAL, "unexpected: %s", error.what());
    } catch (...) { return fail(YQ_EINTERNAL, "unexpected exception"); }
}

int32_t infer(yq_detector *handle, const yq_image *images, size_t step, uint32_t n, yq_call *call,
              const yq::Results &results) {
    if (results.counts) std::fill_n(results.counts, n, 0u);
    if (results.statuses) std::fill_n(results.statuses, n, static_cast<int32_t>(YQ_OK));
    return guarded([&]() -> int32_t {
        int32_t status = YQ_OK;
        const yq::HandleUse use(handle);
        if (!use.get())
            status = YQ_EINVAL;
        else if (call)
            status = check_size(call, "call");
        if (status == YQ_OK && !results.counts)
            status = fail(YQ_EINVAL, "count is NULL: it receives how many were found");
        if (status == YQ_OK && !images) status = fail(YQ_EINVAL, "image is NULL");
        if (status == YQ_OK && !results.detections && results.capacity_each > 0)
            status = fail(YQ_EINVAL, "out is NULL with a capacity of %u", results.capacity_each);
        if (status != YQ_OK) {
            if (results.statuses) std::fill_n(results.statuses, n, status);
            return status;
        }
        yq_call unused{};
        return use.get()->infer(images, step, n, call ? *call : unused, results);
    });
}

} // namespace

extern "C" {

YQ_API const char *YQ_CALL yq_last_error(void) {
    return yq::last_error();
}

YQ_API const char *YQ_CALL yq_status_name(int32_t status) {
    return yq::status_name(status);
}

YQ_API const char *YQ_CALL yq_version(void) {
    return version;
}

YQ_API uint32_t YQ_CALL yq_abi_version(void) {
    return YQ_ABI_VERSION;
}

YQ_API void YQ_CALL yq_options_init(yq_options *p, uint32_t size) {
    init(p, size);
}

YQ_API void YQ_CALL yq_call_init(yq_call *p, uint32_t size) {
    init(p, size);
}

YQ_API void YQ_CALL yq_image_init(yq_image *p, uint32_t size) {
    init(p, size);
}

YQ_API int32_t YQ_CALL yq_create(yq_detector **out, const char *package_path, const yq_options *options) {
    return guarded([&]() -> int32_t {
        if (!out) return fail(YQ_EINVAL, "out is NULL: it receives the detector");
        *out = nullptr;
        if (!package_path || !package_path[0]) return fail(YQ_EINVAL, "package_path is NULL or empty");
        if (options) YQ_TRY(check_size(options, "options"));
        std::unique_ptr<yq::Detector> detector;
        YQ_TRY(yq::Detector::create(package_path, options ? *options : yq_options{}, &detector));
        return yq::add_handle(std::move(detector), out);
    });
}

YQ_API int32_t YQ_CALL yq_infer(yq_detector *detector, const yq_image *image, yq_call *call, yq_detection *out,
                                uint32_t capacity, uint32_t *count) {
    yq::Results results;
    results.detections = out;
    results.capacity_each = capacity;
    results.counts = count;
    return infer(detector, image, 0, 1, call, results);
}

YQ_API int32_t YQ_CALL yq_infer_batch(yq_detector *detector, const yq_image *images, uint32_t n, yq_call *call,
                                      yq_detection *out, uint32_t capacity_each, uint32_t *counts, int32_t *statuses) {
    if (n == 0) return fail(YQ_EINVAL, "n is 0: give at least one picture");
    yq::Results results;
    results.detections = out;
    results.capacity_each = capacity_each;
    results.counts = counts;
    results.statuses = statuses;
    const uint32_t step = images ? images[0].size : 0;
    if (images) { // before any is read: all steps must be right
        int32_t status = check_size(&images[0], "images[0]");
        if (status == YQ_OK && step % alignof(yq_image) != 0)
            status = fail(YQ_EINVAL, "images[0].size is %u, no multiple of %zu: set it by yq_image_init", step,
                          alignof(yq_image));
        for (uint32_t i = 1; status == YQ_OK && i < n; ++i) {
            const auto *image = reinterpret_cast<const yq_image *>(reinterpret_cast<const char *>(images) +
                                                                   static_cast<size_t>(i) * step);
            if (image->size != step)
                status =
                    fail(YQ_EINVAL, "images[%u].size is %u, images[0].size is %u: set all alike", i, image->size, step);
        }
        if (status != YQ_OK) {
            if (counts) std::fill_n(counts, n, 0u);
            if (statuses) std::fill_n(statuses, n, status);
            return status;
        }
    }
    return infer(detector, images, step, n, call, results);
}

YQ_API void YQ_CALL yq_destroy(yq_detector *detector) {
    guarded([&]() -> int32_t {
        yq::remove_handle(detector);
        return YQ_OK;
    });
}

YQ_API int32_t YQ_CALL yq_get_info(yq_detector *detector, yq_info *info) {
    return guarded([&]() -> int32_t {
        const yq::HandleUse use(detector);
        if (!use.get()) return YQ_EINVAL;
        YQ_TRY(check_size(info, "info"));
        yq_info filled{};
        use.get()->info(&filled);
        give(filled, info);
        return YQ_OK;
    });
}

YQ_API const char *YQ_CALL yq_class_name(yq_detector *detector, int32_t id) {
    const char *name = nullptr;
    guarded([&]() -> int32_t {
        const yq::HandleUse use(detector);
        if (!use.get()) return YQ_EINVAL;
        name = use.get()->class_name(id);
        return YQ_OK;
    });
    return name;
}

YQ_API int32_t YQ_CALL yq_get_stats(yq_detector *detector, yq_stats *stats) {
    return guarded([&]() -> int32_t {
        const yq::HandleUse use(detector);
        if (!use.get()) return YQ_EINVAL;
        YQ_TRY(check_size(stats, "stats"));
        yq_stats filled{};
        use.get()->stats(&filled);
        give(filled, stats);
        return YQ_OK;
    });
}

YQ_API uint32_t YQ_CALL yq_backend_count(void) {
    uint32_t count = 0;
    guarded([&]() -> int32_t {
        count = yq::backend_count();
        return YQ_OK;
    });
    return count;
}

YQ_API int32_t YQ_CALL yq_backend_info(uint32_t index, yq_backend_desc *desc) {
    return guarded([&]() -> int32_t {
        YQ_TRY(check_size(desc, "desc"));
        yq_backend_desc filled{};
        YQ_TRY(yq::backend_info(index, &filled));
        give(filled, desc);
        return YQ_OK;
    });
}

YQ_API void YQ_CALL yq_set_log_callback(yq_log_fn fn, void *user) {
    if (!yq::set_log_callback(fn, user))
        fail(YQ_EINVAL, "yq_set_log_callback was called from inside the callback: nothing was changed");
}

} // extern "C"

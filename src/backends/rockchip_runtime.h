// SPDX-License-Identifier: Apache-2.0
// Rockchip's runtime, librknnrt, opened with dlopen. The declarations are ours: names, numbers and layouts are facts of
// the public interface of rknn-toolkit2 2.3.2, and the same in 1.x; nothing here has run on a board.
//
// Where it is looked for: the folder in the environment variable YOLOQ_ROCKCHIP_RUNTIME and nowhere else if that is
// set; else the system's library path. A package cannot name the folder: packages are data, and libraries are code.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>
#include <mutex>

#include "module.h"

namespace rockchip {

using yqb::Failure;

// ---------------------------------------------------------------------------------------------------- vendor's types

#ifdef __arm__
using Context = uint32_t; // rknn_context
#else
using Context = uint64_t;
#endif

constexpr uint32_t kMaxDims = 16, kMaxName = 256;

struct Counts { // rknn_input_output_num
    uint32_t inputs = 0, outputs = 0;
};

struct Attribute { // rknn_tensor_attr
    uint32_t index = 0, rank = 0;
    uint32_t dims[kMaxDims] = {};
    char name[kMaxName] = {};
    uint32_t elements = 0, bytes = 0;
    int32_t format = 0, dtype = 0, quantisation = 0;
    int8_t fraction = 0;
    int32_t zero_point = 0;
    float scale = 0;
    uint32_t row_stride = 0; // in pixels; 0: the width
    uint32_t bytes_with_stride = 0;
    uint8_t pass_through = 0; // 0: the runtime converts between `dtype` and `format` and the model's own
    uint32_t column_stride = 0;
};
static_assert(sizeof(Attribute) == 376 && offsetof(Attribute, zero_point) == 352);

struct Memory { // rknn_tensor_mem
    void *data;
    uint64_t physical;
    int32_t descriptor, offset;
    uint32_t bytes, flags;
    void *own;
};

struct Versions { // rknn_sdk_version
    char runtime[256] = {}, driver[256] = {};
};

enum Query { counts = 0, input_attribute = 1, output_attribute = 2, versions = 5 };      // rknn_query_cmd
enum DType { float32 = 0, float16 = 1, int8 = 2, uint8 = 3 };                            // rknn_tensor_type
enum Format { nchw = 0, nhwc = 1 };                                                      // rknn_tensor_format
enum Quantisation { affine = 2 };                                                        // rknn_tensor_qnt_type
enum CoreMask { automatic = 0, core_0 = 1, core_1 = 2, core_2 = 4, two = 3, three = 7 }; // rknn_core_mask

// What the calls return.
enum Code { failure = -1, timeout = -2, unavailable = -3, no_memory = -4, bad_model = -6, unmatched = -10, old = -11 };
constexpr int kOldOptimisation = -12, kOtherPlatform = -13;

// ------------------------------------------------------------------------------------------------------------ calls

// name, result, parameters. Those that every release has, then those for chips with several cores.
#define ROCKCHIP_CALLS(CALL)                                                                                           \
    CALL(rknn_init, int, (Context *, void *, uint32_t, uint32_t, void *))                                              \
    CALL(rknn_dup_context, int, (Context *, Context *))                                                                \
    CALL(rknn_destroy, int, (Context))                                                                                 \
    CALL(rknn_query, int, (Context, int, void *, uint32_t))                                                            \
    CALL(rknn_create_mem, Memory *, (Context, uint32_t))                                                               \
    CALL(rknn_destroy_mem, int, (Context, Memory *))                                                                   \
    CALL(rknn_set_io_mem, int, (Context, Memory *, Attribute *))                                                       \
    CALL(rknn_run, int, (Context, void *))
#define ROCKCHIP_OPTIONAL(CALL) CALL(rknn_set_core_mask, int, (Context, int))

struct Runtime {
#define ROCKCHIP_MEMBER(name, result, parameters) result(*name) parameters = nullptr;
    ROCKCHIP_CALLS(ROCKCHIP_MEMBER)
    ROCKCHIP_OPTIONAL(ROCKCHIP_MEMBER)
#undef ROCKCHIP_MEMBER
};

// ---------------------------------------------------------------------------------------------------------- failures

inline const char *code_name(int code) {
    static const char *const names[] = {"RKNN_SUCC",
                                        "RKNN_ERR_FAIL",
                                        "RKNN_ERR_TIMEOUT",
                                        "RKNN_ERR_DEVICE_UNAVAILABLE",
                                        "RKNN_ERR_MALLOC_FAIL",
                                        "RKNN_ERR_PARAM_INVALID",
                                        "RKNN_ERR_MODEL_INVALID",
                                        "RKNN_ERR_CTX_INVALID",
                                        "RKNN_ERR_INPUT_INVALID",
                                        "RKNN_ERR_OUTPUT_INVALID",
                                        "RKNN_ERR_DEVICE_UNMATCH",
                                        "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL",
                                        "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION",
                                        "RKNN_ERR_TARGET_PLATFORM_UNMATCH"};
    return code <= 0 && code > -14 ? names[-code] : "no documented code";
}

inline const char *advice(int code) {
    switch (code) {
    case no_memory: return "free memory: fewer streams, or end other programs that use the NPU";
    case failure:
    case timeout:
    case unavailable:
        return "look at dmesg for rknpu; if the NPU does not answer, reload its driver or restart the board";
    default:
        return "the runtime and this model do not fit: install the librknnrt.so that the package names, or a newer one";
    }
}

// The status of a failing code: memory, a device that stopped answering, or a call it did not like.
inline int32_t status_of(int code) {
    const bool lost = code == failure || code == timeout || code == unavailable;
    return code == no_memory ? YQB_ENOMEM : lost ? YQB_EDEVICE : YQB_EBACKEND;
}

inline Failure code_failure(int32_t status, const char *call, int code) {
    return {status,
            std::string(call) + " failed with " + std::to_string(code) + " (" + code_name(code) + "): " + advice(code)};
}

// One call that returns a code; throws unless it is 0.
inline void check(const char *name, int code) {
    if (code) throw code_failure(status_of(code), name, code);
}

// ----------------------------------------------------------------------------------------------------------- loading

constexpr const char *kFolderVariable = "YOLOQ_ROCKCHIP_RUNTIME";

template <typename Function> bool find(void *library, const char *name, Function **function) {
    *function = reinterpret_cast<Function *>(dlsym(library, name));
    return *function != nullptr;
}

// The runtime, loaded once and for ever; throws what to install while it is not there.
inline const Runtime &runtime() {
    static std::mutex mutex;
    static Runtime *loaded = nullptr;
    const std::lock_guard<std::mutex> lock(mutex);
    if (loaded) return *loaded;
    const char *folder = std::getenv(kFolderVariable);
    const std::string path = (folder && *folder ? std::string(folder) + "/" : std::string()) + "librknnrt.so";
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        throw Failure{YQB_EBACKEND, "Rockchip's runtime does not load: " + std::string(why ? why : path) +
                                        ": copy librknnrt.so to /usr/lib, or name its folder in " + kFolderVariable};
    }
    auto found = std::make_unique<Runtime>();
    const char *missing = nullptr;
#define ROCKCHIP_FIND(name, result, parameters)                                                                        \
    if (!find(library, #name, &found->name)) missing = #name;
    ROCKCHIP_OPTIONAL(ROCKCHIP_FIND)
    missing = nullptr;
    ROCKCHIP_CALLS(ROCKCHIP_FIND)
#undef ROCKCHIP_FIND
    if (missing)
        throw Failure{YQB_EBACKEND,
                      "Rockchip's runtime has no " + std::string(missing) + ": install a newer librknnrt.so"};
    loaded = found.release();
    return *loaded;
}

} // namespace rockchip

// SPDX-License-Identifier: Apache-2.0
// Sophgo's runtime, libbmlib and libbmrt, opened with dlopen. The declarations are ours, after the public documents of
// libsophon ("bmlib", "BMRuntime"); the layouts are those of 64-bit Linux on x86-64 and AArch64.
//
// Where it is looked for: the folder in the environment variable YOLOQ_SOPHGO_RUNTIME and nowhere else if that is set;
// else the driver package's folder, else the system's library path. A package cannot name the folder: packages are
// data, and libraries are code.
#pragma once

#include <dlfcn.h>

#include <cstdarg>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <vector>

#include "module.h"

namespace sophgo {

using yqb::Failure;

// ---------------------------------------------------------------------------------------------------- vendor's types

using Handle = void *; // bm_handle_t

struct Memory { // bm_device_mem_t, handed over by value
    unsigned long address = 0;
    unsigned int reserved = 0;
    int dmabuf_fd = 0;
    unsigned int flags = 0, size = 0;
};
static_assert(sizeof(Memory) == 24);

struct Shape { // bm_shape_t
    int rank = 0;
    int dims[8] = {};
};
static_assert(sizeof(Shape) == 36);

struct Tensor { // bm_tensor_t
    int dtype = 0;
    Shape shape;
    Memory memory;
    int store_mode = 0;
};
static_assert(sizeof(Tensor) == 72);

struct Stage { // bm_stage_info_t: one of the shapes a network was compiled for
    const Shape *inputs, *outputs;
    const Memory *input_memories, *output_memories;
};

struct Network { // bm_net_info_t; newer runtimes have more behind
    const char *name;
    bool is_dynamic;
    int input_count;
    const char *const *input_names;
    const int *input_dtypes;
    const float *input_scales;
    int output_count;
    const char *const *output_names;
    const int *output_dtypes;
    const float *output_scales;
    int stage_count;
    const Stage *stages;
    const size_t *max_input_bytes, *max_output_bytes;
    const int *input_zero_points, *output_zero_points;
};

struct DeviceStat { // bm_dev_stat_t; memory in MiB
    int memory_total = 0, memory_used = 0, utilization = 0, heap_count = 0;
    unsigned int heaps[4][3] = {};
};

enum DType { float32 = 0, float16 = 1, int8 = 2, uint8 = 3 };                                  // bm_data_type_t
enum Code { not_ready = 1, failure = 2, timeout = 3, parameter = 4, no_memory = 5, busy = 7 }; // bm_status_t

// ------------------------------------------------------------------------------------------------------------ calls

// name, result, parameters. Of libbmlib, then of libbmrt, then what older releases, SoCs or the simulator may lack.
#define SOPHGO_BMLIB(CALL)                                                                                             \
    CALL(bm_dev_getcount, int, (int *))                                                                                \
    CALL(bm_dev_request, int, (Handle *, int))                                                                         \
    CALL(bm_dev_free, void, (Handle))                                                                                  \
    CALL(bm_get_chipid, int, (Handle, unsigned int *))                                                                 \
    CALL(bm_malloc_device_byte, int, (Handle, Memory *, unsigned int))                                                 \
    CALL(bm_free_device, void, (Handle, Memory))                                                                       \
    CALL(bm_memcpy_s2d_partial, int, (Handle, Memory, void *, unsigned int))                                           \
    CALL(bm_memcpy_d2s_partial, int, (Handle, void *, Memory, unsigned int))                                           \
    CALL(bm_thread_sync, int, (Handle))
#define SOPHGO_BMRT(CALL)                                                                                              \
    CALL(bmrt_create, void *, (Handle))                                                                                \
    CALL(bmrt_destroy, void, (void *))                                                                                 \
    CALL(bmrt_load_bmodel, bool, (void *, const char *))                                                               \
    CALL(bmrt_get_network_number, int, (void *))                                                                       \
    CALL(bmrt_get_network_name, const char *, (void *, int))                                                           \
    CALL(bmrt_get_network_info, const Network *, (void *, const char *))                                               \
    CALL(bmrt_launch_tensor_ex, bool, (void *, const char *, const Tensor *, int, Tensor *, int, bool, bool))
#define SOPHGO_OPTIONAL(CALL)                                                                                          \
    CALL(bm_get_chip_temp, int, (Handle, unsigned int *))                                                              \
    CALL(bm_get_board_power, int, (Handle, unsigned int *))                                                            \
    CALL(bm_get_tpu_power, int, (Handle, float *))                                                                     \
    CALL(bm_get_stat, int, (Handle, DeviceStat *))                                                                     \
    CALL(bmlib_log_set_callback, void, (void (*)(const char *, int, const char *, va_list)))                           \
    CALL(bmrt_set_current_log_level, void, (int))                                                                      \
    CALL(libbmrt_version, const char *, ())

struct Runtime {
#define SOPHGO_MEMBER(name, result, parameters) result(*name) parameters = nullptr;
    SOPHGO_BMLIB(SOPHGO_MEMBER)
    SOPHGO_BMRT(SOPHGO_MEMBER)
    SOPHGO_OPTIONAL(SOPHGO_MEMBER)
#undef SOPHGO_MEMBER
    std::string version; // "BMRuntime 1.0.0 ee6becb0"
};

// ---------------------------------------------------------------------------------------------------------- failures

// What bmlib last said on this thread. Static storage, so that its callback never allocates.
inline char *last_words() {
    static thread_local char text[160] = "";
    return text;
}

// bmlib's log goes into our errors instead of the host's stdout.
inline void take_log(const char *, int level, const char *format, va_list values) {
    constexpr int error_level = 16;
    if (level > error_level) return;
    std::vsnprintf(last_words(), 160, format, values);
    yqb::one_line(last_words());
}

inline const char *code_name(int code) {
    static const char *const names[] = {"BM_SUCCESS",       "BM_ERR_DEVNOTREADY", "BM_ERR_FAILURE", "BM_ERR_TIMEOUT",
                                        "BM_ERR_PARAM",     "BM_ERR_NOMEM",       "BM_ERR_DATA",    "BM_ERR_BUSY",
                                        "BM_ERR_NOFEATURE", "BM_NOT_SUPPORTED"};
    return code >= 0 && code < 10 ? names[code] : "no documented code";
}

inline const char *advice(int code) {
    switch (code) {
    case no_memory: return "free device memory: fewer streams, a smaller batch, or end other programs on the device";
    case parameter: return "the runtime and this model do not fit: install the libsophon that the package names";
    default: return "look at bm-smi and dmesg; if the device does not answer, reset it";
    }
}

// Why a call failed, of which only `what` is known: bmlib's own words, and what to do.
inline Failure call_failure(int32_t status, const char *call, const std::string &what, const char *to_do) {
    const std::string words = last_words()[0] ? std::string(" (") + last_words() + ")" : "";
    return {status, std::string(call) + " " + what + words + ": " + to_do};
}

// A call gave a bm_status_t other than 0.
inline Failure code_failure(int32_t status, const char *call, int code) {
    return call_failure(status, call, "failed with " + std::to_string(code) + " (" + code_name(code) + ")",
                        advice(code));
}

// The status of a failing code: memory, a device that stopped answering, or a call it did not like.
inline int32_t status_of(int code) {
    const bool lost = code == not_ready || code == failure || code == timeout || code == busy;
    return code == no_memory ? YQB_ENOMEM : lost ? YQB_EDEVICE : YQB_EBACKEND;
}

// Runs one call of the vendor's. libbmrt throws through its C interface when the device fails in the middle of a call.
template <typename Call> auto vendor(const char *name, Call call) {
    last_words()[0] = '\0';
    try {
        return call();
    } catch (const std::exception &exception) {
        throw Failure{YQB_EDEVICE, std::string(name) + " threw: " + exception.what() + ": " + advice(failure)};
    } catch (...) { throw Failure{YQB_EDEVICE, std::string(name) + " threw: " + advice(failure)}; }
}

// One call that returns a bm_status_t; throws unless it is 0.
template <typename Call> void check(const char *name, Call call) {
    if (const int code = vendor(name, call)) throw code_failure(status_of(code), name, code);
}

// ----------------------------------------------------------------------------------------------------------- loading

constexpr const char *kDriverFolder = "/opt/sophon/libsophon-current/lib";
constexpr const char *kFolderVariable = "YOLOQ_SOPHGO_RUNTIME";

// The first of `names` that loads, and whether the process had it already; NULL and the loader's text otherwise.
inline void *open_library(const std::string &folder, const std::vector<const char *> &names, bool *shared,
                          std::string *why) {
    for (const char *name : names) {
        const std::string path = folder.empty() ? name : folder + "/" + name;
        std::error_code ignored;
        if (!folder.empty() && !std::filesystem::exists(path, ignored)) continue;
        if (void *loaded = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD)) {
            *shared = true;
            return loaded;
        }
        if (void *loaded = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return loaded;
        const char *text = dlerror();
        if (why->empty() && text) *why = text;
    }
    if (why->empty()) *why = std::string("there is no ") + names.front() + " in " + folder;
    return nullptr;
}

template <typename Function> bool find(void *library, const char *name, Function **function) {
    *function = reinterpret_cast<Function *>(dlsym(library, name));
    return *function != nullptr;
}

// "libbmrt_version:1.0.0, branch:master,commit:ee6becb0 ,compiled on ..." -> "BMRuntime 1.0.0 ee6becb0"
inline std::string describe(const Runtime &runtime) {
    const std::string text = runtime.libbmrt_version ? runtime.libbmrt_version() : "";
    std::string version = "BMRuntime";
    for (const char *key : {"version:", "commit:"}) {
        const size_t begin = text.find(key);
        if (begin == std::string::npos) continue;
        const size_t first = begin + std::strlen(key);
        version += " " + text.substr(first, text.find_first_of(" ,", first) - first);
    }
    return version;
}

// Opens both libraries of a folder ("": the system's path). They stay: the runtime has threads and exit handlers.
inline void open_runtime(const std::string &folder, Runtime *runtime) {
    bool shared = false;
    std::string why;
    void *bmlib = open_library(folder, {"libbmlib.so", "libbmlib.so.0"}, &shared, &why);
    void *bmrt = bmlib ? open_library(folder, {"libbmrt.so", "libbmrt.so.1.0"}, &shared, &why) : nullptr;
    if (!bmrt) throw Failure{YQB_EBACKEND, why};
#define SOPHGO_FIND(name, result, parameters)                                                                          \
    if (!find(library, #name, &runtime->name)) missing = #name;
    const char *missing = nullptr;
    void *library = bmlib;
    SOPHGO_BMLIB(SOPHGO_FIND)
    library = bmrt;
    SOPHGO_BMRT(SOPHGO_FIND)
    if (missing)
        throw Failure{YQB_EBACKEND,
                      "Sophgo's runtime in " + folder + " has no " + missing + ": install a newer libsophon"};
    SOPHGO_OPTIONAL(SOPHGO_FIND) // dlsym looks into what libbmrt needs, libbmlib, too
#undef SOPHGO_FIND
    runtime->version = describe(*runtime);
    if (shared) return; // the host's too: its log settings stay
    if (runtime->bmlib_log_set_callback) runtime->bmlib_log_set_callback(take_log);
    constexpr int nothing = 4; // above FATAL; BMRT_LOG_VERSION is the vendor's own switch for debugging
    if (runtime->bmrt_set_current_log_level && !std::getenv("BMRT_LOG_VERSION"))
        runtime->bmrt_set_current_log_level(nothing);
}

// The runtime, loaded once; throws what to install while it is not there.
inline const Runtime &runtime() {
    static std::mutex mutex;
    static Runtime *loaded = nullptr; // for ever
    const std::lock_guard<std::mutex> lock(mutex);
    if (loaded) return *loaded;
    const char *named = std::getenv(kFolderVariable);
    const std::vector<std::string> folders =
        named && *named ? std::vector<std::string>{named} : std::vector<std::string>{kDriverFolder, ""};
    std::string why;
    for (const std::string &folder : folders) {
        auto runtime = std::make_unique<Runtime>();
        try {
            open_runtime(folder, runtime.get());
            loaded = runtime.release();
            return *loaded;
        } catch (const Failure &failure) {
            if (why.empty()) why = failure.text;
        }
    }
    throw Failure{YQB_EBACKEND, "Sophgo's runtime does not load: " + why +
                                    ": install libsophon, or name its folder in " + kFolderVariable};
}

} // namespace sophgo

// SPDX-License-Identifier: Apache-2.0
// Ascend's runtime, opened with dlopen: libascendcl.so, or libacl_rt.so and libacl_mdl.so where that is gone.
//
// Where it is looked for: the folder in the environment variable YOLOQ_ASCEND_RUNTIME and nowhere else if that is set;
// else the system's library path (which CANN's set_env.sh extends), else where CANN installs itself. A package cannot
// name the folder: packages are data, and libraries are code.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>
#include <vector>

#include "ascend_api.h"
#include "module.h"

namespace ascend {

using yqb::Failure;

struct Runtime {
#define ASCEND_MEMBER(name, result, parameters) result(*name) parameters = nullptr;
    ASCEND_RUNTIME(ASCEND_MEMBER)
    ASCEND_MODEL(ASCEND_MEMBER)
    ASCEND_OPTIONAL_RUNTIME(ASCEND_MEMBER)
    ASCEND_OPTIONAL_MODEL(ASCEND_MEMBER)
    ASCEND_DCMI(ASCEND_MEMBER) // optional too; dcmi_init is set if it has succeeded
#undef ASCEND_MEMBER
    std::string version; // "AscendCL 1.17.0"
};

// ---------------------------------------------------------------------------------------------------------- failures

inline const char *code_name(int code) {
    switch (code) {
#define ASCEND_NAME(value, name)                                                                                       \
    case value: return #name;
        ASCEND_CODES(ASCEND_NAME)
#undef ASCEND_NAME
    default: return "no documented code";
    }
}

inline bool is_memory(int code) {
    return code == 200000 || code == 207001 || code == 207018 || code == 245000;
}

inline bool is_not_initialised(int code) {
    return code == 100001 || code == 145001;
}

// The runtime gave the request up, or the device does not answer: what is left of the context cannot be trusted.
inline bool is_loss(int code) {
    const bool given_up = code == 107019 || code == 107020 || code == 107022 || code == 107023 || code == 545601;
    const bool driver = code == 500003 || code == 500004 || code == 207004;
    return given_up || driver || (code >= 507000 && code < 508000 && code != 507008);
}

inline int32_t status_of(int code) {
    return is_memory(code) ? YQB_ENOMEM : is_loss(code) ? YQB_EDEVICE : YQB_EBACKEND;
}

inline const char *advice(int code) {
    if (is_memory(code))
        return "free device memory: fewer streams, a smaller batch, or end other programs on the device";
    switch (code) {
    case 107001:
    case 207004: return "the driver shows no such device: look at npu-smi info";
    case 207006:
    case 507033: return "the driver refuses this user the device: run as root or join the driver's group";
    case 507008: return "the model is for another chip: build the package for this one";
    case 148049: return "run CANN's set_env.sh before the program";
    default: return "look at npu-smi info and ~/ascend/log; if the device does not answer, reset it";
    }
}

// A call, "name" or "name(arguments)", gave a code other than 0. The vendor's own words, of this thread, come last:
// they may be cut.
inline Failure code_failure(const Runtime &runtime, int32_t status, const char *call, int code,
                            const std::string &to_do) {
    std::string text = std::string(call, std::strcspn(call, "(")) + " failed with " + std::to_string(code) + " (" +
                       code_name(code) + "): " + to_do;
    const char *words = runtime.aclGetRecentErrMsg ? runtime.aclGetRecentErrMsg() : nullptr;
    if (words && *words) text += std::string("; it says: ") + words;
    return {status, text};
}

inline void check(const Runtime &runtime, const char *call, int code) {
    if (code != success) throw code_failure(runtime, status_of(code), call, code, advice(code));
}

// Calls and throws unless the answer is 0: ASCEND_TRY(runtime, aclrtSetDevice(index)).
#define ASCEND_TRY(runtime, call) ascend::check(runtime, #call, (runtime).call)

// ----------------------------------------------------------------------------------------------------------- loading

constexpr const char *kFolderVariable = "YOLOQ_ASCEND_RUNTIME";

// CANN's folders of libraries on this machine; "" is the system's library path.
inline std::vector<std::string> runtime_folders() {
    const char *named = std::getenv(kFolderVariable);
    if (named && *named) return {named};
    std::vector<std::string> folders = {""};
    const char *home = std::getenv("ASCEND_HOME_PATH");
    if (home && *home) folders.push_back(std::string(home) + "/lib64");
    for (const char *name : {"cann", "ascend-toolkit/latest", "nnrt/latest"})
        folders.push_back(std::string("/usr/local/Ascend/") + name + "/lib64");
    return folders;
}

inline void *open_library(const std::string &folder, const char *name, std::string *why) {
    const std::string path = folder.empty() ? name : folder + "/" + name;
    void *loaded = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    const char *text = loaded ? nullptr : dlerror();
    if (text && why->empty()) *why = text;
    return loaded;
}

template <typename Function> bool find(const std::vector<void *> &libraries, const char *name, Function **function) {
    for (void *library : libraries)
        if (!*function) *function = reinterpret_cast<Function *>(dlsym(library, name));
    return *function != nullptr;
}

// DCMI is the driver's: it is not there in every container.
inline void open_dcmi(const std::string &folder, Runtime *runtime) {
    std::string ignored;
    std::vector<std::string> folders = {"", "/usr/local/dcmi"};
    if (std::getenv(kFolderVariable)) folders.insert(folders.begin(), folder);
    void *library = nullptr;
    for (const std::string &each : folders)
        if (!library) library = open_library(each, "libdcmi.so", &ignored);
    if (!library) return;
    const std::vector<void *> libraries = {library};
#define ASCEND_FIND(name, result, parameters) find(libraries, #name, &runtime->name);
    ASCEND_DCMI(ASCEND_FIND)
#undef ASCEND_FIND
    if (runtime->dcmi_init && runtime->dcmi_init() != 0) runtime->dcmi_init = nullptr;
}

// Opens the libraries of a folder. They stay: the runtime has threads and exit handlers.
inline void open_runtime(const std::string &folder, Runtime *runtime) {
    std::string why;
    std::vector<void *> libraries;
    if (void *whole = open_library(folder, "libascendcl.so", &why)) {
        libraries = {whole};
    } else {
        void *rt = open_library(folder, "libacl_rt.so", &why);
        void *mdl = rt ? open_library(folder, "libacl_mdl.so", &why) : nullptr;
        if (!mdl) throw Failure{YQB_EBACKEND, why};
        libraries = {rt, mdl};
    }
    const char *missing = nullptr;
#define ASCEND_FIND(name, result, parameters)                                                                          \
    if (!find(libraries, #name, &runtime->name)) missing = #name;
    ASCEND_RUNTIME(ASCEND_FIND)
    ASCEND_MODEL(ASCEND_FIND)
    const char *lacking = missing;
    ASCEND_OPTIONAL_RUNTIME(ASCEND_FIND)
    ASCEND_OPTIONAL_MODEL(ASCEND_FIND)
#undef ASCEND_FIND
    if (lacking) throw Failure{YQB_EBACKEND, "the runtime has no " + std::string(lacking)};
    int32_t major = 0, minor = 0, patch = 0;
    runtime->version = "AscendCL";
    if (runtime->aclrtGetVersion && runtime->aclrtGetVersion(&major, &minor, &patch) == success)
        runtime->version += " " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
    open_dcmi(folder, runtime);
}

// The runtime, loaded once; throws what to install while it is not there.
inline const Runtime &runtime() {
    static std::mutex mutex;
    static Runtime *loaded = nullptr; // for ever
    const std::lock_guard<std::mutex> lock(mutex);
    if (loaded) return *loaded;
    std::string why;
    for (const std::string &folder : runtime_folders()) {
        auto runtime = std::make_unique<Runtime>();
        try {
            open_runtime(folder, runtime.get());
            loaded = runtime.release();
            return *loaded;
        } catch (const Failure &failure) {
            if (why.empty()) why = failure.text;
        }
    }
    throw Failure{YQB_EBACKEND, "Ascend's runtime does not load: " + why +
                                    ": install CANN and run its set_env.sh, or name its lib64 in " + kFolderVariable};
}

// ---------------------------------------------------------------------------------------------------- initialisation

// aclInit belongs to the process. If the host was first, this is no failure; and nobody here calls aclFinalize: older
// releases cannot begin again after it, and a library never knows that it is the last.
inline void initialise(const Runtime &runtime, bool again) {
    static std::mutex mutex;
    static bool done = false;
    const std::lock_guard<std::mutex> lock(mutex);
    if (done && !again) return;
    constexpr int by_another = 100002;
    const int code = runtime.aclInit(nullptr);
    if (code != by_another) check(runtime, "aclInit", code);
    done = true;
}

// Devices of this machine that the process may use.
inline uint32_t device_count(const Runtime &runtime) {
    initialise(runtime, false);
    uint32_t count = 0;
    int code = runtime.aclrtGetDeviceCount(&count);
    if (is_not_initialised(code)) { // the host has called aclFinalize
        initialise(runtime, true);
        code = runtime.aclrtGetDeviceCount(&count);
    }
    if (code != success) throw code_failure(runtime, YQB_EBACKEND, "aclrtGetDeviceCount", code, advice(code));
    if (count == 0)
        throw Failure{YQB_EBACKEND, "there is no Ascend device: load the driver, look at npu-smi info and lspci"};
    return count;
}

// The number in `device`, which the machine must have.
inline int32_t device_index(const Runtime &runtime, const char *device) {
    const uint32_t count = device_count(runtime);
    const std::string text = device;
    const bool digits = !text.empty() && text.size() < 5 && text.find_first_not_of("0123456789") == text.npos;
    if (!digits || std::stoul(text) >= count)
        throw Failure{YQB_EINVAL,
                      "there is no device '" + text + "': this machine's are 0 to " + std::to_string(count - 1)};
    return std::stoi(text);
}

} // namespace ascend

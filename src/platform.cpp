// SPDX-License-Identifier: Apache-2.0
#include "platform.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace yq {
namespace {

#ifdef _WIN32
constexpr const char *module_prefix = "yoloq_";
constexpr const char *module_suffix = ".dll";
#else
constexpr const char *module_prefix = "libyoloq_";
constexpr const char *module_suffix = ".so";
#endif

} // namespace

std::filesystem::path path_from_utf8(const std::string &text) {
    return std::filesystem::u8path(text);
}

std::string path_to_utf8(const std::filesystem::path &path) {
    return path.u8string();
}

std::string module_file(const std::string &name) {
    return module_prefix + name + module_suffix;
}

std::string module_name(const std::string &file) {
    const std::string prefix = module_prefix, suffix = module_suffix;
    if (file.size() <= prefix.size() + suffix.size() || file.compare(0, prefix.size(), prefix) != 0 ||
        file.compare(file.size() - suffix.size(), suffix.size(), suffix) != 0)
        return "";
    return file.substr(prefix.size(), file.size() - prefix.size() - suffix.size());
}

#ifdef _WIN32

std::filesystem::path library_folder() {
    HMODULE module = nullptr;
    if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            reinterpret_cast<LPCWSTR>(&library_folder), &module))
        return {};
    std::wstring name(32768, L'\0');
    name.resize(GetModuleFileNameW(module, name.data(), static_cast<DWORD>(name.size())));
    return std::filesystem::path(name).parent_path();
}

void *load_library(const std::filesystem::path &path, std::string *reason) {
    // The module's own folder is searched for its dependencies; the current folder and PATH never are.
    HMODULE module =
        LoadLibraryExW(path.c_str(), nullptr, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (!module)
        *reason = "Windows error " + std::to_string(GetLastError()) +
                  "; a library that it needs may be missing from its folder";
    return reinterpret_cast<void *>(module);
}

void *find_symbol(void *library, const char *name) {
    return reinterpret_cast<void *>(GetProcAddress(static_cast<HMODULE>(library), name));
}

#else

std::filesystem::path library_folder() {
    Dl_info info;
    if (!dladdr(reinterpret_cast<void *>(&library_folder), &info) || !info.dli_fname) return {};
    std::error_code error;
    const std::filesystem::path file = std::filesystem::canonical(info.dli_fname, error);
    return error ? std::filesystem::path() : file.parent_path();
}

void *load_library(const std::filesystem::path &path, std::string *reason) {
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *text = dlerror();
        *reason = text ? text : "no reason given";
    }
    return library;
}

void *find_symbol(void *library, const char *name) {
    return dlsym(library, name);
}

#endif

} // namespace yq

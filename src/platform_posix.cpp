// SPDX-License-Identifier: Apache-2.0
#include "platform.h"

#include <dlfcn.h>

namespace yq {

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

} // namespace yq

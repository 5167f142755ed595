// SPDX-License-Identifier: Apache-2.0
#include "platform.h"

#include <windows.h>

#include "platform_imports.h"

namespace yq {
namespace {

// The system's text for an error code, in the system's language.
std::string error_text(DWORD code) {
    std::wstring text(512, L'\0');
    const DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr, code, 0,
                                        text.data(), static_cast<DWORD>(text.size()), nullptr);
    text.resize(length);
    while (!text.empty() && text.back() <= L' ') text.pop_back();
    return "Windows error " + std::to_string(code) + (text.empty() ? "" : ": " + path_to_utf8(text));
}

} // namespace

std::filesystem::path library_folder() {
    HMODULE module = nullptr;
    if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            reinterpret_cast<LPCWSTR>(&library_folder), &module))
        return {};
    return loaded_from(module).parent_path();
}

void *load_library(const std::filesystem::path &path, std::string *reason) {
    // The module's own folder is searched for its dependencies; the current folder and PATH never are.
    const HMODULE module =
        LoadLibraryExW(path.c_str(), nullptr, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (module) return reinterpret_cast<void *>(module);
    const DWORD code = GetLastError();
    const std::string culprit = explain_load_failure(path);
    *reason = (culprit.empty() ? path_to_utf8(path) + " does not load" : culprit) + " (" + error_text(code) + ")";
    return nullptr;
}

void *find_symbol(void *library, const char *name) {
    return reinterpret_cast<void *>(GetProcAddress(static_cast<HMODULE>(library), name));
}

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
#include "platform_imports.h"

#include <cstring>
#include <set>
#include <vector>

#include <windows.h>

#include "platform.h"

namespace yq {
namespace {

namespace fs = std::filesystem;

// A DLL mapped as the loader maps it, but neither linked nor run. Nothing in it is trusted.
class Image {
public:
    explicit Image(const fs::path &path)
        : module_(LoadLibraryExW(path.c_str(), nullptr, LOAD_LIBRARY_AS_IMAGE_RESOURCE)) {
        if (!module_) return;
        base_ = reinterpret_cast<const char *>(reinterpret_cast<uintptr_t>(module_) & ~uintptr_t{3}); // flags below
        MEMORY_BASIC_INFORMATION about;
        for (const char *next = base_; VirtualQuery(next, &about, sizeof about) && about.AllocationBase == base_;)
            size_ =
                static_cast<size_t>((next = static_cast<const char *>(about.BaseAddress) + about.RegionSize) - base_);
    }
    ~Image() {
        if (module_) FreeLibrary(module_);
    }
    Image(const Image &) = delete;
    Image &operator=(const Image &) = delete;

    bool for_64_bits() const { return headers() != nullptr; }

    std::vector<std::string> imports() const {
        std::vector<std::string> names;
        const IMAGE_NT_HEADERS64 *nt = headers();
        if (!nt || nt->OptionalHeader.NumberOfRvaAndSizes <= IMAGE_DIRECTORY_ENTRY_IMPORT) return names;
        size_t at = nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress;
        if (at == 0) return names;
        for (;; at += sizeof(IMAGE_IMPORT_DESCRIPTOR)) {
            const auto *entry = read<IMAGE_IMPORT_DESCRIPTOR>(at);
            if (!entry || entry->Name == 0 || entry->Name >= size_) return names;
            const char *name = base_ + entry->Name;
            names.emplace_back(name, strnlen(name, size_ - entry->Name));
        }
    }

private:
    template <typename T> const T *read(size_t offset) const {
        return offset <= size_ && sizeof(T) <= size_ - offset ? reinterpret_cast<const T *>(base_ + offset) : nullptr;
    }

    const IMAGE_NT_HEADERS64 *headers() const {
        const auto *dos = read<IMAGE_DOS_HEADER>(0);
        if (!dos || dos->e_magic != IMAGE_DOS_SIGNATURE || dos->e_lfanew < 0) return nullptr;
        const auto *nt = read<IMAGE_NT_HEADERS64>(static_cast<size_t>(dos->e_lfanew));
        return nt && nt->Signature == IMAGE_NT_SIGNATURE && nt->FileHeader.Machine == IMAGE_FILE_MACHINE_AMD64
                   ? nt
                   : nullptr;
    }

    HMODULE module_;
    const char *base_ = nullptr;
    size_t size_ = 0;
};

bool is_in_system(const std::string &name) { // also for names that stand for a set of functions, not for a file
    const HMODULE found = LoadLibraryExA(name.c_str(), nullptr, LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (found) FreeLibrary(found);
    return found != nullptr;
}

std::string lower(std::string text) {
    for (char &c : text)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return text;
}

std::string missing(const std::string &name, const fs::path &user) {
    const bool compilers = lower(name).compare(0, 5, "msvcp") == 0 || lower(name).compare(0, 9, "vcruntime") == 0;
    return name + " is missing: " + path_to_utf8(user.filename()) + " needs it, and it is neither in " +
           path_to_utf8(user.parent_path()) + " nor in the system's folder; " +
           (compilers ? "install Microsoft's Visual C++ runtime (vc_redist.x64.exe)" : "copy the yoloq folder whole");
}

// What the walk knows so far.
struct Walk {
    std::set<std::string> seen;
    std::string other_copy; // a suspect, if nothing worse is found
};

std::string explain(const fs::path &file, Walk *walk) {
    const Image image(file);
    if (!image.for_64_bits())
        return path_to_utf8(file) + " is damaged or no DLL for 64-bit Windows: copy the yoloq folder again";
    for (const std::string &name : image.imports()) {
        if (!walk->seen.insert(lower(name)).second) continue;
        const fs::path beside = file.parent_path() / path_from_utf8(name);
        std::error_code error;
        const bool is_beside = fs::exists(beside, error);
        if (const HMODULE loaded = GetModuleHandleA(name.c_str())) { // the loader would take that one
            const fs::path other = loaded_from(loaded);
            if (is_beside && !fs::equivalent(other, beside, error))
                walk->other_copy = "this process has loaded another " + name + " before, " + path_to_utf8(other) +
                                   ": remove that one or load yoloq first";
        } else if (is_beside) {
            const std::string deeper = explain(beside, walk);
            if (!deeper.empty()) return deeper;
        } else if (!is_in_system(name)) {
            return missing(name, file);
        }
    }
    return "";
}

} // namespace

fs::path loaded_from(HMODULE module) {
    std::wstring name(32768, L'\0');
    name.resize(GetModuleFileNameW(module, name.data(), static_cast<DWORD>(name.size())));
    return name;
}

std::string explain_load_failure(const fs::path &module) {
    Walk walk;
    const std::string culprit = explain(module, &walk);
    return culprit.empty() ? walk.other_copy : culprit;
}

} // namespace yq

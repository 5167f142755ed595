// SPDX-License-Identifier: Apache-2.0
#include "package.h"

#include <fstream>
#include <new>

#include "manifest.h"
#include "platform.h"
#include "sha256.h"
#include "status.h"

namespace yq {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t max_manifest_bytes = 16 << 20;
constexpr const char *mend = "; copy or build the package again";

uint64_t file_size(const fs::path &path, const std::string &name) {
    std::error_code error;
    if (!fs::is_regular_file(path, error)) throw PackageFault(name + " is missing from the package" + mend);
    const uint64_t size = fs::file_size(path, error);
    if (error) throw PackageFault(name + " cannot be read: " + error.message());
    return size;
}

std::string read_text(const fs::path &path, const std::string &name) {
    const uint64_t size = file_size(path, name);
    if (size > max_manifest_bytes) throw PackageFault(name + " is too large to be a manifest" + mend);
    std::string text(size, '\0');
    std::ifstream file(path, std::ios::binary);
    if (!file.read(text.data(), static_cast<std::streamsize>(size)))
        throw PackageFault(name + " cannot be read" + mend);
    return text;
}

std::string text_digest(const std::string &text) {
    Sha256 hash;
    hash.update(text.data(), text.size());
    return hash.hex();
}

std::string file_digest(const fs::path &path, const std::string &name) {
    Sha256 hash;
    std::ifstream file(path, std::ios::binary);
    std::vector<char> block(1 << 20);
    while (file) {
        file.read(block.data(), static_cast<std::streamsize>(block.size()));
        hash.update(block.data(), static_cast<size_t>(file.gcount()));
    }
    if (!file.eof()) throw PackageFault(name + " cannot be read" + mend);
    return hash.hex();
}

void check_file(const fs::path &folder, const std::string &name, const FileDigest &wanted) {
    const fs::path path = folder / path_from_utf8(name);
    const uint64_t size = file_size(path, name);
    if (size != wanted.size)
        throw PackageFault(name + " has " + std::to_string(size) + " bytes, the manifest says " +
                           std::to_string(wanted.size) + mend);
    if (file_digest(path, name) != wanted.sha256) throw PackageFault(name + " was altered: its SHA-256 differs" + mend);
}

void read_checked(const fs::path &folder, Package *out) {
    const std::string manifest = read_text(folder / "manifest.json", "manifest.json");
    const std::string digest = read_text(folder / "manifest.sha256", "manifest.sha256");
    if (digest.substr(0, 64) != text_digest(manifest))
        throw PackageFault(std::string("manifest.json was altered: its SHA-256 differs from manifest.sha256") + mend);
    out->folder = folder;
    for (const auto &[name, wanted] : parse_manifest(manifest, out)) check_file(folder, name, wanted);
}

} // namespace

int32_t read_package(const char *path, Package *out) {
    try {
        std::error_code error;
        fs::path folder = fs::absolute(path_from_utf8(path), error);
        if (error || !fs::is_directory(folder, error))
            return fail(YQ_ENOTFOUND, "there is no package folder \"%.600s\"", path);
        // A link is followed once: if it is switched to another package meanwhile, this one is still read whole.
        const fs::path real = fs::canonical(folder, error);
        if (!error) folder = real; // some Windows drives cannot tell
        read_checked(folder, out);
        return YQ_OK;
    } catch (const PackageFault &fault) {
        return fail(YQ_EPACKAGE, "package \"%.600s\": %s", path, fault.what());
    } catch (const std::bad_alloc &) {
        return fail(YQ_ENOMEM, "out of memory while reading package \"%.600s\"", path);
    } catch (const std::exception &error) {
        return fail(YQ_EPACKAGE, "package \"%.600s\" cannot be read: %s", path, error.what());
    }
}

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
#include "platform.h"

#include <system_error>

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
    try {
        return std::filesystem::u8path(text);
    } catch (const std::system_error &) { return {}; }
}

std::string path_to_utf8(const std::filesystem::path &path) {
    try {
        return path.u8string();
    } catch (const std::system_error &) { return ""; }
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

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
// What differs between operating systems: paths, files, shared libraries.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace yq {

// Empty if the text, or the path, cannot be converted: where paths are UTF-16, one that is no proper Unicode.
std::filesystem::path path_from_utf8(const std::string &text);
std::string path_to_utf8(const std::filesystem::path &path);

// The folder this library was loaded from; backend modules lie there. Empty if the system does not tell.
std::filesystem::path library_folder();

// The file name of backend `name`'s module, and the reverse ("" if the file is no module).
std::string module_file(const std::string &name);
std::string module_name(const std::string &file);

// Loads a shared library and finds a symbol in it. nullptr on failure, with the system's reason in *reason.
void *load_library(const std::filesystem::path &path, std::string *reason);
void *find_symbol(void *library, const char *name);

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
// Windows only: which of the DLLs that a module imports keeps it from loading. The system itself says "error 126".
#pragma once

#include <filesystem>
#include <string>

struct HINSTANCE__;

namespace yq {

// The file of a loaded module; empty if the system does not tell.
std::filesystem::path loaded_from(HINSTANCE__ *module);

// Walks the import tables from `module` on: the first DLL that is missing, damaged or not for 64 bits, or of which the
// process has loaded another copy than the one beside the module; and what to do. "" if nothing is found.
std::string explain_load_failure(const std::filesystem::path &module);

} // namespace yq

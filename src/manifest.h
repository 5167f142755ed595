// SPDX-License-Identifier: Apache-2.0
// The text of manifest.json becomes a Package; files are package.cpp's business.
#pragma once

#include <map>
#include <stdexcept>
#include <string>

#include "package.h"

namespace yq {

// What is wrong with a package, in one line.
struct PackageFault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct FileDigest {
    uint64_t size;
    std::string sha256;
};

// Fills all of *out but `folder`. Returns the files the manifest names. Throws PackageFault.
std::map<std::string, FileDigest> parse_manifest(const std::string &text, Package *out);

} // namespace yq

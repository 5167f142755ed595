// SPDX-License-Identifier: Apache-2.0
// A model package, read and checked to the last byte. Format: docs/package-format.md.
#pragma once

#include <cstdint>

#include "manifest.h"

namespace yq {

// Reads and checks the package at `path` (UTF-8): the manifest's digest and fields, every file's size and SHA-256.
// ENOTFOUND or EPACKAGE with the reason, ENOMEM.
int32_t read_package(const char *path, Package *out);

} // namespace yq

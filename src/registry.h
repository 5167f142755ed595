// SPDX-License-Identifier: Apache-2.0
// Backend modules: found beside the library, loaded once, never unloaded.
#pragma once

#include <cstdint>
#include <string>

#include "yoloq.h"
#include "yoloq_backend.h"

namespace yq {

// The table of backend `name`, probed and usable; else ENOTFOUND or EBACKEND with the reason.
int32_t find_backend(const std::string &name, const yqb_api **out);

// Whether `backend` runs packages for `chip`.
bool backend_serves(const yqb_api &backend, const std::string &chip);

uint32_t backend_count();
int32_t backend_info(uint32_t index, yq_backend_desc *desc); // fills all but size

} // namespace yq

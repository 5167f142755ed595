// SPDX-License-Identifier: Apache-2.0
// Backend modules: found beside the library, loaded once, never unloaded.
#pragma once

#include <cstdint>
#include <string>

#include "yoloq.h"
#include "yoloq_backend.h"

namespace yq {

// The table of backend `name`, probed and usable, for packages of `chip`; else ENOTFOUND, EPACKAGE (it is for other
// chips, whether or not it could run here) or EBACKEND with the reason.
int32_t find_backend(const std::string &name, const std::string &chip, const yqb_api **out);

uint32_t backend_count();
int32_t backend_info(uint32_t index, yq_backend_desc *desc); // fills all but size

} // namespace yq

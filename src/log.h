// SPDX-License-Identifier: Apache-2.0
// Log lines for the host's callback; without one they go nowhere.
#pragma once

#include <cstdint>

#include "text.h"
#include "yoloq.h"

namespace yq {

// False if called from inside the callback, where the change cannot be made.
bool set_log_callback(yq_log_fn fn, void *user);

// printf form; one line. Lines logged by the callback itself are dropped.
YQ_PRINTF(2, 3)
void log(yq_log_level level, const char *format, ...);

} // namespace yq

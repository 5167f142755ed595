// SPDX-License-Identifier: Apache-2.0
// Failure: a yq_status goes up the stack, its one-line reason waits in a thread-local buffer. Nothing here allocates.
#pragma once

#include <cstdint>

#include "text.h"
#include "yoloq.h"

namespace yq {

// Stores the reason of this thread's failure (printf form; line breaks become blanks, cut at whole UTF-8 characters)
// and returns `status`. Call it where the failure is found, and only there: callers hand the status up.
YQ_PRINTF(2, 3)
int32_t fail(yq_status status, const char *format, ...);

// The reason of this thread's last failure; "" if none.
const char *last_error();

const char *status_name(int32_t status);

} // namespace yq

// Hands a failing status up unchanged.
#define YQ_TRY(expression)                                                                                             \
    do {                                                                                                               \
        const int32_t yq_try_status = (expression);                                                                    \
        if (yq_try_status != YQ_OK) return yq_try_status;                                                              \
    } while (0)

// SPDX-License-Identifier: Apache-2.0
#include "status.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "text.h"

namespace yq {
namespace {

thread_local char error_text[1024] = "";

} // namespace

int32_t fail(yq_status status, const char *format, ...) {
    // Format into a second buffer: an argument may be the present error text itself.
    char text[sizeof error_text];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    one_line(text);
    std::memcpy(error_text, text, sizeof text);
    return status;
}

const char *last_error() {
    return error_text;
}

const char *status_name(int32_t status) {
    switch (status) {
    case YQ_OK: return "YQ_OK";
    case YQ_EINVAL: return "YQ_EINVAL";
    case YQ_ENOTFOUND: return "YQ_ENOTFOUND";
    case YQ_EPACKAGE: return "YQ_EPACKAGE";
    case YQ_EBACKEND: return "YQ_EBACKEND";
    case YQ_ETIMEOUT: return "YQ_ETIMEOUT";
    case YQ_ENOMEM: return "YQ_ENOMEM";
    case YQ_EDEVICE: return "YQ_EDEVICE";
    case YQ_EINTERNAL: return "YQ_EINTERNAL";
    default: return "YQ_UNKNOWN";
    }
}

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <shared_mutex>

#include "text.h"

namespace yq {
namespace {

std::shared_mutex callback_mutex;
yq_log_fn callback = nullptr;
void *callback_user = nullptr;
std::atomic<bool> enabled{false};
thread_local bool inside = false;

} // namespace

bool set_log_callback(yq_log_fn fn, void *user) {
    if (inside) return false;
    const std::unique_lock<std::shared_mutex> lock(callback_mutex); // waits until no callback runs
    callback = fn;
    callback_user = user;
    enabled = fn != nullptr;
    return true;
}

void log(yq_log_level level, const char *format, ...) {
    if (!enabled || inside) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    one_line(text);
    const std::shared_lock<std::shared_mutex> lock(callback_mutex);
    if (!callback) return;
    inside = true;
    callback(callback_user, level, text);
    inside = false;
}

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
// The moment by which a call must have returned.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "yoloq.h"

namespace yq {

using Clock = std::chrono::steady_clock;

inline float ms_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<float, std::milli>(to - from).count();
}

class Deadline {
public:
    // timeout_ms from now; YQ_TIMEOUT_NONE: never.
    explicit Deadline(uint32_t timeout_ms)
        : timeout_ms_(timeout_ms), at_(Clock::now() + std::chrono::milliseconds(none() ? 0 : timeout_ms)) {}

    bool none() const { return timeout_ms_ == YQ_TIMEOUT_NONE; }
    bool passed() const { return !none() && Clock::now() >= at_; }
    uint32_t timeout_ms() const { return timeout_ms_; }

    // What is left in microseconds, 0 if passed, -1 if there is no deadline: the form of yqb_api.wait.
    int64_t left_us() const {
        if (none()) return -1;
        return std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::microseconds>(at_ - Clock::now()).count());
    }

    // The earlier of the deadline and `pause` from now.
    Clock::time_point soonest(std::chrono::milliseconds pause) const {
        const Clock::time_point then = Clock::now() + pause;
        return none() ? then : std::min(then, at_);
    }

private:
    uint32_t timeout_ms_;
    Clock::time_point at_;
};

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
// yq_detector handles: a slot number and a generation, never an address, so that any bit pattern can be checked.
#pragma once

#include <cstdint>
#include <memory>

#include "detector.h"
#include "yoloq.h"

namespace yq {

// Puts a detector behind a handle. ENOMEM if all handles are in use.
int32_t add_handle(std::unique_ptr<Detector> detector, yq_detector **out);

// Ends the handle, waits for the calls that use it, and then ends the detector. Anything that is no live handle is
// ignored.
void remove_handle(yq_detector *handle);

// Keeps the detector behind a handle alive while it is in scope.
class HandleUse {
public:
    explicit HandleUse(yq_detector *handle); // get() is nullptr and the error text is set if the handle is not live
    ~HandleUse();
    HandleUse(const HandleUse &) = delete;
    HandleUse &operator=(const HandleUse &) = delete;
    Detector *get() const { return detector_; }

private:
    Detector *detector_ = nullptr;
    uint32_t slot_ = 0;
};

} // namespace yq

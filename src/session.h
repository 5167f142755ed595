// SPDX-License-Identifier: Apache-2.0
// A backend session: yqb_session with its failures turned into this library's, and its buffers checked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "package.h"
#include "yoloq_backend.h"

namespace yq {

// The compiled model whose batch size a session has: the largest if the backend takes them all, else the smallest.
const Artifact &served_artifact(const yqb_api &backend, const Package &package);

// What a session is made of; kept so that it can be made again after the device was lost.
struct SessionPlan {
    const yqb_api *api = nullptr;
    const Package *package = nullptr;
    std::string device = "0", cache_dir;
    uint32_t streams = 1;
    int32_t hint = YQ_HINT_DEFAULT;

    const Artifact &artifact() const { return served_artifact(*api, *package); }
};

// Nothing known: NaN and UINT64_MAX.
yqb_health unknown_health();

class Session {
public:
    // A status and, if YQ_OK, a session with `streams` slots.
    static int32_t create(const SessionPlan &plan, std::shared_ptr<Session> *out);
    ~Session();

    uint8_t *input(uint32_t slot) const { return inputs_[slot]; }
    // Outputs of a finished request, in the order of the package's.
    int32_t outputs(uint32_t slot, const void **tensors) const;
    int32_t submit(uint32_t slot, uint32_t count);
    // timeout_us as yqb_api.wait. YQ_ETIMEOUT sets no error text: the caller knows what it means.
    int32_t wait(uint32_t slot, int64_t timeout_us);
    // Letterbox on the device; false: do it on the host.
    bool letterbox(uint32_t slot, uint32_t index, const ImageView &image, const LetterboxBox &box);
    // Health; fields that are not known are NaN or UINT64_MAX.
    yqb_health health() const;

private:
    explicit Session(const SessionPlan &plan) : plan_(plan) {}
    int32_t open();
    int32_t checked(int32_t status, const yqb_error &error, const char *step) const;

    SessionPlan plan_;
    yqb_session *session_ = nullptr;
    std::vector<uint8_t *> inputs_; // by slot
};

} // namespace yq

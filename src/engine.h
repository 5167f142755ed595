// SPDX-License-Identifier: Apache-2.0
// The streams of one session: who may use which, quarantine of what timed out, and recovery of a lost device.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "deadline.h"
#include "session.h"
#include "stats.h"

namespace yq {

class Engine {
public:
    static int32_t create(const SessionPlan &plan, Stats *stats, std::unique_ptr<Engine> *out);
    // No lease may be out. Requests in quarantine get a moment to come back.
    ~Engine();

    // Leases a slot, first come first served, by the deadline. Brings a lost device back first. Each successful call is
    // followed by exactly one release().
    int32_t acquire(const Deadline &deadline, uint32_t *slot);
    // A slot if one is free and nobody waits.
    bool try_acquire(uint32_t *slot);
    void release(uint32_t slot);

    uint8_t *input(uint32_t slot) const { return session_->input(slot); }
    bool letterbox(uint32_t slot, uint32_t index, const ImageView &image, const LetterboxBox &box) {
        return session_->letterbox(slot, index, image, box);
    }
    int32_t submit(uint32_t slot, uint32_t count);
    // Waits for the slot's request and finds its outputs. After YQ_ETIMEOUT release() puts the slot into quarantine.
    int32_t collect(uint32_t slot, const Deadline &deadline, const void **tensors);

    // For yq_get_stats: slots at work, slots in quarantine, device health.
    void read(uint32_t *busy, uint32_t *quarantined, yqb_health *health);

private:
    enum class State { free, busy, timed_out, quarantined, polled };
    struct Waiter;

    Engine(const SessionPlan &plan, Stats *stats);
    bool take_free(uint32_t *slot);
    bool poll_quarantine(std::unique_lock<std::mutex> &lock);
    int32_t recover(std::unique_lock<std::mutex> &lock, Waiter &self, const Deadline &deadline);
    void rebuild();
    void device_lost();
    int32_t timeout_reason(const Deadline &deadline) const;
    void leave(Waiter &self);
    void wake_first();
    uint32_t count(State state) const;

    const SessionPlan plan_;
    Stats *const stats_;
    std::shared_ptr<Session> session_; // changed only while the device is lost and no lease is out

    std::mutex mutex_; // guards all below
    std::vector<State> slots_;
    Waiter *first_ = nullptr, *last_ = nullptr; // callers in line, on their own stacks
    bool lost_ = false;
    bool rebuilding_ = false;
    uint64_t rebuilds_ = 0; // attempts that ended
    int32_t rebuild_status_ = YQ_OK;
    std::string rebuild_text_;
    std::thread rebuilder_;
};

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
// Threads that run a session's requests, one for each slot, for SDKs whose calls block: a device that hangs holds that
// thread and no caller.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "module.h"

namespace yqb {

class Workers {
public:
    // Runs the slot's request with its first `count` pictures, on the slot's own thread; throws what failed.
    using Run = std::function<void(uint32_t slot, uint32_t count)>;

    Workers(uint32_t slots, uint32_t batch, Run run) : batch_(batch), run_(std::move(run)) {
        for (uint32_t i = 0; i < slots; ++i) slots_.push_back(std::make_unique<Slot>());
        try {
            for (uint32_t i = 0; i < slots; ++i) slots_[i]->thread = std::thread([this, i] { work(i); });
        } catch (...) {
            end();
            throw;
        }
    }
    ~Workers() { end(); } // a request that runs ends when the SDK ends it
    Workers(const Workers &) = delete;
    Workers &operator=(const Workers &) = delete;

    // YQB_OK, unless there is no such slot or the device is lost.
    int32_t check(uint32_t slot, yqb_error *error) const {
        if (slot >= slots_.size()) return report(error, YQB_EINVAL, "there is no slot %u", slot);
        if (lost_) return report(error, YQB_EDEVICE, "the device is lost: %s", lost_error_.text);
        return YQB_OK;
    }

    int32_t submit(uint32_t index, uint32_t count, yqb_error *error) {
        if (const int32_t status = check(index, error)) return status;
        if (count < 1 || count > batch_)
            return report(error, YQB_EINVAL, "%u pictures do not fit a batch of %u", count, batch_);
        Slot &slot = *slots_[index];
        {
            const std::lock_guard<std::mutex> lock(slot.mutex);
            if (slot.state != State::idle) return report(error, YQB_EINVAL, "slot %u still runs a request", index);
            slot.state = State::queued;
            slot.finished = false;
            slot.count = count;
        }
        slot.changed.notify_all();
        return YQB_OK;
    }

    int32_t wait(uint32_t index, int64_t timeout_us, yqb_error *error) {
        if (const int32_t status = check(index, error)) return status;
        Slot &slot = *slots_[index];
        std::unique_lock<std::mutex> lock(slot.mutex);
        if (slot.state == State::idle) return report(error, YQB_EINVAL, "slot %u runs no request", index);
        const auto ready = [&] { return slot.state == State::done || lost_; };
        const int64_t century_us = int64_t{100} * 365 * 24 * 3600 * 1000000; // more overflows the clock
        if (timeout_us < 0)
            slot.changed.wait(lock, ready);
        else if (!slot.changed.wait_for(lock, std::chrono::microseconds(std::min(timeout_us, century_us)), ready))
            return report(error, YQB_ETIMEOUT, "the request is still running");
        if (const int32_t status = check(index, error)) return status;
        slot.state = State::idle;
        slot.finished = slot.result == YQB_OK;
        return slot.finished ? YQB_OK : report(error, slot.result, "%s", slot.error.text);
    }

    // YQB_OK if the slot's last request was given back and had worked.
    int32_t check_finished(uint32_t index, yqb_error *error) const {
        if (const int32_t status = check(index, error)) return status;
        if (!slots_[index]->finished) return report(error, YQB_EINVAL, "slot %u has no finished request", index);
        return YQB_OK;
    }

private:
    enum class State { idle, queued, done };

    struct Slot {
        std::mutex mutex;
        std::condition_variable changed;
        State state = State::idle;
        bool stop = false, finished = false;
        uint32_t count = 0;
        int32_t result = YQB_OK;
        yqb_error error = {};
        std::thread thread;
    };

    void work(uint32_t index) {
        Slot &slot = *slots_[index];
        std::unique_lock<std::mutex> lock(slot.mutex);
        for (;;) {
            slot.changed.wait(lock, [&] { return slot.stop || slot.state == State::queued; });
            if (slot.stop) return;
            lock.unlock();
            yqb_error error = {};
            const int32_t result = guarded(&error, [&] { run_(index, slot.count); });
            if (result == YQB_EDEVICE) lose(error);
            lock.lock();
            slot.result = result;
            slot.error = error;
            slot.state = State::done;
            slot.changed.notify_all();
        }
    }

    // The first failure that lost the device is what every later call reports.
    void lose(const yqb_error &why) {
        {
            const std::lock_guard<std::mutex> lock(losing_);
            if (lost_) return;
            lost_error_ = why;
            lost_ = true;
        }
        for (const auto &slot : slots_) {
            { const std::lock_guard<std::mutex> lock(slot->mutex); } // a waiter sees `lost_` or the notice
            slot->changed.notify_all();
        }
    }

    void end() {
        for (const auto &slot : slots_) {
            {
                const std::lock_guard<std::mutex> lock(slot->mutex);
                slot->stop = true;
            }
            slot->changed.notify_all();
        }
        for (const auto &slot : slots_)
            if (slot->thread.joinable()) slot->thread.join();
    }

    const uint32_t batch_;
    const Run run_;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::mutex losing_;
    std::atomic<bool> lost_{false};
    yqb_error lost_error_ = {}; // set before `lost_`
};

} // namespace yqb

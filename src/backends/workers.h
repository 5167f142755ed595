// SPDX-License-Identifier: Apache-2.0
// Threads that run a session's requests, one for each slot, for SDKs whose calls block: a device that hangs holds that
// thread and no caller.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "module.h"

namespace yqb {

// What the core writes into.
struct Room {
    void *data;
    uint64_t bytes;
};

// What the threads do. run and begin may throw what failed; YQB_EDEVICE from run loses the device for all of them.
struct Job {
    // The slot's request with its first `count` pictures. `stop` becomes true when the session ends.
    std::function<void(uint32_t slot, uint32_t count, const std::atomic<bool> &stop)> run;
    // Makes what the slot's thread owns, before the first request; and ends it, whether or not it was made.
    std::function<void(uint32_t slot)> begin = [](uint32_t) {}, end = [](uint32_t) {};
    // What to say before the reason when the device is lost.
    std::function<std::string()> alarm = [] { return std::string(); };
};

class Workers {
public:
    // Starts the threads one after another; throws what their beginning threw.
    Workers(uint32_t slots, uint32_t batch, Job job) : batch_(batch), job_(std::move(job)) {
        for (uint32_t i = 0; i < slots; ++i) slots_.push_back(std::make_unique<Slot>());
        try {
            for (uint32_t i = 0; i < slots; ++i) begin(i);
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
        return check_device(error);
    }
    int32_t check_device(yqb_error *error) const {
        return lost_ ? report(error, YQB_EDEVICE, "the device is lost: %s", lost_error_.text) : YQB_OK;
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
    enum class State { queued, done, idle }; // a slot begins with its beginning queued

    struct Slot {
        std::mutex mutex;
        std::condition_variable changed;
        State state = State::queued;
        std::atomic<bool> stop{false};
        bool finished = false;
        uint32_t count = 0;
        int32_t result = YQB_OK;
        yqb_error error = {};
        std::thread thread;
    };

    void begin(uint32_t index) {
        Slot &slot = *slots_[index];
        slot.thread = std::thread([this, index] { work(index); });
        std::unique_lock<std::mutex> lock(slot.mutex);
        slot.changed.wait(lock, [&] { return slot.state == State::done; });
        if (slot.result != YQB_OK) throw Failure{slot.result, slot.error.text};
        slot.state = State::idle;
    }

    void work(uint32_t index) {
        Slot &slot = *slots_[index];
        yqb_error error = {};
        const int32_t begun = guarded(&error, [&] { job_.begin(index); });
        finish(slot, begun, error);
        while (begun == YQB_OK && next(slot)) {
            error = {};
            const int32_t result = guarded(&error, [&] { job_.run(index, slot.count, slot.stop); });
            if (result == YQB_EDEVICE) lose(error);
            finish(slot, result, error);
        }
        job_.end(index);
    }

    // Waits for a request; false: there will be none.
    static bool next(Slot &slot) {
        std::unique_lock<std::mutex> lock(slot.mutex);
        slot.changed.wait(lock, [&] { return slot.stop || slot.state == State::queued; });
        return !slot.stop;
    }

    static void finish(Slot &slot, int32_t result, const yqb_error &error) {
        {
            const std::lock_guard<std::mutex> lock(slot.mutex);
            slot.result = result;
            slot.error = error;
            slot.state = State::done;
        }
        slot.changed.notify_all();
    }

    // The first failure that lost the device is what every later call reports.
    void lose(const yqb_error &why) {
        const std::string alarm = job_.alarm();
        {
            const std::lock_guard<std::mutex> lock(losing_);
            if (lost_) return;
            report(&lost_error_, YQB_EDEVICE, "%s%s", alarm.c_str(), why.text);
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
    const Job job_;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::mutex losing_;
    std::atomic<bool> lost_{false};
    yqb_error lost_error_ = {}; // set before `lost_`
};

// The calls of a module's table that are the same for every session with workers. Session has `workers`, and
// input(slot), a Room, output(slot, index), a yqb_view, and outputs(), their count.
template <typename Session> struct SlotCalls {
    static int32_t YQB_CALL input(Session *session, uint32_t slot, void **data, uint64_t *bytes, yqb_error *error) {
        if (const int32_t status = check(session, slot, error)) return status;
        const Room room = session->input(slot);
        *data = room.data;
        *bytes = room.bytes;
        return YQB_OK;
    }
    static int32_t YQB_CALL submit(Session *session, uint32_t slot, uint32_t count, yqb_error *error) {
        if (const int32_t status = check(session, slot, error)) return status;
        return session->workers->submit(slot, count, error);
    }
    static int32_t YQB_CALL wait(Session *session, uint32_t slot, int64_t timeout_us, yqb_error *error) {
        if (const int32_t status = check(session, slot, error)) return status;
        return session->workers->wait(slot, timeout_us, error);
    }
    static int32_t YQB_CALL output(Session *session, uint32_t slot, uint32_t index, yqb_view *out, yqb_error *error) {
        if (const int32_t status = check(session, slot, error)) return status;
        if (index >= session->outputs()) return report(error, YQB_EINVAL, "there is no output %u", index);
        if (const int32_t status = session->workers->check_finished(slot, error)) return status;
        *out = session->output(slot, index);
        return YQB_OK;
    }

private:
    static int32_t check(const Session *session, uint32_t slot, yqb_error *error) {
        return session ? session->workers->check(slot, error) : report(error, YQB_EINVAL, "there is no session");
    }
};

} // namespace yqb

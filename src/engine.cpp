// SPDX-License-Identifier: Apache-2.0
#include "engine.h"

#include <algorithm>
#include <system_error>

#include "log.h"
#include "status.h"

namespace yq {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds poll_pause{2};      // between looks at requests in quarantine
constexpr milliseconds long_pause{60'000}; // a wait that only a wake-up or the deadline ends
constexpr uint32_t farewell_ms = 2000;     // for requests in quarantine when the detector ends

} // namespace

// A caller in line. Only the first in line takes slots, polls, and starts a recovery.
struct Engine::Waiter {
    std::condition_variable wake;
    Waiter *next = nullptr;
};

Engine::Engine(const SessionPlan &plan, Stats *stats) : plan_(plan), stats_(stats), slots_(plan.streams, State::free) {}

int32_t Engine::create(const SessionPlan &plan, Stats *stats, std::unique_ptr<Engine> *out) {
    std::unique_ptr<Engine> engine(new Engine(plan, stats));
    YQ_TRY(Session::create(plan, &engine->session_));
    *out = std::move(engine);
    return YQ_OK;
}

Engine::~Engine() {
    if (rebuilder_.joinable()) rebuilder_.join();
    const Deadline farewell(farewell_ms);
    std::unique_lock<std::mutex> lock(mutex_);
    while (!lost_ && count(State::quarantined) > 0 && !farewell.passed())
        if (!poll_quarantine(lock)) {
            lock.unlock();
            std::this_thread::sleep_for(poll_pause);
            lock.lock();
        }
    const uint32_t stuck = lost_ ? 0 : count(State::quarantined);
    lock.unlock();
    if (stuck == 0) return;
    // Ending the session might wait for ever for what the device still holds, so the host does not wait for it.
    log(YQ_LOG_ERROR, "%u request(s) never came back from the device; their session ends in the background", stuck);
    try {
        std::thread([session = std::move(session_)]() mutable { session.reset(); }).detach();
    } catch (const std::system_error &) {} // no thread to be had: end it here
}

uint32_t Engine::count(State state) const {
    return static_cast<uint32_t>(std::count(slots_.begin(), slots_.end(), state));
}

bool Engine::take_free(uint32_t *slot) {
    const auto found = std::find(slots_.begin(), slots_.end(), State::free);
    if (lost_ || found == slots_.end()) return false;
    *found = State::busy;
    *slot = static_cast<uint32_t>(found - slots_.begin());
    return true;
}

bool Engine::try_acquire(uint32_t *slot) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return !first_ && take_free(slot);
}

void Engine::wake_first() {
    if (first_) first_->wake.notify_one();
}

// Takes `self` out of the line.
void Engine::leave(Waiter &self) {
    Waiter **link = &first_;
    Waiter *before = nullptr;
    while (*link != &self) {
        before = *link;
        link = &before->next;
    }
    *link = self.next;
    if (last_ == &self) last_ = before;
    wake_first();
}

int32_t Engine::acquire(const Deadline &deadline, uint32_t *slot) {
    std::unique_lock<std::mutex> lock(mutex_);
    Waiter self;
    (last_ ? last_->next : first_) = &self;
    last_ = &self;
    int32_t status = YQ_OK;
    bool poll = true; // first of all, even if a stream is free: else one in quarantine might never serve again
    for (bool done = false; !done;) {
        if (first_ != &self) {
            self.wake.wait_until(lock, deadline.soonest(long_pause));
        } else if (lost_) {
            status = recover(lock, self, deadline);
            done = status != YQ_OK;
        } else if (poll && count(State::quarantined) > 0) {
            poll = false;
            poll_quarantine(lock);
        } else if (take_free(slot)) {
            done = true;
        } else {
            poll = true;
            self.wake.wait_until(lock, deadline.soonest(count(State::quarantined) > 0 ? poll_pause : long_pause));
        }
        if (!done && deadline.passed()) {
            status = timeout_reason(deadline);
            done = true;
        }
    }
    leave(self);
    return status;
}

int32_t Engine::timeout_reason(const Deadline &deadline) const {
    const uint32_t held = count(State::quarantined) + count(State::polled);
    if (lost_) return fail(YQ_ETIMEOUT, "the device is lost and did not come back within %u ms", deadline.timeout_ms());
    if (held == slots_.size())
        return fail(YQ_ETIMEOUT,
                    "no stream became free within %u ms: the device still holds %u request(s) that timed out",
                    deadline.timeout_ms(), held);
    return fail(YQ_ETIMEOUT, "no stream became free within %u ms (%zu configured): raise streams or timeout_ms",
                deadline.timeout_ms(), slots_.size());
}

// Asks the device for requests in quarantine, without holding up others. True if one came back.
bool Engine::poll_quarantine(std::unique_lock<std::mutex> &lock) {
    bool freed = false;
    for (size_t i = 0; i < slots_.size(); ++i) {
        if (slots_[i] != State::quarantined) continue;
        slots_[i] = State::polled;
        lock.unlock();
        const int32_t status = session_->wait(static_cast<uint32_t>(i), 0);
        if (status == YQ_EDEVICE) device_lost();
        lock.lock();
        slots_[i] = status == YQ_ETIMEOUT ? State::quarantined : State::free;
        freed |= status != YQ_ETIMEOUT;
    }
    return freed;
}

// Logs, so it must not be called with the mutex held: the host's callback may ask this detector something.
void Engine::device_lost() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (lost_) return;
        lost_ = true;
    }
    ++stats_->device_lost;
    log(YQ_LOG_ERROR, "the device was lost; the next call tries to bring it back");
}

void Engine::release(uint32_t slot) {
    const std::lock_guard<std::mutex> lock(mutex_);
    slots_[slot] = slots_[slot] == State::timed_out ? State::quarantined : State::free;
    wake_first();
}

int32_t Engine::submit(uint32_t slot, uint32_t count) {
    const int32_t status = session_->submit(slot, count);
    if (status == YQ_EDEVICE) device_lost();
    return status;
}

int32_t Engine::collect(uint32_t slot, const Deadline &deadline, const void **tensors) {
    int32_t status = session_->wait(slot, deadline.left_us());
    if (status == YQ_OK) status = session_->outputs(slot, tensors);
    if (status == YQ_EDEVICE) device_lost();
    if (status != YQ_ETIMEOUT) return status;
    const std::lock_guard<std::mutex> lock(mutex_);
    slots_[slot] = State::timed_out;
    return fail(YQ_ETIMEOUT, "the device did not finish within %u ms", deadline.timeout_ms());
}

// Waits for a rebuild of the session, starting one if none runs. The rebuild has a thread of its own, so that a device
// that hangs cannot hold the caller past its deadline. YQ_OK: look again.
int32_t Engine::recover(std::unique_lock<std::mutex> &lock, Waiter &self, const Deadline &deadline) {
    if (count(State::busy) + count(State::timed_out) + count(State::polled) > 0) { // their calls end by themselves
        self.wake.wait_until(lock, deadline.soonest(long_pause));
        return YQ_OK;
    }
    if (!rebuilding_) {
        if (rebuilder_.joinable()) rebuilder_.join(); // has ended: rebuilding_ is its last word
        try {
            rebuilder_ = std::thread([this] { rebuild(); });
        } catch (const std::system_error &error) {
            return fail(YQ_ENOMEM, "the device is lost and no thread can be made to bring it back: %s", error.what());
        }
        rebuilding_ = true; // the thread needs the mutex, held here, to end
    }
    const uint64_t seen = rebuilds_;
    while (rebuilding_ && !deadline.passed()) self.wake.wait_until(lock, deadline.soonest(long_pause));
    if (rebuilds_ == seen || rebuild_status_ == YQ_OK) return YQ_OK;
    return fail(YQ_EDEVICE, "the device is lost and could not be brought back: %s", rebuild_text_.c_str());
}

void Engine::rebuild() {
    session_.reset();
    std::shared_ptr<Session> session;
    int32_t status = YQ_EINTERNAL;
    try {
        status = Session::create(plan_, &session);
    } catch (const std::exception &error) { status = fail(YQ_ENOMEM, "%s", error.what()); }
    if (status == YQ_OK) log(YQ_LOG_INFO, "the device is back");
    const std::lock_guard<std::mutex> lock(mutex_);
    session_ = std::move(session);
    rebuild_status_ = status;
    rebuild_text_ = status == YQ_OK ? "" : last_error();
    ++rebuilds_;
    rebuilding_ = false;
    if (status == YQ_OK) {
        lost_ = false;
        std::fill(slots_.begin(), slots_.end(), State::free); // what was in quarantine went with the old session
        ++stats_->device_recovered;
    }
    wake_first();
}

void Engine::read(uint32_t *busy, uint32_t *quarantined, yqb_health *health) {
    std::shared_ptr<Session> session; // keeps it while the device answers, outside the mutex
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        *busy = count(State::busy) + count(State::timed_out);
        *quarantined = count(State::quarantined) + count(State::polled);
        if (!lost_) session = session_;
    }
    *health = session ? session->health() : unknown_health();
}

} // namespace yq

// SPDX-License-Identifier: Apache-2.0
// Backend "ascend": a package's .om models on an Ascend 310P, 310B or 910B, through AscendCL.
//
// Options (backend_options of the package): soc, the chip that the models were compiled for, such as "Ascend310P3"; it
// makes the error of a model that does not load say so.
//
// A model has fixed shapes, one uint8 NHWC input (as its static AIPP or its graph takes it) and outputs found by name.
// A package may have one model for each of several batch sizes: a request takes the smallest that holds its pictures.
//
// Each slot has a thread and, made and ended by it, a lane: a context, a stream, the models and the memory. The thread
// copies in, executes and copies out in the stream and waits for it, so that a device that hangs holds that thread and
// no caller; what the core writes and reads is pinned memory, made once.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <thread>

#include "ascend_health.h"
#include "ascend_lane.h"
#include "module.h"

using yqb::Failure;
using yqb::report;

namespace {

// ------------------------------------------------------------------------------------------------------------- slots

enum class State { queued, done, idle }; // a slot begins with the making of its lane queued

struct Slot {
    std::unique_ptr<ascend::Lane> lane; // its thread's; other threads read its buffers' addresses
    std::mutex mutex;
    std::condition_variable changed;
    State state = State::queued;
    std::atomic<bool> stop{false};
    bool finished = false;
    uint32_t count = 0;
    int32_t result = YQB_OK;
    yqb_error error = {};
    std::thread worker;
};

} // namespace

struct yqb_session {
    yqb_session(const ascend::Runtime &of, const yqb_config &config)
        : runtime(of), device(ascend::device_index(of, config.device)), batch(config.batch),
          input_bytes(yqb::tensor_bytes(*config.input)) {
        for (uint32_t i = 0; i < config.output_count; ++i) output_bytes.push_back(yqb::tensor_bytes(config.outputs[i]));
        for (uint32_t i = 0; i < config.slots; ++i) slots.push_back(std::make_unique<Slot>());
    }
    ~yqb_session() {
        for (const auto &slot : slots) {
            {
                const std::lock_guard<std::mutex> lock(slot->mutex);
                slot->stop = true;
            }
            slot->changed.notify_all();
        }
        for (const auto &slot : slots)
            if (slot->worker.joinable()) slot->worker.join(); // a request that runs ends when the SDK ends it
    }

    const ascend::Runtime &runtime;
    const int32_t device;
    const uint32_t batch;
    const uint64_t input_bytes;
    std::vector<uint64_t> output_bytes; // by the package's order
    std::vector<std::unique_ptr<Slot>> slots;
    std::atomic<bool> lost{false};
    yqb_error lost_error = {}; // set before `lost`
};

namespace {

// The first failure that lost the device is what every later call reports.
void lose(yqb_session &session, const yqb_error &why) {
    static std::mutex mutex;
    const char *alarm = ascend::alarm(session.runtime, session.device);
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (session.lost) return;
        report(&session.lost_error, YQB_EDEVICE, "%s%s%s%s", *alarm ? "the driver reports " : "", alarm,
               *alarm ? "; " : "", why.text);
        session.lost = true;
    }
    for (const auto &slot : session.slots) {
        { const std::lock_guard<std::mutex> lock(slot->mutex); } // whoever is about to wait sees `lost` or the notice
        slot->changed.notify_all();
    }
}

void finish(Slot &slot, int32_t result, const yqb_error &error) {
    {
        const std::lock_guard<std::mutex> lock(slot.mutex);
        slot.result = result;
        slot.error = error;
        slot.state = State::done;
    }
    slot.changed.notify_all();
}

// The next request; false: there will be none.
bool next(Slot &slot) {
    std::unique_lock<std::mutex> lock(slot.mutex);
    slot.changed.wait(lock, [&] { return slot.stop || slot.state == State::queued; });
    return !slot.stop;
}

// A slot's thread. It ends the lane too: in the context that made it.
template <typename Make> void work(yqb_session &session, Slot &slot, Make make) {
    yqb_error error = {};
    const int32_t made = yqb::guarded(&error, [&] { slot.lane = make(); });
    finish(slot, made, error);
    while (made == YQB_OK && next(slot)) {
        const int32_t result = yqb::guarded(&error, [&] { slot.lane->run(slot.count, slot.stop); });
        if (result == YQB_EDEVICE) lose(session, error);
        finish(slot, result, error);
    }
    slot.lane.reset();
}

// ------------------------------------------------------------------------------------------------------------- table

// The chip that the package's options name; "" if they do not.
std::string read_options(const yqb_config &config) {
    std::string soc;
    for (uint32_t i = 0; i < config.option_count; ++i) {
        const std::string key = config.option_keys[i];
        if (key == "soc" || key == "ascend.soc")
            soc = config.option_values[i];
        else if (key.find('.') == std::string::npos || key.compare(0, 7, "ascend.") == 0)
            throw Failure{YQB_EINVAL, "the ascend backend has no option '" + key + "'; it has soc"};
    }
    return soc;
}

void warn_of_alarm(const yqb_session &session, const yqb_config &config) {
    const std::string alarm = ascend::alarm(session.runtime, session.device);
    if (alarm.empty() || !config.log) return;
    const std::string text = "the driver reports " + alarm + " on device " + std::to_string(session.device) +
                             ": look at npu-smi info -t health";
    config.log(config.log_user, 2, text.c_str());
}

// Starts the slots' threads and has each make its lane, one after another.
void start(yqb_session &session, const yqb_config &config, const std::vector<ascend::ModelFile> &files,
           const std::string &soc) {
    const auto make = [&] {
        return std::make_unique<ascend::Lane>(session.runtime, session.device, config, files, soc);
    };
    for (const auto &slot : session.slots) {
        slot->worker = std::thread([&session, slot = slot.get(), make] { work(session, *slot, make); });
        std::unique_lock<std::mutex> lock(slot->mutex);
        slot->changed.wait(lock, [&] { return slot->state == State::done; });
        if (slot->result != YQB_OK) throw Failure{slot->result, slot->error.text};
        slot->state = State::idle;
    }
}

const char *YQB_CALL sdk_version() {
    try {
        return ascend::runtime().version.c_str();
    } catch (...) { return ""; }
}

int32_t YQB_CALL probe(yqb_error *error) {
    return yqb::guarded(error, [] { ascend::device_count(ascend::runtime()); });
}

int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    if (!out) return report(error, YQB_EINVAL, "out is NULL");
    *out = nullptr;
    return yqb::guarded(error, [&] {
        yqb::check_config(config);
        const std::string soc = read_options(*config);
        const std::vector<ascend::ModelFile> files = ascend::model_files(*config);
        auto session = std::make_unique<yqb_session>(ascend::runtime(), *config);
        start(*session, *config, files, soc);
        warn_of_alarm(*session, *config);
        *out = session.release();
    });
}

void YQB_CALL session_destroy(yqb_session *session) {
    delete session;
}

int32_t report_lost(const yqb_session &session, yqb_error *error) {
    return report(error, YQB_EDEVICE, "the device is lost: %s", session.lost_error.text);
}

// YQB_OK and the slot, unless there is none or the device is lost.
int32_t find_slot(yqb_session *session, uint32_t slot, Slot **found, yqb_error *error) {
    if (!session || slot >= session->slots.size()) return report(error, YQB_EINVAL, "there is no slot %u", slot);
    if (session->lost) return report_lost(*session, error);
    *found = session->slots[slot].get();
    return YQB_OK;
}

int32_t YQB_CALL session_input(yqb_session *session, uint32_t slot, void **data, uint64_t *bytes, yqb_error *error) {
    Slot *found = nullptr;
    if (const int32_t status = find_slot(session, slot, &found, error)) return status;
    *data = found->lane->input();
    *bytes = session->input_bytes;
    return YQB_OK;
}

int32_t YQB_CALL submit(yqb_session *session, uint32_t slot, uint32_t count, yqb_error *error) {
    Slot *found = nullptr;
    if (const int32_t status = find_slot(session, slot, &found, error)) return status;
    if (count < 1 || count > session->batch)
        return report(error, YQB_EINVAL, "%u pictures do not fit a batch of %u", count, session->batch);
    {
        const std::lock_guard<std::mutex> lock(found->mutex);
        if (found->state != State::idle) return report(error, YQB_EINVAL, "slot %u still runs a request", slot);
        found->state = State::queued;
        found->finished = false;
        found->count = count;
    }
    found->changed.notify_all();
    return YQB_OK;
}

int32_t YQB_CALL wait(yqb_session *session, uint32_t slot, int64_t timeout_us, yqb_error *error) {
    Slot *found = nullptr;
    if (const int32_t status = find_slot(session, slot, &found, error)) return status;
    std::unique_lock<std::mutex> lock(found->mutex);
    if (found->state == State::idle) return report(error, YQB_EINVAL, "slot %u runs no request", slot);
    const auto ready = [&] { return found->state == State::done || session->lost; };
    const int64_t century_us = int64_t{100} * 365 * 24 * 3600 * 1000000; // more overflows the clock
    if (timeout_us < 0)
        found->changed.wait(lock, ready);
    else if (!found->changed.wait_for(lock, std::chrono::microseconds(std::min(timeout_us, century_us)), ready))
        return report(error, YQB_ETIMEOUT, "the request is still running");
    if (session->lost) return report_lost(*session, error);
    found->state = State::idle;
    found->finished = found->result == YQB_OK;
    return found->finished ? YQB_OK : report(error, found->result, "%s", found->error.text);
}

int32_t YQB_CALL output(yqb_session *session, uint32_t slot, uint32_t index, yqb_view *out, yqb_error *error) {
    Slot *found = nullptr;
    if (const int32_t status = find_slot(session, slot, &found, error)) return status;
    if (index >= session->output_bytes.size()) return report(error, YQB_EINVAL, "there is no output %u", index);
    if (!found->finished) return report(error, YQB_EINVAL, "slot %u has no finished request", slot);
    *out = {found->lane->output(index), session->output_bytes[index]};
    return YQB_OK;
}

int32_t YQB_CALL health(yqb_session *session, yqb_health *out, yqb_error *error) {
    if (!session || !out) return report(error, YQB_EINVAL, "an argument is NULL");
    if (session->lost) return report_lost(*session, error);
    return yqb::guarded(error, [&] {
        const yqb_health full = ascend::read_health(session->runtime, session->device);
        const uint32_t size = std::min<uint32_t>(out->size, sizeof full);
        std::memcpy(out, &full, size);
        out->size = size;
    });
}

} // namespace

extern "C" YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    // No letterbox: DVPP rounds differently from the host's. No profile: AscendCL writes one to files only.
    static const yqb_api api = {sizeof(yqb_api),
                                YQ_BACKEND_VERSION,
                                "ascend",
                                "ascend310p ascend310b ascend910b",
                                sdk_version,
                                probe,
                                session_create,
                                session_destroy,
                                session_input,
                                submit,
                                wait,
                                output,
                                health,
                                nullptr,
                                nullptr,
                                1};
    return core_version == YQ_BACKEND_VERSION ? &api : nullptr;
}

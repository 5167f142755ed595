// SPDX-License-Identifier: Apache-2.0
// Backend "dummy": raw heads out of nothing, for tests of everything around an engine. Taken only when asked for by
// name; runs any package.
//
// The heads hold candidates whose boxes overlap, in every role and element type, so that the real decode and NMS have
// work. They are a pure function of a sample of the input's bytes, and the same in every slot and session. A thread per
// slot plays the device.
//
// Options (backend_options; keys without "dummy." belong to other backends and are ignored):
//   dummy.candidates=N       candidates per picture, at least, as far as the head has room; default 256
//   dummy.delay_ms=N         time a request takes; default 0
//   dummy.hang_every=N       every Nth request of a session takes dummy.hang_ms (default 1000) instead
//   dummy.fail_every=N       every Nth request of a session ends with YQB_EBACKEND
//   dummy.lose_every=N       every Nth request ends with YQB_EDEVICE, counted over all sessions that have this option;
//                            then the session answers nothing else until it is destroyed
//   dummy.fail_create=N      session_create with this option fails N times with YQB_EDEVICE, then succeeds, and so on
//   dummy.fail_recreate=N    once a device was lost, the next N session_create with this option fail with YQB_EDEVICE
//   dummy.temperature_c, dummy.power_w, dummy.utilization_percent, dummy.memory_used, dummy.memory_total
//                            what `health` tells; default unknown

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <limits>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "dummy_heads.h"
#include "module.h"

using yqb::Failure;
using yqb::report;

namespace {

using Clock = std::chrono::steady_clock;

// ----------------------------------------------------------------------------------------------------------- options

struct Settings {
    uint64_t candidates = 256, delay_ms = 0, hang_every = 0, hang_ms = 1000, fail_every = 0, lose_every = 0;
    uint64_t fail_create = 0, fail_recreate = 0;
    uint64_t temperature_c = UINT64_MAX, power_w = UINT64_MAX, utilization_percent = UINT64_MAX;
    uint64_t memory_used = UINT64_MAX, memory_total = UINT64_MAX;
};

Settings parse_options(const yqb_config &config) {
    Settings settings;
    const uint64_t many = 1000000000, hour_ms = 3600000;
    struct Field {
        uint64_t *value;
        uint64_t low, high;
    };
    const std::map<std::string, Field> fields = {
        {"dummy.candidates", {&settings.candidates, 0, 1000000}},
        {"dummy.delay_ms", {&settings.delay_ms, 0, hour_ms}},
        {"dummy.hang_every", {&settings.hang_every, 1, many}},
        {"dummy.hang_ms", {&settings.hang_ms, 0, hour_ms}},
        {"dummy.fail_every", {&settings.fail_every, 1, many}},
        {"dummy.lose_every", {&settings.lose_every, 1, many}},
        {"dummy.fail_create", {&settings.fail_create, 0, many}},
        {"dummy.fail_recreate", {&settings.fail_recreate, 0, many}},
        {"dummy.temperature_c", {&settings.temperature_c, 0, 1000}},
        {"dummy.power_w", {&settings.power_w, 0, 10000}},
        {"dummy.utilization_percent", {&settings.utilization_percent, 0, 100}},
        {"dummy.memory_used", {&settings.memory_used, 0, uint64_t{1} << 50}},
        {"dummy.memory_total", {&settings.memory_total, 0, uint64_t{1} << 50}},
    };
    for (uint32_t i = 0; i < config.option_count; ++i) {
        const std::string key = config.option_keys[i];
        if (key.compare(0, 6, "dummy.") != 0) continue;
        const auto field = fields.find(key);
        if (field == fields.end()) throw Failure{YQB_EINVAL, "the dummy backend has no option '" + key + "'"};
        *field->second.value = yqb::parse_number(key, config.option_values[i], field->second.low, field->second.high);
    }
    return settings;
}

// Losses and failing creations outlive sessions, so they are counted here.
std::mutex counters_mutex;
uint64_t lose_requests = 0, failed_creates = 0, recreate_failures = 0;

// Whether this request loses the device.
bool draw_loss(const Settings &settings) {
    if (!settings.lose_every) return false;
    const std::lock_guard<std::mutex> lock(counters_mutex);
    if (++lose_requests % settings.lose_every != 0) return false;
    recreate_failures = settings.fail_recreate;
    return true;
}

void draw_create_failure(const Settings &settings) {
    const std::lock_guard<std::mutex> lock(counters_mutex);
    if (settings.fail_recreate && recreate_failures) {
        --recreate_failures;
        throw Failure{YQB_EDEVICE, "the dummy device is still lost (dummy.fail_recreate)"};
    }
    if (settings.fail_create && failed_creates++ < settings.fail_create)
        throw Failure{YQB_EDEVICE, "the dummy device does not answer (dummy.fail_create)"};
    if (settings.fail_create) failed_creates = 0;
}

// ------------------------------------------------------------------------------------------------------------- slots

enum class State { idle, queued, done };

struct Slot {
    std::vector<yqb::Buffer> buffers; // the input, then the outputs
    std::mutex mutex;
    std::condition_variable changed;
    State state = State::idle;
    bool stop = false, finished = false;
    uint32_t count = 0;
    uint64_t number = 0; // of the request in its session, from 1
    int32_t result = YQB_OK;
    std::thread device;
};

} // namespace

struct yqb_session {
    Settings settings;
    uint32_t batch = 1;
    yqb_tensor input;
    std::vector<dummy::Head> heads;
    std::vector<Slot> slots;
    std::atomic<bool> lost{false};
    std::atomic<uint64_t> requests{0};

    ~yqb_session() {
        for (Slot &slot : slots) {
            {
                const std::lock_guard<std::mutex> lock(slot.mutex);
                slot.stop = true;
            }
            slot.changed.notify_all();
            if (slot.device.joinable()) slot.device.join();
        }
    }
};

namespace {

void draw(const yqb_session &session, Slot &slot) {
    const uint64_t picture_bytes = slot.buffers[0].bytes / session.batch;
    for (uint32_t picture = 0; picture < slot.count; ++picture) {
        const uint64_t hash = dummy::hash_picture(slot.buffers[0].data.get() + picture * picture_bytes, picture_bytes);
        for (size_t i = 0; i < session.heads.size(); ++i) {
            const dummy::Head &head = session.heads[i];
            uint8_t *data = slot.buffers[i + 1].data.get() + slot.buffers[i + 1].bytes / session.batch * picture;
            dummy::draw(head, hash, session.input, data);
        }
    }
}

int32_t run_request(yqb_session &session, Slot &slot) {
    if (session.settings.fail_every && slot.number % session.settings.fail_every == 0) return YQB_EBACKEND;
    if (draw_loss(session.settings)) return YQB_EDEVICE;
    draw(session, slot);
    return YQB_OK;
}

void lose(yqb_session &session) {
    session.lost = true;
    for (Slot &slot : session.slots) {
        { const std::lock_guard<std::mutex> lock(slot.mutex); } // whoever is about to wait sees `lost` or the notice
        slot.changed.notify_all();
    }
}

// The device's side of a slot. The input is read at the end of the delay, so that a host that reuses it early is seen.
void device_loop(yqb_session &session, Slot &slot) {
    const Settings &settings = session.settings;
    std::unique_lock<std::mutex> lock(slot.mutex);
    for (;;) {
        slot.changed.wait(lock, [&] { return slot.stop || slot.state == State::queued; });
        if (slot.stop) return;
        const bool hangs = settings.hang_every && slot.number % settings.hang_every == 0;
        const uint64_t delay_ms = hangs ? settings.hang_ms : settings.delay_ms;
        if (delay_ms) {
            const auto end = Clock::now() + std::chrono::milliseconds(delay_ms);
            slot.changed.wait_until(lock, end, [&] { return slot.stop || session.lost; });
        }
        if (slot.stop) return;
        lock.unlock();
        const int32_t result = session.lost ? YQB_EDEVICE : run_request(session, slot);
        if (result == YQB_EDEVICE) lose(session);
        lock.lock();
        slot.result = result;
        slot.state = State::done;
        slot.changed.notify_all();
    }
}

// ------------------------------------------------------------------------------------------------------------- table

const char *YQB_CALL sdk_version() {
    return "dummy 1";
}

int32_t YQB_CALL probe(yqb_error *) {
    return YQB_OK;
}

int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    if (!out) return report(error, YQB_EINVAL, "out is NULL");
    *out = nullptr;
    return yqb::guarded(error, [&] {
        yqb::check_config(config);
        if (std::strcmp(config->device, "0") != 0)
            throw Failure{YQB_EINVAL,
                          "the dummy is device 0; there is no device '" + std::string(config->device) + "'"};
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(std::filesystem::u8path(config->artifact), ignored))
            throw Failure{YQB_ENOTFOUND, std::string("there is no file ") + config->artifact};
        const Settings settings = parse_options(*config);
        draw_create_failure(settings);

        auto session = std::make_unique<yqb_session>();
        session->settings = settings;
        session->batch = config->batch;
        session->input = *config->input;
        session->input.name = nullptr; // borrowed
        for (uint32_t i = 0; i < config->output_count; ++i)
            session->heads.push_back(dummy::describe(config->outputs[i], *config));
        dummy::share_candidates(session->heads, settings.candidates);
        session->slots = std::vector<Slot>(config->slots);
        for (Slot &slot : session->slots) {
            slot.buffers.emplace_back(yqb::tensor_bytes(*config->input));
            for (uint32_t i = 0; i < config->output_count; ++i) {
                slot.buffers.emplace_back(yqb::tensor_bytes(config->outputs[i]));
                for (uint32_t picture = 0; picture < config->batch; ++picture)
                    dummy::prepare(session->heads[i], *config->input,
                                   slot.buffers[i + 1].data.get() +
                                       slot.buffers[i + 1].bytes / config->batch * picture);
            }
            slot.device = std::thread(device_loop, std::ref(*session), std::ref(slot));
        }
        *out = session.release();
    });
}

void YQB_CALL session_destroy(yqb_session *session) {
    delete session;
}

int32_t report_lost(yqb_error *error) {
    return report(error, YQB_EDEVICE, "the dummy device is lost (dummy.lose_every)");
}

// YQB_OK and the slot, unless there is none or the device is lost.
int32_t find_slot(yqb_session *session, uint32_t slot, Slot **found, yqb_error *error) {
    if (!session || slot >= session->slots.size()) return report(error, YQB_EINVAL, "there is no slot %u", slot);
    if (session->lost) return report_lost(error);
    *found = &session->slots[slot];
    return YQB_OK;
}

int32_t YQB_CALL session_input(yqb_session *session, uint32_t slot, void **data, uint64_t *bytes, yqb_error *error) {
    Slot *found = nullptr;
    if (const int32_t status = find_slot(session, slot, &found, error)) return status;
    *data = found->buffers[0].data.get();
    *bytes = found->buffers[0].bytes;
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
        found->number = ++session->requests;
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
    if (session->lost) return report_lost(error);
    found->state = State::idle;
    found->finished = found->result == YQB_OK;
    if (found->finished) return YQB_OK;
    return report(error, found->result, "the dummy device failed on request %llu (dummy.fail_every)",
                  static_cast<unsigned long long>(found->number));
}

int32_t YQB_CALL output(yqb_session *session, uint32_t slot, uint32_t index, yqb_view *out, yqb_error *error) {
    Slot *found = nullptr;
    if (const int32_t status = find_slot(session, slot, &found, error)) return status;
    if (index >= session->heads.size()) return report(error, YQB_EINVAL, "there is no output %u", index);
    if (!found->finished) return report(error, YQB_EINVAL, "slot %u has no finished request", slot);
    const yqb::Buffer &buffer = found->buffers[index + 1];
    *out = {buffer.data.get(), buffer.bytes};
    return YQB_OK;
}

int32_t YQB_CALL health(yqb_session *session, yqb_health *out, yqb_error *error) {
    if (!session || !out) return report(error, YQB_EINVAL, "an argument is NULL");
    if (session->lost) return report_lost(error);
    const auto reading = [](uint64_t value) {
        return value == UINT64_MAX ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(value);
    };
    const Settings &settings = session->settings;
    const yqb_health full = {sizeof(yqb_health),        reading(settings.temperature_c),
                             reading(settings.power_w), reading(settings.utilization_percent),
                             settings.memory_used,      settings.memory_total};
    const uint32_t size = std::min<uint32_t>(out->size, sizeof full);
    std::memcpy(out, &full, size);
    out->size = size;
    return YQB_OK;
}

} // namespace

extern "C" YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    static const yqb_api api = {sizeof(yqb_api), YQ_BACKEND_VERSION, "dummy", "*",  sdk_version, probe,  session_create,
                                session_destroy, session_input,      submit,  wait, output,      health, nullptr,
                                nullptr};
    return core_version == YQ_BACKEND_VERSION ? &api : nullptr;
}

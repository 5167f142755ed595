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

#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <limits>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

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
        *field->second.value =
            yqb::parse_number(key, config.option_values[i], field->second.low, field->second.high);
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

// ------------------------------------------------------------------------------------------------------------- heads

// Real values. As a logit or as a probability, a candidate's score (0.5 to 0.99) passes usual thresholds and kNone does
// not. kReach makes boxes some cells wide in every box form: neighbours overlap by an IoU of about 0.7.
constexpr float kNone = -8.0f, kReach = 3.2f;

uint64_t mix(uint64_t value) { // a full-avalanche mixer (the finaliser of SplitMix64)
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

// From 0 to 1, by the picture and a place in it.
float noise(uint64_t hash, uint64_t place) {
    return static_cast<float>(mix(hash + 0x9E3779B97F4A7C15u * (place + 1)) >> 40) * (1.0f / 16777216.0f);
}

// Of 4096 bytes spread over the picture, and its last one.
uint64_t hash_picture(const uint8_t *pixels, uint64_t bytes) {
    const uint64_t step = bytes / 4096 + 1;
    uint64_t hash = mix(bytes) ^ pixels[bytes - 1];
    for (uint64_t i = 0; i < bytes; i += step) hash = (hash ^ pixels[i]) * 0x100000001B3u;
    return mix(hash);
}

uint16_t to_half(float value) { // round to nearest; out of range becomes 0 or the largest half
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
    const int32_t rounded = static_cast<int32_t>((bits & 0x7FFFFFFFu) + 0x1000u) - (112 << 23);
    if (rounded < (1 << 23)) return sign;
    return static_cast<uint16_t>(sign | std::min(rounded >> 13, 0x7BFF));
}

// An output and how its elements are laid out: channels in one axis, cells in the others.
struct Head {
    int32_t role, dtype, zero_point;
    float scale;
    uint64_t channels = 1, cells = 1, inner = 1; // per picture; inner: elements after the channel axis
    uint64_t elements = 1;                       // per picture
    uint64_t candidates = 0;                     // per picture: scores, cells or rows, by role
    bool pixels = false;                         // boxes are decoded already, in input pixels

    uint64_t index(uint64_t channel, uint64_t cell) const {
        return (cell / inner * channels + channel) * inner + cell % inner;
    }
};

// The package does not tell modules the channel axis: it is the one that leaves a grid of the input's proportions, or
// of two axes the shorter.
int32_t channel_axis(const yqb_tensor &tensor, const yqb_tensor &input) {
    const int32_t last = tensor.rank - 1;
    if (tensor.rank <= 2 || tensor.role == YQB_ROLE_END2END) return last;
    if (tensor.rank == 3) return tensor.dims[1] <= tensor.dims[2] ? 1 : 2;
    const bool grid_last = tensor.dims[last - 1] * input.dims[2] == tensor.dims[last] * input.dims[1];
    return grid_last ? last - 2 : last;
}

Head describe(const yqb_tensor &tensor, const yqb_config &config) {
    if (tensor.role < YQB_ROLE_BOX || tensor.role > YQB_ROLE_END2END)
        throw Failure{YQB_EINVAL, "tensor '" + std::string(tensor.name) + "' has an unknown role"};
    Head head{tensor.role, tensor.dtype, tensor.zero_point, tensor.scale};
    const int32_t axis = channel_axis(tensor, *config.input);
    head.elements = yqb::element_count(tensor) / config.batch;
    if (axis > 0) head.channels = static_cast<uint64_t>(tensor.dims[axis]);
    for (int32_t i = axis + 1; i < tensor.rank; ++i) head.inner *= static_cast<uint64_t>(tensor.dims[i]);
    head.cells = head.elements / head.channels;
    head.pixels = tensor.role == YQB_ROLE_COMBINED && config.output_count == 1 && tensor.rank == 3;
    if (tensor.role == YQB_ROLE_END2END && head.channels != 6)
        throw Failure{YQB_EPACKAGE, "tensor '" + std::string(tensor.name) + "' must have rows of 6"};
    return head;
}

uint64_t capacity(const Head &head) {
    if (head.role == YQB_ROLE_SCORE) return head.elements;
    return head.role == YQB_ROLE_COMBINED || head.role == YQB_ROLE_END2END ? head.cells : 0;
}

// Shares the candidates out, from the last level (the smallest) to the first, so that none is left over.
void share_candidates(std::vector<Head> &heads, uint64_t wanted) {
    uint64_t takers = 0;
    for (const Head &head : heads) takers += capacity(head) > 0;
    for (size_t i = heads.size(); i-- > 0;) {
        if (capacity(heads[i]) == 0) continue;
        heads[i].candidates = std::min(capacity(heads[i]), (wanted + takers - 1) / takers);
        wanted -= std::min(wanted, heads[i].candidates);
        --takers;
    }
}

void store(const Head &head, uint8_t *data, uint64_t index, float value) {
    if (head.dtype == YQB_FLOAT32) {
        std::memcpy(data + index * 4, &value, 4);
    } else if (head.dtype == YQB_FLOAT16) {
        const uint16_t half = to_half(value);
        std::memcpy(data + index * 2, &half, 2);
    } else {
        const bool is_signed = head.dtype == YQB_INT8;
        const float raw = std::nearbyint(head.scale > 0 ? value / head.scale : value) + static_cast<float>(head.zero_point);
        const float low = is_signed ? -128.0f : 0.0f, high = is_signed ? 127.0f : 255.0f;
        data[index] = static_cast<uint8_t>(static_cast<int32_t>(std::min(std::max(raw, low), high)));
    }
}

// What no picture changes.
void prepare(const Head &head, uint8_t *data) {
    for (uint64_t cell = 0; cell < head.cells; ++cell)
        for (uint64_t channel = 0; channel < head.channels; ++channel) {
            float value = kNone;
            if (head.role == YQB_ROLE_BOX) value = kReach;
            if (head.role == YQB_ROLE_OBJECTNESS) value = 0.99f;
            if (head.role == YQB_ROLE_END2END) value = 0.0f;
            store(head, data, head.index(channel, cell), value);
        }
}

// Runs of neighbouring cells, a class after the other.
void draw_scores(const Head &head, uint64_t hash, uint8_t *data) {
    const uint64_t run = (head.candidates + head.channels - 1) / head.channels;
    for (uint64_t i = 0; i < head.candidates; ++i) {
        const uint64_t channel = i / run, first = channel * 37 % (head.cells - run + 1);
        store(head, data, head.index(channel, first + i % run), 0.5f + 0.49f * noise(hash, i));
    }
}

void draw_boxes(const Head &head, uint64_t hash, uint8_t *data) { // a different size for every picture
    for (uint64_t channel = 0; channel < head.channels; ++channel) {
        const float value = kReach + 0.2f * (noise(hash, channel) - 0.5f);
        for (uint64_t cell = 0; cell < head.cells; ++cell) store(head, data, head.index(channel, cell), value);
    }
}

// Boxes around one place; read as corners or as centre and size, both are boxes in the input.
void pixel_box(uint64_t hash, uint64_t place, const yqb_tensor &input, float box[4]) {
    const float height = static_cast<float>(input.dims[1]), width = static_cast<float>(input.dims[2]);
    box[0] = width * (0.2f + 0.1f * noise(hash, 4 * place));
    box[1] = height * (0.2f + 0.1f * noise(hash, 4 * place + 1));
    box[2] = width * (0.6f + 0.1f * noise(hash, 4 * place + 2));
    box[3] = height * (0.6f + 0.1f * noise(hash, 4 * place + 3));
}

// Whatever follows the box (objectness, classes, further anchors) is high in a candidate's cell.
void draw_combined(const Head &head, uint64_t hash, const yqb_tensor &input, uint8_t *data) {
    for (uint64_t cell = 0; cell < head.candidates; ++cell) {
        float box[4] = {kReach, kReach, kReach, kReach};
        if (head.pixels) pixel_box(hash, cell, input, box);
        for (uint64_t channel = 0; channel < head.channels; ++channel)
            store(head, data, head.index(channel, cell),
                  channel < 4 ? box[channel] : 0.5f + 0.49f * noise(hash, cell * head.channels + channel));
    }
}

void draw_rows(const Head &head, uint64_t hash, const yqb_tensor &input, uint8_t *data) { // best score first
    for (uint64_t row = 0; row < head.candidates; ++row) {
        float values[6];
        pixel_box(hash, row, input, values);
        values[4] = 0.99f - 0.49f * (static_cast<float>(row) + noise(hash, row)) / static_cast<float>(head.candidates + 1);
        values[5] = 0.0f;
        for (uint64_t i = 0; i < 6; ++i) store(head, data, row * 6 + i, values[i]);
    }
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
    std::vector<Head> heads;
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
        const uint64_t hash = hash_picture(slot.buffers[0].data.get() + picture * picture_bytes, picture_bytes);
        for (size_t i = 0; i < session.heads.size(); ++i) {
            const Head &head = session.heads[i];
            uint8_t *data = slot.buffers[i + 1].data.get() + slot.buffers[i + 1].bytes / session.batch * picture;
            if (head.role == YQB_ROLE_SCORE) draw_scores(head, hash, data);
            else if (head.role == YQB_ROLE_BOX) draw_boxes(head, hash, data);
            else if (head.role == YQB_ROLE_COMBINED) draw_combined(head, hash, session.input, data);
            else if (head.role == YQB_ROLE_END2END) draw_rows(head, hash, session.input, data);
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

const char *YQB_CALL sdk_version() { return "dummy 1"; }

int32_t YQB_CALL probe(yqb_error *) { return YQB_OK; }

int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    if (!out) return report(error, YQB_EINVAL, "out is NULL");
    *out = nullptr;
    return yqb::guarded(error, [&] {
        yqb::check_config(config);
        if (std::strcmp(config->device, "0") != 0)
            throw Failure{YQB_EINVAL, "the dummy is device 0; there is no device '" + std::string(config->device) + "'"};
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
            session->heads.push_back(describe(config->outputs[i], *config));
        share_candidates(session->heads, settings.candidates);
        session->slots = std::vector<Slot>(config->slots);
        for (Slot &slot : session->slots) {
            slot.buffers.emplace_back(yqb::tensor_bytes(*config->input));
            for (uint32_t i = 0; i < config->output_count; ++i) {
                slot.buffers.emplace_back(yqb::tensor_bytes(config->outputs[i]));
                for (uint32_t picture = 0; picture < config->batch; ++picture)
                    prepare(session->heads[i],
                            slot.buffers[i + 1].data.get() + slot.buffers[i + 1].bytes / config->batch * picture);
            }
            slot.device = std::thread(device_loop, std::ref(*session), std::ref(slot));
        }
        *out = session.release();
    });
}

void YQB_CALL session_destroy(yqb_session *session) { delete session; }

int32_t report_lost(yqb_error *error) { return report(error, YQB_EDEVICE, "the dummy device is lost (dummy.lose_every)"); }

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
    if (timeout_us < 0) found->changed.wait(lock, ready);
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
    const yqb_health full = {sizeof(yqb_health),
                             reading(settings.temperature_c),
                             reading(settings.power_w),
                             reading(settings.utilization_percent),
                             settings.memory_used,
                             settings.memory_total};
    const uint32_t size = std::min<uint32_t>(out->size, sizeof full);
    std::memcpy(out, &full, size);
    out->size = size;
    return YQB_OK;
}

} // namespace

extern "C" YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    static const yqb_api api = {sizeof(yqb_api), YQ_BACKEND_VERSION, "dummy", "*",  sdk_version, probe, session_create,
                                session_destroy, session_input,      submit,  wait, output,      health, nullptr,
                                nullptr};
    return core_version == YQ_BACKEND_VERSION ? &api : nullptr;
}

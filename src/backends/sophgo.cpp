// SPDX-License-Identifier: Apache-2.0
// Backend "sophgo": a package's .bmodel on a BM1684X, BM1688 or CV186X, or on the vendor's simulator, through libbmrt.
//
// Options (backend_options of the package): none.
//
// The .bmodel has one static network with one uint8 input, NHWC or NCHW, and outputs found by name. It may be compiled
// for several batch sizes (stages): a request with fewer pictures takes the smallest that holds them.
//
// A session has one handle and one runtime; libbmrt launches from many threads. A thread per slot owns what the SDK
// keeps per thread: it copies in, launches, syncs and copies out, so that a device that hangs holds that thread and no
// caller. Buffers on both sides are made once.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <thread>

#include "module.h"
#include "sophgo_device.h"
#include "sophgo_layout.h"

using yqb::Failure;
using yqb::report;

namespace {

// ------------------------------------------------------------------------------------------------------------- slots

enum class State { idle, queued, done };

struct Slot {
    Slot(const sophgo::Device &device, const sophgo::Layout &layout, const yqb_config &config)
        : input(yqb::tensor_bytes(*config.input)), staging(layout.planar ? input.bytes : 1),
          device_input(device, input.bytes), launched(layout.outputs.size()) {
        for (uint32_t i = 0; i < config.output_count; ++i) {
            outputs.emplace_back(yqb::tensor_bytes(config.outputs[i]));
            device_outputs.emplace_back(device, outputs.back().bytes);
        }
    }

    yqb::Buffer input, staging;       // staging: the pixels as planes, if the model wants them
    std::vector<yqb::Buffer> outputs; // in the package's order, as those on the device
    sophgo::DeviceBuffer device_input;
    std::vector<sophgo::DeviceBuffer> device_outputs;
    std::vector<sophgo::Tensor> launched; // in the network's order; a launch writes into them
    std::mutex mutex;
    std::condition_variable changed;
    State state = State::idle;
    bool stop = false, finished = false;
    uint32_t count = 0;
    int32_t result = YQB_OK;
    yqb_error error = {};
    std::thread worker;
};

} // namespace

struct yqb_session {
    yqb_session(const sophgo::Runtime &runtime, const yqb_config &config, const sophgo::ModelFile &file)
        : batch(config.batch), picture_bytes(yqb::tensor_bytes(*config.input) / config.batch),
          pixels(static_cast<uint64_t>(config.input->dims[1] * config.input->dims[2])), device(runtime, config.device),
          model(device, config.artifact, file), layout(sophgo::match(model.network(), config)) {
        for (uint32_t i = 0; i < config.slots; ++i) slots.push_back(std::make_unique<Slot>(device, layout, config));
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

    const uint32_t batch;
    const uint64_t picture_bytes, pixels;
    sophgo::Device device;
    sophgo::Model model;
    const sophgo::Layout layout;
    std::vector<std::unique_ptr<Slot>> slots;
    std::atomic<bool> lost{false};
    yqb_error lost_error = {}; // set before `lost`
};

namespace {

// Interleaved pixels to planes, picture by picture.
void to_planes(const yqb_session &session, Slot &slot, uint32_t count) {
    const uint64_t channels = session.picture_bytes / session.pixels;
    for (uint32_t picture = 0; picture < count; ++picture) {
        const uint8_t *from = slot.input.data.get() + picture * session.picture_bytes;
        uint8_t *to = slot.staging.data.get() + picture * session.picture_bytes;
        for (uint64_t channel = 0; channel < channels; ++channel)
            for (uint64_t i = 0; i < session.pixels; ++i)
                to[channel * session.pixels + i] = from[i * channels + channel];
    }
}

// Copies in, launches, waits for the device, copies out. Throws what failed.
void run(const yqb_session &session, Slot &slot) {
    const sophgo::Runtime &runtime = session.device.runtime();
    const sophgo::Handle handle = session.device.handle();
    const sophgo::Plan &plan = session.layout.plan_for(slot.count);
    if (session.layout.planar) to_planes(session, slot, slot.count);
    uint8_t *pixels = (session.layout.planar ? slot.staging : slot.input).data.get();
    const auto bytes = static_cast<unsigned int>(slot.count * session.picture_bytes);
    sophgo::check("bm_memcpy_s2d_partial",
                  [&] { return runtime.bm_memcpy_s2d_partial(handle, slot.device_input.memory(), pixels, bytes); });

    sophgo::Tensor input = plan.input;
    input.memory = slot.device_input.memory();
    std::copy(plan.outputs.begin(), plan.outputs.end(), slot.launched.begin());
    for (size_t i = 0; i < slot.outputs.size(); ++i)
        slot.launched[session.layout.outputs[i]].memory = slot.device_outputs[i].memory();
    const int count = static_cast<int>(slot.launched.size());
    const bool launched = sophgo::vendor("bmrt_launch_tensor_ex", [&] {
        return runtime.bmrt_launch_tensor_ex(session.model.bmrt(), session.model.network().name, &input, 1,
                                             slot.launched.data(), count, true, false);
    });
    if (!launched)
        throw sophgo::call_failure(YQB_EBACKEND, "bmrt_launch_tensor_ex", "gave false",
                                   sophgo::advice(sophgo::failure));
    sophgo::check("bm_thread_sync", [&] { return runtime.bm_thread_sync(handle); });

    for (size_t i = 0; i < slot.outputs.size(); ++i) {
        const auto whole = static_cast<unsigned int>(slot.outputs[i].bytes / session.batch * plan.batch);
        sophgo::check("bm_memcpy_d2s_partial", [&] {
            return runtime.bm_memcpy_d2s_partial(handle, slot.outputs[i].data.get(), slot.device_outputs[i].memory(),
                                                 whole);
        });
    }
}

// The first failure that lost the device is what every later call reports.
void lose(yqb_session &session, const yqb_error &why) {
    static std::mutex mutex;
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (session.lost) return;
        session.lost_error = why;
        session.lost = true;
    }
    for (const auto &slot : session.slots) {
        { const std::lock_guard<std::mutex> lock(slot->mutex); } // whoever is about to wait sees `lost` or the notice
        slot->changed.notify_all();
    }
}

void work(yqb_session &session, Slot &slot) {
    std::unique_lock<std::mutex> lock(slot.mutex);
    for (;;) {
        slot.changed.wait(lock, [&] { return slot.stop || slot.state == State::queued; });
        if (slot.stop) return;
        lock.unlock();
        yqb_error error = {};
        const int32_t result = yqb::guarded(&error, [&] { run(session, slot); });
        if (result == YQB_EDEVICE) lose(session, error);
        lock.lock();
        slot.result = result;
        slot.error = error;
        slot.state = State::done;
        slot.changed.notify_all();
    }
}

// ------------------------------------------------------------------------------------------------------------- table

void refuse_options(const yqb_config &config) {
    for (uint32_t i = 0; i < config.option_count; ++i) {
        const std::string key = config.option_keys[i];
        if (key.find('.') == std::string::npos || key.compare(0, 7, "sophgo.") == 0)
            throw Failure{YQB_EINVAL, "the sophgo backend has no option '" + key + "'; it has none"};
    }
}

const char *YQB_CALL sdk_version() {
    try {
        return sophgo::runtime().version.c_str();
    } catch (...) { return ""; }
}

int32_t YQB_CALL probe(yqb_error *error) {
    return yqb::guarded(error, [] { sophgo::device_count(sophgo::runtime()); });
}

int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    if (!out) return report(error, YQB_EINVAL, "out is NULL");
    *out = nullptr;
    return yqb::guarded(error, [&] {
        yqb::check_config(config);
        refuse_options(*config);
        const sophgo::ModelFile file(config->artifact);
        auto session = std::make_unique<yqb_session>(sophgo::runtime(), *config, file);
        for (const auto &slot : session->slots) slot->worker = std::thread(work, std::ref(*session), std::ref(*slot));
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
    *data = found->input.data.get();
    *bytes = found->input.bytes;
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
    if (index >= found->outputs.size()) return report(error, YQB_EINVAL, "there is no output %u", index);
    if (!found->finished) return report(error, YQB_EINVAL, "slot %u has no finished request", slot);
    *out = {found->outputs[index].data.get(), found->outputs[index].bytes};
    return YQB_OK;
}

int32_t YQB_CALL health(yqb_session *session, yqb_health *out, yqb_error *error) {
    if (!session || !out) return report(error, YQB_EINVAL, "an argument is NULL");
    if (session->lost) return report_lost(*session, error);
    return yqb::guarded(error, [&] {
        const yqb_health full = sophgo::read_health(session->device);
        const uint32_t size = std::min<uint32_t>(out->size, sizeof full);
        std::memcpy(out, &full, size);
        out->size = size;
    });
}

} // namespace

extern "C" YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    // No letterbox: BM168x's own, BMCV, takes YUV and rounds differently. No profile: libbmrt writes one to files only.
    static const yqb_api api = {sizeof(yqb_api),
                                YQ_BACKEND_VERSION,
                                "sophgo",
                                "bm1684x bm1688 cv186x",
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
                                nullptr};
    return core_version == YQ_BACKEND_VERSION ? &api : nullptr;
}
